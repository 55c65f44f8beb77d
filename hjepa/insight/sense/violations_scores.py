"""How well a score tells impossible from possible: figures with 95 % intervals. Legend: N pairs, R resamples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.evaluation.metrics import Interval
from hjepa.types import Array

RESAMPLES = 2000
RECALL = 0.95  # share of violations that an alarm must find
CONFORMAL_P = 0.001


class Scores(NamedTuple):
    """Of N pairs."""

    impossible: Array  # (N,)
    possible: Array  # (N,)


def auc(scores: Scores, rng: np.random.Generator) -> Interval:
    """Probability that an impossible episode scores higher than any possible one; ties count half."""
    won = _beats(scores.impossible[:, None], scores.possible[None])  # (N, N)
    weight = _drawn(len(won), rng)
    means = np.einsum("rn,nm,rm->r", weight, won, weight, optimize=True)
    return _interval(float(won.mean()), means)


def pairwise(scores: Scores, rng: np.random.Generator) -> Interval:
    """Share of pairs in which the impossible one scores higher than its own twin; ties count half."""
    won = _beats(scores.impossible, scores.possible)
    return _interval(float(won.mean()), _drawn(len(won), rng) @ won)


def mean_over(groups: list[Scores], rng: np.random.Generator) -> Interval:
    """Mean of the AUC over kinds; pairs are drawn within each kind."""
    values, means = 0.0, np.zeros(RESAMPLES)
    for scores in groups:
        won = _beats(scores.impossible[:, None], scores.possible[None])
        weight = _drawn(len(won), rng)
        means += np.einsum("rn,nm,rm->r", weight, won, weight, optimize=True) / len(groups)
        values += float(won.mean()) / len(groups)
    return _interval(values, means)


def _beats(a: Array, b: Array) -> Array:
    return (a > b) + 0.5 * (a == b)


def _drawn(n: int, rng: np.random.Generator) -> Array:
    """Weights (R, N) of a bootstrap over pairs."""
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def _interval(value: float, resampled: Array) -> Interval:
    lo, hi = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(lo), float(hi))


def recalling(impossible: Array, share: float = RECALL) -> float:
    """The highest threshold that at least so large a share of scores (N,) reaches."""
    ranked = np.sort(impossible)
    return float(ranked[math.floor((1.0 - share) * len(ranked) + 1e-9)])


def onsets(alarm: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often alarm (N, T) begins in each episode."""
    before = np.pad(alarm[:, :-1], ((0, 0), (1, 0)))
    return np.asarray((alarm & ~before).sum(axis=1), dtype=np.int64)
