"""What a goal weighs: the precision Lambda of the goal energy (s - g)^T Lambda (s - g).

Directions of the embedding that a macro-action determines count, the others hardly: Lambda is the inverse of the spread
that strokes of the same macro-action have around the predicted embedding. Legend: N strokes, B rows, D embedding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hjepa.models.high import Context, HighModel
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import NET_HEIGHT_M
from hjepa.training.chains import chain_rows, chains, observe
from hjepa.training.rallies import WINDOW, Pool, Rows, from_launches
from hjepa.training.rally import Cache, cache

FLOOR = 1e-3  # least variance a direction may have
FASTEST_M_S = 100.0  # launches beyond this are nobody's
MOVED_M = np.array([0.5, 0.4, 0.4])  # spread of the hit point that a goal leaves open


@torch.no_grad()
def set_precision(high: HighModel, pool: Pool, seed: int = 0, rows: int = 8000) -> Tensor:
    """Sets and returns Lambda (D, D) = (C_predict + C_moved + FLOOR)^-1 on strokes the model has not seen.

    C_predict: covariance of s - P(context, s_in, w), as the agent has it: its own place known, the incoming stroke seen
    in part. C_moved: covariance of the change of s when the same place is reached at the same time from another point.
    """
    rng = np.random.default_rng([seed, 7])
    answer = np.flatnonzero((pool.previous >= 0) & (pool.reading[:, 0] < 0) & (pool.reading[:, 4] > NET_HEIGHT_M))
    some = rng.choice(answer, min(rows, len(answer)), replace=False)
    seen = cache(high, pool, seed + 77)
    context, s_in, w = held_out(pool, seen, some, rng)
    gap = seen.full[torch.from_numpy(some)] - high.predict(context, s_in, w)
    change = moved(high, pool, some[:2000], rng)
    covariance = spread(gap) + spread(change)
    high.precision.copy_(torch.linalg.inv(covariance + FLOOR * torch.eye(len(covariance))))
    return high.precision


def moved(high: HighModel, pool: Pool, rows: Rows, rng: np.random.Generator) -> Tensor:
    """Changes of s (B, D) when strokes keep placement and tempo but are hit from somewhere else."""
    start = pool.reading[rows, 5:8].astype(np.float64)
    target = np.concatenate([pool.reading[rows, :2], np.zeros((len(rows), 1))], axis=1).astype(np.float64)
    other = start + MOVED_M * rng.standard_normal(start.shape)
    other[:, 2] = other[:, 2].clip(0.3, 2.8)
    other[:, 0] = other[:, 0].clip(0.2, 7.0)
    launches = [flight.solve_launch(x, target, pool.reading[rows, 2].astype(np.float64)) for x in (start, other)]
    good = np.ones(len(rows), dtype=bool)
    for x, (v, miss) in zip((start, other), launches, strict=True):
        over = flight.land(x, v).net_height_m > NET_HEIGHT_M
        good &= (miss < 1e-3) & over & (np.linalg.norm(v, axis=-1) < FASTEST_M_S)
    embedded = []
    for x, (v, _) in zip((start, other), launches, strict=True):
        strokes = from_launches(x[good], v[good], rng)
        full = np.full(int(good.sum()), WINDOW)
        embedded.append(high.encode(*observe(strokes, np.arange(len(full)), full, rng)))
    return embedded[1] - embedded[0]


def spread(gap: Tensor, trim: float = 0.03) -> Tensor:
    """Second moment (D, D) of gaps (B, D) without the `trim` farthest (Mahalanobis): freak strokes are no spread."""
    kept = gap
    for _ in range(2):
        moment = kept.T @ kept / len(kept) + 1e-6 * torch.eye(gap.shape[1])
        distance = ((gap @ torch.linalg.inv(moment)) * gap).sum(-1)
        kept = gap[distance <= distance.quantile(1.0 - trim)]
    return kept.T @ kept / len(kept)


def held_out(pool: Pool, seen: Cache, rows: Rows, rng: np.random.Generator) -> tuple[Context, Tensor, Tensor]:
    """Context, incoming embedding and macro-action of answers `rows`, as the agent would have them."""
    batch = chains(pool, chain_rows(pool, rows, 2), rng, cut=0.0, windows=False)
    i = torch.from_numpy(pool.previous[rows])
    keep_parts = torch.tensor([1.0, 0.0, 0.0]).expand(len(rows), 3)
    nothing = torch.zeros(len(rows))
    context = batch.context(1, torch.zeros_like(seen.full[i]), nothing, batch.there[:, 0], keep_parts)
    return context, seen.short[i], batch.macro[:, 1]
