"""Forecasters that count: how often a type follows another, and where it lands. Nothing is trained by gradients.

A rally of n strokes is a chain of types; `order` strokes before tell the next. Landing points are drawn from those of
the same type in training. What a chain of counts cannot see: feet, landing points, tempo, who plays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.badminton.forecast import Belief, T
from hjepa.tasks.badminton.rallies import Rallies
from hjepa.types import Array

_PRIOR = 1.0  # of each next type, in strokes


class Chain:
    """Types by the `order` types before (0: none), landing points by type; with order 2, also by the last landing."""

    def __init__(self, rallies: Rallies, order: int = 1, places: bool = False, prior: float = 20.0) -> None:
        """places: where the last stroke landed (front, middle, back; left, middle, right) counts too.

        prior: strokes of the next lower order that every context is given.
        """
        self.order, self.places = order, places
        self.name = ("marginal", "Markov-1", "second-order counts")[order] + ", places" * places
        keep = rallies.shot >= 4
        kinds = rallies.type.astype(np.int64)
        self._marginal = _shares(np.bincount(kinds[keep], minlength=T).astype(np.float64) + _PRIOR)
        self._next = [self._marginal]
        for k in range(1, order + 1):
            rows = np.flatnonzero(rallies.shot >= k)
            context = tuple(kinds[rows - j] for j in range(k, 0, -1))
            counts = np.zeros((T,) * (k + 1))
            np.add.at(counts, (*context, kinds[rows]), 1.0)
            self._next.append(_backed(counts, self._next[-1], prior if k > 1 else _PRIOR))
        self._by_place: Array | None = None
        if places:
            rows = np.flatnonzero(rallies.shot >= 1)
            counts = np.zeros((T, _BINS, T))
            np.add.at(counts, (kinds[rows - 1], _bin(rallies.land_m[rows - 1]), kinds[rows]), 1.0)
            self._by_place = _backed(counts, self._next[1][:, None], prior)
        later = [rallies.land_m[(kinds == t) & keep] for t in range(T)]
        self._points = [p if len(p) else rallies.land_m[keep] for p in later]
        self._usual = np.array([[np.median(p[:, 0]), 0.0] for p in self._points])

    def believe(self, given: Rallies, draws: int, seed: int) -> list[Belief]:
        """See forecast.Forecaster."""
        rng = np.random.default_rng([seed, 31])
        found = []
        for r, first in enumerate(given.first):
            rows = np.flatnonzero(given.rally == r)
            m = int(given.length[first]) - len(rows)
            kinds, land = given.type[rows].astype(np.int64), given.land_m[rows]
            types = self.marginals(kinds, land, m)
            found.append(Belief(types, types @ self._usual, *self._draw(kinds, land, m, draws, rng)))
        return found

    def next(self, kinds: NDArray[np.int64], land_m: Array | None = None) -> Array:
        """Probabilities (..., T) of the type after types (..., order), the last landing (..., 2) where it is known."""
        if self.order == 0:
            return np.broadcast_to(self._marginal, (*kinds.shape[:-1], T))
        found = self._next[self.order][tuple(kinds[..., -j] for j in range(self.order, 0, -1))]
        if self._by_place is not None and land_m is not None:
            last = kinds[..., -1]
            found = found * self._by_place[last, _bin(land_m)] / self._next[1][last]
            found = _shares(found)
        return np.asarray(found)

    def lower(self, kinds: NDArray[np.int64]) -> Array:
        """Probabilities (T,) of the type after fewer types than the order asks for."""
        return np.asarray(self._next[len(kinds)][tuple(kinds)])

    def marginals(self, kinds: NDArray[np.int64], land_m: Array, m: int) -> Array:
        """(M, T), carried forward over all histories, none sampled."""
        if m == 0:
            return np.zeros((0, T))
        out = [self.next(kinds, land_m[-1])]
        if self.order < 2:
            while len(out) < m:
                out.append(out[-1] @ self._next[1] if self.order else self._marginal)
            return np.array(out)
        pair = np.zeros((T, T))  # of the last two types
        pair[kinds[-1]] = out[0]
        while len(out) < m:
            pair = np.einsum("ab,abc->bc", pair, self._next[2])
            out.append(pair.sum(axis=0))
        return np.array(out)

    def _draw(
        self, kinds: NDArray[np.int64], land_m: Array, m: int, draws: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int8], Array]:
        history = np.tile(kinds, (draws, 1))
        last = np.tile(land_m[-1], (draws, 1))
        points = np.empty((draws, m, 2))
        for t in range(m):
            p = self.next(history, last if self.places else None)
            kind = (p.cumsum(axis=1) > rng.random((draws, 1))).argmax(axis=1)
            for k in np.unique(kind):
                rows = kind == k
                points[rows, t] = self._points[k][rng.integers(len(self._points[k]), size=rows.sum())]
            last = points[:, t]
            history = np.column_stack([history, kind])
        return history[:, len(kinds) :].astype(np.int8), points


_BINS = 9
_DEPTHS_M, _WIDE_M = (2.2, 4.6), 1.0


def _bin(land_m: Array) -> NDArray[np.int64]:
    """0-8: front, middle or back court; left, middle or right."""
    depth = np.digitize(-land_m[..., 0], _DEPTHS_M)
    across = np.digitize(land_m[..., 1], (-_WIDE_M, _WIDE_M))
    return np.asarray(3 * depth + across)


def _shares(x: Array) -> Array:
    return np.asarray(x / x.sum(axis=-1, keepdims=True))


def _backed(counts: Array, lower: Array, prior: float) -> Array:
    """Shares of the next type with `prior` strokes of the lower order's shares added."""
    return _shares(counts + prior * np.broadcast_to(lower, counts.shape))
