"""Arming: a robot moves only after a deliberate act, and only if somebody competent is already talking to it."""

from __future__ import annotations

from hjepa.errors import LinkError
from hjepa.types import NS

WINDOW_NS = NS // 2  # the commands in a row must have come within this time


class Arming:
    """Counts fresh commands while the robot is not armed."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.armed = False
        self._fresh_ns: list[int] = []

    def disarm(self) -> None:
        """From now on commands are counted, not followed."""
        self.armed = False
        self._fresh_ns.clear()

    def heard(self, now_ns: int) -> None:
        """A command that would have been followed came."""
        self._fresh_ns = [t for t in self._fresh_ns if now_ns - t <= WINDOW_NS][-self.needed :] + [now_ns]

    def lost(self) -> None:
        """One came that would not."""
        self._fresh_ns.clear()

    def arm(self, now_ns: int) -> None:
        """LinkError, with what is missing, unless enough fresh commands came in a row just now."""
        fresh = sum(now_ns - t <= WINDOW_NS for t in self._fresh_ns)
        if fresh < self.needed:
            within = f"within {WINDOW_NS / NS:g} s"
            raise LinkError(
                f"{fresh} fresh commands came {within}; arming needs {self.needed} in a row: start a planner"
            )
        self.armed = True
