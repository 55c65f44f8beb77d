"""Linear looks into embeddings: principal axes, and ridge probes scored on strokes they were not fitted on.

Legend: N strokes, D embedding, Q quantities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.errors import DataError
from hjepa.types import Array

PENALTIES = tuple(10.0**k for k in range(-3, 5))
_CHECK = 5  # every fifth stroke of those to fit on chooses the penalty


class Axes(NamedTuple):
    """Principal axes of embeddings."""

    scores: Array  # (N, D) coordinates along the axes, widest first
    shares: Array  # (D,) of the variance


def principal(z: Array) -> Axes:
    """By the singular values of the centred embeddings (N, D)."""
    if len(z) < 3:
        raise DataError(f"principal axes of {len(z)} strokes; allowed: at least 3")
    u, values, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    return Axes(u * values, values**2 / (values**2).sum())


def correlations(scores: Array, truths: Array) -> Array:
    """Pearson's r (Q, P) of quantities (N, Q; nan unknown) with coordinates (N, P)."""
    out = np.full((truths.shape[1], scores.shape[1]), np.nan)
    for q, column in enumerate(truths.T):
        known = np.isfinite(column)
        if known.sum() > 2 and column[known].std() > 0:
            out[q] = [np.corrcoef(column[known], axis[known])[0, 1] for axis in scores.T]
    return out


def probe_r2(fit: tuple[Array, Array], held: tuple[Array, Array]) -> float:
    """R2 on held-out strokes of a ridge probe; each pair: embeddings (N, D), truths (N, n), rows with nan left out.

    The share of the variance about the held-out mean, over all n columns in units of their own spread. The penalty is
    chosen on a fifth of the strokes to fit on. nan where too few are known.
    """
    (z, y), (z_held, y_held) = (_known(*pair) for pair in (fit, held))
    if len(z) < 2 * _CHECK or len(z_held) < 3:
        return float("nan")
    mean, scale = z.mean(axis=0), z.std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)  # what never changes tells nothing
    z, z_held = (z - mean) / scale, (z_held - mean) / scale
    unit = np.where(y.std(axis=0) > 1e-12, y.std(axis=0), 1.0)
    y, y_held = y / unit, y_held / unit
    check = np.arange(len(z)) % _CHECK == 0
    scores = [_r2(Ridge(z[~check], y[~check], p)(z[check]), y[check]) for p in PENALTIES]
    return _r2(Ridge(z, y, PENALTIES[int(np.argmax(scores))])(z_held), y_held)


def _known(z: Array, y: Array) -> tuple[Array, Array]:
    rows = np.isfinite(y).all(axis=1)
    return z[rows], y[rows]


class Ridge:
    """Least squares with a penalty on the weights, the mean left free."""

    def __init__(self, z: Array, y: Array, penalty: float) -> None:
        self.z_mean, self.y_mean = z.mean(axis=0), y.mean(axis=0)
        centred = z - self.z_mean
        gram = centred.T @ centred + penalty * np.eye(z.shape[1])
        self.weights = np.linalg.solve(gram, centred.T @ (y - self.y_mean))  # (D, n)

    def __call__(self, z: Array) -> Array:
        out: Array = (z - self.z_mean) @ self.weights + self.y_mean
        return out


def _r2(guess: Array, y: Array) -> float:
    total = ((y - y.mean(axis=0)) ** 2).sum()
    return float(1.0 - ((y - guess) ** 2).sum() / total) if total > 0 else float("nan")
