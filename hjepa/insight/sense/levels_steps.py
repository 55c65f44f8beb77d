"""How far predictions k steps ahead are off, beside saying that nothing changes (copy-last).

Squared distances in each level's own latent, as a share of those of copy-last: below 1 is better than that.
Legend: P places that predictions start from, k steps, D latent, J joints, R rallies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.evaluation.metrics import Interval
from hjepa.insight.sense.levels_played import Played
from hjepa.insight.sense.levels_probes import RESAMPLES, interval
from hjepa.models.high import HighModel
from hjepa.models.low import POSE, LowLevel
from hjepa.models.rally import RallyModel
from hjepa.models.strokes import LEFT, Macro, Strokes
from hjepa.tasks.badminton.rallies import from_strokes
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.training.chains import chain_rows, chains
from hjepa.training.encoder import CHAIN, encode_chains
from hjepa.training.rallies import real_strokes
from hjepa.training.tactics import padded
from hjepa.types import Array

TICK_S = 0.02
TICKS = 8  # steps of the low level's tick predictor
STROKES = 3  # steps of the upper levels
FROM_S = 0.8  # before the contact: predictions of the low level start from then on


class Ahead(NamedTuple):
    """One predictor's error by how many steps ahead it looks."""

    name: str
    step: str  # what one is
    over_copy: tuple[Interval, ...]  # (k,) squared error as a share of copy-last's
    places: tuple[int, ...]  # (k,) that predictions started from
    groups: tuple[int, ...]  # (k,) strokes or rallies that they are of, which the interval resamples


class Errors(NamedTuple):
    """Squared errors of P places; nan where a rally ends before."""

    predicted: Array  # (P, k)
    copied: Array  # (P, k)
    group: NDArray[np.int64]  # (P,)

    def ahead(self, name: str, step: str, rng: np.random.Generator) -> Ahead:
        """Ratios of their sums, with intervals."""
        there = np.isfinite(self.predicted)
        ratios, groups = [], []
        for k in range(self.predicted.shape[1]):
            rows = there[:, k]
            _, number = np.unique(self.group[rows], return_inverse=True)
            many = int(number.max(initial=-1)) + 1
            sums = np.zeros((many, 2))
            np.add.at(sums, number, np.stack([self.predicted[rows, k], self.copied[rows, k]], axis=1))
            groups.append(many)
            if not many:
                ratios.append(Interval(float("nan"), float("nan"), float("nan")))
                continue
            drawn = rng.multinomial(many, np.full(many, 1 / many), size=RESAMPLES) @ sums
            ratios.append(interval(sums[:, 0].sum() / sums[:, 1].sum(), drawn[:, 0] / drawn[:, 1]))
        return Ahead(name, step, tuple(ratios), tuple(map(int, there.sum(axis=0))), tuple(groups))


@torch.no_grad()
def low_features(level: LowLevel, z: Array, played: Played) -> Errors:
    """The tick predictor, told the joints as they are measured on the way (training is told them so).

    z (S, Z) of moments 20 ms apart."""
    rows = starts(played)
    later = rows[:, None] + np.arange(1, TICKS + 1)
    now = torch.from_numpy(z[rows]).float()
    q, dq = (torch.from_numpy(part[later]).float() for part in (played.q_rad, played.dq_rad_s))
    features = torch.from_numpy(z).float()[:, : level.config.latent]
    ahead, seen = level.rollout(now, q, dq), features[torch.from_numpy(later)]
    copied = features[torch.from_numpy(rows)][:, None]
    return Errors(_squared(ahead - seen), _squared(copied - seen), played.stroke[rows])


@torch.no_grad()
def low_shuttle(level: LowLevel, z: Array, played: Played) -> Errors:
    """Where z says that the shuttle will be, beside where it truly is; copy-last: it stays where z places it now."""
    rows = starts(played)
    later = rows[:, None] + np.arange(1, TICKS + 1)
    now = torch.from_numpy(z[rows]).float()
    truth = torch.from_numpy(played.shuttle_m[later]).float()
    times = [torch.full((len(rows), 1), TICK_S * k) for k in range(1, TICKS + 1)]
    said = torch.stack([level.ahead(now, t)[:, :3] for t in times], dim=1)  # (P, k, 3)
    return Errors(_squared(said - truth), _squared(now[:, None, -POSE:-2] - truth), played.stroke[rows])


def starts(played: Played) -> NDArray[np.int64]:
    """Moments (P,) that TICKS more of the same stroke follow, 20 ms apart, not longer than FROM_S before contact."""
    rows = np.arange(max(0, len(played.stroke) - TICKS))
    last = rows + TICKS
    span_s = played.to_go_s[rows] - played.to_go_s[last]
    fine = (played.stroke[rows] == played.stroke[last]) & (np.abs(span_s - TICKS * TICK_S) < 1e-6)
    return rows[fine & (played.to_go_s[rows] <= FROM_S)]


@torch.no_grad()
def high_strokes(model: HighModel, split: str, count: int, seed: int) -> Errors:
    """The predictor, told which stroke is played, on chains of real strokes."""
    rng = np.random.default_rng([seed, 61])
    pool, table = real_strokes(split, rng), load_strokes()
    chain = chain_rows(pool, np.arange(len(pool.type)), CHAIN)
    chain = chain[(chain >= 0).all(axis=1)]
    chain = chain[np.sort(rng.choice(len(chain), min(count, len(chain)), replace=False))]
    batch = chains(pool, chain, rng, cut=0.0)
    s, keep = encode_chains(model, batch), torch.ones(len(chain), 3)
    now, before, there = s[:, 0], torch.zeros_like(s[:, 0]), torch.zeros(len(chain))
    predicted, copied = [], []
    for t in range(1, CHAIN):
        context = batch.context(t, before, there, batch.there[:, t - 1], keep)
        before, there, now = now, batch.there[:, t - 1], model.predict(context, now, batch.macro[:, t])
        predicted.append(_squared(now - s[:, t]))
        copied.append(_squared(s[:, 0] - s[:, t]))
    rows = table.split_rows(split)
    rally = table.rally[rows[table.valid[rows]][chain[:, -1]]].astype(np.int64)
    return Errors(np.stack(predicted, axis=1), np.stack(copied, axis=1), rally)


@torch.no_grad()
def rally_strokes(model: RallyModel, split: str, count: int, told: bool, seed: int) -> Errors:
    """The predictor that is told which stroke is played, or the expectation, which is not; rally lengths unknown."""
    every = padded(from_strokes(load_strokes(), split))
    rng = np.random.default_rng([seed, 62])
    picked = np.sort(rng.choice(len(every.many), min(count, len(every.many)), replace=False))
    batch = every.pick(torch.from_numpy(picked))
    s = model.encode(Strokes(*batch.strokes))
    b, t = torch.nonzero(torch.arange(s.shape[1]) < batch.many[:, None] - 1, as_tuple=True)
    now = s[b, t]
    predicted, copied = [], []
    for k in range(1, STROKES + 1):
        alive = t + k < batch.many[b]
        at = torch.where(alive, t + k, t)
        left = torch.full((len(b),), LEFT)
        w = Macro(batch.strokes.type[b, at], batch.strokes.land_m[b, at], batch.tempo_s[b, at])
        now = model.predict(now, w, left) if told else model.expect(now, left)
        gone = np.where(alive.numpy(), 0.0, np.nan)
        predicted.append(_squared(now - s[b, at]) + gone)
        copied.append(_squared(s[b, t] - s[b, at]) + gone)
    return Errors(np.stack(predicted, axis=1), np.stack(copied, axis=1), picked[b.numpy()])


def _squared(gap: Tensor) -> Array:
    """Squared lengths of vectors (..., D)."""
    out: Array = gap.double().pow(2).sum(dim=-1).numpy()
    return out
