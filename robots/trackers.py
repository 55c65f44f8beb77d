"""Trackers: what measures the shuttle (or another target) for a driver that has no simulated court around it.

A window is K slots 10 ms apart, oldest first, the last one at the instant asked for; see hjepa.protocols.Tracker. A
camera or motion-capture process on the network is `UdpTracker` (udp_tracker.py). Legend: N measurements, K slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError, RobotError
from hjepa.protocols import Tracker
from hjepa.types import NS, Array, Observation
from robots.sensors import SLOT_NS, WINDOW, SensorConfig

Window = tuple[Array, NDArray[np.bool_], NDArray[np.int64]]
Path = Callable[[Array], Array]
"""Where the target is: times in s (K,) to positions in m (K, 3), world frame."""

GAP_NS = 25_000_000  # a slot between two measurements further apart than this stays empty
_NOISE_ROWS = 4096


def slots_ns(stamp_ns: int) -> NDArray[np.int64]:
    """Stamps (K,) of the slots that end at an instant."""
    return stamp_ns + SLOT_NS * np.arange(1 - WINDOW, 1, dtype=np.int64)


def nothing_seen(stamp_ns: int) -> Window:
    """The window of a robot without a tracker."""
    return np.zeros((WINDOW, 3)), np.zeros(WINDOW, dtype=np.bool_), slots_ns(stamp_ns)


def between(stamps_ns: NDArray[np.int64], xyz_m: Array, stamp_ns: int, gap_ns: int = GAP_NS) -> Window:
    """The window at an instant from measurements at other times, (N,) rising and (N, 3): linear between neighbours.

    At 50 m/s^2, a shuttle's deceleration at 48 m/s, a line errs by 0.6 mm between measurements 10 ms apart. Nothing is
    extrapolated: a slot newer than the newest measurement is masked.
    """
    xyz, mask, slots = nothing_seen(stamp_ns)
    if len(stamps_ns) == 0:
        return xyz, mask, slots
    after = np.searchsorted(stamps_ns, slots)  # first measurement not earlier than the slot
    exact = (after < len(stamps_ns)) & (stamps_ns[np.minimum(after, len(stamps_ns) - 1)] == slots)
    inside = (after > 0) & (after < len(stamps_ns))
    last, first = np.clip(after, 0, len(stamps_ns) - 1), np.clip(after - 1, 0, len(stamps_ns) - 1)
    span = stamps_ns[last] - stamps_ns[first]
    mask = exact | (inside & (span <= gap_ns))
    share = np.where(exact | (span == 0), 1.0, (slots - stamps_ns[first]) / np.maximum(span, 1))[:, None]  # (K, 1)
    xyz = np.where(mask[:, None], xyz_m[first] + share * (xyz_m[last] - xyz_m[first]), 0.0)
    return xyz, mask, slots


def observation(stamp_ns: int, q_rad: Array, dq_rad_s: Array, tracker: Tracker | None) -> Observation:
    """Joint readings (J,) and what the tracker, if there is one, has seen by then."""
    window = nothing_seen(stamp_ns) if tracker is None else tracker.window(stamp_ns)
    return Observation(stamp_ns, q_rad, dq_rad_s, *window)


def copied(seen: Observation) -> Observation:
    """The same observation with arrays of its own."""
    tracker = seen.tracker_xyz_m.copy(), seen.tracker_mask.copy(), seen.tracker_stamp_ns.copy()
    return Observation(seen.stamp_ns, seen.q_rad.copy(), seen.dq_rad_s.copy(), *tracker)


class SimTracker:
    """Sees a target that moves along a known path, with the imperfections of the simulated court's tracker.

    The path's time 0 is `origin_ns` on the driver's clock (a simulated world's starts at 0); before it nothing is seen.
    """

    def __init__(self, path: Path, config: SensorConfig, seed: int = 0, origin_ns: int = 0) -> None:
        """config: noise, delay and dropout count; the joints' noise is the driver's business."""
        self._path, self._config, self._origin_ns = path, config, origin_ns
        rng = np.random.default_rng(seed)
        self._noise = config.tracker_noise_m * rng.standard_normal((_NOISE_ROWS, 3))
        self._kept = rng.random(_NOISE_ROWS) >= config.dropout
        self._connected = False

    def connect(self) -> None:
        """Ready for `window`."""
        if self._connected:
            raise RobotError("tracker already connected; allowed: close() first")
        self._connected = True

    def close(self) -> None:
        """End; a second close does nothing."""
        self._connected = False

    def window(self, stamp_ns: int) -> Window:
        """What has been seen by an instant; asking again gives the same."""
        _check(self._connected)
        slots = slots_ns(stamp_ns)
        age_ns = slots - self._origin_ns
        row = (age_ns // SLOT_NS) % _NOISE_ROWS  # a slot keeps its noise as the window moves on
        arrived = stamp_ns - slots >= round(self._config.tracker_delay_s * NS)
        mask = arrived & (age_ns >= 0) & self._kept[row]
        xyz = np.where(mask[:, None], self._path(age_ns / NS) + self._noise[row], 0.0)
        return xyz, mask, slots


class ReplayTracker:
    """Sees again what was measured once: (N,) stamps and (N, 3) positions, moved to today's clock."""

    def __init__(
        self,
        stamps_ns: NDArray[np.int64],
        xyz_m: Array,
        delay_s: float = 0.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """The first measurement is of the moment of `connect`; each arrives `delay_s` after it was made."""
        self._stamps, self._xyz = np.array(stamps_ns, dtype=np.int64), np.array(xyz_m, dtype=np.float64)
        n = len(self._stamps)
        if self._stamps.shape != (n,) or self._xyz.shape != (n, 3) or n == 0 or not np.isfinite(self._xyz).all():
            got = f"{self._stamps.shape} and {self._xyz.shape}"
            raise DataError(f"measurements have shapes {got}; allowed: (N,) and (N, 3) finite, N >= 1")
        if (np.diff(self._stamps) <= 0).any():
            raise DataError("stamps of the measurements do not rise; allowed: each later than the one before")
        self._delay_ns, self._clock_ns = round(delay_s * NS), clock_ns
        self._later_ns: int | None = None

    def connect(self) -> None:
        """The recording begins now."""
        if self._later_ns is not None:
            raise RobotError("tracker already connected; allowed: close() first")
        self._later_ns = self._clock_ns() - int(self._stamps[0])

    def close(self) -> None:
        """End; a second close does nothing."""
        self._later_ns = None

    def window(self, stamp_ns: int) -> Window:
        """What had arrived by an instant."""
        _check(self._later_ns is not None)
        stamps = self._stamps + (self._later_ns or 0)
        arrived = int(np.searchsorted(stamps, stamp_ns - self._delay_ns, side="right"))
        return between(stamps[:arrived], self._xyz[:arrived], stamp_ns)


class Calibrated:
    """A Tracker whose points are moved into the robot's world, by T_world_tracker (4, 4) of a calibration."""

    def __init__(self, tracker: Tracker, T_world_tracker: Array) -> None:
        T = np.array(T_world_tracker, dtype=np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise RobotError(f"T_world_tracker has shape {T.shape}; allowed: (4, 4), finite")
        self._tracker, self._T = tracker, T

    def connect(self) -> None:
        """Connect the tracker."""
        self._tracker.connect()

    def close(self) -> None:
        """Close the tracker."""
        self._tracker.close()

    def window(self, stamp_ns: int) -> Window:
        """What the tracker has seen by an instant, in the robot's world; masked slots hold zeros."""
        xyz, mask, slots = self._tracker.window(stamp_ns)
        moved = xyz @ self._T[:3, :3].T + self._T[:3, 3]
        return np.where(mask[:, None], moved, 0.0), mask, slots


def _check(connected: bool) -> None:
    if not connected:
        raise RobotError("tracker not connected; allowed: connect() first")
