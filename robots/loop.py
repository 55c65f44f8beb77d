"""The control loop of a robot whose set-points we compute: a thread that never waits for a planner.

Every period it reads the joints, asks the follower for a guarded speed, and writes the set-point. Commands arrive from
another thread. When the last one has run out the follower brakes within limits and holds, latched until `rearm`; that
needs no help from anybody, so it also holds when every other thread of the process is stuck. Legend: J joints.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import NS, Array, JointTrajectory, RobotSpec
from robots.follower import Follower

_JOIN_S = 2.0


class Measured(NamedTuple):
    """Joints at an instant of the loop's clock."""

    stamp_ns: int
    q_rad: Array  # (J,)
    dq_rad_s: Array  # (J,)


class LoopReport(NamedTuple):
    """How the loop has kept its time."""

    ticks: int
    misses: int  # periods that began more than one period late
    late_ns: int  # the worst
    braking_since_ns: int  # when the last command had run out, or a hold came, and braking began; 0: never
    braking_late_ns: int  # how late that period began


class ControlLoop:
    """Runs a follower at the robot's control rate; `read` and `write` are called from the loop's thread alone."""

    def __init__(
        self,
        spec: RobotSpec,
        read: Callable[[], tuple[Array, Array]],
        write: Callable[[Array, Array], None],
        *,
        paced_by_read: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """read() -> q, dq (J,) now; write(q_set, dq_set): position and speed (J,) to reach one period from now.

        paced_by_read: `read` waits for the device's next period, so the loop itself never sleeps.
        """
        self.spec, self._read, self._write, self._clock_ns = spec, read, write, clock_ns
        self._paced = paced_by_read
        self._follower = Follower(spec, latch=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None
        self._measured: Measured | None = None
        self._ticks = self._misses = self._late_ns = self._last_late_ns = 0
        self._braking = False
        self._braking_ns = self._braking_late_ns = 0

    # life cycle

    def start(self) -> None:
        """Measure once, hold where the joints are, and begin; disarmed until `rearm`."""
        if self._thread is not None:
            raise RobotError("control loop runs already; allowed: close() first")
        q, dq = self._read()
        self._follower.reset(np.zeros(self.spec.joints))
        self._follower.hold()
        self._measured, self._set = Measured(self._clock_ns(), q, dq), q.copy()
        self._stop.clear()
        self._fault = None
        self._thread = threading.Thread(target=self._run, name=f"hjepa-{self.spec.name}-loop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Brake to a standstill, then end the thread; a second close does nothing."""
        if self._thread is None:
            return
        self.hold()
        deadline = time.monotonic() + _JOIN_S
        while self._fault is None and self._moving() and time.monotonic() < deadline:
            time.sleep(self._follower.dt_s)
        self._stop.set()
        self._thread.join(_JOIN_S)
        self._thread = None

    # from any thread

    def measured(self) -> Measured:
        """The newest reading (copies); RobotError once the loop has failed."""
        self._check()
        m = self._measured
        assert m is not None
        return Measured(m.stamp_ns, m.q_rad.copy(), m.dq_rad_s.copy())

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it clipped to limits; CommandError if it is refused."""
        self._check()
        with self._lock:
            return self._follower.send(command, self._clock_ns())

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm`."""
        with self._lock:
            self._follower.hold()

    def rearm(self) -> None:
        """Accept commands again."""
        self._check()
        with self._lock:
            self._follower.rearm()

    @property
    def running(self) -> bool:
        """True from start to close, unless the loop has failed."""
        return self._thread is not None and self._fault is None

    @property
    def held(self) -> bool:
        """True while commands are refused."""
        return self._follower.guard.held

    def report(self) -> LoopReport:
        """Time keeping so far."""
        return LoopReport(self._ticks, self._misses, self._late_ns, self._braking_ns, self._braking_late_ns)

    # the thread

    def _run(self) -> None:
        period = self._follower.dt_ns
        due = self._clock_ns()
        try:
            while not self._stop.is_set():
                self._step()
                due += period
                if self._paced:
                    due = max(due, self._clock_ns())  # the device's clock, not ours
                    continue
                early = due - self._clock_ns()
                if early > 0:
                    time.sleep(early / NS)
                late = self._clock_ns() - due
                self._last_late_ns, self._late_ns = late, max(self._late_ns, late)
                if late > period:  # do not run after lost periods
                    self._misses += 1
                    due += late
        except Exception as error:  # noqa: BLE001  whatever a device raises: told to whoever asks next
            self._fault = error

    def _step(self) -> None:
        q, dq = self._read()
        now = self._clock_ns()
        self._measured = Measured(now, q, dq)
        with self._lock:
            before = self._follower.speed_rad_s
            after = self._follower.step(now, self._set)
            stopping = self._follower.guard.held and bool(before.any() or after.any())
        if stopping and not self._braking:
            self._braking_ns, self._braking_late_ns = now, self._last_late_ns
        self._braking = stopping
        # the set-point is integrated, not taken from the reading: noise must not feed back into motion
        self._set = self._set + 0.5 * self._follower.dt_s * (before + after)
        self._write(self._set, after)
        self._ticks += 1

    def _moving(self) -> bool:
        return bool(self._follower.speed_rad_s.any())

    def _check(self) -> None:
        if self._fault is not None:
            raise RobotError(
                f"{self.spec.name}: control loop ended: {type(self._fault).__name__}: {self._fault}"
            ) from self._fault
        if self._thread is None:
            raise RobotError("not connected; allowed: connect() first")
