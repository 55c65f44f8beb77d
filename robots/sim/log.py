"""What an episode leaves behind for training data and rendering. Legend: N ticks, M milliseconds, J joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.tasks.badminton.shuttle import State
from hjepa.types import Array, Observation
from robots.sim.referee import Event

_MS_NS = 1_000_000


class RacketTrack(NamedTuple):
    """Racket motion at every millisecond; `impact.contacts` takes it with a leading 1."""

    time_s: Array  # (M,)
    centre_m: Array  # (M, 3)
    rotation: Array  # (M, 3, 3) columns: shaft, in-plane, face normal
    v_m_s: Array  # (M, 3) of the centre
    w_rad_s: Array  # (M, 3)


class EpisodeLog(NamedTuple):
    """One episode at 100 Hz, first row the reset."""

    stamp_ns: NDArray[np.int64]  # (N,)
    q_rad: Array  # (N, J) true
    dq_rad_s: Array  # (N, J) true
    q_measured_rad: Array  # (N, J)
    dq_measured_rad_s: Array  # (N, J)
    T_world_racket: Array  # (N, 4, 4)
    racket_v_m_s: Array  # (N, 3)
    racket_w_rad_s: Array  # (N, 3)
    shuttle_m: Array  # (N, 3) true
    shuttle_v_m_s: Array  # (N, 3) true
    tracker_xyz_m: Array  # (N, 3) measured at that instant (arrives later); zeros where lost
    tracker_mask: NDArray[np.bool_]  # (N,)
    events: tuple[Event, ...]


class Recorder:
    """Collects while an episode runs."""

    def __init__(self, ticks: bool) -> None:
        self._ticks = ticks
        self._rows: list[tuple[int, Array, Array, Array, Array, Pose, State]] = []
        self._watch = (0, 0)
        self._poses: list[Pose] = []
        self._times_ns: list[int] = []

    def watch(self, from_ns: int, to_ns: int) -> None:
        """Keep every millisecond of the ticks that touch this interval."""
        self._watch = (from_ns, to_ns)

    def wants_racket(self, start_ns: int, end_ns: int) -> bool:
        """True if a tick from start to end touches the interval."""
        return start_ns < self._watch[1] and end_ns > self._watch[0]

    def racket(self, start_ns: int, track: Sequence[Pose]) -> None:
        """Poses at every ms of a tick, both ends included."""
        if not self.wants_racket(start_ns, start_ns + (len(track) - 1) * _MS_NS):
            return
        times = [start_ns + i * _MS_NS for i in range(len(track))]
        new = 1 if self._times_ns and self._times_ns[-1] == times[0] else 0
        self._poses.extend(track[new:])
        self._times_ns.extend(times[new:])

    def tick(self, seen: Observation, q_rad: Array, dq_rad_s: Array, racket: Pose, shuttle: State) -> None:
        """One row, if rows are kept."""
        if self._ticks:
            measured = seen.q_rad.copy(), seen.dq_rad_s.copy()
            self._rows.append((seen.stamp_ns, q_rad, dq_rad_s, *measured, racket, shuttle))

    def racket_track(self) -> RacketTrack:
        """The racket's milliseconds as arrays."""
        m = len(self._poses)
        columns = [np.array([p[i] for p in self._poses], dtype=np.float64).reshape(m, -1) for i in range(4)]
        time_s = np.array(self._times_ns, dtype=np.float64) / 1e9
        return RacketTrack(time_s, columns[0], columns[1].reshape(m, 3, 3), columns[2], columns[3])

    def episode(self, events: Sequence[Event], tracker: tuple[Array, NDArray[np.bool_]]) -> EpisodeLog:
        """The rows as arrays; `tracker`: measurements and mask since the reset, (N, 3) and (N,)."""
        if not self._ticks:
            raise RobotError("nothing was recorded; allowed: CourtWorld(..., record=True)")
        stamps, q, dq, q_seen, dq_seen, rackets, shuttle = zip(*self._rows, strict=True)
        n = len(self._rows)
        T = np.tile(np.eye(4), (n, 1, 1))
        T[:, :3, :3] = np.array([r.rotation for r in rackets]).reshape(n, 3, 3)
        T[:, :3, 3] = [r.centre_m for r in rackets]
        flight = np.array(shuttle)
        return EpisodeLog(
            np.array(stamps, dtype=np.int64),
            np.array(q),
            np.array(dq),
            np.array(q_seen),
            np.array(dq_seen),
            T,
            np.array([r.v_m_s for r in rackets]),
            np.array([r.w_rad_s for r in rackets]),
            flight[:, :3],
            flight[:, 3:],
            *tracker,
            tuple(events),
        )
