"""The flat player of rallies: one search over motor latents, for the outcome with which rallies are won.

    E(m, t) = - win log p(the rally is won | U(P(z, m, t)), the rally so far) + court + guards + effort

There is no goal. The upper level's heads say what stroke a predicted outcome is, and the rally level what that stroke
is worth; the search starts from motor latents as they are in the data. Legend: N candidates, H starts, E outcome
embedding, G upper latent, X search variables, R residuals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hjepa.planning.hierarchy import HALF_LENGTH_M, HALF_SINGLES_M, flight_window
from hjepa.planning.objectives import TIME_S, GoalTerm, Predictive
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.planning.tactics import LONGEST, Tactician
from hjepa.types import Array, Decision, Goal, JointTrajectory, Observation

TO_GO_S = (0.4, 1.2)  # of starts, uniform
TOLERANCE_M = 0.10  # costs 1/2, as objectives.PointGoal


@dataclass(frozen=True, eq=False)
class WonRally:
    """Goal term: what a predicted outcome lacks of a won rally, and how far it lands outside the box."""

    level: Predictive
    log_odds: Callable[[Tensor], Tensor]  # upper embeddings (N, G) -> (N,) of winning the rally
    win: float
    low_m: Tensor  # (2,) box on the floor, world
    high_m: Tensor

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        """(N, E) -> (N, 3)."""
        lost = self.win * torch.nn.functional.softplus(-self.log_odds(self.level.goal_of(outcome)))
        land = read["landing_m"]
        outside = (land - self.high_m).clamp(min=0.0) + (self.low_m - land).clamp(min=0.0)
        return torch.cat([(2.0 * lost)[:, None].sqrt(), outside / TOLERANCE_M], dim=-1)


class FlatRallyAgent:
    """One search and no decision above it. `high` is asked what embeddings mean and what they are worth, no more."""

    def __init__(self, high: Tactician, low: StrokePlanner, starts: int) -> None:
        """starts: H, motor latents drawn whenever the low level asks for proposals."""
        self.high, self.low, self.starts = high, low, starts
        self.low.config = replace(low.config, first_kept=low.config.first_starts)  # few of many draws lead anywhere
        self.low.starts.proposal = self._drawn
        self.low.term = self._wanted
        self._draws = torch.Generator()
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin a stroke."""
        self.low.reset(seed)
        self._draws.manual_seed(seed)
        self.decision: Decision | None = None
        self.macro: Array | None = None  # (4,) what the latest decision is expected to be, read as a macro-action
        self._goal: Goal | None = None
        self._term: WonRally | None = None
        self._s_in = torch.empty(0)

    def avoid(self, zones: Array) -> None:
        """Zones (Z, 6) to keep out of, as protocols.Avoids has them."""
        self.low.avoid(zones)

    def act(self, observation: Observation) -> JointTrajectory | None:
        """Joint trajectory for what is seen now; None while there is nothing to answer."""
        began = time.perf_counter()
        if self._goal is None:
            self._goal = self._look(observation)
        if self._goal is None:
            return None
        before = self.low.explain()
        command = self.low.plan(observation, self._goal)
        plan = self.low.explain()
        if plan is not before and self.low.expected is not None:
            w = self.high.called(self.low.level.goal_of(self.low.expected), self._s_in)[0]
            self.macro = w.double().numpy()
            self.decision = Decision(
                None, self.high.types[int(w[0])], plan.predicted_xy_m, plan.energy,
                1e3 * (time.perf_counter() - began), plan.candidates, mflop=plan.mflop,
            )  # fmt: skip
        return command

    @torch.no_grad()
    def _look(self, observation: Observation) -> Goal | None:
        """What the stroke is about, once enough of the flight was seen: no embedding, but a term."""
        c, high = self.high.config, self.high
        if int(observation.tracker_mask.sum()) < c.samples:
            return None
        window, mask = flight_window(observation, c.window)
        self._s_in = high.model.encode(*(torch.from_numpy(x).float()[None] for x in (window, mask)))
        feet, so_far = high.feet(observation).copy(), high.play.state(high.history[-LONGEST:])

        def log_odds(s: Tensor) -> Tensor:
            w = high.called(s, self._s_in.expand(len(s), -1))
            ahead = high.play.after(so_far.expand(len(s), -1), *high.met_at(w, feet))
            return torch.logit(high.play.outlook(ahead)[1], 1e-4)

        wide = HALF_SINGLES_M - c.margin_m
        low, high_m = torch.tensor([c.behind_net_m, -wide]), torch.tensor([HALF_LENGTH_M - c.margin_m, wide])
        self._term = WonRally(self.low.level, log_odds, c.win, low, high_m)
        G = self._s_in.shape[1]
        nothing, stamp = np.zeros(G), observation.stamp_ns
        return Goal(1, stamp, stamp, nothing, np.zeros((G, G)), np.zeros(2), "unknown", np.zeros((0, G)), np.zeros(0))

    def _wanted(self, goal: Goal) -> GoalTerm:
        assert self._term is not None
        return self._term

    def _drawn(self, z: Tensor, *_: Tensor) -> Tensor:
        """Starts (B, H, X) for z (B, D): the codec's latents are whitened, so the data's are about normal."""
        codec, shape = self.low.level.codec, (len(z), self.starts)
        m = torch.randn(*shape, len(codec.low), generator=self._draws)
        m = torch.minimum(torch.maximum(m, codec.low), codec.high)
        to_go_s = torch.empty(*shape, 1).uniform_(*TO_GO_S, generator=self._draws)
        return torch.cat([m, to_go_s / TIME_S], dim=-1)
