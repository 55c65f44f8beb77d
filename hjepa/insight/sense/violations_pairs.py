"""Matched flights: one possible, one impossible, all else equal. Legend: N pairs.

Both of a pair have the same launch, the same sensor noise and the same instant. Every second possible one carries a
harmless change: what differs, but could happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from hjepa.errors import ConfigError
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.badminton.feeds import FeedTable, load_feed, random_feed
from hjepa.tasks.badminton.flight import L_NOMINAL_M
from hjepa.tasks.badminton.shuttle import State, between, rk4, share_at_zero
from hjepa.tasks.badminton.strokes import SPLITS
from hjepa.types import Array, Launch
from robots.sensors import SensorConfig
from robots.sim.disturbance import IMPOSSIBLE, UNITS, Disturbance
from robots.sim.referee import LEG_S
from robots.sim.world import WorldConfig

KINDS = IMPOSSIBLE
SIZES = (1.0, 3.0, 10.0)
PLAYED = ("racket",)  # by a whole agent, in one size: a racket is there or not
EARLIEST_S, LATEST_S = 0.15, 0.25  # after the launch, before the floor: between them something happens
HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        "noise": "tracker noise of 1.5 to 3 times, at most 30 mm",
        "dropped": "6 % of the samples lost, or none for 50 to 200 ms",
        "delay": "tracker delay of 0 to 60 ms",
        "player": "another player: a launch from the random feed",
    }
)
NOISE_MAX_M, LOSS, GAP_S, DELAY_S = 0.030, 0.06, (0.05, 0.20), 0.060
_LONGEST_S = 3.0  # until a shuttle is at the net
_STEEPEST = 1.2  # rad by which a launch is turned down at most, to meet the net


class Case(NamedTuple):
    """An episode to be watched."""

    launch: Launch
    receiver_xy_m: Array  # (2,) where the robot stands
    at_s: float  # from here on the score counts
    until_s: float  # the flight is expected to end then
    sensors: SensorConfig
    disturbance: Disturbance | None
    seed: int
    harmless: str = ""  # of HARMLESS


class Pair(NamedTuple):
    impossible: Case
    possible: Case


def feed_of(split: str) -> FeedTable:
    """Real strokes of a split; ConfigError if there are none."""
    if split not in SPLITS:
        raise ConfigError(f"task.feed is '{split}': violations are of real strokes; allowed: {', '.join(SPLITS)}")
    return load_feed(split)


def normal(feed: FeedTable, count: int, seed: int) -> list[Case]:
    """N strokes in which nothing is wrong."""
    return list(islice(_strokes(feed, "teleport", 1.0, np.random.default_rng([seed, 52])), count))


def draw(feed: FeedTable, kind: str, size: float, count: int, seed: int) -> list[Pair]:
    """N pairs of a kind and size; the same for the same arguments."""
    rng = np.random.default_rng([seed, KINDS.index(kind), round(10 * size), 51])
    others = random_feed(max(1, count), int(rng.integers(2**31)))
    pairs: list[Pair] = []
    for i, plain in enumerate(islice(_strokes(feed, kind, size, rng), count)):
        begins_s = 0.0 if kind in ("net", "racket") else plain.at_s  # these two wait for the shuttle
        impossible = plain._replace(disturbance=Disturbance(kind, begins_s, size, i))
        possible = changed(plain, tuple(HARMLESS)[i // 2 % len(HARMLESS)], others.launch(i), rng) if i % 2 else plain
        pairs.append(Pair(impossible, possible))
    return pairs


def _strokes(feed: FeedTable, kind: str, size: float, rng: np.random.Generator) -> Iterator[Case]:
    """Real strokes in random order in which such a thing can happen, without it."""
    for row in rng.permutation(len(feed.id)):
        timed = _timed(feed, int(row), kind, size, rng)
        if timed is not None:
            episode = int(rng.integers(2**31))
            yield Case(timed[0], feed.receiver_xy_m[row], timed[1], timed[2], WorldConfig().sensors(), None, episode)


def changed(case: Case, what: str, other: Launch, rng: np.random.Generator) -> Case:
    """The same with a harmless change; `other`: another player's launch."""
    sensors = case.sensors
    if what == "noise":
        noise = min(NOISE_MAX_M, sensors.tracker_noise_m * rng.uniform(1.5, 3.0))
        return case._replace(sensors=sensors._replace(tracker_noise_m=noise), harmless=what)
    if what == "delay":
        return case._replace(sensors=sensors._replace(tracker_delay_s=rng.uniform(0.0, DELAY_S)), harmless=what)
    if what == "player":
        floor_s = _floor_s(other)
        at_s = min(case.at_s, floor_s - LATEST_S)
        return case._replace(launch=other, at_s=at_s, until_s=floor_s, harmless=what)
    if rng.random() < 0.5:
        return case._replace(sensors=sensors._replace(dropout=LOSS), harmless=what)
    gap = Disturbance("vanish", case.at_s, rng.uniform(*GAP_S) / UNITS["vanish"].amount)
    return case._replace(disturbance=gap, harmless=what)


def _timed(
    feed: FeedTable, row: int, kind: str, size: float, rng: np.random.Generator
) -> tuple[Launch, float, float] | None:
    """Launch, when something happens, when the flight would end; None if the stroke does not last long enough."""
    launch = feed.launch(row)
    if kind == "racket":
        return launch, 0.0, float(feed.time_s[row])
    if kind == "net":
        met = lowered(launch, size * UNITS["net"].amount)
        return met if met is not None and met[1] >= EARLIEST_S and met[2] - met[1] >= LATEST_S else None
    floor_s = _floor_s(launch)
    left = LATEST_S
    if kind == "vanish":  # it is away for as long as its size says, or from early on
        left = max(LATEST_S, min(size * UNITS["vanish"].amount, floor_s - EARLIEST_S - 0.05))
    if not floor_s - left > EARLIEST_S:
        return None
    return launch, float(np.round(rng.uniform(EARLIEST_S, floor_s - left), 2)), floor_s


def _floor_s(launch: Launch) -> float:
    return float(flight.land(launch.x_m[None], launch.v_m_s[None]).time_s[0])


def lowered(launch: Launch, below_m: float) -> tuple[Launch, float, float] | None:
    """The launch turned down until it meets the net so far below the tape; when it does, and when it would land.

    None: there is no such launch at that speed.
    """
    flat = float(np.hypot(*launch.v_m_s[:2]))
    speed, up = float(np.linalg.norm(launch.v_m_s)), float(np.arctan2(launch.v_m_s[2], flat))

    def turned(angle: float) -> Launch:
        v = np.append(launch.v_m_s[:2] / flat * np.cos(angle), np.sin(angle)) * speed
        return launch._replace(v_m_s=v)

    low, high = max(up - _STEEPEST, -1.4), up
    if flat == 0.0 or not _over_net_m(turned(high)) > -below_m:
        return None
    for _ in range(40):
        middle = 0.5 * (low + high)
        if _over_net_m(turned(middle)) > -below_m:
            high = middle
        else:
            low = middle
    met = turned(high)
    path = flight.land(met.x_m[None], met.v_m_s[None])
    net_s, floor_s = float(path.net_time_s[0]), float(path.time_s[0])
    return (met, net_s, floor_s) if abs(_over_net_m(met) + below_m) < 1e-3 and net_s < floor_s else None


def _over_net_m(launch: Launch) -> float:
    """Height over the tape where the shuttle crosses the net's plane; -inf if it falls before."""
    state: State = (*launch.x_m.tolist(), *launch.v_m_s.tolist())
    for _ in range(round(_LONGEST_S / LEG_S)):
        ahead = rk4(state, LEG_S, L_NOMINAL_M)
        if ahead[0] <= 0.0:
            _, y, z = between(state, ahead, LEG_S, share_at_zero(state, ahead, LEG_S, 0))
            return z - float(net_height_at(y))
        if ahead[2] <= 0.0:
            break
        state = ahead
    return -np.inf
