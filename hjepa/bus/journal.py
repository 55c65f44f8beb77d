"""A node's journal: what it read of its clock while it handled an input, so that it can be run again bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.bus import wire
from hjepa.bus.clock import MonotonicClock, VirtualClock
from hjepa.bus.topics import Handled

Write = Callable[[Handled], object]


class NotedClock:
    """A clock whose readings are noted between two entries of a journal."""

    def __init__(self, clock: VirtualClock | MonotonicClock) -> None:
        self.clock = clock
        self.reads: list[int] = []

    def now_ns(self) -> int:
        """A reading, noted."""
        now = self.clock.now_ns()
        self.reads.append(now)
        return now

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clock, name)


class Journal:
    """Collects the inputs of one turn of a node's loop and writes an entry for each, the readings with the last."""

    def __init__(self, clock: NotedClock, write: Write) -> None:
        self._clock, self._write = clock, write
        self._inputs: list[tuple[str, wire.Header, bytes]] = []
        self.scored = -1

    def tap(self, source: str) -> Callable[[wire.Header, bytes], None]:
        """What a link calls for every frame that it accepts."""

        def noted(header: wire.Header, frame: bytes) -> None:
            self._inputs.append((source, header, frame))

        return noted

    def turn(self) -> None:
        """The end of a turn."""
        inputs, self._inputs = self._inputs, []
        reads = np.array(self._clock.reads, dtype=np.int64)
        self._clock.reads.clear()
        for k, (source, header, frame) in enumerate(inputs):
            last = k == len(inputs) - 1
            self._write(
                Handled(
                    source, header.session, header.sequence, reads if last else reads[:0],
                    np.frombuffer(frame, dtype=np.uint8), self.scored if last else -1,
                )
            )  # fmt: skip
        self.scored = -1
