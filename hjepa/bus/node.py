"""What every node is: a control channel, a session, a loop over its sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec
import numpy as np
import zmq

from hjepa.bus.clock import MonotonicClock, VirtualClock
from hjepa.bus.link import Link, Publisher, Replier, Subscriber
from hjepa.bus.messages import Message
from hjepa.bus.topics import TOPICS, Empty, Status, address
from hjepa.errors import ConfigError, LinkError

TICK_NS = 10_000_000  # control period of the driver, 100 Hz
STATUS = "get_status"
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

    def __post_init__(self) -> None:
        low, high = self.low_period_ticks, self.high_period_ticks
        if low < 1 or high < 1 or high % low:
            raise ConfigError(f"periods are low {low}, high {high} ticks; allowed: the high one a multiple of the low")

    @property
    def lockstep(self) -> bool:
        """True if simulated time waits."""
        return self.clock == "lockstep"


class Node:
    """A control channel, a session, a loop over sockets. Made and run in the thread or process that it lives in."""

    def __init__(self, name: str, config: BusConfig, context: Context, stopwatch_ns: Callable[[], int]) -> None:
        self.name, self.config, self.context = name, config, context
        self.clock: VirtualClock | MonotonicClock = VirtualClock() if config.lockstep else MonotonicClock()
        self.stopwatch_ns = stopwatch_ns
        self.state, self.session, self.sequence = "idle", 0, -1
        self.counts: Counter[str] = Counter()
        self.wall_ms: list[float] = []
        self.stop: Callable[[], bool] = lambda: False
        self._stopped = False
        self._publishers: dict[str, Publisher] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._inputs: dict[zmq.Socket[bytes], Callable[[], None]] = {}
        self._links: list[Link] = []
        self.control = self._keep(Replier(address(config.base, f"{name}-control"), context=context))
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
            self._idle()

    @property
    def stopping(self) -> bool:
        """True once the node should end."""
        return self._stopped or self.stop()

    def close(self) -> None:
        """Close every socket."""
        for link in self._links:
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # for the nodes below

    def _keep(self, link: L) -> L:
        self._links.append(link)
        return link

    def _publish_on(self, topic: str) -> Publisher:
        link = self._keep(Publisher(address(self.config.base, topic), context=self.context))
        self._publishers[topic] = link
        return link

    def _subscribe_to(self, topic: str, *, conflate: bool) -> Subscriber:
        where = address(self.config.base, topic)
        link = self._keep(Subscriber(where, TOPICS[topic].kinds, context=self.context, conflate=conflate))
        self._subscribers[topic] = link
        return link

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
        if isinstance(self.clock, VirtualClock):
            self.clock.restart()

    def _timed(self, started_ns: int) -> float:
        """Milliseconds since `started_ns`; kept for the status."""
        ms = (self.stopwatch_ns() - started_ns) / 1e6
        self.wall_ms.append(ms)
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
        if kind == "stop":
            self._stopped = True
            return "ok", Empty()
        if kind == "reset":
            self._restart(message.header.session)
            self.state = "running"
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
            counts |= {f"dropped.{topic}.{reason}": n for reason, n in subscriber.drops.items()}
        wall_ms = np.array(self.wall_ms, dtype=np.float64)
        return Status(self.name, self.state, self.session, self.sequence, self.clock.now_ns(), counts, wall_ms)
