"""What a simulated court that plays at a pace is told and tells, and the pace itself: see hjepa.launching.paced."""

from __future__ import annotations

import threading
import time

import msgspec

from hjepa.bus.node import TICK_NS
from hjepa.types import NS

CHUNK_TICKS = 2  # that pass at once


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is played, and under which name other tools find it ('': they do not)."""

    config: str  # Config.model_dump_json()
    name: str = ""


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line to the court; what is left out stays as it is."""

    pause: bool | None = None
    step: float = 0.0  # s, while paused
    speed: float | None = None


class Played(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a stroke ended."""

    stroke: int
    incoming: str
    returned: bool
    fault: str  # '' where it was returned


class Pace:
    """Lets simulated time pass: as fast as asked, or step by step. One thread waits, another one tells."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = self._ended = False
        self._speed = 1.0
        self._steps = 0  # ticks that may pass in a pause
        self._due_s = time.monotonic()

    def tell(self, told: Told) -> None:
        """Another pace from now on."""
        with self._changed:
            self._paused = self._paused if told.pause is None else told.pause
            self._speed = self._speed if told.speed is None else max(told.speed, 0.01)
            self._steps += round(told.step * NS / TICK_NS) if self._paused else 0
            self._changed.notify()

    def end(self) -> None:
        """Whoever waits, or waits next, ends with SystemExit."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def ticks(self) -> int:
        """How many may pass next; waits until they may."""
        return self._wait(CHUNK_TICKS)

    def rest(self, seconds: float) -> None:
        """Let simulated time pass with nothing in it."""
        for _ in range(round(seconds * NS / TICK_NS / CHUNK_TICKS)):
            self._wait(CHUNK_TICKS)

    def _wait(self, ticks: int) -> int:
        with self._changed:
            while not self._ended:
                now_s = time.monotonic()
                if self._paused:
                    if self._steps > 0:
                        ticks = min(ticks, self._steps)
                        self._steps -= ticks
                        return ticks
                    self._changed.wait()
                    self._due_s = time.monotonic()
                elif now_s < self._due_s:
                    self._changed.wait(self._due_s - now_s)
                else:
                    # lost time is not caught up with: the world would run away
                    self._due_s = max(self._due_s, now_s - ticks * TICK_NS / NS) + ticks * TICK_NS / NS / self._speed
                    return ticks
        raise SystemExit(0)
