"""What drivers of robots share whose set-points we compute: the life cycle around a ControlLoop.

A driver says how to open and shut its line, how to read the joints and how to write a set-point. Legend: J joints,
K tracker slots.
"""

from __future__ import annotations

import dataclasses
from types import TracebackType
from typing import Self

import numpy as np

from hjepa.errors import RobotError
from hjepa.protocols import Tracker
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec
from robots.loop import ControlLoop, LoopReport
from robots.trackers import observation


class StreamedRobot:
    """A Driver (see hjepa.protocols); starts held, `rearm` arms it. Stamps are time.monotonic_ns."""

    paced_by_read = False  # True: `_read` waits for the robot's next period, the loop does not sleep

    def __init__(self, spec: RobotSpec, rate_hz: float, tracker: Tracker | None = None) -> None:
        """rate_hz: the machine's own; `spec` is the description with this rate."""
        if not (np.isfinite(rate_hz) and rate_hz > 0):
            raise RobotError(f"rate_hz is {rate_hz}; allowed: more than 0 Hz")
        self.spec = dataclasses.replace(spec, control_rate_hz=float(rate_hz))
        self._tracker = tracker
        self._loop: ControlLoop | None = None

    # what a robot brings

    def _open(self) -> None:
        """Open the line and make sure that the robot is well; RobotError says what is wrong."""
        raise NotImplementedError

    def _shut(self) -> None:
        """Close the line; the joints are at rest, or the loop has failed. Never raises."""
        raise NotImplementedError

    def _read(self) -> tuple[Array, Array]:
        """q, dq (J,) now; RobotError when the robot is lost or has stopped by itself."""
        raise NotImplementedError

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        """Position and speed (J,) to reach one period from now."""
        raise NotImplementedError

    # Driver

    def connect(self) -> None:
        """Open the line, measure, hold where the joints are; disarmed until `rearm`."""
        if self._loop is not None:
            raise RobotError("already connected; allowed: close() first")
        loop = ControlLoop(self.spec, self._read, self._write, paced_by_read=self.paced_by_read)
        try:
            self._open()
            loop.start()
            if self._tracker is not None:
                self._tracker.connect()
        except BaseException:
            loop.close()
            self._shut()
            raise
        self._loop = loop

    def close(self) -> None:
        """Brake to a standstill and release the robot; a second close does nothing."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.close()
        self._shut()
        if self._tracker is not None:
            self._tracker.close()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def observe(self) -> Observation:
        """The newest reading, and what the tracker has seen by then; without one its K slots are masked."""
        return observation(*self._connected().measured(), self._tracker)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it clipped to limits; CommandError if it is refused."""
        return self._connected().send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm`."""
        self._connected().hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._connected().rearm()

    @property
    def held(self) -> bool:
        """True while commands are refused."""
        return self._connected().held

    def report(self) -> LoopReport:
        """How the control loop has kept its time."""
        return self._connected().report()

    def _connected(self) -> ControlLoop:
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._loop
