"""A node's journal: what it read of its clock while it handled an input, so that it can be run again bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.bus import wire
from hjepa.bus.clock import MonotonicClock, VirtualClock
from hjepa.bus.topics import Handled

IDLE = "idle"  # source of what a node did by itself
Write = Callable[[Handled], object]


class NotedClock:
    """A clock whose readings are noted between two entries of a journal."""

    def __init__(self, clock: VirtualClock | MonotonicClock) -> None:
        self.clock = clock
        self.reads: list[int] = []

    def now_ns(self) -> int:
        """A reading, noted."""
        return self.noted(self.clock.now_ns)()

    def noted(self, read: Callable[[], int]) -> Callable[[], int]:
        """Another clock, such as a stopwatch, whose readings are noted among those of this one."""

        def reading() -> int:
            now = read()
            self.reads.append(now)
            return now

        return reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clock, name)


class Journal:
    """Collects the inputs of one turn of a node's loop and writes an entry for each, the readings with the last.

    A turn that read the clock without an input, because of time that had passed, is an entry 'idle'.
    """

    def __init__(self, clock: NotedClock, write: Write) -> None:
        self._clock, self._write = clock, write
        self._inputs: list[tuple[str, wire.Header, bytes]] = []
        self.scored: tuple[int, ...] = ()
        self.episode = 0

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
        if len(reads) and not inputs:
            inputs = [(IDLE, wire.Header("handled", 0, 0, 0), b"")]
        for k, (source, header, frame) in enumerate(inputs):
            last = k == len(inputs) - 1
            self._write(
                Handled(
                    source, header.session, header.sequence, self.episode, reads if last else reads[:0],
                    np.frombuffer(frame, dtype=np.uint8), np.array(self.scored if last else (), dtype=np.int64),
                )
            )  # fmt: skip
        self.scored = ()
