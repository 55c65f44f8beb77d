"""What every node is: a control channel, a session, a loop over its sockets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec
import numpy as np
import zmq

from hjepa.bus.clock import MonotonicClock, VirtualClock
from hjepa.bus.journal import Journal, NotedClock
from hjepa.bus.link import Link, Publisher, Replier, Requester, Subscriber
from hjepa.bus.messages import Check, Message
from hjepa.bus.security import AllowList, Keys, command_key, load_keys
from hjepa.bus.topics import TOPICS, Empty, Status, Time, address
from hjepa.errors import ConfigError, LinkError

TICK_NS = 10_000_000  # control period of a simulated world, 100 Hz
KEPT_DECISIONS = 10_000  # whose times a status carries: a session of hours must not make it long, nor slow to answer
STATUS = "get_status"
FREE = (STATUS, "get_time")  # questions that move nothing: answered without the command key
SIGNED = ("command", "driver-control")  # topics whose frames move a robot
Context = zmq.Context[Any] | None
Reply = tuple[str, Any]
L = TypeVar("L", bound=Link)


class BusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all nodes of a graph agree on."""

    base: str  # inproc://NAME, ipc://FOLDER or tcp://127.0.0.1:PORT; see topics.address
    clock: Literal["lockstep", "realtime"] = "lockstep"
    low_period_ticks: int = 4  # driver ticks between two low-level plans
    high_period_ticks: int = 4  # between two calls of high.decide, which may answer None; a multiple of the low one's
    answer_timeout_s: float = 10.0  # lockstep: a level that takes longer is no longer waited for until heard again
    reach_timeout_s: float = 0.1  # realtime: how long the high level waits for the low one's energies
    latch: bool = False  # realtime: when the last command has expired, call driver.hold(), which stays until re-armed
    expiry_ms: float = 0.0  # realtime: a command older than this is out of force; 0: when its own validity ends
    goal_valid_ms: float = 0.0  # realtime: a goal in force for longer is planned for no more; 0: until the next one
    arm_commands: int = 5  # so many fresh commands in a row before a robot may be armed
    shadow: bool = False  # commands are checked and counted, and not followed
    hosts: dict[str, str] = {}  # over tcp: on which machine a node runs, if not on the base's own
    keys: str = ""  # folder of keys (hjepa bus keygen): CURVE on tcp, MACs on what moves the robot; "": none
    journal: bool = False  # levels publish what they handled, for recordings that can be replayed

    def __post_init__(self) -> None:
        low, high = self.low_period_ticks, self.high_period_ticks
        if low < 1 or high < 1 or high % low:
            raise ConfigError(f"periods are low {low}, high {high} ticks; allowed: the high one a multiple of the low")
        if self.expiry_ms < 0 or self.goal_valid_ms < 0 or self.arm_commands < 1:
            raise ConfigError("expiry_ms and goal_valid_ms: allowed 0 or more; arm_commands: allowed 1 or more")

    @property
    def lockstep(self) -> bool:
        """True if simulated time waits."""
        return self.clock == "lockstep"

    @property
    def shares_clock(self) -> bool:
        """True if all nodes read the same clock: threads of one process, and simulated time."""
        return self.lockstep or self.base.startswith("inproc://")


class Party:
    """One participant's keys and sockets on a graph's addresses; what it binds and connects to is signed where needed.

    context: None for the process's own. Close it once, at the end.
    """

    def __init__(self, me: str, config: BusConfig, context: Context, *, guarded: bool = False) -> None:
        """guarded: nothing is bound here, or the context has its allow-list already."""
        self.config, self.context = config, context
        over_tcp = config.base.startswith("tcp://")
        self.keys: Keys | None = load_keys(config.keys, me) if config.keys and over_tcp else None
        self._command_key = self.keys.command if self.keys else command_key(config.keys) if config.keys else None
        guard = self.keys if not guarded else None
        self.allow = AllowList(context or zmq.Context.instance(), guard) if guard else None
        self._links: list[Link] = []

    def publisher(self, topic: str) -> Publisher:
        """Bound to a topic's address."""
        return self._kept(Publisher(self._at(topic), context=self.context, keys=self.keys, key=self._key(topic)))

    def subscriber(self, topic: str, *, conflate: bool, queue: int = 1000, check: Check | None = None) -> Subscriber:
        """Connected to a topic's address."""
        owner, kinds = TOPICS[topic].owner, TOPICS[topic].kinds
        common: dict[str, Any] = {"keys": self.keys, "owner": owner, "key": self._key(topic)}
        common |= {"queue": queue, "check": check}
        return self._kept(Subscriber(self._at(topic), kinds, context=self.context, conflate=conflate, **common))

    def replier(self, topic: str) -> Replier:
        """Bound to a request channel."""
        common: dict[str, Any] = {"keys": self.keys, "key": self._key(topic), "free": FREE}
        return self._kept(Replier(self._at(topic), context=self.context, **common))

    def requester(self, topic: str, idle: Callable[[], None] | None = None, patient: bool = True) -> Requester:
        """Connected to a request channel."""
        common: dict[str, Any] = {"keys": self.keys, "owner": TOPICS[topic].owner, "key": self._key(topic)}
        return self._kept(Requester(self._at(topic), context=self.context, idle=idle, patient=patient, **common))

    def close(self) -> None:
        """Close every socket; a second close does nothing."""
        for link in self._links:
            link.close()
        if self.allow is not None:
            self.allow.close()

    def _at(self, topic: str) -> str:
        return address(self.config.base, topic, self.config.hosts)

    def _key(self, topic: str) -> bytes | None:
        return self._command_key if topic in SIGNED else None

    def _kept(self, link: L) -> L:
        self._links.append(link)
        return link


class Node:
    """A control channel, a session, a loop over sockets. Made and run in the thread or process that it lives in."""

    def __init__(self, name: str, config: BusConfig, context: Context, stopwatch_ns: Callable[[], int]) -> None:
        self.name, self.config, self.context = name, config, context
        self.clock: VirtualClock | MonotonicClock = VirtualClock() if config.lockstep else MonotonicClock()
        self.now_ns: Callable[[], int] = self.clock.now_ns
        self.stopwatch_ns = stopwatch_ns
        self.party = Party(name, config, context)
        self.journal: Journal | None = None
        self.state, self.session, self.sequence = "idle", 0, -1
        self.counts: Counter[str] = Counter()
        self.wall_ms: deque[float] = deque(maxlen=KEPT_DECISIONS)
        self.stop: Callable[[], bool] = lambda: False
        self._stopped = False
        self._publishers: dict[str, Publisher] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._inputs: dict[zmq.Socket[bytes], Callable[[], None]] = {}
        self.control = self.party.replier(f"{name}-control")
        self._inputs[self.control.socket] = self._serve

    # life cycle

    def run(self, stop: Callable[[], bool] | None = None) -> None:
        """Answer whatever comes until asked to stop, or until `stop()` is true."""
        self.stop = stop or self.stop
        poller = zmq.Poller()
        for socket in self._inputs:
            poller.register(socket, zmq.POLLIN)
        while not self.stopping:
            for socket, _ in poller.poll(20):
                self._inputs[socket]()
                if self.journal is not None:
                    self.journal.turn()
            self._idle()
            if self.journal is not None:
                self.journal.turn()

    @property
    def stopping(self) -> bool:
        """True once the node should end."""
        return self._stopped or self.stop()

    def close(self) -> None:
        """Close every socket."""
        self.party.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # for the nodes below

    def _publish_on(self, topic: str) -> Publisher:
        self._publishers[topic] = link = self.party.publisher(topic)
        return link

    def _subscribe_to(self, topic: str, *, conflate: bool, check: Check | None = None) -> Subscriber:
        self._subscribers[topic] = link = self.party.subscriber(topic, conflate=conflate, check=check)
        return link

    def _keep_journal(self, **inputs: Link) -> None:
        """Note what these links accept, by topic (underscores for hyphens), and publish it."""
        publisher = self._publish_on(f"{self.name}-journal")
        clock = NotedClock(self.clock)
        self.now_ns, self.stopwatch_ns = clock.now_ns, clock.noted(self.stopwatch_ns)
        self.journal = Journal(clock, lambda entry: publisher.send("handled", entry, stamp_ns=self.clock.now_ns()))
        for topic, link in inputs.items():
            link.tap = self.journal.tap(topic.replace("_", "-"))

    def _restart(self, session: int) -> None:
        """A new session: forget the last one's messages and counts."""
        self.session, self.sequence = session, -1
        self.counts.clear()
        self.wall_ms.clear()
        for publisher in self._publishers.values():
            publisher.restart(session)
        for subscriber in self._subscribers.values():
            subscriber.gate.restart(session)
            subscriber.drops.clear()
            subscriber.gate.passed = subscriber.superseded = 0
        if isinstance(self.clock, VirtualClock):
            self.clock.restart()

    def _timed(self, started_ns: int) -> float:
        """Milliseconds since `started_ns`; kept for the status."""
        ms = (self.stopwatch_ns() - started_ns) / 1e6
        self.wall_ms.append(ms)
        self.counts["decided"] += 1
        return ms

    def _idle(self) -> None:
        """Called at least every 20 ms while nothing comes."""

    def _check_stop(self) -> None:
        if self.stopping:
            raise LinkError(f"node {self.name} is stopping")

    def _serve(self, timeout_s: float = 0.0) -> None:
        self.control.serve(self._answer, timeout_s)

    def _answer(self, message: Message) -> Reply:
        kind = message.header.kind
        if kind == STATUS:
            return "status", self.status()
        if kind == "get_time":
            return "time", Time(self.clock.now_ns())
        if kind == "stop":
            self._stopped = True
            return "ok", Empty()
        if kind == "reset":
            self._restart(message.header.session)
            self.state = "running"
            if self.journal is not None:
                self.journal.episode += 1
        return self._handle(kind, message.value)

    def _handle(self, kind: str, value: Any) -> Reply:
        """Answer a request of this node's own."""
        raise NotImplementedError

    def _unknown(self, kind: str) -> LinkError:
        allowed = ", ".join(TOPICS[f"{self.name}-control"].kinds)
        return LinkError(f"node {self.name} ({self.config.clock}) does not answer '{kind}'; kinds here: {allowed}")

    def status(self) -> Status:
        """How the node is."""
        counts = dict(self.counts)
        for topic, publisher in self._publishers.items():
            counts[f"sent.{topic}"] = publisher.sent
            counts[f"subscribers.{topic}"] = publisher.subscribers()
        for topic, subscriber in self._subscribers.items():
            counts[f"accepted.{topic}"] = subscriber.gate.passed
            counts[f"superseded.{topic}"] = subscriber.superseded
            counts |= {f"dropped.{topic}.{reason}": n for reason, n in subscriber.drops.items()}
        counts |= {f"dropped.control.{reason}": n for reason, n in self.control.drops.items()}
        if self.party.allow is not None:
            counts["denied.unauthenticated"] = self.party.allow.denied["unauthenticated"]
        wall_ms = np.array(self.wall_ms, dtype=np.float64)
        return Status(self.name, self.state, self.session, self.sequence, self.clock.now_ns(), counts, wall_ms)
