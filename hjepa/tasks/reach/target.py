"""Targets that move at a constant speed along smooth closed curves in a box. Legend: K instants, P points of a curve.

A target is seen, not told: these paths are the world's and the metrics' business, never the agent's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hjepa.errors import ConfigError, nearest
from hjepa.types import Array

Path = Callable[[Array], Array]
"""Times in s (K,) to positions in m (K, 3), world frame."""

KINDS = ("circle", "eight", "wander")
TIGHTEST_M = 0.03  # least radius of a turn: 1.3 m/s^2 at 0.2 m/s, which both arms can do
_POINTS = 4096
_TRIES = 1000


def target_path(centre_m: Array, half_m: Array, speed_m_s: float, seed: int, kind: str = "") -> Path:
    """A path within centre +- half (3,) whose kind ('' : drawn), shape and start come from the seed.

    circle: an ellipse in a random plane; eight: twice as fast along one axis as along another; wander: sums of three
    sinusoids on every axis. ConfigError for another kind, and for a box too small to turn in.
    """
    rng = np.random.default_rng([seed, 11])
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    if kind not in KINDS:
        raise ConfigError(f"target path '{kind}': unknown; {nearest(kind, KINDS)}")
    for _ in range(_TRIES):
        curve = centre_m + half_m * _shape(kind, rng)  # (P, 3)
        if _least_radius(curve) >= TIGHTEST_M:
            return _at_speed(curve, speed_m_s)
    raise ConfigError(f"no {kind} in a box of +-{half_m} m turns wider than {TIGHTEST_M} m; allowed: a larger box")


def _shape(kind: str, rng: np.random.Generator) -> Array:
    """A closed curve (P, 3) within +-1 on every axis."""
    turn = 2 * np.pi * np.arange(_POINTS)[:, None] / _POINTS
    phase = rng.uniform(0, 2 * np.pi, 3)
    if kind == "circle":
        return np.sin(turn + phase) * rng.uniform(0.6, 1.0, 3)
    if kind == "eight":
        return np.sin(turn * rng.permutation([1, 2, 1]) + phase) * rng.uniform(0.6, 1.0, 3)
    k = np.arange(1, 4)
    weight = rng.normal(size=(3, 3)) / k[:, None] ** 2  # (k, axis)
    offset = rng.uniform(0, 2 * np.pi, (3, 3))
    curve = (weight * np.sin(turn[:, None] * k[:, None] + offset)).sum(axis=1)
    out: Array = curve / np.abs(curve).max(axis=0)
    return out


def _least_radius(curve: Array) -> float:
    """Smallest radius of curvature of a closed curve (P, 3): |c'|^3 / |c' x c''|."""
    first = 0.5 * (np.roll(curve, -1, 0) - np.roll(curve, 1, 0))
    second = np.roll(curve, -1, 0) - 2 * curve + np.roll(curve, 1, 0)
    bend = np.linalg.norm(np.cross(first, second), axis=-1)
    return float((np.linalg.norm(first, axis=-1) ** 3 / np.maximum(bend, 1e-15)).min())


def _at_speed(curve: Array, speed_m_s: float) -> Path:
    """Along a closed curve (P, 3) at a speed, from its first point on, for ever."""
    loop = np.concatenate([curve, curve[:1]])
    along = np.append(0.0, np.linalg.norm(np.diff(loop, axis=0), axis=-1).cumsum())  # (P + 1,)

    def at(times_s: Array) -> Array:
        way = np.mod(speed_m_s * np.asarray(times_s, dtype=np.float64), along[-1])
        return np.stack([np.interp(way, along, axis) for axis in loop.T], axis=-1)

    return at
