"""Contacts of the motions that a search would choose: a model is asked about those most, and errs there most.

A search goes where the model promises too much, so what it has found is added to what the model learns from (dataset
aggregation; Ross, Gordon & Bagnell 2011). The level, as far as it is trained, searches for goals the high level would
set; the motions are carried out by the own body's kinematics, and what comes of them is the task's physics. Legend:
N situations, J joints, X search variables, P + Q + 1 joint samples and R racket instants as in collect.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import motion
from hjepa.models.low import LowLevel
from hjepa.models.motor import ContactEvent
from hjepa.models.proposal import Proposal
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.held import SHAPE, latest_switch, limits_of
from hjepa.planning.objectives import TIME_S, LowWeights, Situation, StrokeResidual
from hjepa.planning.several import Several
from hjepa.stroke import RECOVERY_S
from hjepa.tasks.kinematics import racket_motion
from hjepa.training.collect import AFTER, BEFORE, RACKET_MS, Swings
from hjepa.training.low import LowData
from hjepa.training.pairs import Pairs, meet
from hjepa.types import Array, RobotSpec

_AT_ONCE = 512  # situations searched together
_MAX_USE = 1.15  # motions that ask for more of a limit would be clipped by the guard


@dataclass(frozen=True)
class SearchedConfig:
    """How many motions are searched, and how far around them the shuttle passes as well."""

    motions: int = 16000  # 0: none
    iterations: int = 2
    earliest_s: float = 0.08  # first plans are made from here ...
    latest_s: float = 0.35  # ... to here after the launch; later ones until the event
    late_share: float = 0.35  # of situations in which a plan is made on the way
    latent_noise: float = 0.05  # half of the motions are moved by so much from what was found
    shifts_m: tuple[float, ...] = (0.0, 0.02, 0.06)  # each motion meets its shuttle once for each, moved by so much
    late_s: float = 0.005  # and early or late by so much


class Searched(NamedTuple):
    """Motions and what they met."""

    swings: Swings
    pairs: Pairs


class Wanted(NamedTuple):
    """Where a search starts: pair rows, moments, and the goal."""

    rows: NDArray[np.int64]  # (N,)
    to_go_s: Array  # (N,) of the recorded swing, which says where body and shuttle are
    goal: Tensor  # (N, G)
    root: Tensor  # (N, G, G) its metric


def moments(data: LowData, rows: NDArray[np.int64], rng: np.random.Generator, c: SearchedConfig) -> Array:
    """Times to go (N,) at which plans are made: mostly early ones, some on the way."""
    event = data.pairs.event_s[rows].astype(np.float64)
    early = event - rng.uniform(c.earliest_s, c.latest_s, len(rows))
    late = rng.uniform(0.12, np.maximum(event - c.latest_s, 0.13))
    return np.where(rng.random(len(rows)) < c.late_share, late, early)


def search(
    level: LowLevel, proposal: Proposal, data: LowData, wanted: Wanted, spec: RobotSpec,
    weights: LowWeights, rng: np.random.Generator, c: SearchedConfig,
) -> Searched:  # fmt: skip
    """The motions a search finds in N situations, less those that ask too much, and their contacts or misses."""
    parts = []
    for k in np.array_split(np.arange(len(wanted.rows)), max(1, len(wanted.rows) // _AT_ONCE)):
        t = torch.from_numpy(k)
        some = Wanted(wanted.rows[k], wanted.to_go_s[k], wanted.goal[t], wanted.root[t])
        parts.append(_some(level, proposal, data, some, spec, weights, rng, c))
    count = np.cumsum([0] + [len(part.swings.latent) for part in parts])
    pairs = [part.pairs._replace(swing=part.pairs.swing + n) for part, n in zip(parts, count.tolist())]
    return Searched(_joined([part.swings for part in parts]), joined_pairs(pairs))


def joined_pairs(parts: list[Pairs]) -> Pairs:
    """One table from several."""
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def add(base: Swings, pairs: Pairs, found: Searched) -> tuple[Swings, Pairs]:
    """Swings and pairs with those searched behind them."""
    behind = found.pairs._replace(swing=found.pairs.swing + np.int32(len(base.latent)))
    return _joined([base, found.swings]), joined_pairs([pairs, behind])


def _joined(parts: list[Swings]) -> Swings:
    return Swings(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def _some(
    level: LowLevel, proposal: Proposal, data: LowData, wanted: Wanted, spec: RobotSpec,
    weights: LowWeights, rng: np.random.Generator, c: SearchedConfig,
) -> Searched:  # fmt: skip
    rows = wanted.rows
    b = data.draw(rows, rng, 0.010, 0.02, wanted.to_go_s)
    z = level.in_context(level.encode(b.now), b.context)
    q, dq = b.now.q_rad, b.now.dq_rad_s
    situation = Situation(z, q, dq, torch.zeros_like(q), 0.0, wanted.goal, wanted.root)
    residual = Several(partial(StrokeResidual, level, limits_of(spec), weights), situation)
    heads = proposal(z, wanted.goal, q, dq)  # (N, H, X)
    best = residual.energy(heads.flatten(0, 1)).view(len(z), -1).argmin(dim=1)
    x = heads[torch.arange(len(z)), best]
    residual.high = residual.high.repeat(len(x), 1)  # no switch that lies before now
    residual.high[:, SHAPE] = torch.minimum(residual.high[:, SHAPE], latest_switch(level.codec, x[:, -1]))
    x = GaussNewton().descend(residual, x, c.iterations).x
    moved = torch.tensor(rng.random((len(x), 1)) < 0.5) * torch.tensor(rng.normal(0.0, c.latent_noise, x.shape))
    x = torch.minimum(torch.maximum(x + moved.float(), residual.low), residual.high)
    event = level.codec.decode(x[:, :-1])
    to_go = x[:, -1:].double().numpy() * TIME_S
    way = Way.solve(spec, q, dq, event, to_go)
    sound = np.flatnonzero((way.use < _MAX_USE) & (to_go[:, 0] > 0.06))
    way = way.rows(sound)
    swings = as_swings(spec, way, x[torch.from_numpy(sound), :-1].double().numpy())
    left_s = b.action.to_go_s[:, 0].double().numpy()[sound]
    now_s = data.pairs.event_s[rows[sound]].astype(np.float64) - left_s
    flight, index = data.pairs.flight[rows[sound]].astype(np.int64), np.arange(len(sound))
    met = []
    for spread_m in c.shifts_m:
        shift = rng.normal(0.0, max(spread_m, 1e-9), (len(sound), 2))
        late = rng.normal(0.0, c.late_s, len(sound)) * (spread_m > 0)
        met.append(meet(spec, swings, data.flights, index, flight, now_s + to_go[sound, 0] + late, shift))
    return Searched(swings, joined_pairs(met))


class Way(NamedTuple):
    """N motions: to the event, then to rest; and the largest share of a limit each uses."""

    there: motion.TwoPhase
    rest: motion.TwoPhase
    use: Array  # (N,)

    @staticmethod
    def solve(spec: RobotSpec, q: Tensor, dq: Tensor, event: ContactEvent, to_go_s: Array) -> Way:
        """From q, dq (N, J), at rest of acceleration, to an event `to_go_s` (N, 1) ahead."""
        q0, dq0, q1, dq1, before = (part.double().numpy() for part in (q, dq, *event))
        there = motion.solve(q0, dq0, np.zeros_like(q0), q1, dq1, to_go_s, before)
        use = np.maximum(np.abs(there.A1), np.abs(there.A2)) / spec.ddq_max_rad_s2
        use = np.maximum(use, motion.peak_speed(there) / spec.dq_max_rad_s).max(-1)
        at = motion.evaluate(there, there.duration_s)
        goal = motion.recovery_target(at[0], at[1], spec.q_home_rad, spec.ddq_max_rad_s2, RECOVERY_S)
        long, half = np.full_like(to_go_s, RECOVERY_S), np.full_like(to_go_s, 0.5 * RECOVERY_S)
        return Way(there, motion.solve(*at, goal, np.zeros_like(goal), long, half), use)

    def rows(self, index: NDArray[np.int64]) -> Way:
        """Some of the motions."""
        there, rest = (motion.TwoPhase(*(np.asarray(a)[index] for a in part)) for part in (self.there, self.rest))
        return Way(there, rest, self.use[index])

    def at(self, after_s: Array) -> tuple[Array, Array]:
        """Joint positions and velocities (N, T, J) at times after the event (T,), negative before it."""
        there, rest = (motion.TwoPhase(*(a[:, None] for a in part)) for part in (self.there, self.rest))
        t = after_s[None, :, None]
        q0, v0, _ = motion.evaluate(there, (there.duration_s + np.minimum(t, 0.0)).clip(0.0))
        q1, v1, _ = motion.evaluate(rest, t.clip(0.0, RECOVERY_S))
        return np.where(t > 0, q1, q0), np.where(t > 0, v1, v0)


def as_swings(spec: RobotSpec, way: Way, latent: Array) -> Swings:
    """The motions as collect.py would have recorded them, had the drives been perfect."""
    q, dq = way.at(np.arange(-BEFORE, AFTER + 1) / 100.0)
    racket = racket_motion(spec, *way.at(np.arange(-RACKET_MS, RACKET_MS + 1) / 1000.0))
    samples = np.minimum(np.floor(way.there.duration_s[:, 0] * 100.0), BEFORE)
    columns: list[Any] = [np.asarray(a, dtype=np.float32) for a in (latent, samples, q, dq, *racket)]
    return Swings(*columns)
