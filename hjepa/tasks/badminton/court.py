"""The badminton court: dimensions, lines and net (BWF Laws of Badminton, Law 1).

World frame: origin on the floor under the middle of the net, x towards the opponent, y left, z up; metres.
Legend: ... any leading shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hjepa.types import Array

COURT_LENGTH_M = 13.40
DOUBLES_WIDTH_M = 6.10
SINGLES_WIDTH_M = 5.18
HALF_LENGTH_M = COURT_LENGTH_M / 2
HALF_DOUBLES_M = DOUBLES_WIDTH_M / 2  # the posts stand here
HALF_SINGLES_M = SINGLES_WIDTH_M / 2
LINE_WIDTH_M = 0.040  # lines are part of the area they bound
SHORT_SERVICE_LINE_M = 1.98  # from the net
LONG_SERVICE_DOUBLES_M = HALF_LENGTH_M - 0.76  # from the net
NET_HEIGHT_M = 1.524  # at the centre
NET_HEIGHT_POST_M = 1.55  # at the doubles side lines
NET_DEPTH_M = 0.76  # from the tape downwards
SERVICE_HEIGHT_M = 1.15  # the whole shuttle is below this when served


def in_singles(xy_m: ArrayLike, side: int) -> NDArray[np.bool_]:
    """True (...,) where a floor point (..., 2) lies in the singles court of one side; lines count as in.

    side: +1 is the opponent's half (x > 0), -1 the robot's (x < 0).
    """
    if side not in (-1, 1):
        raise ValueError(f"side is {side}; allowed: 1 (opponent, x > 0), -1 (robot, x < 0)")
    xy = np.asarray(xy_m, dtype=np.float64)
    depth = side * xy[..., 0]
    return (depth > 0.0) & (depth <= HALF_LENGTH_M) & (np.abs(xy[..., 1]) <= HALF_SINGLES_M)


def net_height_at(y_m: ArrayLike) -> Array:
    """Height (...,) of the net's tape at y (...,): 1.524 m at the centre, 1.55 m at the posts and beyond.

    A parabola through those points: the sag is too small to tell it from a catenary.
    """
    share = np.minimum(np.abs(np.asarray(y_m, dtype=np.float64)) / HALF_DOUBLES_M, 1.0)
    return NET_HEIGHT_M + (NET_HEIGHT_POST_M - NET_HEIGHT_M) * share**2
