"""What an agent decided, kept for the record (types.Decision); the agent itself never reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.protocols import Explains
from hjepa.types import Decision, Goal, JointTrajectory, MotorPlan

NAN = float("nan")


def decision_of(goal: Goal, plan: MotorPlan, high_ms: float = NAN) -> Decision:
    """A low-level plan and the goal it serves; high_ms: wall time of the goal's decision, if this plan is its first."""
    landing = plan.predicted_xy_m if np.isfinite(plan.predicted_xy_m).all() else None
    late = plan.target_xy_m if np.isfinite(plan.target_xy_m).all() else None
    target = goal.target_xy_m if late is None and not len(goal.late) else late  # a feint has no target before its goal
    chosen = (target, goal.type, landing, plan.energy)
    return Decision(*chosen, plan.plan_ms, plan.candidates, high_ms, plan.mflop)


class Diary:
    """Times the two levels and keeps the latest decision."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        self.decision: Decision | None = None
        self._plan: MotorPlan | None = None
        self._high_ms = NAN
        self.begin()

    def begin(self) -> None:
        """A level starts to think."""
        self._since = self._clock()

    def decided(self, goal: Goal | None) -> None:
        """The high level has answered."""
        if goal is not None:
            self._high_ms = self._lap_ms()
        self.begin()

    def planned(self, goal: Goal | None, low: Any, command: JointTrajectory | None) -> None:
        """The low level has answered; no new decision if it kept to its last one without looking again."""
        spent_ms = self._lap_ms()
        if goal is None or (command is None and not isinstance(low, Explains)):
            return
        plan = low.explain() if isinstance(low, Explains) else MotorPlan(goal.id, np.empty(0), NAN, 0, NAN)
        if plan is self._plan or plan.goal_id != goal.id:
            return
        self._plan = plan
        self.decision = decision_of(goal, plan._replace(plan_ms=spent_ms), self._high_ms)
        self._high_ms = NAN

    def _lap_ms(self) -> float:
        return 1e3 * (self._clock() - self._since)
