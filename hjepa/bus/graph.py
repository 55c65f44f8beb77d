"""A whole graph seen by its conductor: driver, high and low are running, and are asked to play episodes.

    with inproc.InprocGraph(world, high, low, low_period_ticks=4) as graph:   # threads of one process
        episode = graph.play(start, launch, seed)
    spec = processes.NodeSpec("my.module:make_world", {"robot": "courtbot"})
    with processes.ProcessGraph({"driver": spec, "high": ..., "low": ...}) as graph:  # ipc in a fresh folder
        episode = graph.play(start, launch, seed)

In lockstep both give the messages that the same objects give when called directly.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import zmq

from hjepa.bus.link import Requester, Subscriber
from hjepa.bus.messages import Message
from hjepa.bus.node import STATUS, BusConfig, Party
from hjepa.bus.topics import TOPICS, Empty, Record, Reset, Status, Tick
from hjepa.errors import LinkTimeout, NodeDied
from hjepa.types import Alarm, Array, Goal, JointTrajectory, Launch, MotorPlan, Observation, Outcome, RobotState

NODES = ("driver", "high", "low")
TAPPED = ("observation", "goal", "plan", "command", "surprise", "zones", "status")
SUBSCRIBERS = {  # that a graph has when all are there, the conductor's taps included
    "driver": {"observation": 3, "status": 1, "zones": 2},
    "high": {"goal": 2},
    "low": {"plan": 1, "command": 2, "surprise": 1},
}
_CHUNK_TICKS = 20  # lockstep ticks asked for at once: how often messages are looked at
_LOOK_S = 0.05  # real time: the same
REQUEST_S = 10.0
_LISTEN_S = 1.0  # how long the last messages of an episode may take to arrive

Listener = Callable[[str, Message], None]


class Episode(NamedTuple):
    """All that was said in one episode, and how it ended."""

    outcome: Outcome
    messages: dict[str, tuple[Message, ...]]  # by topic, in order
    status: dict[str, Status]  # by node, at the end; wall_ms holds each decision's time
    record: Record | None  # what the world recorded, if it was asked for

    @property
    def observations(self) -> list[Observation]:
        """Every observation published."""
        return [m.value for m in self.messages["observation"]]

    @property
    def goals(self) -> list[Goal]:
        """Every goal decided."""
        return [m.value for m in self.messages["goal"] if m.header.kind == "goal"]

    @property
    def plans(self) -> list[MotorPlan]:
        """Every low-level plan."""
        return [m.value for m in self.messages["plan"]]

    @property
    def alarms(self) -> list[Alarm]:
        """How surprising each look was."""
        return [m.value for m in self.messages["surprise"]]

    @property
    def commands(self) -> list[JointTrajectory]:
        """Every command sent."""
        return [m.value for m in self.messages["command"] if m.header.kind == "command"]

    def wall_ms(self, node: str) -> Array:
        """Wall time (N,) of each decision of a level."""
        return self.status[node].wall_ms


class Graph:
    """Talks to three running nodes. Subclasses start and end them."""

    def __init__(self, config: BusConfig, context: zmq.Context[Any], session: int | None = None) -> None:
        """session: number of the first episode's session; episodes count up. None: drawn at random."""
        self.config = config
        self.context = context
        self._sessions = itertools.count(secrets.randbits(40) << 20 if session is None else session)
        self._finish = False
        self._party: Party | None = None
        self._controls: dict[str, Requester] = {}
        self._taps: dict[str, Subscriber] = {}

    # life cycle

    def start(self) -> None:
        """Start the nodes and connect to them."""
        raise NotImplementedError

    def dead(self) -> dict[str, NodeDied]:
        """Nodes that have ended by themselves, and how."""
        raise NotImplementedError

    def check(self) -> None:
        """NodeDied if a node has ended by itself; in an episode that is to be finished, only if it is the driver."""
        for name, error in self.dead().items():
            if name == "driver" or not self._finish:
                raise error

    def close(self) -> None:
        """End the nodes; a second close does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # talking

    def request(
        self, node: str, kind: str, value: Any = None, *, session: int = 0, timeout_s: float = REQUEST_S
    ) -> Any:
        """The value of a node's answer; LinkError when it refuses, NodeDied when it is gone."""
        value = Empty() if value is None else value
        return self._controls[node].request(kind, value, timeout_s=timeout_s, session=session).value

    def status(self, node: str, timeout_s: float = REQUEST_S) -> Status:
        """How a node is."""
        found: Status = self.request(node, STATUS, timeout_s=timeout_s)
        return found

    def play(
        self,
        start: RobotState,
        launch: Launch,
        seed: int,
        *,
        listener: Listener | None = None,
        record: bool = False,
        finish: bool = False,
        pace: Callable[[], int] = lambda: _CHUNK_TICKS,
    ) -> Episode:
        """One episode from reset to done. listener(topic, message) hears everything soon after it is said.

        record: fetch the world's log too. finish: when a level dies or hangs on the way, go on to the end (the driver
        brakes and holds) instead of raising NodeDied; that level has no status then. pace: in lockstep, says how many
        ticks may pass next, and may wait before it does.
        """
        messages: dict[str, list[Message]] = {topic: [] for topic in TAPPED}
        self._finish = finish
        self._begin(Reset(start, launch, seed))
        if self.config.lockstep:
            # a level that does not answer is waited for once; the rest is simulation
            timeout_s = _CHUNK_TICKS * self.config.answer_timeout_s + REQUEST_S
            while not self.request("driver", "tick", Tick(pace()), timeout_s=timeout_s).done:
                self._listen(messages, listener)
        else:
            self.request("driver", "start")
            while self.status("driver").state != "done":
                self._listen(messages, listener)
                self.check()
                time.sleep(_LOOK_S)
        outcome: Outcome = self.request("driver", "get_outcome")
        status = self._all_status()
        self._listen_to_end(messages, listener, status)
        log = self.request("driver", "get_record") if record else None
        return Episode(outcome, {topic: tuple(said) for topic, said in messages.items()}, status, log)

    def _all_status(self) -> dict[str, Status]:
        """Of every node; a level that cannot answer is left out where `finish` allows it."""
        found: dict[str, Status] = {}
        for node in NODES:
            forgiven = self._finish and node != "driver"
            if forgiven and node in self.dead():
                continue
            with contextlib.suppress(*([LinkTimeout] if forgiven else [])):
                found[node] = self.status(node, 1.0 if forgiven else REQUEST_S)
        return found

    def _begin(self, reset: Reset) -> int:
        """A new session on every node, the driver last."""
        session = next(self._sessions)
        for tap in self._taps.values():
            tap.gate.restart(session)
        for node in ("high", "low", "driver"):
            self.request(node, "reset", reset, session=session)
        return session

    def _listen(self, messages: dict[str, list[Message]], listener: Listener | None) -> None:
        for topic, tap in self._taps.items():
            while (message := tap.receive()) is not None:
                messages[topic].append(message)
                if listener is not None:
                    listener(topic, message)

    def _listen_to_end(
        self, messages: dict[str, list[Message]], listener: Listener | None, status: dict[str, Status]
    ) -> None:
        """Until everything the nodes say they have sent is here."""
        deadline = time.monotonic() + _LISTEN_S
        while True:
            self._listen(messages, listener)
            complete = all(
                len(messages[topic]) >= status[TOPICS[topic].owner].counts[f"sent.{topic}"]
                for topic in TAPPED
                if TOPICS[topic].owner in status
            )
            if complete or time.monotonic() > deadline:
                return
            time.sleep(0.001)

    # for subclasses

    def _connect(self) -> None:
        """The conductor's own sockets."""
        self._party = party = Party("conductor", self.config, self.context)
        for node in NODES:
            self._controls[node] = party.requester(f"{node}-control", self.check)
        for topic in TAPPED:
            self._taps[topic] = party.subscriber(topic, conflate=False, queue=0)

    def _await_ready(self, timeout_s: float) -> None:
        """Until every node answers and hears every other."""
        deadline = time.monotonic() + timeout_s
        for node, wanted in SUBSCRIBERS.items():
            while True:
                self.check()
                left_s = max(deadline - time.monotonic(), 0.001)
                counts = self.status(node, left_s).counts
                if all(counts[f"subscribers.{topic}"] >= count for topic, count in wanted.items()):
                    break
                if time.monotonic() > deadline:
                    raise LinkTimeout(f"node {node} is not heard by everybody after {timeout_s:g} s: {counts}")
                time.sleep(0.005)

    def _disconnect(self) -> None:
        if self._party is not None:
            self._party.close()
