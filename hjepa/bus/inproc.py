"""Driver, high and low as three threads of one process, over inproc."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import zmq

from hjepa.bus.driver import DriverNode
from hjepa.bus.graph import NODES, REQUEST_S, Episode, Graph, Listener
from hjepa.bus.node import BusConfig, Node
from hjepa.bus.nodes import HighNode, LowNode
from hjepa.errors import NodeDied
from hjepa.protocols import Driver, HighLevel, LowLevel
from hjepa.types import Launch, RobotState

_KEPT: list[zmq.Context[Any]] = []  # until the process ends


class InprocGraph(Graph):
    """Three threads of this process over inproc. The world must not be connected yet, unless connect=False."""

    def __init__(
        self,
        world: Driver,
        high: HighLevel,
        low: LowLevel,
        *,
        connect: bool = True,
        session: int | None = None,
        stopwatch_ns: Callable[[], int] = time.perf_counter_ns,
        **config: Any,
    ) -> None:
        """config: fields of BusConfig, without `base`."""
        base = f"inproc://hjepa-{secrets.token_hex(4)}"
        super().__init__(BusConfig(base=base, **config), zmq.Context(), session)
        common: dict[str, Any] = {"context": self.context, "stopwatch_ns": stopwatch_ns}
        self._make: dict[str, Callable[[], Node]] = {
            "driver": lambda: DriverNode(world, self.config, connect=connect, **common),
            "high": lambda: HighNode(high, self.config, **common),
            "low": lambda: LowNode(low, self.config, **common),
        }
        self._threads: list[threading.Thread] = []
        self._errors: list[tuple[str, BaseException]] = []
        self._stop = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        for name in NODES:
            thread = threading.Thread(target=self._run, args=(name,), name=f"hjepa-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._connect()
        self._await_ready(REQUEST_S)

    def dead(self) -> dict[str, NodeDied]:
        """Nodes whose thread has raised; the error is the cause."""
        found = {}
        for name, error in self._errors:
            found[name] = NodeDied(f"node {name} ended: {type(error).__name__}: {error}", 1)
            found[name].__cause__ = error
        return found

    def close(self) -> None:
        """Stop the threads, brake and close the driver."""
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_S)
        self._disconnect()
        if self._errors:
            # a node that died at once leaves connections to it for ever pending, at which libzmq would abort the
            # process when its context ends (libzmq issue 4544)
            _KEPT.append(self.context)
        elif not any(thread.is_alive() for thread in self._threads):
            self.context.term()

    def _run(self, name: str) -> None:
        try:
            with self._make[name]() as node:
                node.run(self._stop.is_set)
        except BaseException as error:  # noqa: BLE001  it is raised again, in the conductor's thread
            self._errors.append((name, error))


def run_inproc(
    world: Driver,
    high: HighLevel,
    low: LowLevel,
    episodes: Iterable[tuple[RobotState, Launch, int]],
    *,
    listener: Listener | None = None,
    record: bool = False,
    **options: Any,
) -> Iterator[Episode]:
    """Play (start, launch, seed) one after the other in one process; options as for InprocGraph."""
    with InprocGraph(world, high, low, **options) as graph:
        for start, launch, seed in episodes:
            yield graph.play(start, launch, seed, listener=listener, record=record)
