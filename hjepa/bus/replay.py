"""Runs a level again from a recording: the same inputs, in the same order, at the same readings of its clock.

The node is the real one; the rest of its graph is a bench in the same thread that hands it the recorded frames over
inproc and hears what it sends. Every frame must come out as it was recorded, byte for byte (MAC trailers aside).
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import zmq

from hjepa.bus import wire
from hjepa.bus.differences import diff
from hjepa.bus.journal import IDLE
from hjepa.bus.link import Link
from hjepa.bus.logfile import Log
from hjepa.bus.messages import Message, unpack
from hjepa.bus.node import FREE, BusConfig
from hjepa.bus.nodes import HighNode, LowNode
from hjepa.bus.topics import FOR_VIEWERS, address
from hjepa.bus.turns import Key, Recorded, Turn, key_of, read, said
from hjepa.errors import DataError, HjepaError, LinkError, LinkTimeout, nearest
from hjepa.protocols import Repeats

LEVELS = ("high", "low")
SKIPPED = (*FREE, "stop")  # requests that change nothing, and the last one
_WAIT_MS = 5000  # far more than inproc takes


class Divergence(NamedTuple):
    """The first message that came out otherwise; what differs, a line each."""

    where: str
    lines: tuple[str, ...]


class Replayed(NamedTuple):
    """What came of a replay."""

    node: str
    turns: int  # of the node's loop
    same: dict[str, int]  # messages equal byte for byte, by topic
    unheard: int  # messages that came out and are not in the recording: lost by the recorder, or cut off
    unexplained: int  # messages at the end of a cut file whose journal is cut off
    divergence: Divergence | None


class _Diverged(Exception):
    """Ends a replay at its first divergence."""

    def __init__(self, where: str, lines: Sequence[str]) -> None:
        super().__init__(where)
        self.divergence = Divergence(where, tuple(lines))


def replay(log: Log, name: str, made: Any) -> Replayed:
    """Run node `high` or `low` of a recording again with a freshly built level; stops at the first divergence.

    DataError if the recording does not hold what that takes.
    """
    check_level(name)
    recorded = read(log, name)
    same: Counter[str] = Counter()
    unheard, turns = 0, 0
    emitted: set[Key] = set()
    divergence: Divergence | None = None
    with Bench(name, made, BusConfig(base="inproc://replay", **log.about.bus)) as bench:
        try:
            for turn in recorded.turns:
                turns += 1
                for topic, frame in bench.handle(turn):
                    key = key_of(topic, frame)
                    emitted.add(key)
                    if key not in recorded.frames:
                        unheard += 1
                    elif recorded.frames[key] != frame:
                        raise _Diverged(said(key), diff(recorded.frames[key], frame))
                    else:
                        same[topic] += 1
            unexplained = _missing(recorded, emitted, bool(log.cut))
        except _Diverged as stop:
            divergence, unexplained = stop.divergence, 0
    return Replayed(name, turns, dict(same), unheard, unexplained, divergence)


def check_level(name: str) -> None:
    """DataError unless it is a node that can be replayed."""
    if name not in LEVELS:
        raise DataError(f"node '{name}' cannot be replayed; {nearest(name, LEVELS)}")


class Bench:
    """A node, and in place of its graph sockets that hand it recorded frames and hear what it sends."""

    def __init__(self, name: str, made: Any, config: BusConfig) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._reads: deque[int] = deque()
        self._links: list[Link] = []
        kind = HighNode if name == "high" else LowNode
        feeds = ["observation"] if name == "high" else ["observation", "goal", "zones"]
        self._feeds = {topic: self._link(zmq.XPUB, config.base, topic, True) for topic in feeds}
        self._made = made
        self._node: Any = kind(made, config, context=self._context)
        self._node.now_ns = self._node.stopwatch_ns = self._read
        self._asks = {f"{name}-control": self._link(zmq.DEALER, config.base, f"{name}-control", False)}
        if name == "low":
            self._asks["reachability"] = self._link(zmq.DEALER, config.base, "reachability", False)
        else:
            self._node.reach.close()
            self._replies = Replies()
            cast("Any", self._node).reach = self._replies
        outputs = [topic for topic in self._node._publishers if topic not in FOR_VIEWERS]
        self._hears = {topic: self._link(zmq.SUB, config.base, topic, False) for topic in outputs}
        for topic, link in self._hears.items():
            link.socket.subscribe(b"")
            self._node._publishers[topic].wait_subscribers(1, _WAIT_MS / 1e3)
        for link in self._feeds.values():
            link.socket.poll(_WAIT_MS)  # the node subscribes
            link.socket.recv()

    def handle(self, turn: Turn) -> list[tuple[str, bytes]]:
        """What the node sends in this turn: topic and frame, in order by topic."""
        self._reads = deque(turn.reads_ns)
        if isinstance(self._made, Repeats):
            self._made.budget_scored = turn.scored or None
        if turn.replies:
            self._replies.frames.extend(turn.replies)
        for topic, frame in turn.inputs:
            if topic == IDLE:
                self._node._waiting_since_ns = -(2**62)  # so long ago that it waits no longer
                self._node._idle()
                continue
            if topic.endswith("-control") and wire.decode(frame).header.kind in SKIPPED:
                continue
            self._send(topic, frame)
        self._run([topic for topic, _ in turn.inputs])
        if self._reads:
            raise _Diverged(self._where(turn), [f"{len(self._reads)} readings of its clock fewer than recorded"])
        return [(topic, frame) for topic, link in self._hears.items() for frame in _received(link.socket)]

    def close(self) -> None:
        """Close the node and the bench."""
        self._node.close()
        for link in self._links:
            link.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _link(self, kind: int, base: str, topic: str, bind: bool) -> Link:
        link = Link(kind, address(base, topic), bind, self._context, RCVHWM=0, SNDHWM=0)
        self._links.append(link)
        return link

    def _send(self, topic: str, frame: bytes) -> None:
        link = self._feeds.get(topic) or self._asks[topic]
        link.socket.send(frame)

    def _run(self, topics: list[str]) -> None:
        """Let the node look at each input that was sent, as its own loop does."""
        for topic in dict.fromkeys(topics):
            socket = self._input(topic)
            if socket is not None and socket.poll(_WAIT_MS if topic in self._feeds else 0):
                with contextlib.suppress(HjepaError):  # a refusal, which was answered
                    self._node._inputs[socket]()
            if topic in self._asks:
                _received(self._asks[topic].socket)

    def _input(self, topic: str) -> Any:
        """The node's socket on which an input of that topic comes."""
        if topic in self._feeds:
            return self._node._subscribers[topic].socket
        if topic == IDLE:
            return None
        return self._node.control.socket if topic.endswith("-control") else self._node.reach.socket

    def _read(self) -> int:
        if not self._reads:
            raise _Diverged("the node's clock", ["it was read more often than recorded"])
        return self._reads.popleft()

    @staticmethod
    def _where(turn: Turn) -> str:
        return " and ".join(said(key_of(t, frame)) if frame else t for t, frame in turn.inputs) + " was handled"


class Replies:
    """Stands for the high level's requester: gives the recorded answers in order."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.tap = None

    def request(self, kind: str, value: Any, **options: Any) -> Message:
        """The next recorded answer; LinkTimeout where none came."""
        if not self.frames:
            raise LinkTimeout(f"no answer to '{kind}' was recorded")
        message = unpack(self.frames.popleft())
        if message.header.kind == "error":
            raise LinkError(f"'{kind}' refused: {message.value.text}")
        return message


def _missing(recorded: Recorded, emitted: set[Key], cut: bool) -> int:
    """How many recorded messages lie beyond the end of a cut journal; any other one that did not come is an error."""
    absent = [key for key in recorded.frames if key not in emitted and not key[0].endswith("-journal")]
    received = recorded.received_ns
    said_last = {topic: max(received.get(k, 0) for k in emitted if k[0] == topic) for topic, *_ in emitted}
    # topics are recorded one by one: an answer may have come before the cut, its journal's entry not
    early = [
        key
        for key in absent
        if not cut or (received[key] < recorded.end_ns and received[key] < said_last.get(key[0], 0))
    ]
    if early:
        raise _Diverged(said(early[0]), [f"it was recorded and did not come out, as {len(early) - 1} more"])
    return len(absent)


def _received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """All that has come."""
    found = []
    while socket.poll(0):
        found.append(socket.recv())
    return found
