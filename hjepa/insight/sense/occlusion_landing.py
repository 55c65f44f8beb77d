"""How far the expected landing is from the true one while the shuttle is hidden: the low level beside its rivals.

Two worlds: the nominal one, and worlds whose drag differs from flight to flight. Legend: N flights, H hidden spans,
A instants at which is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.arrays import load_arrays, save_arrays
from hjepa.evaluation.metrics import Interval
from hjepa.insight.sense import occlusion_flights as sky
from hjepa.models.low import LowLevel
from hjepa.tasks.badminton.estimate import FilterConfig
from hjepa.tasks.badminton.feeds import FeedTable
from hjepa.tasks.badminton.flight import L_NOMINAL_M
from hjepa.training.pairs import DRAG_UNIT_M
from hjepa.types import Array, Observation, RobotSpec
from robots.sensors import SensorConfig

HIDDEN_MS = (0, 50, 100, 200, 300, 400)
DRAG_RANGE_M = (4.1, 5.4)  # of the varied worlds
OURS, TOLD = "low level", "low level, drag told"
ALONE = "low level, drag by this flight"  # as it plays, before it has lived anything
TRUE, NOMINAL, ESTIMATED = "Kalman, true drag", "Kalman, nominal drag", "Kalman, drag estimated"
WINDOW = "Kalman, true drag, one window"  # it knows what the low level knows: what is seen now, not what went before
COPY, COAST = "copy last", "constant velocity"
WORLDS = {
    "nominal": (OURS, ALONE, TRUE, ESTIMATED, COAST, COPY, WINDOW),
    "varied": (OURS, ALONE, TOLD, TRUE, NOMINAL, ESTIMATED, COPY),
}
RESAMPLES = 1000

Progress = Callable[[str, int, int], None]


class Errors(NamedTuple):
    """Distances (m) of expected landings from the true ones in one world."""

    match: NDArray[np.int16]  # (N,)
    to_floor_s: Array  # (H, N) from the first instant at which is asked
    aloft: Array  # (H, A, N) 1 where the low level expects no landing: its error is that of the lowest place then
    m: Mapping[str, Array]  # estimator -> (H, A, N); nan: the flight was over, or nothing was expected


class Setting(NamedTuple):
    """What is asked of whom."""

    level: LowLevel
    spec: RobotSpec
    sensors: SensorConfig
    hidden_ms: Sequence[int]
    seed: int


def errors(world: str, feed: FeedTable, setting: Setting, folder: Path, progress: Progress) -> Errors:
    """Errors in one of WORLDS over the feed's flights; those of a span that are in `folder` are taken from there."""
    n = len(feed.id)
    rng = np.random.default_rng([setting.seed, 32])
    drag = rng.uniform(*DRAG_RANGE_M, n) if world == "varied" else np.full(n, L_NOMINAL_M)
    flights = sky.make_flights(feed, setting.spec, drag, setting.seed)
    parts = []
    for hidden_ms in setting.hidden_ms:
        path = folder / f"landing-{world}-{hidden_ms}.npz"
        if not path.exists():
            what = f"landing, {world} drag, {hidden_ms} ms hidden"
            save_arrays(path, _span(WORLDS[world], flights, setting, hidden_ms, partial(progress, what)))
        names = [*WORLDS[world], "to_floor_s", "aloft"]
        parts.append(load_arrays(path, names, "part of an examination", "delete it, and examine again"))
    told = {name: np.stack([part[name] for part in parts]) for name in WORLDS[world]}
    to_floor_s, aloft = (np.stack([part[name] for part in parts]) for name in ("to_floor_s", "aloft"))
    return Errors(flights.match, to_floor_s, aloft, told)


def _span(
    names: Sequence[str], flights: sky.Flights, setting: Setting, hidden_ms: int, progress: Callable[[int, int], None]
) -> dict[str, Array]:
    """Estimator -> errors (A, N) with one span hidden; and the other columns of Errors."""
    count = len(flights.drag_m)
    hidden = round(hidden_ms / 1e3 / sky.SLOT_S)
    looks, believed = [], []
    for i in range(count):
        looks.append(sky.look(flights, i, hidden, setting.sensors))
        drag = float(flights.drag_m[i])
        filters = [name for name in names if name.startswith("Kalman")]
        believed.append({k: sky.filtered(filter_of(k, drag), looks[-1], afresh=k == WINDOW) for k in filters})
        progress(i + 1, count)
    made = {name: np.full((len(sky.AFTER), count), np.nan) for name in [*names, "aloft"]}
    for a in range(len(sky.AFTER)):
        flying = np.array([i for i, one in enumerate(looks) if a < len(one.asked)], dtype=np.int64)
        if not len(flying):
            continue
        context = np.zeros((len(flying), setting.level.config.context))
        context[:, 0] = (flights.drag_m[flying] - L_NOMINAL_M) / DRAG_UNIT_M
        told = _told(setting.level, [looks[i].seen[looks[i].asked[a]] for i in flying], context)
        told |= {name: sky.landings([believed[i][name][a] for i in flying]) for name in believed[0]}
        for name in names:
            made[name][a, flying] = np.linalg.norm(told[name] - flights.floor_m[flying], axis=-1)
        made["aloft"][a, flying] = told["aloft"]
    return made | {"to_floor_s": flights.floor_s - [one.asked[0] * sky.SLOT_S for one in looks]}


def _told(level: LowLevel, seen: Sequence[Observation], context: Array) -> dict[str, Array]:
    """Landings (N, 2) by the estimators that look at one observation each; context (N, C): the truth."""
    own = sky.ours(level, seen, np.zeros_like(context))
    return {
        OURS: own.xy_m,
        ALONE: sky.ours(level, seen, sky.inferred(level, seen)).xy_m,
        TOLD: sky.ours(level, seen, context).xy_m,
        COPY: np.stack([sky.copied(one) for one in seen]),
        COAST: np.stack([sky.coasting(one) for one in seen]),
        "aloft": np.isnan(own.time_s).astype(np.float64),
    }


def filter_of(name: str, drag_m: float) -> FilterConfig:
    """A rival's filter in a world of this drag length."""
    if name == ESTIMATED:
        return FilterConfig()  # the classical agent's
    believed_m = L_NOMINAL_M if name == NOMINAL else drag_m
    return FilterConfig(drag_length_m=believed_m, drag_spread=1e-4, drag_walk=0.0)


def clustered(columns: Array, cluster: NDArray[Any], statistic: Callable[[Array], float], seed: int = 0) -> Interval:
    """statistic(columns (C, N)) with a 95 % interval: clusters are drawn again, with all their columns."""
    names, index = np.unique(cluster, return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(names), size=(RESAMPLES, len(names)))
    values = [statistic(columns[:, np.concatenate([members[k] for k in row])]) for row in drawn]
    return Interval(statistic(columns), *(float(x) for x in np.quantile(values, [0.025, 0.975])))


def medians_ratio(columns: Array) -> float:
    """Median of the first row over that of the second one."""
    return float(np.median(columns[0]) / np.median(columns[1]))


def means_ratio(columns: Array) -> float:
    """Mean of the first row over that of the second one."""
    return float(columns[0].mean() / columns[1].mean())


def median(columns: Array) -> float:
    """Median of the only row."""
    return float(np.median(columns[0]))


def paired(ours: Array, theirs: Array, match: NDArray[Any]) -> tuple[Array, NDArray[Any]]:
    """Errors (2, M) of the flights for which both expected a landing, and their matches (M,)."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    return np.stack([ours[both], theirs[both]]), match[both]
