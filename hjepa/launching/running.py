"""Driver, high and low that somebody else has started, seen by whoever conducts them."""

from __future__ import annotations

import time

import zmq

from hjepa.bus.graph import REQUEST_S, SUBSCRIBERS, Graph
from hjepa.bus.node import BusConfig
from hjepa.bus.topics import Reset, Status
from hjepa.errors import LinkTimeout, NodeDied

READY_S = 120.0  # a level that is being restarted imports torch, perhaps more than once
_ASK_S = 0.5
_LOOK_S = 0.02


class RunningGraph(Graph):
    """Driver, high and low that somebody else has started and watches over."""

    def __init__(self, config: BusConfig, ready_s: float = READY_S) -> None:
        super().__init__(config, zmq.Context())
        self._ready_s = ready_s
        self._session = 0

    def start(self) -> None:
        """Connect, and wait until all are there."""
        self._connect()
        self.await_ready()

    def dead(self) -> dict[str, NodeDied]:
        """None that is known of: the supervisor acts when a process ends."""
        return {}

    def close(self) -> None:
        """Disconnect; the nodes go on."""
        self._disconnect()
        self.context.destroy(linger=0)

    def await_ready(self) -> None:
        """Until every node answers and hears every other; LinkTimeout when that takes too long."""
        deadline = time.monotonic() + self._ready_s
        for node, wanted in SUBSCRIBERS.items():
            while True:
                try:
                    counts = super().status(node, _ASK_S).counts
                    if all(counts[f"subscribers.{topic}"] >= count for topic, count in wanted.items()):
                        break
                except LinkTimeout:
                    counts = {}
                for tap in self._taps.values():
                    tap.poke()
                if time.monotonic() > deadline:
                    said = f"is not heard by everybody: {counts}" if counts else "does not answer"
                    raise LinkTimeout(f"node {node} {said} after {self._ready_s:g} s")
                time.sleep(_LOOK_S)

    def status(self, node: str, timeout_s: float = REQUEST_S) -> Status:
        """How a node is; NodeDied when the driver has lost the session, since it was started again."""
        found = super().status(node, timeout_s)
        if node == "driver" and self._session and found.session != self._session:
            raise NodeDied(f"the driver is in session {found.session}, not {self._session}: it was started again", 1)
        return found

    def _begin(self, reset: Reset) -> int:
        """A new session; a level that dies at this very moment is waited for again."""
        deadline = time.monotonic() + self._ready_s
        while True:
            self.await_ready()
            self._session = 0
            try:
                self._session = super()._begin(reset)
                return self._session
            except LinkTimeout:
                if time.monotonic() > deadline:
                    raise
