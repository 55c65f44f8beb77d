"""A robot in real time without a robot: joints that go exactly where they are told. For tests, drills and new tasks.

It runs on the same control loop as real drivers, at the description's rate, on the host's monotonic clock.
Legend: J joints.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec
from robots.loop import ControlLoop, LoopReport
from robots.trackers import observation


class IdealRobot:
    """A Driver (see hjepa.protocols) whose joints follow their set-points perfectly."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self._joints = threading.Lock()
        self._q, self._dq = spec.q_home_rad.copy(), np.zeros(spec.joints)
        self._loop: ControlLoop | None = None

    def connect(self) -> None:
        """Start the control loop, held where the joints are."""
        if self._loop is not None:
            raise RobotError("already connected; allowed: close() first")
        self._loop = ControlLoop(self.spec, self._read, self._write)
        self._loop.start()

    def close(self) -> None:
        """Brake and end; a second close does nothing."""
        if self._loop is not None:
            self._loop.close()
        self._loop = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def observe(self) -> Observation:
        """Joints of the loop's newest reading; no tracker."""
        return observation(*self._running().measured(), None)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it clipped to limits; CommandError if it is refused."""
        return self._running().send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm`."""
        self._running().hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._running().rearm()

    def report(self) -> LoopReport:
        """How the loop has kept its time."""
        return self._running().report()

    def _running(self) -> ControlLoop:
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._loop

    def _read(self) -> tuple[Array, Array]:
        with self._joints:
            return self._q.copy(), self._dq.copy()

    def _write(self, q_set: Array, dq_set: Array) -> None:
        with self._joints:
            self._q, self._dq = q_set.copy(), dq_set.copy()
