"""Trackers: what measures the shuttle (or another target) for a driver that has no simulated court around it.

A window is K slots 10 ms apart, oldest first, the last one at the instant asked for; see hjepa.protocols.Tracker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hjepa.protocols import Tracker
from hjepa.types import Array, Observation
from robots.sensors import SLOT_NS, WINDOW

Window = tuple[Array, NDArray[np.bool_], NDArray[np.int64]]


def slots_ns(stamp_ns: int) -> NDArray[np.int64]:
    """Stamps (K,) of the slots that end at an instant."""
    return stamp_ns + SLOT_NS * np.arange(1 - WINDOW, 1, dtype=np.int64)


def nothing_seen(stamp_ns: int) -> Window:
    """The window of a robot without a tracker."""
    return np.zeros((WINDOW, 3)), np.zeros(WINDOW, dtype=np.bool_), slots_ns(stamp_ns)


def observation(stamp_ns: int, q_rad: Array, dq_rad_s: Array, tracker: Tracker | None) -> Observation:
    """Joint readings (J,) and what the tracker, if there is one, has seen by then."""
    window = nothing_seen(stamp_ns) if tracker is None else tracker.window(stamp_ns)
    return Observation(stamp_ns, q_rad, dq_rad_s, *window)


def copied(seen: Observation) -> Observation:
    """The same observation with arrays of its own."""
    tracker = seen.tracker_xyz_m.copy(), seen.tracker_mask.copy(), seen.tracker_stamp_ns.copy()
    return Observation(seen.stamp_ns, seen.q_rad.copy(), seen.dq_rad_s.copy(), *tracker)
