"""The flat rival: shot and motion in one search, over the same weights and with the same compute as the hierarchy.

    E(m, t, w) = 1/2 |root_w (U(P(z, m, t)) - P_high(w))|^2 + E_high(w) + guards + effort,     w one of C macro-actions

For a motion (m, t) the best w is found by looking at all of them (the outcome is predicted once), so the search runs
over (m, t) alone and changes the shot whenever another one has become cheaper. It starts from the proposals for every
w, as many as the hierarchy scores when it asks what is reachable. Legend: N candidates, C macro-actions, E outcome
embedding, G goal space, R residuals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hjepa.planning.hierarchy import Candidates, HighPlanner, flight_window
from hjepa.planning.objectives import GoalTerm, Predictive
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import NS, Array, Decision, Goal, JointTrajectory, Observation


@dataclass(frozen=True, eq=False)
class AnyGoal:
    """Goal term of the cheapest of several goals, each with a price."""

    level: Predictive
    goals: Tensor  # (C, G)
    prices: Tensor  # (C,) the high level's energies, the least of them 0
    roots: Tensor  # (C, G, G)

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        gaps, total = self._all(outcome)
        best = total.argmin(dim=1)
        gap = gaps[torch.arange(len(gaps)), best]
        return torch.cat([gap, (2.0 * self.prices[best])[:, None].sqrt()], dim=-1)  # (N, G + 1)

    def choice(self, outcome: Tensor) -> int:
        """Which goal an outcome (1, E) serves best."""
        return int(self._all(outcome)[1][0].argmin())

    def _all(self, outcome: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted gaps (N, C, G) and energies (N, C)."""
        gaps = (self.roots @ (self.level.goal_of(outcome)[:, None] - self.goals)[..., None])[..., 0]
        return gaps, 0.5 * (gaps**2).sum(-1) + self.prices


class FlatAgent:
    """One search instead of two levels. `low` must propose for every candidate goal (LowPlanConfig.joint)."""

    def __init__(self, high: HighPlanner, low: StrokePlanner) -> None:
        self.high, self.low = high, low
        self.low.config = replace(low.config, joint=True)
        self.low.term = self._wanted
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin a stroke."""
        self.high.reset(seed)
        self.low.reset(seed)
        self.decision: Decision | None = None
        self._found: Candidates | None = None
        self._goal: Goal | None = None
        self._term: AnyGoal | None = None
        self._high_ms = float("nan")

    def avoid(self, zones: Array) -> None:
        """Zones (Z, 6) to keep out of, as protocols.Avoids has them."""
        self.low.avoid(zones)

    def act(self, observation: Observation) -> JointTrajectory | None:
        """Joint trajectory for what is seen now; None while there is nothing to answer."""
        began = time.perf_counter()
        if self._goal is None or self._found is None:
            self._look(observation)
            self._high_ms = 1e3 * (time.perf_counter() - began)
            return None
        if observation.stamp_ns < self._goal.start_ns:
            return None
        before = self.low.explain()
        command = self.low.plan(observation, self._goal)
        plan = self.low.explain()
        if plan is not before and self._term is not None and self.low.expected is not None:
            i = self._term.choice(self.low.expected)
            spent_ms = 1e3 * (time.perf_counter() - began)
            self.decision = Decision(
                self._found.target_xy_m[i], self._found.types[i], plan.predicted_xy_m, plan.energy, spent_ms,
                plan.candidates, self._high_ms, plan.mflop,
            )  # fmt: skip
            self._high_ms = float("nan")
        return command

    def _look(self, observation: Observation) -> None:
        """The macro-actions in question and what each costs the high level, once enough of the flight was seen."""
        c = self.high.config
        if int(observation.tracker_mask.sum()) < c.samples:
            return
        found = self.high.candidates(*flight_window(observation, c.window), self.high.feet(observation))
        prices = self.high.energies(found, 0.0 * found.win)
        start_ns = observation.stamp_ns + round(c.latency_s * NS)
        i = int(prices.argmin())
        target = found.target_xy_m[i]
        goals = found.embeddings
        self._found = found
        self._goal = Goal(
            1,
            observation.stamp_ns,
            start_ns,
            goals[i],
            found.roots[i],
            target,
            found.types[i],
            goals,
            prices - prices[i],
        )

    def _wanted(self, goal: Goal) -> GoalTerm:
        assert self._found is not None
        parts = (goal.candidates, goal.energies, self._found.roots)
        self._term = AnyGoal(self.low.level, *(torch.from_numpy(part).float() for part in parts))
        return self._term
