"""Flights with a part hidden, and where estimators expect them to land. No robot moves: it stands and looks.

A flight is seen by the simulated tracker, hidden for a span that may lie anywhere, and estimators are asked at the end
of the span, when nothing has arrived since, and later. The same flight has the same noise whatever is hidden of it.
Legend: N flights, A instants at which is asked, K window slots, J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.evaluation.feasible import stand, stroke_seed
from hjepa.insight.sense.landing import Ahead, Landing, ahead, first_floor
from hjepa.models.low import LowInput, LowLevel
from hjepa.planning.context import SlowContext
from hjepa.tasks.badminton.estimate import Estimate, FilterConfig, ShuttleFilter
from hjepa.tasks.badminton.feeds import FeedTable
from hjepa.tasks.badminton.flight import G, fly, land
from hjepa.types import NS, Array, Observation, RobotSpec, RobotState
from robots.sensors import SLOT_NS, WINDOW, SensorConfig, Sensors

SLOT_S = SLOT_NS / NS
BEFORE = 6  # samples of the flight that were seen before it is hidden
AFTER = (0, 5, 10, 20)  # slots seen again when estimators are asked, A
RECENT = 6  # samples that tell `constant velocity` where it goes
LONGEST_S = 8.0  # to the floor, of an estimate


class Flights(NamedTuple):
    """N flights, seen by a robot that stands where the receiver stood."""

    match: NDArray[np.int16]  # (N,)
    seed: NDArray[np.int64]  # (N,) of the tracker's noise
    share: Array  # (N,) where the hidden span lies, from 0: as early as may be, to 1: as late as may be
    drag_m: Array  # (N,)
    x_m: Sequence[Array]  # N times (slots in the air, 3)
    floor_m: Array  # (N, 2) true landing
    floor_s: Array  # (N,)
    q_rad: Array  # (N, J)


class Look(NamedTuple):
    """A flight as it was seen until the last instant at which is asked."""

    first: int  # slot that is the first hidden one
    seen: Sequence[Observation]  # one a slot, from the launch
    asked: Sequence[int]  # slots at which is asked, those before the landing; at most A


def make_flights(feed: FeedTable, spec: RobotSpec, drag_m: Array, seed: int) -> Flights:
    """The feed's launches in worlds of the drag lengths given (N,)."""
    landed = land(feed.x0_m, feed.v0_m_s, drag_m, max_s=LONGEST_S)
    slots = np.ceil(landed.time_s / SLOT_S).astype(np.int64)  # slot 0 is the launch; the last one is above the floor
    path, _ = fly(feed.x0_m, feed.v0_m_s, dt_s=SLOT_S, steps=int(slots.max()), L=drag_m)
    home = RobotState(spec.q_home_rad, np.zeros(spec.joints))
    stands = [stand(spec, home, place).q_rad for place in feed.receiver_xy_m]
    seeds = np.array([stroke_seed(seed, int(k)) for k in feed.id])
    share = np.random.default_rng([seed, 31]).random(len(feed.id))
    paths = [x[:n] for x, n in zip(path, slots, strict=True)]
    return Flights(feed.match, seeds, share, drag_m, paths, landed.xy_m, landed.time_s, np.stack(stands))


def long_enough(floor_s: Array, sensors: SensorConfig, hidden: int) -> NDArray[np.bool_]:
    """Which flights (N,) may have so many slots hidden, with as much as two lost samples before."""
    return floor_s / SLOT_S > BEFORE + 2 + hidden + late(sensors) + 1


def late(sensors: SensorConfig) -> int:
    """Newest slots that have not arrived."""
    return int(-(-round(sensors.tracker_delay_s * NS) // SLOT_NS))


def look(flights: Flights, i: int, hidden: int, sensors: SensorConfig) -> Look:
    """Flight i with so many slots hidden; asked when the last of them would have arrived, and AFTER later."""
    last, old = len(flights.x_m[i]) - 1, late(sensors)
    at_once = sensors._replace(tracker_delay_s=0.0)
    samples = np.cumsum([seen.tracker_mask[-1] for seen in _watch(flights, i, at_once, last + 1)])
    earliest = int(np.searchsorted(samples, BEFORE)) + 1
    latest = max(last - hidden - old, earliest)
    first = earliest + int(flights.share[i] * (latest - earliest + 1))
    asked = [k for k in (first + hidden + old - 1 + more for more in AFTER) if k <= last]
    span = (first * SLOT_S, (first + hidden) * SLOT_S)
    return Look(first, _watch(flights, i, sensors._replace(hidden=(span,)), asked[-1] + 1), asked)


def _watch(flights: Flights, i: int, sensors: SensorConfig, slots: int) -> list[Observation]:
    """What is observed in each of the first slots of flight i."""
    path, q = flights.x_m[i], flights.q_rad[i]
    eye = Sensors(sensors, len(q), len(path), np.random.default_rng(int(flights.seed[i])))
    still = np.zeros(len(q))
    return [eye.observe(k, (float(x[0]), float(x[1]), float(x[2])), q, still) for k, x in enumerate(path[:slots])]


def expected(level: LowLevel, observations: Sequence[Observation], context: Array) -> Ahead:
    """The flights that the low level expects from observations (N) in worlds of contexts (N, C)."""
    with torch.no_grad():
        z = _encoded(level, observations)
        return ahead(level, level.in_context(z, torch.from_numpy(context.astype(np.float32))))


def inferred(level: LowLevel, observations: Sequence[Observation]) -> Array:
    """Contexts (N, C) that the slow context would plan in, had it seen nothing but each of these flights."""
    belief = SlowContext(level, torch.eye(level.config.goal))
    with torch.no_grad():
        told = level.context_of(_encoded(level, observations))
        estimates = []
        for said, doubt in zip(*told, strict=True):
            belief.forget()
            belief.saw(said[None], doubt[None])
            estimates.append(belief.estimate[0])
    return torch.stack(estimates).double().numpy()


def _encoded(level: LowLevel, observations: Sequence[Observation]) -> Tensor:
    """z (N, Z)."""
    columns = ("tracker_xyz_m", "tracker_mask", "q_rad", "dq_rad_s")
    parts = [np.stack([getattr(seen, name) for seen in observations]) for name in columns]
    return level.encode(LowInput(*(torch.from_numpy(part.astype(np.float32)) for part in parts)))


def ours(level: LowLevel, observations: Sequence[Observation], context: Array) -> Landing:
    """Where the low level expects the shuttles of N observations to land."""
    return first_floor(expected(level, observations, context))


def filtered(config: FilterConfig, one: Look, afresh: bool = False) -> list[Estimate | None]:
    """What a Kalman filter believes at each instant at which is asked; afresh: from what is in the window then."""
    if afresh:
        return [ShuttleFilter(config).update(one.seen[k]) for k in one.asked]
    eye, beliefs, asked = ShuttleFilter(config), [], set(one.asked)
    for k, seen in enumerate(one.seen):
        if k in asked:
            beliefs.append(eye.update(seen))
        elif k % (WINDOW // 4) == 0:  # before what is new leaves the window
            eye.update(seen)
    return beliefs


def landings(beliefs: Sequence[Estimate | None]) -> Array:
    """Landing points (N, 2) of what filters believe; nan: nothing is believed, or it does not come down."""
    known = [k for k, belief in enumerate(beliefs) if belief is not None]
    xy = np.full((len(beliefs), 2), np.nan)
    some = [belief for belief in beliefs if belief is not None]
    if some:
        x, v = np.stack([b.x_m for b in some]), np.stack([b.v_m_s for b in some])
        with np.errstate(over="ignore", invalid="ignore"):  # an absurd belief never lands
            xy[known] = land(x, v, np.array([b.drag_length_m for b in some]), max_s=LONGEST_S).xy_m
    return xy


def copied(seen: Observation) -> Array:
    """(2,) the last seen place: `copy-last`."""
    return np.array(seen.tracker_xyz_m[np.flatnonzero(seen.tracker_mask)[-1], :2])


def coasting(seen: Observation) -> Array:
    """(2,) landing of a point without drag: the last RECENT samples tell where it is and how fast."""
    slots = np.flatnonzero(seen.tracker_mask)[-RECENT:]
    t = (seen.tracker_stamp_ns[slots] - seen.tracker_stamp_ns[slots[-1]]) / NS
    straight = seen.tracker_xyz_m[slots] - 0.5 * G * t[:, None] ** 2
    (x, v), *_ = np.linalg.lstsq(np.stack([np.ones_like(t), t], axis=-1), straight, rcond=None)
    falls_s = (v[2] + np.sqrt(max(v[2] ** 2 - 2.0 * G[2] * x[2], 0.0))) / -G[2]
    return np.array(x[:2] + falls_s * v[:2])
