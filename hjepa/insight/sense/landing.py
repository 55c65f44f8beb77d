"""Where a level expects the shuttle to land: read from its own prediction of the flight, no flight equation is asked.

Legend: N states, T instants.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.types import Array

STEP_S = 0.02
HORIZON_S = 3.0  # the longest real flights take as long to the floor
AT_ONCE = 64  # states; each has 150 instants


class Foreseeing(Protocol):
    """What is asked of a low level."""

    @property
    def predictor(self) -> Any: ...


class Ahead(NamedTuple):
    """The flight from each state on, as it is expected."""

    time_s: Array  # (T,) from the state's instant on
    x_m: Array  # (N, T, 3) world


class Landing(NamedTuple):
    """Where each expected flight meets the floor."""

    xy_m: Array  # (N, 2); of one that never gets there: where it is lowest
    time_s: Array  # (N,) from the state's instant on; nan: it never gets there


@torch.no_grad()
def ahead(level: Foreseeing, z: Tensor, step_s: float = STEP_S, horizon_s: float = HORIZON_S) -> Ahead:
    """The flight that states z (N, D + C + POSE) expect."""
    times = torch.arange(1, round(horizon_s / step_s) + 1, dtype=z.dtype) * step_s
    paths = []
    for part in z.split(AT_ONCE):
        to_go = times.repeat(len(part))[:, None]
        told = level.predictor.ahead(part.repeat_interleave(len(times), dim=0), to_go)
        paths.append(told[:, :3].double().view(len(part), len(times), 3).numpy())
    return Ahead(times.double().numpy(), np.concatenate(paths) if paths else np.zeros((0, len(times), 3)))


def landing(level: Foreseeing, z: Tensor) -> Landing:
    """Where and when the flights that states z (N, D + C + POSE) expect first meet the floor."""
    return first_floor(ahead(level, z))


def first_floor(flight: Ahead) -> Landing:
    """The first crossing of height 0, on the straight line between two instants; from the first instant on."""
    height = flight.x_m[..., 2]
    down = height <= 0.0
    lands = down.any(axis=1)
    after = np.where(lands, down.argmax(axis=1), height.argmin(axis=1))
    before = np.maximum(after - 1, 0)
    rows: NDArray[np.int64] = np.arange(len(height))
    fall = height[rows, before] - height[rows, after]
    share = np.divide(height[rows, before], fall, out=np.ones(len(rows)), where=lands & (fall > 0.0))
    xy = flight.x_m[rows, before, :2] + share[:, None] * (flight.x_m[rows, after, :2] - flight.x_m[rows, before, :2])
    times = flight.time_s[before] + share * (flight.time_s[after] - flight.time_s[before])
    return Landing(xy, np.where(lands, times, np.nan))
