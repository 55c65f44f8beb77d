"""Plays a recorded run back: a robot that moves as it did then, whatever it is told now.

    with ReplayDriver(load_spec("courtbot"), "run.npz") as driver:
        observation = driver.observe()       # of this moment of the recording, stamped by today's clock
        driver.rearm(), driver.send(command)  # checked as every driver checks; `sent` keeps it, nothing moves

Legend: N observations, J joints, K tracker slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError, RobotError
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec
from robots.guard import Guard
from robots.sensors import SLOT_NS, WINDOW
from robots.trackers import nothing_seen


class Recording(NamedTuple):
    """A series of observations, oldest first. Other file formats become one through `recording`."""

    stamp_ns: NDArray[np.int64]  # (N,) rising
    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)
    tracker_xyz_m: Array  # (N, K, 3)
    tracker_mask: NDArray[np.bool_]  # (N, K)
    tracker_stamp_ns: NDArray[np.int64]  # (N, K)

    def row(self, i: int, later_ns: int = 0) -> Observation:
        """Observation i, with its stamps moved."""
        tracker = self.tracker_xyz_m[i].copy(), self.tracker_mask[i].copy(), self.tracker_stamp_ns[i] + later_ns
        return Observation(int(self.stamp_ns[i]) + later_ns, self.q_rad[i].copy(), self.dq_rad_s[i].copy(), *tracker)


class Sent(NamedTuple):
    """A command that was accepted."""

    stamp_ns: int  # when, on the driver's clock
    command: JointTrajectory  # as it would have been followed


def recording(arrays: Mapping[str, NDArray[Any]]) -> Recording:
    """A recording from arrays by the names of its fields; DataError for what makes no sense."""
    lacking = [name for name in Recording._fields if name not in arrays]
    if lacking:
        raise DataError(f"recording lacks {', '.join(lacking)}; allowed: {', '.join(Recording._fields)}")
    made = Recording(
        np.array(arrays["stamp_ns"], dtype=np.int64),
        np.array(arrays["q_rad"], dtype=np.float64),
        np.array(arrays["dq_rad_s"], dtype=np.float64),
        np.array(arrays["tracker_xyz_m"], dtype=np.float64),
        np.array(arrays["tracker_mask"], dtype=np.bool_),
        np.array(arrays["tracker_stamp_ns"], dtype=np.int64),
    )
    n = len(made.stamp_ns) if made.stamp_ns.ndim == 1 else 0
    joints = made.q_rad.shape[-1] if made.q_rad.ndim == 2 else 0
    shapes = ((n,), (n, joints), (n, joints), (n, WINDOW, 3), (n, WINDOW), (n, WINDOW))
    for name, array, shape in zip(Recording._fields, made, shapes, strict=True):
        if array.shape != shape or n == 0:
            raise DataError(f"recording: {name} has shape {array.shape}; allowed: (N, ...) as in Recording, N >= 1")
        if not np.isfinite(array).all():
            raise DataError(f"recording: {name} holds values that are not finite; allowed: finite numbers")
    if (np.diff(made.stamp_ns) <= 0).any():
        row = int(np.argmax(np.diff(made.stamp_ns) <= 0)) + 1
        raise DataError(f"recording: stamp_ns does not rise at row {row}; allowed: each later than the one before")
    return made


def of_observations(seen: Sequence[Observation]) -> Recording:
    """A recording of observations just made, oldest first."""
    if not seen:
        raise DataError("recording of no observations; allowed: at least one")
    columns = zip(*seen, strict=True)
    return recording({name: np.array(column) for name, column in zip(Recording._fields, columns, strict=True)})


def save_recording(path: Path, made: Recording) -> None:
    """Write an .npz of plain arrays."""
    save_arrays(path, made._asdict(), compressed=True)


def load_recording(path: Path) -> Recording:
    """Read what `save_recording` wrote; DataError for a damaged file."""
    return recording(load_arrays(path, Recording._fields, "recording", "record it again"))


def _standing(spec: RobotSpec) -> Recording:
    """The robot at rest at home, for a second."""
    seen = []
    for k in range(100):
        window = nothing_seen(k * SLOT_NS)
        seen.append(Observation(k * SLOT_NS, spec.q_home_rad, np.zeros(spec.joints), *window))
    return of_observations(seen)


class ReplayDriver:
    """A Driver (see hjepa.protocols) in real time. Starts held, as a real one does; `sent` lists what was accepted."""

    follows_commands = False  # the contract suite asks: it moves as recorded

    def __init__(
        self,
        spec: RobotSpec,
        recorded: Recording | str | Path | None = None,
        loop: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """recorded: a recording or its .npz (None: at rest at home); loop: begin again at the end, else stay there."""
        self.spec, self._source, self._loop, self._clock_ns = spec, recorded, loop, clock_ns
        self._guard = Guard(spec, 1.0 / spec.control_rate_hz)
        self._recording: Recording | None = None
        self.sent: list[Sent] = []

    def connect(self) -> None:
        """Read the recording; its first observation is of now."""
        if self._recording is not None:
            raise RobotError("already connected; allowed: close() first")
        source = _standing(self.spec) if self._source is None else self._source
        made = source if isinstance(source, Recording) else load_recording(Path(source))
        if made.q_rad.shape[1] != self.spec.joints:
            got = f"{made.q_rad.shape[1]} joints"
            raise RobotError(f"recording has {got}; allowed: {self.spec.joints} for {self.spec.name}")
        self._recording, self._begun_ns = made, self._clock_ns()
        steps = np.diff(made.stamp_ns)
        # the last observation lasts as long as the others do
        self._length_ns = int(made.stamp_ns[-1] - made.stamp_ns[0] + (np.median(steps) if len(steps) else SLOT_NS))
        self._guard.hold()
        self.sent = []

    def close(self) -> None:
        """End; a second close does nothing."""
        self._recording = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def done(self) -> bool:
        """True once the recording is over, and while there is none; never in a loop."""
        return self._recording is None or (not self._loop and self._clock_ns() - self._begun_ns >= self._length_ns)

    def observe(self) -> Observation:
        """The newest observation of the recording that is due by now."""
        made = self._playing()
        past = self._clock_ns() - self._begun_ns
        rounds = past // self._length_ns if self._loop else 0
        i = int(np.searchsorted(made.stamp_ns - made.stamp_ns[0], past - rounds * self._length_ns, side="right")) - 1
        return made.row(max(i, 0), self._begun_ns - int(made.stamp_ns[0]) + rounds * self._length_ns)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Check and keep a command; returns it clipped to limits; CommandError if it is refused."""
        self._playing()
        now_ns = self._clock_ns()
        followed = self._guard.admit(command, now_ns)
        self.sent.append(Sent(now_ns, followed))
        return followed._replace(q_rad=followed.q_rad.copy(), dq_rad_s=followed.dq_rad_s.copy())

    def hold(self) -> None:
        """Refuse commands until `rearm`."""
        self._playing()
        self._guard.hold()

    def rearm(self) -> None:
        """Accept commands."""
        self._playing()
        self._guard.rearm()

    def _playing(self) -> Recording:
        if self._recording is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._recording
