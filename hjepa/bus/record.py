"""Records the streams of a running graph into a file, see logfile.

with recording(Place(graph.config.base, graph.context), Path("run.mcap"), about):   # in a thread
    graph.play(start, launch, seed)
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from hjepa.bus.link import Link
from hjepa.bus.listen import Place, chosen, listen, node_status
from hjepa.bus.logfile import About, LogWriter
from hjepa.bus.topics import TOPICS

POLL_MS = 50
BURST = 500  # frames of one topic read before the next one's turn
HEARD_S = 2.0  # how long a node may take to say that it hears a recorder
_QUIET_MS = 100  # after the end: nothing for so long means that all has come
_LAST_S = 5.0  # but no longer than this


class Report(NamedTuple):
    """What came of a recording."""

    path: Path
    frames: dict[str, int]  # by topic
    lost: dict[str, int]  # gaps in the sequence, by topic
    bytes: int  # of the file
    seconds: float


RESTART = 100_000  # a jump this wide (0.1 s of microseconds) is a new life, see hjepa.launching.node.enter_session


class Gaps:
    """Counts frames that never came, by the sequence numbers around them."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        self._last: dict[str, tuple[int, int]] = {}  # topic -> session, sequence

    def see(self, topic: str, session: int, sequence: int) -> None:
        """One frame; the first ever of a topic may have any number, that of a later session is number 0."""
        before = self._last.get(topic)
        expected = sequence if before is None else before[1] + 1 if before[0] == session else 0
        missing = sequence - expected
        if 0 < missing < RESTART:  # a node that was started again numbers on from far beyond
            self.lost[topic] += missing
        self._last[topic] = session, sequence


class Recorder:
    """Receives and writes, in the thread that calls `run`."""

    def __init__(
        self,
        place: Place,
        out: Path,
        about: About | None = None,
        *,
        topics: Iterable[str] | None = None,
        readable: bool = True,
    ) -> None:
        """topics: None for every stream. readable: also what Foxglove plots."""
        self.place, self.out, self.about = place, out, about
        self.topics, self.readable = chosen(topics), readable
        self.frames: Counter[str] = Counter()
        self.gaps = Gaps()
        self.heard = threading.Event()  # set once every node that answers sends to this recorder too

    def run(self, stop: Callable[[], bool]) -> Report:
        """Record until `stop()`, and then what is still on its way. DataError when the disk is full."""
        began_s = time.monotonic()
        with LogWriter(self.out, self.about, readable=self.readable) as writer:
            before = self._subscribers()
            links = {topic: listen(self.place, topic) for topic in self.topics}
            try:
                self._await_heard(before, stop)
                self._receive(writer, links, stop)
            finally:
                for link in links.values():
                    link.close()
            writer.close({name: {"frames": self.frames[name], "lost": self.gaps.lost[name]} for name in self.topics})
            size = writer.bytes_written
        lost = {topic: count for topic, count in self.gaps.lost.items() if count}
        return Report(self.out, dict(self.frames), lost, size, time.monotonic() - began_s)

    def _receive(self, writer: LogWriter, links: dict[str, Link], stop: Callable[[], bool]) -> None:
        poller = zmq.Poller()
        topics = {link.socket: topic for topic, link in links.items()}
        for socket in topics:
            poller.register(socket, zmq.POLLIN)
        until_s = float("inf")
        while time.monotonic() < until_s:
            ready = poller.poll(POLL_MS if until_s == float("inf") else _QUIET_MS)
            for socket, _ in ready:
                self._drain(writer, topics[socket], socket)
            writer.flush_if_due()
            if stop():
                if not ready:
                    break
                until_s = min(until_s, time.monotonic() + _LAST_S)

    def _drain(self, writer: LogWriter, topic: str, socket: zmq.Socket[bytes]) -> None:
        for _ in range(BURST):
            try:
                frame = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            received_ns = time.monotonic_ns()
            header = writer.write(topic, frame, received_ns)
            self.frames[topic] += 1
            if header is not None:
                self.gaps.see(topic, header.session, header.sequence)

    def _subscribers(self) -> dict[str, int]:
        """How many listen to each topic, as far as its owner answers."""
        found: dict[str, int] = {}
        for owner in sorted({TOPICS[name].owner for name in self.topics}):
            status = node_status(self.place, owner)
            if status is None:
                continue  # not started yet, or gone
            mine = [name for name in self.topics if TOPICS[name].owner == owner]
            found |= {name: status.counts.get(f"subscribers.{name}", 0) for name in mine}
        return found

    def _await_heard(self, before: dict[str, int], stop: Callable[[], bool]) -> None:
        """Until those nodes that answered before have counted this recorder: earlier frames do not reach it."""
        deadline = time.monotonic() + HEARD_S
        while before and time.monotonic() < deadline and not stop():
            now = self._subscribers()
            if all(now.get(topic, 0) > count for topic, count in before.items()):
                break
            time.sleep(0.01)
        self.heard.set()


@contextmanager
def recording(place: Place, out: Path, about: About | None = None, **options: Any) -> Iterator[Recorder]:
    """Record in a thread while the block runs; options as for Recorder. An error of the recorder is raised at the end
    of the block."""
    recorder = Recorder(place, out, about, **options)
    stop = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            recorder.run(stop.is_set)
        except BaseException as error:  # noqa: BLE001  it is raised again, in the caller's thread
            errors.append(error)
        finally:
            recorder.heard.set()

    thread = threading.Thread(target=run, name="hjepa-record", daemon=True)
    thread.start()
    recorder.heard.wait(3 * HEARD_S)
    try:
        yield recorder
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
