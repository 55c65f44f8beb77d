"""Watching a running graph: how its nodes are, asked over the bus, and no more often than every half second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hjepa.bus.listen import Place, statuses
from hjepa.bus.topics import Status

KEEP_S = 0.5  # how long an answer is as good as a new one
# a simulated episode that is over, and one that is about to start, are no trouble
WELL = ("running", "done", "ready")


class Seen(NamedTuple):
    """A graph at one instant."""

    status: dict[str, Status | None]  # by node; None: it does not answer
    restarts: Mapping[str, int]  # by the graph's name of a node; empty where nobody counts

    @property
    def ok(self) -> bool:
        """Whether every node answers and runs."""
        return all(well(status) for status in self.status.values())


class Watch:
    """Asks the nodes; any thread may look."""

    def __init__(
        self,
        place: Place,
        nodes: Sequence[str],
        restarts: Callable[[], Mapping[str, int]] = dict,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place, self.nodes, self._restarts, self._now_s = place, tuple(nodes), restarts, now_s
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._at_s = 0.0

    def look(self) -> Seen:
        """How the graph is, as of at most KEEP_S ago."""
        with self._lock:  # whoever comes meanwhile gets the same answer
            if self._seen is None or self._now_s() - self._at_s > KEEP_S:
                self._seen = Seen(statuses(self.place, self.nodes), self._restarts())
                self._at_s = self._now_s()
            return self._seen


def well(status: Status | None) -> bool:
    """Whether a node answers and runs."""
    return status is not None and status.state in WELL


def health(seen: Seen) -> dict[str, Any]:
    """The same in JSON's terms."""
    nodes = {
        name: {"ok": well(status), "up": status is not None, "state": status.state if status else None}
        for name, status in seen.status.items()
    }
    return {"ok": seen.ok, "nodes": nodes}
