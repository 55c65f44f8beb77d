"""Guardrails: what a plan is predicted to break, and what is done instead of a plan that breaks something.

Penalties in the energy lead the search away (objectives); here their rest is read in its own units, and a plan that
still breaks a guard is not played. Legend: G guards, R residuals, N commands, T instants, C capsules, J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hjepa import stroke
from hjepa.planning import objectives as o
from hjepa.planning.body import Body, beyond_net, place, self_gap, zone_gap
from hjepa.types import GUARD_NAMES, NS, Array, JointTrajectory, RobotSpec

EVERY = 4  # samples of a command, 40 ms, that are looked at
AHEAD_S = 1.2  # so far
SELF_SPARE_M = 0.02  # between the instants that are looked at parts come nearer to each other
SPARE_M = 0.05  # a command that comes nearer to a person's zone than this is replaced
NET_X_M = -1.6  # with the arm at home, the base keeps this far from the net
STEPS_M = (0.5, 1.0, 1.6)  # how far the base steps aside
DIRECTIONS = 8
GENTLE = 0.7  # of the acceleration: all joints at once, from one instant to the next, ask much of the drives


class _Rule(NamedTuple):
    """How residuals become an amount: free + tolerance r / weight, and what is too much of it."""

    weight: str  # of LowWeights
    tolerance: float
    free: float  # where the penalty begins
    allowed: float
    first: int  # rows, counted from the own body's first one
    last: int


class Guarding:
    """Of one robot."""

    def __init__(self, body: Body, spec: RobotSpec, own: int) -> None:
        """own: how many residuals are the own body's, the last ones (objectives.own_residuals)."""
        self.body, self.spec, self._own = body, spec, own
        J, P, C = spec.joints, len(body.reach), len(body.radius)
        space = 5 * J + 2
        fast = float(body.speed_max)
        self._rules = (
            _Rule("limits", 0.04, 0.90, 1.05, 0, J),
            _Rule("limits", 0.04, 0.92, 1.02, J, 2 * J),
            _Rule("limits", 0.03, -o.RANGE_CLEAR, 0.005, 2 * J + 2, 3 * J + 2),
            _Rule("keep_out", o.ZONE_TOL_M, -o.ZONE_CLEAR_M, 0.0, -2 * C, 0),
            _Rule("self_contact", o.SELF_TOL_M, -o.SELF_CLEAR_M, 0.0, space, space + P),
            _Rule("net_contact", o.TAPE_TOL_M, -o.TAPE_CLEAR_M, 0.0, space + P, space + P + C),
            _Rule("racket_speed", o.SPEED_TOL_M_S, o.SPEED_SHARE * fast, fast, space + P + C, space + P + C + 1),
        )
        assert len(self._rules) == len(GUARD_NAMES)

    def report(self, residuals: Tensor, weights: o.LowWeights) -> Array:
        """What residuals (R,) break, by guard (G,), in its own unit: 0 what is kept, nan what is switched off."""
        rows = residuals.double().cpu().numpy()
        start, out = len(rows) - self._own, np.zeros(len(self._rules))
        for k, rule in enumerate(self._rules):
            weight = getattr(weights, rule.weight)
            worst = np.abs(rows[start + rule.first : start + rule.last]).max()
            amount = rule.free + rule.tolerance * worst / weight if weight else np.nan
            out[k] = max(amount - rule.allowed, 0.0) if weight else np.nan
        return out

    def trespass(self, commands: Sequence[JointTrajectory], zones: Tensor | None, seen_ns: int) -> tuple[Array, Array]:
        """How far commands go into themselves or the net, and into the zones that were seen at an instant: metres, the
        mean over the time ahead, (N,) each; 0: nowhere."""
        most = round(AHEAD_S / commands[0].dt_s)
        q = np.stack([_held(c.q_rad[: most + 1], most + 1)[::EVERY] for c in commands])  # (N, T, J)
        N, T, J = q.shape
        placed = place(self.body, torch.tensor(q.reshape(-1, J).T, dtype=torch.float32, device=self.body.radius.device))
        own = (SELF_SPARE_M - self_gap(self.body, placed).amin(0)).clamp(min=0.0)
        own = own + beyond_net(self.body, placed, SELF_SPARE_M).amax(0)
        people = torch.zeros_like(own)
        if zones is not None:
            ahead = [(c.start_ns - seen_ns) / NS + c.dt_s * EVERY * np.arange(T) for c in commands]
            gap = zone_gap(self.body, placed, zones, own.new_tensor(np.concatenate(ahead)))
            people = (SPARE_M - gap.amin(0)).clamp(min=0.0)
        means = (x.reshape(N, T).mean(1).double().cpu().numpy() for x in (own, people))
        return next(means), next(means)

    def instead(
        self, state: stroke.JointState, contact_rad: Array | None, zones: Tensor | None, start_ns: int, seen_ns: int,
        valid_ns: int,
    ) -> JointTrajectory:  # fmt: skip
        """What to do when the plan may not be played: go to where it wanted to hit (J,) and wait there, or, where that
        breaks something too, stop, or step aside; the first that breaks nothing, or the one that breaks least."""
        spec = self.spec
        stop = stroke.braked(state.q_rad, state.dq_rad_s, GENTLE * spec.ddq_max_rad_s2, 1e3).q_rad
        goals = [] if contact_rad is None else [contact_rad, self._at(contact_rad[:2])]
        goals += [stop, *self._aside(stop[:2])]
        if zones is None:
            goals = goals[:3]
        limits = spec.dq_max_rad_s, GENTLE * spec.ddq_max_rad_s2
        inside = [np.clip(goal, spec.q_min_rad + 0.01, spec.q_max_rad - 0.01) for goal in goals]
        ways = [stroke.recover(state, goal, *limits, start_ns=start_ns, valid_ns=valid_ns) for goal in inside]
        own, people = self.trespass(ways, zones, seen_ns)
        return ways[int(np.argmin(np.round(own + people, 4)))]

    def _at(self, base_m: Array) -> Array:
        """Arm at home, base at x, y (J,); not so near to the net that the arm reaches over it."""
        q = self.spec.q_home_rad.copy()
        q[:2] = np.minimum(base_m[0], NET_X_M), base_m[1]
        return q

    def _aside(self, base_m: Array) -> list[Array]:
        turns = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
        away = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return [self._at(base_m + step * way) for step in STEPS_M for way in away]


def _held(q: Array, count: int) -> Array:
    """So many samples: the last one goes on."""
    return q if len(q) == count else np.concatenate([q, np.repeat(q[-1:], count - len(q), axis=0)])
