"""A running graph as the page's source: listens, asks how the nodes are, and changes weights; moves nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

import zmq

from hjepa.bus.link import Link, Requester
from hjepa.bus.listen import Place, listen
from hjepa.bus.messages import unpack
from hjepa.bus.topics import Empty, Status, Weights
from hjepa.bus.watch import Watch
from hjepa.errors import LinkError, WireError
from hjepa.types import RobotSpec
from hjepa.viewer.live import frames
from hjepa.viewer.live.frames import Reducer, Snapshot

LEVELS = ("low", "high")
ASK_S = 1.0
PLANS, PLANS_S = "considered", 0.33  # topic that costs its level some milliseconds, and the pause between two of it
LOOK_S = 1.0  # between two questions how the nodes are
WEIGHTS_EVERY = 3  # of them, what weighs in the levels: somebody else may change it
EVERY = 1000  # frames of a topic read in one go


class BusSource:
    """Listens to a graph. A pause holds the page alone: the robot goes on."""

    held = "this page only; the robot goes on"
    paced = False
    length_s = 0.0

    def __init__(self, place: Place, spec: RobotSpec, label: str, nodes: Sequence[str] = ("driver", *LEVELS)) -> None:
        self.label, self._place = label, place
        self._reducer = Reducer(spec)
        self._links: dict[str, Link] = {}
        self._paused = False
        self._held = Snapshot()
        self._watch = Watch(place, nodes)
        self._asking = threading.Lock()
        self._listening, self._heard_plans, self._plans_s = True, False, 0.0
        self._done = threading.Event()
        self._watcher: threading.Thread | None = None
        self._told: deque[tuple[str, Status | None]] = deque()
        self._weights: dict[str, Mapping[str, float]] = {}

    def frame(self) -> Snapshot:
        """All that has been said until now."""
        if self._watcher is None:  # here, since sockets belong to the thread that reads them
            self._links = {topic: listen(self._place, topic) for topic in frames.TOPICS}
            self._watcher = threading.Thread(target=self._look, daemon=True)
            self._watcher.start()
        for topic, link in self._links.items():
            self._drain(topic, link)
        self._listen_for_plans()
        while self._told:
            node, status = self._told.popleft()
            if status is None:
                self._reducer.silent(node)
            else:
                self._reducer.status(status)
        if not self._paused:
            self._held = self._reducer.snapshot()
        return self._held

    def said(self) -> str:
        """Whether somebody is missing."""
        silent = [node for node, state in self._held.states.items() if state == "no answer"]
        return f"no answer from {', '.join(silent)}" if silent else ""

    def position_s(self) -> float:
        """There is no such thing."""
        return 0.0

    def pause(self, on: bool) -> None:
        """Hold the page, or let it go on."""
        self._paused = on

    def step(self) -> None:
        """Nothing: a running robot does not step."""

    def set_speed(self, speed: float) -> None:
        """Nothing: its time is real."""

    def seek(self, at_s: float) -> None:
        """Nothing: it is live."""

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """Of the levels that have answered, as of a moment ago."""
        return dict(self._weights)

    def set_weight(self, level: str, name: str, value: float) -> None:
        """Change one on the running level; LinkError when it refuses or does not answer."""
        self._ask(level, "tune", Weights({name: value}))
        self._weights[level] = {**self._weights.get(level, {}), name: value}

    def close(self) -> None:
        """Let go of the sockets."""
        self._done.set()
        if self._watcher is not None:
            self._watcher.join()
        for link in self._links.values():
            link.close()
        self._links = {}

    def _drain(self, topic: str, link: Link) -> None:
        """What has come of a topic; of observations that wait the newest alone is read: each holds a window of time."""
        waiting: list[bytes] = []
        with contextlib.suppress(zmq.Again):
            while len(waiting) < EVERY:
                waiting.append(link.socket.recv(zmq.NOBLOCK))
        for frame in waiting[-1:] if topic == "observation" else waiting:
            try:
                message = unpack(frame)
            except WireError:
                continue
            self._reducer.feed(topic, message.header, message.value)
            self._heard_plans |= topic == PLANS

    def _listen_for_plans(self) -> None:
        """A level makes what it considered only while somebody listens: listen for one at a time, now and then."""
        now_s = time.monotonic()
        if self._listening and self._heard_plans:
            self._links[PLANS].socket.unsubscribe(b"")
            self._listening, self._heard_plans, self._plans_s = False, False, now_s
        elif not self._listening and not self._paused and now_s - self._plans_s > PLANS_S:
            self._links[PLANS].socket.subscribe(b"")
            self._listening = True

    def _look(self) -> None:
        """In a thread of its own, since an answer may take its time: how the nodes are, and what weighs in them."""
        looks = 0
        while not self._done.wait(LOOK_S):
            self._told.extend(self._watch.look().status.items())
            for level in LEVELS if looks % WEIGHTS_EVERY == 0 else ():
                # a level that is not there yet, or has no weights to change
                with contextlib.suppress(LinkError):
                    self._weights[level] = self._ask(level, "get_weights", Empty())
            looks += 1

    def _ask(self, level: str, kind: str, value: object) -> Mapping[str, float]:
        """One question to a level's control channel."""
        with (
            self._asking,
            Requester(
                self._place.at(f"{level}-control"), context=self._place.context, keys=self._place.keys, owner=level
            ) as ask,
        ):
            answer = ask.request(kind, value, timeout_s=ASK_S).value
            return dict(answer.values) if isinstance(answer, Weights) else {}
