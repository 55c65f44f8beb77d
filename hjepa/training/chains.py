"""Batches of stroke chains for the high level, with the tracker's noise drawn afresh. Legend: B chains, T strokes
(oldest first, the last column is the row asked for), K samples, D embedding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.models.high import Context
from hjepa.training.rallies import WINDOW, Pool, Rows


class Chains(NamedTuple):
    """B chains of up to T strokes in which each answers the one before it."""

    window_m: Tensor  # (B, T, K, 3) noisy, 0 where masked; empty if not asked for
    mask: Tensor  # (B, T, K)
    there: Tensor  # (B, T) 1 where the chain has a stroke
    full: Tensor  # (B, T) 1 where the whole window is seen
    reading: Tensor  # (B, T, 9) nan where it does not exist
    macro: Tensor  # (B, T, 4)
    hitter_m: Tensor  # (B, T, 2) zeros where unknown
    receiver_m: Tensor  # (B, T, 2)
    known: Tensor  # (B, T, 2) feet of hitter, receiver known
    won: Tensor  # (B, T) 1, -1, 0
    last: Tensor  # (B, T)

    def context(self, t: int, before: Tensor, before_there: Tensor, incoming_there: Tensor, keep: Tensor) -> Context:
        """What is known before stroke t; keep (B, 3) drops feet of hitter, of receiver, and the stroke before."""
        feet = [self.known[:, t, 0] * keep[:, 0], self.known[:, t, 1] * keep[:, 1]]
        known = torch.stack([*feet, before_there * keep[:, 2], incoming_there], dim=-1)
        return Context(self.hitter_m[:, t], self.receiver_m[:, t], before, known)


class Noise(NamedTuple):
    """The tracker in training."""

    sigma_m: float = 0.010
    other_share: float = 0.25  # of windows whose noise is anything up to most_m
    most_m: float = 0.030
    dropout: float = 0.02
    shortest: int = 6  # samples of a truncated window


NOISE = Noise()
Seen = tuple[Tensor, Tensor]


def chain_rows(pool: Pool, rows: Rows, length: int) -> Rows:
    """(B, T) rows of the pool, -1 where the chain does not reach back so far."""
    chain = np.full((len(rows), length), -1, dtype=np.int64)
    chain[:, -1] = rows
    for t in range(length - 2, -1, -1):
        after = chain[:, t + 1]
        chain[:, t] = np.where(after >= 0, pool.previous[after], -1)
    return chain


def observe(
    pool: Pool, rows: Rows, seen: Rows, rng: np.random.Generator, noise: Noise = NOISE
) -> tuple[Tensor, Tensor]:
    """What the tracker shows of strokes `rows` (...): windows (..., K, 3), 0 where masked, and masks (..., K), when
    only the first `seen` (...) samples have been taken."""
    exact = pool.window_m[rows]
    mask = (rng.random(exact.shape[:-1]) >= noise.dropout) & (np.arange(WINDOW) < seen[..., None])
    other = rng.random(rows.shape) < noise.other_share
    sigma = np.where(other, rng.uniform(0.0, noise.most_m, rows.shape), noise.sigma_m).astype(np.float32)
    window = exact + sigma[..., None, None] * rng.standard_normal(exact.shape, dtype=np.float32)
    return _t(np.where(mask[..., None], window, 0.0)), _t(mask)


def chains(
    pool: Pool, chain: Rows, rng: np.random.Generator, cut: float, noise: Noise = NOISE, windows: bool = True
) -> Chains:
    """Chains of the given rows (B, T); the oldest stroke of each is truncated with probability `cut`."""
    there = chain >= 0
    i = np.where(there, chain, 0)
    oldest = there & ~np.concatenate([np.zeros_like(there[:, :1]), there[:, :-1]], axis=1)
    short = oldest & (rng.random(len(chain)) < cut)[:, None]
    seen = np.where(short, rng.integers(noise.shortest, WINDOW, chain.shape), WINDOW) * there
    window, mask = observe(pool, i, seen, rng, noise) if windows else (torch.zeros(0), torch.zeros(0))
    known = np.isfinite(np.stack([pool.hitter_m[i, 0], pool.receiver_m[i, 0]], axis=-1)) & there[..., None]
    return Chains(
        window_m=window,
        mask=mask,
        there=_t(there),
        full=_t(there & ~short),
        reading=_t(pool.reading[i]),
        macro=_t(pool.macro(i)),
        hitter_m=_t(np.nan_to_num(pool.hitter_m[i])),
        receiver_m=_t(np.nan_to_num(pool.receiver_m[i])),
        known=_t(known),
        won=_t(pool.won[i] * there),
        last=_t(pool.last[i] & there),
    )


def _t(x: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
