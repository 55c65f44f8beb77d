"""Opponents with human limits: what they answer a shuttle with, learned from real play or not. No robot, no physics.

An opponent stands at x > 0. It meets the robot's shuttle where it can run to, at about the share of the flight at which
real players do, or not at all; then it chooses a type and a target, and the flight is a launch with an elevation that a
real stroke of the type had. Errors come as often as real players', by type. Legend: N real strokes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError, nearest
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import HALF_LENGTH_M, HALF_SINGLES_M, in_singles, net_height_at
from hjepa.tasks.badminton.returns import LaunchTable
from hjepa.tasks.badminton.shuttleset import REASON_NAMES
from hjepa.tasks.badminton.strokes import TYPES, load_strokes
from hjepa.types import Array

SERVICES = (0, 1)
ERRORS = tuple(REASON_NAMES.index(name) for name in ("out", "net", "not over", "fault"))
CLEARANCE_M = 0.05
STEP_S = 0.02


@dataclass(frozen=True)
class HumanLimits:
    """Of a player's legs and arm; 95 % of real runs between hits are slower, 90 % of real hits nearer the feet."""

    speed_m_s: float = 4.0
    reaction_s: float = 0.15
    reach_m: float = 1.4
    highest_m: float = 2.75
    lowest_m: float = 0.15
    share: tuple[float, float] = (0.62, 0.88)  # of the flight to the floor, at which a shuttle is met by choice
    leaves_m: float = 0.15  # a shuttle that falls this far out is left alone


class Shot(NamedTuple):
    """A shuttle in the air, world frame."""

    x_m: Array  # (3,)
    v_m_s: Array  # (3,)
    type: int


class Situation(NamedTuple):
    """What an opponent sees when it chooses."""

    hit_m: Array  # (3,) where it meets the shuttle
    incoming: int  # type of the robot's stroke
    feet_m: Array  # (2,) its own, when the robot hit
    robot_m: Array  # (2,) where the robot's base is
    time_s: float  # since the robot's hit


class Answer(NamedTuple):
    """What comes of a shuttle that the robot hit: its time, and the shot; no shot: an error, or it was not reached."""

    time_s: float  # from the robot's hit to the opponent's; nan if it is not reached
    shot: Shot | None
    feet_m: Array  # (2,) of the opponent at its hit
    why: str = ""  # 'not reached', 'left', 'error'; '' with a shot


class Chooses(Protocol):
    """A way to choose: rows of the real strokes that may serve as examples, with weights; and a target, or None for
    the example's own."""

    def examples(self, seen: Situation, real: Real) -> Array: ...

    def target(self, seen: Situation, kind: int, rng: np.random.Generator) -> Array | None: ...


class Real(NamedTuple):
    """Columns of N real strokes (no services) in the hitter's frame, as examples."""

    type: NDArray[np.int64]  # (N,)
    incoming: NDArray[np.int64]  # (N,) type of the stroke before
    hit_m: Array  # (N, 3)
    receiver_m: Array  # (N, 2)
    floor_m: Array  # (N, 2)
    elevation_rad: Array  # (N,)
    error: Array  # (10,) share of strokes of a type that are errors of the hitter


@cache
def real_strokes(split: str) -> Real:
    """Examples of a split's matches."""
    table = load_strokes()
    rows = table.split_rows(split)
    kinds = table.type[rows].astype(np.int64)
    failed = table.last[rows] & np.isin(table.reason[rows], ERRORS) & (table.won[rows] < 0)
    error = np.array([failed[kinds == k].mean() if (kinds == k).any() else 0.0 for k in range(len(TYPES))])
    before = table.previous[rows]
    good = (
        table.valid[rows] & (before >= 0) & (kinds >= 2) & in_singles(np.nan_to_num(table.floor_m[rows], nan=99.0), -1)
    )
    good &= np.isfinite(table.receiver_m[rows]).all(axis=1) & (table.type[before] >= 0)
    rows, before = rows[good], before[good]
    v = table.launch_m_s[rows]
    return Real(
        table.type[rows].astype(np.int64), table.type[before].astype(np.int64), table.hit_m[rows],
        table.receiver_m[rows], table.floor_m[rows], np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])), error,
    )  # fmt: skip


@cache
def _launches() -> LaunchTable:
    return LaunchTable()


class Random:
    """Any type that real players hit from such a place and height, anywhere in the court."""

    def examples(self, seen: Situation, real: Real) -> Array:
        near = _near(seen, real)
        count = np.bincount(real.type[near], minlength=len(TYPES))
        weight: Array = near / np.maximum(count[real.type], 1)  # every type is as likely
        return weight

    def target(self, seen: Situation, kind: int, rng: np.random.Generator) -> Array | None:
        return np.array([-rng.uniform(0.8, HALF_LENGTH_M - 0.3), rng.uniform(-1, 1) * (HALF_SINGLES_M - 0.3)])


class Markov:
    """The type that follows the robot's in real rallies, to where strokes of that type go."""

    def examples(self, seen: Situation, real: Real) -> Array:
        near = _near(seen, real)
        follows = near & (real.incoming == seen.incoming)
        return (follows if follows.any() else near).astype(np.float64)

    def target(self, seen: Situation, kind: int, rng: np.random.Generator) -> Array | None:
        return None


class Human:
    """What real players did in the situations most like this one: place, height, the robot's place and its shot."""

    NEIGHBOURS = 12

    def examples(self, seen: Situation, real: Real) -> Array:
        gap = 2.0 * np.linalg.norm(real.hit_m - seen.hit_m, axis=1) + np.linalg.norm(
            real.receiver_m - seen.robot_m, axis=1
        )
        gap += 1.0 * (real.incoming != seen.incoming)
        nearest_rows = np.argpartition(gap, self.NEIGHBOURS)[: self.NEIGHBOURS]
        weight = np.zeros(len(gap))
        weight[nearest_rows] = 1.0 / (0.3 + gap[nearest_rows])
        return weight

    def target(self, seen: Situation, kind: int, rng: np.random.Generator) -> Array | None:
        return None


class Greedy:
    """As far from the robot as a stroke from here can fall: the examples that make it run furthest for its time."""

    def examples(self, seen: Situation, real: Real) -> Array:
        near = _near(seen, real)
        run = np.linalg.norm(real.floor_m - seen.robot_m, axis=1) / (0.5 + 0.6 * np.maximum(real.elevation_rad, 0.0))
        limit = np.quantile(run[near], 0.9)
        weight: Array = (near & (run >= limit)).astype(np.float64)
        return weight

    def target(self, seen: Situation, kind: int, rng: np.random.Generator) -> Array | None:
        return None


OPPONENTS: dict[str, type[Any]] = {"random": Random, "markov": Markov, "human": Human, "greedy": Greedy}


class Opponent:
    """A player with human limits and one of the ways to choose."""

    def __init__(self, name: str, split: str = "test", limits: HumanLimits = HumanLimits()) -> None:  # noqa: B008
        if name not in OPPONENTS:
            raise DataError(f"opponent '{name}': {nearest(name, OPPONENTS)}")
        self.name, self.limits, self._chooses = name, limits, OPPONENTS[name]()
        self._real, self._table = real_strokes(split), _launches()

    def answer(self, shot: Shot, feet_m: Array, robot_m: Array, rng: np.random.Generator) -> Answer:
        """What comes of the robot's shot (flying towards x > 0), with the opponent's feet where they are."""
        fall = flight.land(shot.x_m[None], shot.v_m_s[None])
        floor_m, floor_s = fall.xy_m[0], float(fall.time_s[0])
        x, times = self._flight(shot, floor_s)
        depth = np.array([HALF_LENGTH_M, HALF_SINGLES_M]) - np.abs(floor_m)
        if floor_m[0] < 0 or depth.min() < -self.limits.leaves_m:
            return Answer(float("nan"), None, feet_m, "left")
        met = self._meets(x, times, floor_s, feet_m, rng)
        if met is None:
            return Answer(float("nan"), None, feet_m, "not reached")
        hit, time_s = x[met], float(times[met])
        ran = self._feet_at(hit, feet_m)
        kind, launch = self._shot(Situation(hit, shot.type, feet_m, robot_m, time_s), rng)
        if launch is None or rng.random() < self._real.error[kind]:
            return Answer(time_s, None, ran, "error")
        return Answer(time_s, Shot(hit, launch, kind), ran)

    def recovered(self, feet_m: Array, time_s: float) -> Array:
        """Feet (2,) that long after the opponent's own hit: on the way back to the middle of its half."""
        home = np.array([3.2, 0.0])
        way = home - feet_m
        share = min(1.0, self.limits.speed_m_s * 0.7 * time_s / max(float(np.linalg.norm(way)), 1e-9))
        return np.asarray(feet_m + share * way)

    def _flight(self, shot: Shot, floor_s: float) -> tuple[Array, Array]:
        steps = max(2, int(floor_s / STEP_S))
        path, _ = flight.fly(shot.x_m[None], shot.v_m_s[None], dt_s=STEP_S, steps=steps)
        return path[0], np.arange(len(path[0]), dtype=np.float64) * STEP_S

    def _meets(self, x: Array, times: Array, floor_s: float, feet_m: Array, rng: np.random.Generator) -> int | None:
        c = self.limits
        run = np.linalg.norm(x[:, :2] - feet_m, axis=1) - c.reach_m
        fine = (x[:, 0] > 0.05) & (x[:, 2] > c.lowest_m) & (x[:, 2] < c.highest_m) & (times < floor_s)
        fine &= run <= c.speed_m_s * np.maximum(times - c.reaction_s, 0.0)
        if not fine.any():
            return None
        wanted = rng.uniform(*c.share) * floor_s
        rows = np.flatnonzero(fine)
        return int(rows[np.abs(times[rows] - wanted).argmin()])

    def _feet_at(self, hit_m: Array, feet_m: Array) -> Array:
        """It stops a racket's length short of the shuttle."""
        way = hit_m[:2] - feet_m
        distance = float(np.linalg.norm(way))
        return np.asarray(feet_m + way * max(0.0, 1.0 - 0.9 / max(distance, 0.9)))

    def _shot(self, seen: Situation, rng: np.random.Generator) -> tuple[int, Array | None]:
        """A type and a launch velocity; None where no elevation near the example's passes the net."""
        weight = self._chooses.examples(seen, self._real)
        kind = -1
        for _ in range(8):
            row = int(rng.choice(len(weight), p=weight / weight.sum()))
            kind = int(self._real.type[row])
            target = self._chooses.target(seen, kind, rng)
            floor_m = self._real.floor_m[row] if target is None else target
            v = self._launch(seen.hit_m, floor_m, float(self._real.elevation_rad[row]))
            if v is not None:
                return kind, v
        return kind, None

    def _launch(self, hit_m: Array, floor_m: Array, elevation_rad: float) -> Array | None:
        tries = elevation_rad + np.radians([0.0, 4.0, 8.0, 12.0, 18.0, 25.0, 35.0])
        many = len(tries)
        start, goal = np.tile(hit_m, (many, 1)), np.tile(floor_m, (many, 1))
        v = self._table.launch(start, goal, tries)
        known = np.isfinite(v).all(axis=1)
        if not known.any():
            return None
        over = flight.land(start[known], v[known])
        clear = over.net_height_m - net_height_at(np.nan_to_num(over.net_y_m)) > CLEARANCE_M
        rows = np.flatnonzero(known)[np.nan_to_num(clear).astype(bool)]
        return v[rows[0]] if len(rows) else None


class Service(NamedTuple):
    """A real service: the shot, and where server and receiver stood; hitter's frame."""

    shot: Shot
    server_m: Array  # (2,)
    receiver_m: Array  # (2,)


@cache
def _services(split: str) -> NDArray[np.int64]:
    table = load_strokes()
    rows = table.split_rows(split)
    good = table.valid[rows] & np.isin(table.type[rows], SERVICES) & np.isfinite(table.receiver_m[rows]).all(axis=1)
    good &= np.isfinite(table.hitter_m[rows]).all(axis=1) & in_singles(np.nan_to_num(table.floor_m[rows], nan=99.0), -1)
    return rows[good]


def service(split: str, rng: np.random.Generator) -> Service:
    """One of the real services."""
    table, row = load_strokes(), int(rng.choice(_services(split)))
    shot = Shot(table.hit_m[row].copy(), table.launch_m_s[row].copy(), int(table.type[row]))
    return Service(shot, table.hitter_m[row].copy(), table.receiver_m[row].copy())


def _near(seen: Situation, real: Real) -> NDArray[np.bool_]:
    """(N,) True for strokes from about this depth and height; the hundred nearest, where there are few."""
    gap = np.abs(real.hit_m[:, 0] - seen.hit_m[0]) + 1.5 * np.abs(real.hit_m[:, 2] - seen.hit_m[2])
    within = gap < 0.6
    if within.sum() >= 100:
        return np.asarray(within)
    return np.asarray(gap <= np.partition(gap, 100)[100])
