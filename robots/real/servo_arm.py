"""An arm of serial servos, such as the SO-101: Feetech STS/SMS or Dynamixel X.

    arm = ServoArm(load_spec("so101"), port="/dev/ttyACM0", calibration="so101_map.yaml")

The robots.loop thread owns the bus: every period it reads all servos and writes all goals. The servos run their own
position loops, so a goal that is no longer renewed is a place to stay at; Dynamixels have their bus watchdog set
besides. A joint that does not follow, an alarm, low voltage, lost torque or a servo that falls silent is a fault: the
other joints brake within limits and hold, the joint in question is told to stay where it is (one without torque is told
nothing, so that it cannot jump to life), and every verb raises until close() and connect(). Legend: J joints.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hjepa.errors import RobotError, nearest
from hjepa.protocols import Tracker
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec
from robots.loop import ControlLoop, LoopReport
from robots.real.bring_up import bring_up
from robots.real.dynamixel import DynamixelBus
from robots.real.feetech import FeetechBus
from robots.real.joint_map import Calibration, read_joint_map
from robots.real.servo import BusCounts, ServoBus, ServoError, ServoState
from robots.real.servo_watch import ServoWatch, Tolerance
from robots.trackers import observation

PROTOCOLS: dict[str, type[FeetechBus] | type[DynamixelBus]] = {"feetech": FeetechBus, "dynamixel": DynamixelBus}


class ServoArm:
    """A Driver (see hjepa.protocols). It starts held: `rearm` before the first command."""

    def __init__(
        self,
        spec: RobotSpec,
        port: str = "/dev/ttyACM0",
        protocol: str = "feetech",
        ids: Sequence[int] | None = None,
        *,
        calibration: Calibration | str | Path | None = None,
        baud: int = 1_000_000,
        timeout_s: float = 0.01,
        tolerance: Tolerance | None = None,
        release: bool = False,
        tracker: Tracker | None = None,
        bus: ServoBus | None = None,
    ) -> None:
        """calibration: a joint map or its file; None: `ids` (1 to J) with their zeros in the middle of the turn.

        release: switch torque off on close. An arm under gravity then DROPS; the default leaves it holding, powered.
        bus: one made beforehand, in place of port, protocol, baud and timeout.
        """
        if protocol not in PROTOCOLS:
            raise RobotError(f"unknown servo protocol '{protocol}': {nearest(protocol, PROTOCOLS)}")
        if spec.prismatic.any():
            name = spec.joint_names[int(np.argmax(spec.prismatic))]
            raise RobotError(f"{spec.name}: {name} is prismatic; allowed: revolute joints, one servo each")
        if calibration is not None and ids is not None:
            raise RobotError("both ids and calibration given; allowed: one of them")
        self.spec, self.release = spec, release
        self.calibration = _calibration(spec, calibration, ids)
        self.tolerance = tolerance or Tolerance()
        self._bus: ServoBus = bus or PROTOCOLS[protocol](port, baud, timeout_s)
        self._tracker = tracker
        self._loop: ControlLoop | None = None
        self._watch = ServoWatch(spec, self.calibration, self.tolerance)

    # life cycle

    def connect(self) -> None:
        """Find and check every servo, then torque on where the joints are; on any failure what was switched on is off.

        RobotError names the servos that are missing, of another model, at a wrong voltage, or complaining.
        """
        if self._loop is not None:
            raise RobotError("already connected; allowed: close() first")
        with contextlib.ExitStack() as undo:
            if self._tracker is not None:
                undo.callback(self._tracker.close)
                self._tracker.connect()
            undo.callback(self._bus.close)
            self._bus.open()
            energised: list[int] = []
            undo.callback(self._let_go, energised)
            states = bring_up(self._bus, self.spec, self.calibration, self.tolerance, energised)
            self._watch = ServoWatch(self.spec, self.calibration, self.tolerance)
            self._watch.begin(states, time.monotonic_ns())
            loop = ControlLoop(self.spec, self._read, self._write)
            self._loop = loop
            undo.callback(self._forget)
            loop.start()
            undo.pop_all()

    def close(self) -> None:
        """Brake and hold; torque stays on unless `release`. A second close does nothing."""
        if self._loop is None:
            return
        with contextlib.ExitStack() as last:
            if self._tracker is not None:
                last.callback(self._tracker.close)
            last.callback(self._bus.close)
            loop, self._loop = self._loop, None
            loop.close()
            for servo in self.calibration.ids:
                with contextlib.suppress(ServoError):  # a servo that is gone cannot be told
                    self._bus.rest(servo)
            if self.release:
                kept = self._let_go(list(self.calibration.ids))
                if kept:
                    raise RobotError(f"servos {kept} could not be released; allowed: cut their supply")

    def __enter__(self) -> ServoArm:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # verbs

    def observe(self) -> Observation:
        """The newest reading of the joints, and the tracker's window that ends with it."""
        return observation(*self._running().measured(), self._tracker)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it clipped to limits; CommandError if it is refused."""
        return self._running().send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm`."""
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        self._loop.hold()

    def rearm(self) -> None:
        """Accept commands again; RobotError after a fault."""
        self._running().rearm()

    # reports

    @property
    def fault(self) -> str:
        """What went wrong since connect; empty while all is well."""
        return self._watch.fault

    @property
    def implausible(self) -> int:
        """Readings since connect that passed their checksum and were not believed."""
        return self._watch.implausible

    def counts(self) -> BusCounts:
        """What has passed over the bus."""
        return self._bus.counts()

    def report(self) -> LoopReport:
        """How the loop has kept its time."""
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._loop.report()

    def servos(self) -> dict[str, ServoState]:
        """The newest reading of each servo, by joint: voltage, temperature, load, alarms."""
        return dict(zip(self.spec.joint_names, self._watch.states(), strict=True))

    # the loop's thread

    def _read(self) -> tuple[Array, Array]:
        watch = self._watch
        watch.look(self._bus.state(list(self.calibration.ids)), time.monotonic_ns())
        if watch.fault and self._loop is not None and not self._loop.held:
            self._loop.hold()
        return watch.q_rad(), watch.dq_rad_s()

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        self._bus.write_goals(self._watch.goals(q_set_rad))

    # helpers

    def _running(self) -> ControlLoop:
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        if self._watch.fault:
            raise RobotError(f"{self.spec.name}: {self._watch.fault}; held; allowed: close() and connect() once cured")
        return self._loop

    def _let_go(self, servos: list[int]) -> list[int]:
        """Torque off; the ids of those that could not be told."""
        kept = []
        for servo in servos:
            try:
                self._bus.torque(servo, False)
            except ServoError:
                kept.append(servo)
        return kept

    def _forget(self) -> None:
        if self._loop is not None:
            self._loop.close()
        self._loop = None


def _calibration(spec: RobotSpec, given: Any, ids: Sequence[int] | None) -> Calibration:
    if isinstance(given, Calibration):
        given.check(spec)
        return given
    if given is not None:
        return read_joint_map(given, spec)
    return Calibration.default(spec, None if ids is None else tuple(ids))
