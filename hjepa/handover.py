"""The goal on its way from the high level to the low one: a new goal takes force at its own `start_ns`."""

from __future__ import annotations

from hjepa.types import Goal


class Handover:
    """Holds the goal in force and those to come. The same rule in one process and over the bus."""

    def __init__(self) -> None:
        self._goals: list[Goal] = []  # ordered by start_ns; only the first may have started

    def reset(self) -> None:
        """Forget every goal."""
        self._goals = []

    def offer(self, goal: Goal) -> None:
        """A new decision; it replaces those that would start no earlier."""
        self._goals = [held for held in self._goals if held.start_ns < goal.start_ns]
        self._goals.append(goal)

    def at(self, now_ns: int) -> Goal | None:
        """The goal in force, or None before the first one starts. Time does not run backwards between resets."""
        while len(self._goals) > 1 and self._goals[1].start_ns <= now_ns:
            self._goals.pop(0)
        return self._goals[0] if self._goals and self._goals[0].start_ns <= now_ns else None
