"""Measures points for a calibration: the arm stands still at a pose, the tracker looks at the marker on its tool.

Legend: J joints, S slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hjepa.errors import DataError
from hjepa.protocols import Tracker
from hjepa.types import NS, Array, Observation, RobotSpec
from robots.bench import Bench
from robots.calibration_file import Point
from robots.moves import go_to, stay

_LEAST_SLOTS = 10
_FLOOR_M = 2e-4  # no tracker is believed beyond this
_TRIES = 3  # poses per point wanted, at most


@dataclass(frozen=True)
class CaptureConfig:
    """How many poses, how far from home, and how long the arm stands at each."""

    points: int = 10
    spread: float = 0.6  # share of the way from home to the joints' limits
    furthest_rad: float = 1.0
    settle_s: float = 0.3
    look_s: float = 0.3
    seed: int = 0


Said = Callable[[int, int, str], None]
"""Told (points so far, wanted, what happened)."""


def capture(
    bench: Bench,
    config: CaptureConfig,
    tracker: Tracker | None = None,
    said: Said = lambda done, wanted, what: None,
) -> Iterator[Point]:
    """Points of an arm that is connected and armed; tracker: None for the driver's own. Ends at rest at home.

    DataError where the tracker sees the marker at too few of the poses.
    """
    spec: RobotSpec = bench.driver.spec
    rng = np.random.default_rng(config.seed)
    got = 0
    for _ in range(_TRIES * config.points):
        go_to(bench, pose(spec, config, rng))
        stay(bench, config.settle_s)
        point = still(stay(bench, config.look_s), config.look_s, f"pose {got + 1}", tracker)
        if point is None:
            said(got, config.points, "the tracker does not see the marker here; another pose")
            continue
        got += 1
        said(got, config.points, "")
        yield point
        if got == config.points:
            break
    go_to(bench, spec.q_home_rad)
    if got < config.points:
        raise DataError(
            f"the tracker saw the marker at {got} of {_TRIES * config.points} poses; wanted: {config.points}"
        )


def pose(spec: RobotSpec, config: CaptureConfig, rng: np.random.Generator) -> Array:
    """A random place (J,) around home, within the joints' ranges."""
    up, down = spec.q_max_rad - spec.q_home_rad, spec.q_home_rad - spec.q_min_rad
    where = rng.uniform(-1.0, 1.0, spec.joints)
    room = np.minimum(config.spread * np.where(where > 0, up, down), config.furthest_rad)
    out: Array = spec.q_home_rad + where * room
    return out


def still(seen: list[Observation], look_s: float, name: str, tracker: Tracker | None = None) -> Point | None:
    """One point from what was seen while the arm stood for `look_s`; None where the tracker saw too little.

    The covariance is that of the mean: the tracker's scatter here, divided by the slots that were measured.
    """
    last = seen[-1]
    window = (last.tracker_xyz_m, last.tracker_mask, last.tracker_stamp_ns)
    xyz, mask, stamps = window if tracker is None else tracker.window(last.stamp_ns)
    good = mask & (stamps >= last.stamp_ns - round(look_s * NS))
    if good.sum() < _LEAST_SLOTS:
        return None
    points = xyz[good]  # (S, 3)
    covariance = np.cov(points.T) / len(points) + _FLOOR_M**2 * np.eye(3)
    q = np.mean([o.q_rad for o in seen], axis=0)
    x, y, z = points.mean(0).tolist()
    xx, yy, zz, xy, xz, yz = (float(covariance[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
    return Point(name=name, tracker=(x, y, z), covariance_m2=(xx, yy, zz, xy, xz, yz), q=tuple(q.tolist()))
