"""The searches of one stroke: proposals first, later warm starts from the latent in force, within a budget.

Legend: C candidates, D latent, G goal space, N rows, X search variables.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hjepa.planning.held import SHAPE, Committed, Found, Scorer, half_square, latest_switch
from hjepa.planning.protocols import Plan, Planner
from hjepa.planning.starts import Ranked, Starts, passed


@dataclass(frozen=True)
class LowPlanConfig:
    """Budget and timing of the low level."""

    latency_s: float = 0.03  # from an observation to the start of the command it led to
    goal_latency_s: float = 0.04  # what the high level takes: added when it asks what is reachable
    reach_iterations: int = 1  # for each candidate goal, when the high level asks what is reachable
    first_starts: int = 3
    first_iterations: int = 3
    first_kept: int = 1  # of the starts, after half of the iterations
    starts: int = 1
    iterations: int = 3
    accept_margin: float = 0.0
    alarm_energy: float = 8.0  # above this the proposals are asked again, and points far around them
    strayed: int = 48  # such points
    lost_energy: float = 150.0  # a plan for a flight that began in its midst is let go above this
    freeze_s: float = 0.06  # nearer to the event than this the latent stays
    valid_s: float = 0.5
    search: bool = True  # False: the proposal alone (mode 1), proposed again at every instant
    min_samples: int = 5  # tracker samples before anything is planned
    look_back_s: float = 0.50  # after an event it is known what followed
    future: int = 40  # F
    most: int = 0  # candidates scored a decision, reachability's included; 0: as many as it takes
    budget_s: float | None = None  # from the observation's arrival: no iteration is begun that would end later
    joint: bool = False  # True: propose for every candidate goal, not for the chosen one alone


class Searching:
    """Counts what each decision scores, and ends it in time; what it found is the caller's to keep."""

    def __init__(self, config: LowPlanConfig, planner: Planner, starts: Starts, codec: Any, own: int) -> None:
        """own: residuals of the own body, the last ones of a row."""
        self.config, self.planner, self.starts, self.codec, self._own = config, planner, starts, codec, own
        self.scored: tuple[int, ...] = ()  # candidates of each search of the latest decision
        self.budget_scored: tuple[int, ...] | None = None  # of the next one: it repeats another; None: budget_s
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new stroke; `seed` is that of a planner that draws random numbers."""
        self.planner.reset(seed)
        self.starts.reset(seed)
        self.energy = float("nan")  # that the latest search ended at
        self.tally = 0  # candidates scored for the latest decision
        self._began = 0.0  # when it was asked for

    def begin(self, config: LowPlanConfig) -> None:
        """A decision is asked for."""
        self.config, self._began, self.scored, self.tally = config, time.monotonic(), (), 0

    def search(
        self,
        residual: Scorer,
        z: Tensor,
        g: Tensor,
        joints: tuple[Tensor, Tensor],
        old: Committed | None,
        stamp_ns: int,
        trusted: bool = True,
    ) -> Found:
        """What to do now: a new latent, or the one in force. trusted: False: the proposal alone (mode 1)."""
        c = self.config
        if old is None or not trusted:
            return self._first(residual, z, g, joints, stamp_ns, trusted)
        warm = passed(torch.cat([old.x[None], old.spares[1 : c.starts]]), stamp_ns - old.stamp_ns)
        residual.high[SHAPE] = torch.maximum(latest_switch(self.codec, warm[0, -1])[0], warm[0, SHAPE])
        if self.energy > c.alarm_energy:  # the last search ended high: look elsewhere too
            fresh, energy = self._ranked(residual, z, g, joints, stamp_ns)
            strayed, above = self.strayed(residual, fresh)
            others = torch.cat([fresh[:1], strayed[:1]])[torch.argsort(torch.cat([energy[:1], above[:1]]))]
            warm = torch.cat([warm[:1], others])
        plan = self.descend(residual, warm, c.iterations)
        # Going on as commanded: the outcome is foreseen anew, the way there is what it was. To solve the way again from
        # the present state would ask for ever more acceleration as time runs out.
        now = half_square(plan.begun[: -self._own]) + old.own
        if plan.energy > now * (1.0 - c.accept_margin):
            return Found(warm[0], now, old.own, warm, kept=True)
        own = half_square(plan.residuals[-self._own :])
        return Found(plan.x, plan.energy, own, plan.starts, residuals=plan.residuals)

    def descend(
        self, residual: Scorer, starts: Tensor, iterations: int, planner: Planner | None = None, spare: int = 0
    ) -> Plan:
        """A search in the time that is left, or as far as the one that is repeated; by another planner, if given.
        spare: candidates to leave for what comes after it."""
        left_s, budget = None, self._left(spare)
        if budget is not None:  # rather few starts that get somewhere
            starts = starts[: max(1, budget // (starts.shape[1] + 2))]
        if self.budget_scored is not None:
            budget = next(iter(self.budget_scored[len(self.scored) :]), None)
        elif self.config.budget_s is not None:
            left_s = self._began + self.config.budget_s - time.monotonic()
        found = (planner or self.planner).plan(residual, starts, iterations, left_s, budget)
        self.scored = (*self.scored, found.evaluations)
        self.tally += found.evaluations
        return found

    def strayed(self, residual: Scorer, around: Tensor) -> Ranked:
        """The best few (first_kept) of many points far around (N, X); none if no candidates are left for that."""
        c, left = self.config, self._left()
        count = c.strayed if left is None else min(c.strayed, left - 2 * (around.shape[1] + 2))  # two starts, one step
        found = self.starts.strayed(residual, around, max(count, 0))
        self.tally += len(found.x)
        return Ranked(*(part[: c.first_kept] for part in found))

    def _first(
        self, residual: Scorer, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor], stamp_ns: int, trusted: bool
    ) -> Found:
        """The first search of a goal; without search, the best proposal."""
        c = self.config
        proposals, energy = self._ranked(residual, z, g, joints, stamp_ns)
        residual.high[SHAPE] = latest_switch(self.codec, proposals[0, -1])[0]
        if not trusted:
            rows = residual(proposals[:1])[0]
            return Found(proposals[0], float(energy[0]), half_square(rows[-self._own :]), proposals[:1], residuals=rows)
        half = c.first_iterations // 2  # all starts go half the way, the better ones the rest
        rough = self.descend(residual, proposals[: c.first_starts], half, spare=1)
        starts = rough.starts[: c.first_kept]
        if rough.energy > c.alarm_energy:  # none of the proposals leads anywhere: look far around them
            starts = torch.cat([starts, self.strayed(residual, proposals)[0]])
        plan = self.descend(residual, starts, c.first_iterations - half)
        own = half_square(plan.residuals[-self._own :])
        return Found(plan.x, plan.energy, own, plan.starts[: c.starts], residuals=plan.residuals)

    def _ranked(self, residual: Scorer, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor], stamp_ns: int) -> Ranked:
        found = self.starts.ranked(residual, z, g, joints, stamp_ns)
        self.tally += len(found.x)
        return found

    def _left(self, spare: int = 0) -> int | None:
        """Candidates that may still be scored; at least one."""
        return max(1, self.config.most - self.tally - spare) if self.config.most else None
