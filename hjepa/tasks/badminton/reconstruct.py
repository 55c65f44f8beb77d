"""Turns annotated strokes into flights: draws the missing heights, then solves the launch with the drag equation.

Known for a stroke: the floor points under the hit and under the next hit (or the landing), and the frames of both
hits. Not known: heights. They are drawn per hit from a wide normal distribution of its type, cut to the annotated
side of the net's height, and shared by the two flights that meet there. A flight that comes out unphysical, or falls
outside the court, is tried again with the frames shifted by up to two, the heights moved within their range and the
point of the next hit pulled towards the net; the least change wins. A rally's last stroke has no second frame: it
takes the flight time of a similar stroke.
Legend: N strokes. Canonical frame (hitter at x > 0), SI units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import HALF_LENGTH_M, HALF_SINGLES_M, NET_HEIGHT_M, net_height_at
from hjepa.types import Array

MAX_SHIFT_FRAMES = 2
MAX_PULL_M = 0.6  # the point where a shuttle is met may move this far towards the net
PULL_SPREAD_M = 0.3
OUT_SPREAD_M = 0.15
NET_MARGIN_M = 0.02  # the shuttle's cork passes this far above the tape, at least


class TypeLimits(NamedTuple):
    """What is believed of one annotated type before looking at a stroke."""

    height_m: float  # mean hit height
    spread_m: float  # standard deviation
    low_m: float
    high_m: float
    speed_low_m_s: float  # launch speed
    speed_high_m_s: float
    reach_m: float  # median of the annotated hit point's distance in front of the feet, for rows without a hit point


# Heights: CoachAI's fitted means (smash 2.48, drop 2.46, clear 2.27, lob 1.10, net 1.14, serve 1.10 m) with spreads
# wide enough that neighbouring types overlap, widened by jumps upwards; services stay below 1.15 m (Law 9).
# Speeds: Tsai, Huang & Jih 1997 means with room (smash 55-75, in-match smashes up to ~118; clear 42-51; drop 22-29).
LIMITS = {
    "short service": TypeLimits(1.00, 0.08, 0.70, 1.15, 5.0, 25.0, 0.40),
    "long service": TypeLimits(0.85, 0.15, 0.40, 1.15, 10.0, 65.0, 0.40),
    "net shot": TypeLimits(1.14, 0.28, 0.30, 1.80, 2.0, 22.0, 0.64),
    "cross-court net shot": TypeLimits(1.10, 0.28, 0.30, 1.80, 3.0, 25.0, 0.64),
    "clear": TypeLimits(2.30, 0.25, 1.50, 2.90, 12.0, 75.0, -0.19),
    "drop": TypeLimits(2.40, 0.25, 1.50, 2.90, 8.0, 55.0, -0.10),
    "passive drop": TypeLimits(2.10, 0.35, 0.80, 2.80, 8.0, 55.0, -0.10),
    "smash": TypeLimits(2.55, 0.22, 1.80, 3.10, 25.0, 120.0, -0.11),
    "wrist smash": TypeLimits(2.45, 0.25, 1.70, 3.10, 20.0, 120.0, -0.11),
    "drive": TypeLimits(1.60, 0.30, 0.80, 2.40, 8.0, 80.0, 0.08),
    "driven flight": TypeLimits(1.40, 0.30, 0.60, 2.20, 6.0, 60.0, 0.08),
    "back-court drive": TypeLimits(1.70, 0.35, 0.80, 2.50, 10.0, 90.0, 0.08),
    "lob": TypeLimits(0.90, 0.30, 0.15, 1.70, 7.0, 60.0, 0.67),
    "push": TypeLimits(1.30, 0.25, 0.60, 2.00, 6.0, 60.0, 0.57),
    "rush": TypeLimits(1.70, 0.20, 1.30, 2.40, 8.0, 80.0, 0.57),
    "return net": TypeLimits(0.95, 0.30, 0.20, 1.80, 4.0, 35.0, 0.17),
    "defensive return lob": TypeLimits(0.85, 0.30, 0.20, 1.80, 10.0, 70.0, 0.17),
    "defensive return drive": TypeLimits(1.05, 0.30, 0.30, 1.90, 8.0, 80.0, 0.17),
    "unknown": TypeLimits(1.30, 0.50, 0.30, 2.80, 2.0, 120.0, 0.20),
}
TURN = np.array([-1.0, -1.0, 1.0])  # from the hitter's canonical frame to the next hitter's
_FLAG_BAND_M = 0.10  # an annotator's "above the net" and "below it" overlap by this much on either side of 1.524 m


class Gap(NamedTuple):
    """What is known of N flights before they are solved."""

    start_m: Array  # (N, 2) floor point under the hit, x > 0
    end_m: Array  # (N, 2) floor point under the next hit, x < 0
    time_s: Array  # (N,) between the two, by the frames
    frame_s: Array  # (N,) duration of one video frame
    start: TypeLimits  # (N,) of the hit
    end: TypeLimits  # (N,) of the next hit
    start_range: tuple[Array, Array]  # (N,) lowest and highest height of the hit
    end_range: tuple[Array, Array]  # (N,) and of the next hit


class Flights(NamedTuple):
    """N solved flights; where `physical` is False the rest is not to be used."""

    launch_m_s: Array  # (N, 3)
    start_m: Array  # (N, 3)
    end_m: Array  # (N, 3)
    time_s: Array  # (N,)
    miss_m: Array  # (N,) distance between the solved path and the end point at that time
    floor_m: Array  # (N, 2) where it falls if nobody hits it
    floor_s: Array  # (N,)
    physical: NDArray[np.bool_]  # (N,)


def limits_of(fine_type: NDArray[np.str_]) -> TypeLimits:
    """TypeLimits of arrays (N,), one entry a stroke."""
    return TypeLimits(*(np.array(c) for c in zip(*(LIMITS[str(name)] for name in fine_type), strict=True)))  # type: ignore[arg-type]


def height_range(limits: TypeLimits, above_net: NDArray[np.int8]) -> tuple[Array, Array]:
    """Lowest and highest hit height (N,) by type and by the annotator's above (1) or below (2) the net's height."""
    low = np.where(above_net == 1, np.maximum(limits.low_m, NET_HEIGHT_M - _FLAG_BAND_M), limits.low_m)
    high = np.where(above_net == 2, np.minimum(limits.high_m, NET_HEIGHT_M + _FLAG_BAND_M), limits.high_m)
    contrary = high - low < 0.15  # e.g. a clear "below the net" or a service "above" it: believe the flag, not the type
    low = np.where(contrary & (above_net == 2), 0.8, low)
    high = np.where(contrary & (above_net == 1), 1.9, high)
    return low, high


def draw_heights(limits: TypeLimits, low: Array, high: Array, rng: np.random.Generator) -> Array:
    """Hit heights (N,) from the type's normal distribution cut to [low, high]; uniform where only its tail is left."""
    tries = limits.height_m[:, None] + np.asarray(limits.spread_m)[:, None] * rng.normal(size=(len(low), 16))  # type: ignore[index]
    inside = (tries >= low[:, None]) & (tries <= high[:, None])
    first = np.take_along_axis(tries, inside.argmax(axis=1)[:, None], axis=1)[:, 0]
    uniform = rng.uniform(low, high)
    return np.where(inside.any(axis=1), first, uniform)


def solve(gap: Gap, start_z: Array, end_z: Array, time_s: Array) -> Flights:
    """Flights (N,) between both points at the heights and times (N,) given, and whether a player could have hit them.

    Physical: solved to a millimetre, launch speed within the type's limits, over the net by NET_MARGIN_M.
    """
    x0 = np.concatenate([gap.start_m, start_z[:, None]], axis=-1)
    x1 = np.concatenate([gap.end_m, end_z[:, None]], axis=-1)
    v0, miss = flight.solve_launch(x0, x1, time_s)
    good = np.isfinite(v0).all(axis=-1) & (miss < 1e-3)
    v0 = np.where(good[:, None], v0, [-1.0, 0.0, 0.0])
    speed = np.linalg.norm(v0, axis=-1)
    path = flight.land(x0, v0, max_s=5.0)
    over = path.net_height_m - net_height_at(np.nan_to_num(path.net_y_m)) >= NET_MARGIN_M
    good &= (speed >= gap.start.speed_low_m_s) & (speed <= gap.start.speed_high_m_s) & over & np.isfinite(path.time_s)
    return Flights(v0, x0, x1, time_s, miss, path.xy_m, path.time_s, good)


def solve_with_slack(gap: Gap, start_z: Array, end_z: Array, rng: np.random.Generator, candidates: int = 64) -> Flights:
    """Flights (N,) near the drawn heights and annotated times; most probable of `candidates` where those do not do.

    Cost of a candidate: squared moves in units of the height spreads, of one frame and of PULL_SPREAD_M, plus the
    squared distance by which the shuttle would fall outside the court in units of OUT_SPREAD_M. (The last because
    players leave shuttles that fly out: 3 % of strokes do, yet as annotated half of all clears would. Points under
    back-court hits lie behind the feet on average, where nobody strikes overhead: they may be pulled to the net.)
    """
    out = solve(gap, start_z, end_z, gap.time_s)
    todo = np.flatnonzero(~out.physical | (_outside(out.floor_m) > 0.5))
    best = np.where(out.physical, _outside(out.floor_m), np.inf)[todo]
    part = _take(gap, todo)
    for _ in range(candidates):
        z0, z1 = rng.uniform(*part.start_range), rng.uniform(*part.end_range)
        shift = rng.uniform(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES, len(todo))
        pull = rng.uniform(0.0, MAX_PULL_M, len(todo))
        near = np.stack([np.minimum(part.end_m[:, 0] + pull, -0.05), part.end_m[:, 1]], axis=-1)
        time = np.maximum(part.time_s + shift * part.frame_s, 0.05)
        trial = solve(part._replace(end_m=near), z0, z1, time)
        cost = ((z0 - start_z[todo]) / part.start.spread_m) ** 2 + ((z1 - end_z[todo]) / part.end.spread_m) ** 2
        cost += shift**2 + (pull / PULL_SPREAD_M) ** 2
        cost = np.where(trial.physical, cost + _outside(trial.floor_m), np.inf)
        better = cost < best
        best[better] = cost[better]
        for old, new in zip(out, trial, strict=True):
            old[todo[better]] = new[better]
    return out


def share_hits(gap: Gap, flights: Flights, follows: NDArray[np.int64]) -> Flights:
    """Give the two flights that meet at a hit one point again, where both stay physical with either's.

    follows (N,): index of the flight that starts where this one is met, -1 if there is none.
    """
    columns: list[Any] = [column.copy() for column in flights]
    out = Flights(*columns)
    for parity in (0, 1):
        for keep_end in (True, False):
            i = np.flatnonzero((follows >= 0) & (np.arange(len(follows)) % 2 == parity))
            j = follows[i]
            differ = (
                out.physical[i] & out.physical[j] & (np.abs(out.end_m[i] - out.start_m[j] * TURN).max(axis=-1) > 1e-6)
            )
            i, j = i[differ], j[differ]
            row = j if keep_end else i  # the flight that gives way
            start = out.end_m[i] * TURN if keep_end else out.start_m[row]
            end = out.end_m[row] if keep_end else out.start_m[j] * TURN
            moved = _take(gap, row)._replace(start_m=start[:, :2], end_m=end[:, :2])
            trial = solve(moved, start[:, 2], end[:, 2], out.time_s[row])
            fine = trial.physical & (_outside(trial.floor_m) < _outside(out.floor_m[row]) + 0.5)
            for old, new in zip(out, trial, strict=True):
                old[row[fine]] = new[fine]
    return out


def _outside(floor_m: Array) -> Array:
    """Squared distance (N,), in OUT_SPREAD_M, of a landing point outside the singles court less 0.1 m; 0 inside."""
    deep = np.maximum(-floor_m[:, 0] - (HALF_LENGTH_M - 0.1), 0.0)
    wide = np.maximum(np.abs(floor_m[:, 1]) - (HALF_SINGLES_M - 0.1), 0.0)
    return np.nan_to_num((deep**2 + wide**2) / OUT_SPREAD_M**2, nan=np.inf)


def _take(gap: Gap, rows: NDArray[np.int64]) -> Gap:
    """The given rows of every column."""

    def pick(column: object) -> object:
        if isinstance(column, np.ndarray):
            return column[rows]
        if isinstance(column, TypeLimits):
            return TypeLimits(*(pick(c) for c in column))  # type: ignore[arg-type]
        if isinstance(column, tuple):
            return tuple(pick(c) for c in column)
        raise TypeError(type(column))

    return Gap(*(pick(column) for column in gap))  # type: ignore[arg-type]
