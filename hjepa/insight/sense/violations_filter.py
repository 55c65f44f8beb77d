"""The rival's surprise: innovations of the Kalman filter that knows the flight equation and the tracker's noise.

What is left of a sample after the update, r = y - x+, and the covariance P+ give back its innovation, white in normal
play: with R = s^2 I, S = s^4 (R - P+)^-1 = L L' and u = L' r / s^2 (from Anderson & Moore 1979, ch. 5). Sums of the
last w of them add up what drifts slowly. Nothing is said of what is not seen, nor of the net.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hjepa.tasks.badminton.estimate import FilterConfig, ShuttleFilter
from hjepa.types import Array, Observation, Sensed

WINDOWS = (1, 2, 3, 5, 8, 12, 20)  # samples that are added up
FLIGHT = ("teleport", "gravity", "drag_off", "mass", "frozen", "reversal")  # kinds that a flight equation speaks of


def surprises(observations: Sequence[Observation], until_ns: int) -> list[Sensed]:
    """One for each observation; p is 1: the filter is not calibrated on normal play."""
    noise_m = FilterConfig().noise_m
    sight, told, white = ShuttleFilter(), -1, [np.zeros(3)]
    sensed = []
    for seen in observations:
        for k in np.flatnonzero(
            seen.tracker_mask & (seen.tracker_stamp_ns > told) & (seen.tracker_stamp_ns < until_ns)
        ):
            told = int(seen.tracker_stamp_ns[k])
            begun = sight.estimate() is not None
            now = sight.update(seen._replace(tracker_mask=seen.tracker_mask & (seen.tracker_stamp_ns == told)))
            if begun and now is not None:
                kept = noise_m**2 * np.eye(3) - sight.covariance[:3, :3]
                L = np.linalg.cholesky(np.linalg.inv(kept / noise_m**4))
                white.append(L.T @ (seen.tracker_xyz_m[k] - now.x_m) / noise_m**2)
        sensed.append(Sensed(seen.stamp_ns, drift(np.stack(white)), 1.0, "flight"))
    return sensed


def drift(white: Array) -> float:
    """Largest |sum of the last w|^2 / w of innovations (n, 3)."""
    late = np.cumsum(white[::-1][: WINDOWS[-1]], axis=0)
    return max(float((late[w - 1] ** 2).sum()) / w for w in WINDOWS if w <= len(late))
