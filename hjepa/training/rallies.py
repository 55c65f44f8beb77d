"""Strokes the high level learns from: real rallies, and simulated strokes such as a robot might play.

Canonical frame of each stroke: its hitter at x > 0, the shuttle flies towards x < 0. Legend: N strokes, K samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.badminton import classify, flight
from hjepa.tasks.badminton.court import HALF_LENGTH_M, HALF_SINGLES_M
from hjepa.tasks.badminton.returns import LaunchTable
from hjepa.tasks.badminton.strokes import TYPES, StrokeTable, load_strokes
from hjepa.types import Array

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
WINDOW = 40  # K
SAMPLE_S = 0.01
TARGET_DEPTH_M = (0.2, HALF_LENGTH_M + 1.5)  # where simulated strokes fall, behind the net
ELEVATION_RAD = (np.radians(-15.0), np.radians(60.0))
MISS_SHARE = 0.1
NOMINAL_SHARE = 0.5  # of simulated strokes; the others fly with a drag length from DRAG_M
DRAG_M = (4.0, 5.5)
SURE = 0.6  # a simulated stroke gets a type when the frozen classifier is this sure of it


class Pool(NamedTuple):
    """N strokes. Windows are exact: the tracker's noise and dropouts are drawn afresh for every batch."""

    window_m: Floats  # (N, K, 3) from 0-10 ms after the hit
    reading: Floats  # (N, 9) in the order of models.high.READINGS; nan where it does not exist
    type: NDArray[np.int64]  # (N,) -1 unknown
    previous: Rows  # (N,) row of the stroke this one answers, -1 none or not known
    hitter_m: Floats  # (N, 2) where the hitter stood when the incoming stroke was played; nan unknown
    receiver_m: Floats  # (N, 2)
    won: NDArray[np.int64]  # (N,) +1 the hitter wins the rally, -1 loses it, 0 not known
    last: NDArray[np.bool_]  # (N,) ends its rally
    real: NDArray[np.bool_]  # (N,)
    named: Floats  # (N, 10) type probabilities by the frozen classifier; nan where it cannot say
    drag_m: Floats  # (N,) drag length that the shuttle flew with

    def macro(self, rows: Rows) -> Floats:
        """Macro-actions w (..., 4) of rows (...): type, placement x, y, tempo."""
        return np.concatenate([self.type[rows][..., None], self.reading[rows][..., :3]], axis=-1).astype(np.float32)


def build_pool(split: str, simulated: int, seed: int) -> Pool:
    """Real strokes of a split, then `simulated` free ones, then about as many answers to strokes of the pool."""
    rng = np.random.default_rng([seed, 11])
    return with_simulated(real_strokes(split, rng), simulated, rng)


def with_simulated(real: Pool | None, simulated: int, rng: np.random.Generator) -> Pool:
    """A pool (or none) with simulated strokes added."""
    table = LaunchTable()
    free = from_launches(*free_launches(simulated, rng, table), rng, draw_drag(simulated, rng))
    pool = free if real is None else _join(real, free)
    return _join(pool, answers(pool, simulated, rng, table)) if simulated else pool


def draw_drag(n: int, rng: np.random.Generator) -> Array:
    """Drag lengths (n,): landing must be told from how a shuttle slows down, not from how the usual one does."""
    return np.where(rng.random(n) < NOMINAL_SHARE, flight.L_NOMINAL_M, rng.uniform(*DRAG_M, n))


def real_strokes(split: str, rng: np.random.Generator) -> Pool:
    """All strokes of a split that have a physical flight, re-flown."""
    table = load_strokes()
    rows = table.split_rows(split)
    rows = rows[table.valid[rows]]
    place = np.full(len(table.match), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    before = table.previous[rows]
    previous = np.where(before >= 0, place[before], -1)
    hitter, receiver = _feet_before(table, rows, before)
    blank = from_launches(table.hit_m[rows], table.launch_m_s[rows], rng)
    return blank._replace(
        type=table.type[rows].astype(np.int64),
        previous=previous,
        hitter_m=hitter.astype(np.float32),
        receiver_m=receiver.astype(np.float32),
        won=table.won[rows].astype(np.int64),
        last=table.last[rows],
        real=np.ones(len(rows), dtype=bool),
        named=_named_real(table, rows, (before < 0) | (previous >= 0)),
    )


def _named_real(table: StrokeTable, rows: Rows, fit: NDArray[np.bool_]) -> Floats:
    """What the frozen classifier says of services and of strokes whose incoming flight is known, (N, 10)."""
    named = np.full((len(rows), len(TYPES)), np.nan, dtype=np.float32)
    named[fit] = classify.classify(classify.table_features(table, rows[fit]))
    return named


def _feet_before(table: StrokeTable, rows: Rows, before: Rows) -> tuple[Array, Array]:
    """Feet (N, 2) of hitter and receiver when the incoming stroke was played; on a service, when it was served."""
    served = (before < 0)[:, None]
    turn = np.array([-1.0, -1.0])
    hitter = np.where(served, table.hitter_m[rows], turn * table.receiver_m[before])
    receiver = np.where(served, table.receiver_m[rows], turn * table.hitter_m[before])
    return hitter, receiver


def free_launches(n: int, rng: np.random.Generator, table: LaunchTable) -> tuple[Array, Array]:
    """Launches x0, v0 (n, 3) from all over the hitter's half to points in and around the other half."""
    x0, v0 = np.empty((0, 3)), np.empty((0, 3))
    while len(x0) < n:
        size = n + 64
        start = np.stack([rng.uniform(*r, size) for r in ((0.3, 6.6), (-2.8, 2.8), (0.2, 2.7))], axis=-1)
        good, v = _aimed(start, rng, table)
        x0, v0 = np.concatenate([x0, start[good]]), np.concatenate([v0, v[good]])
    return x0[:n], v0[:n]


def _aimed(start: Array, rng: np.random.Generator, table: LaunchTable) -> tuple[NDArray[np.bool_], Array]:
    """Which starts (B, 3) admit a drawn target and elevation, and the launch velocities (B, 3)."""
    size = len(start)
    wide = HALF_SINGLES_M + 0.8
    target = np.stack([-rng.uniform(*TARGET_DEPTH_M, size), rng.uniform(-wide, wide, size)], axis=-1)
    v = table.launch(start, target, rng.uniform(*ELEVATION_RAD, size))
    return np.asarray(np.isfinite(v).all(axis=1)), v


def answers(pool: Pool, n: int, rng: np.random.Generator, table: LaunchTable) -> Pool:
    """n strokes that answer strokes of the pool from a point of their flight; a tenth miss and let them fly on."""
    lands_ahead = (
        (pool.reading[:, 0] < -0.5) & (pool.reading[:, 0] > -HALF_LENGTH_M - 1.0) & (pool.reading[:, 4] > 1.55)
    )
    source = rng.choice(np.flatnonzero(lands_ahead), 2 * n)
    x_in, v_in, time_s = _meeting(pool, source, rng)
    fine = (x_in[:, 0] < -0.3) & (x_in[:, 2] > 0.2) & (x_in[:, 2] < 2.75) & (np.abs(x_in[:, 1]) < 3.0)
    source, x_in, v_in, time_s = source[fine][:n], x_in[fine][:n], v_in[fine][:n], time_s[fine][:n]
    start = classify.canonical(x_in)
    good, v = _aimed(start, rng, table)
    miss = rng.random(len(start)) < MISS_SHARE
    v = np.where(miss[:, None], classify.canonical(v_in), v)
    keep = good | miss
    source, start, v, miss = source[keep], start[keep], v[keep], miss[keep]
    incoming = classify.Incoming(
        np.linalg.norm(v_in[keep], axis=-1),
        np.linalg.norm(x_in[keep, :2] - pool.reading[source, 5:7], axis=-1),
        time_s[keep],
    )
    out = from_launches(start, v, rng, pool.drag_m[source].astype(np.float64))
    named = classify.classify(classify.stroke_features(start, v, incoming))
    stand = start[:, :2] + rng.normal(0.0, 1.0, (len(start), 2))
    opponent = classify.canonical(pool.reading[source, 5:8].astype(np.float64))[:, :2] + rng.normal(
        0.0, 0.4, (len(start), 2)
    )
    return out._replace(
        type=np.where(miss, -1, np.where(named.max(axis=1) > SURE, named.argmax(axis=1), -1)),
        named=np.where(miss[:, None], np.nan, named).astype(np.float32),
        previous=source,
        hitter_m=stand.astype(np.float32),
        receiver_m=opponent.astype(np.float32),
    )


def _meeting(pool: Pool, rows: Rows, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Point, velocity (B, 3) and time (B,) somewhere on the second half of the flights of `rows`."""
    x0 = pool.window_m[rows, 0].astype(np.float64)
    v0 = _launch_velocity(pool.window_m[rows])
    t = pool.reading[rows, 2] * rng.uniform(0.35, 0.97, len(rows))
    x, v = flight.fly_to(x0, v0, t, pool.drag_m[rows].astype(np.float64))
    return x, v, t


def _launch_velocity(window: Floats) -> Array:
    """Velocity (B, 3) at the first sample of exact windows, by the six-point forward difference."""
    weights = np.array([-137 / 60, 5.0, -5.0, 10 / 3, -5 / 4, 1 / 5]) / SAMPLE_S
    return np.einsum("k,bkc->bc", weights, window[:, :6].astype(np.float64))


def from_launches(x0: Array, v0: Array, rng: np.random.Generator, drag_m: Array | None = None) -> Pool:
    """A pool of flights of which nothing else is known; drag_m (N,): drag lengths, nominal if None."""
    n = len(x0)
    drag = np.full(n, flight.L_NOMINAL_M) if drag_m is None else drag_m
    x, v = flight.fly_to(x0, v0, rng.uniform(0.0, SAMPLE_S, n), drag)
    window, _ = flight.fly(x, v, dt_s=SAMPLE_S, steps=WINDOW - 1, L=drag)
    fall = flight.land(x0, v0, drag, max_s=6.0)
    speed = np.log(np.linalg.norm(v0, axis=-1))
    columns = [fall.xy_m, fall.time_s[:, None], fall.apex_m[:, None], fall.net_height_m[:, None], x0, speed[:, None]]
    nan2 = np.full((n, 2), np.nan, dtype=np.float32)
    zero = np.zeros(n, dtype=np.int64)
    return Pool(
        window_m=window.astype(np.float32),
        reading=np.concatenate(columns, axis=1).astype(np.float32),
        type=zero - 1,
        previous=zero - 1,
        hitter_m=nan2,
        receiver_m=nan2,
        won=zero,
        last=np.zeros(n, dtype=bool),
        real=np.zeros(n, dtype=bool),
        named=np.full((n, len(TYPES)), np.nan, dtype=np.float32),
        drag_m=drag.astype(np.float32),
    )


def _join(a: Pool, b: Pool) -> Pool:
    """Rows of a, then of b; b's `previous` already counts in rows of a."""
    columns: list[Any] = [np.concatenate([getattr(a, name), getattr(b, name)]) for name in Pool._fields]
    return Pool(*columns)
