"""Time for nodes: monotonic, virtual or fake; and a rate that counts the deadlines it misses.

lockstep: a `VirtualClock` stands still until a message moves it. realtime: `MonotonicClock`, nobody waits for anybody.
"""

from __future__ import annotations

import time
from typing import Protocol

from hjepa.types import NS


class Clock(Protocol):
    """Nanoseconds that never run backwards."""

    def now_ns(self) -> int: ...

    def sleep_until(self, deadline_ns: int) -> None: ...


class MonotonicClock:
    """The host's monotonic clock, the same for all processes of one machine."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        while (left := deadline_ns - time.monotonic_ns()) > 0:
            time.sleep(left / NS)


class VirtualClock:
    """Simulated time: moves only when told, never backwards. Sleeping takes no wall time."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move on to an instant; an earlier one is ignored."""
        self._now_ns = max(self._now_ns, now_ns)

    def restart(self, now_ns: int = 0) -> None:
        """A new episode starts its own time."""
        self._now_ns = now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self.advance_to(deadline_ns)


class FakeClock(VirtualClock):
    """For tests: `spend` is time that work takes, `oversleep_ns` is how late each sleep wakes."""

    def __init__(self, now_ns: int = 0, oversleep_ns: int = 0) -> None:
        super().__init__(now_ns)
        self.oversleep_ns = oversleep_ns
        self.slept_until_ns: list[int] = []

    def spend(self, duration_ns: int) -> None:
        """Let time pass without sleeping."""
        self.advance_to(self.now_ns() + duration_ns)

    def sleep_until(self, deadline_ns: int) -> None:
        self.slept_until_ns.append(deadline_ns)
        self.advance_to(deadline_ns + self.oversleep_ns)


class Rate:
    """A loop at fixed absolute deadlines start + k * period; a late loop does not shift the ones that follow.

    misses: deadlines already past when `wait` was called. late_ns: latest wake-up after a deadline slept for.
    """

    def __init__(self, clock: Clock, period_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"period_ns is {period_ns}; allowed: more than 0")
        self.period_ns = period_ns
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Count from now: the first deadline is one period ahead."""
        self._deadline_ns = self._clock.now_ns() + self.period_ns
        self.ticks = self.misses = self.late_ns = 0

    def wait(self) -> int:
        """Sleep to the next deadline; returns how many periods are due: 1, or more after missed deadlines."""
        now = self._clock.now_ns()
        if now <= self._deadline_ns:
            self._clock.sleep_until(self._deadline_ns)
            self.late_ns = max(self.late_ns, self._clock.now_ns() - self._deadline_ns)
            due = 1
        else:
            due = 1 + (now - self._deadline_ns) // self.period_ns
            self.misses += due
        self._deadline_ns += due * self.period_ns
        self.ticks += due
        return due
