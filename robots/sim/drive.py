"""A simulated body whose joints follow commands: the follower, the drives' ramp between set-points, the clock of ticks.

One tick is one control period (10 ms) of ten 1 ms physics steps. Between set-points the drives ramp their speed
linearly, as real ones interpolate. Legend: J joints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hjepa.errors import CommandError, RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.types import NS, Array, JointTrajectory, RobotSpec, RobotState
from robots.follower import Follower

STEP_S = 0.001
TICK_S = 0.010
TICK_NS = round(TICK_S * NS)
_STEPS = round(TICK_S / STEP_S)
_ALL = 0.999  # of the largest torque
# speed aimed at in step i is the ramp's value at its middle: positions then add up exactly
_RAMP = ((np.arange(_STEPS) + 0.5) / _STEPS)[:, None]  # (steps, 1)


class Body(Protocol):
    """Physics of one robot, in 1 ms steps, with speed drives of limited force."""

    def reset(self, q_rad: Array, dq_rad_s: Array) -> None:
        """Put the joints at q moving at dq, (J,) each."""

    def step(self, dq_rad_s: list[float]) -> None:
        """One millisecond with the drives aiming at speeds dq (J)."""

    def joints(self) -> tuple[Array, Array, Array]:
        """Positions, speeds and drive torques of the last step, (J,) each."""

    def racket(self) -> Pose:
        """Racket frame and the velocity of its origin now; RobotError without a racket."""

    def close(self) -> None:
        """Stop the physics."""


class Drive:
    """Time stands still between ticks. Joint state after the latest one: `q_rad`, `dq_rad_s`, `tau_nm`, (J,) each;
    `saturated`: ticks since the reset that ended with a drive at its largest torque."""

    def __init__(self, spec: RobotSpec) -> None:
        if round(NS / spec.control_rate_hz) != TICK_NS:
            raise RobotError(f"{spec.name} takes set-points at {spec.control_rate_hz} Hz; allowed here: 100 Hz")
        self._spec, self._follower = spec, Follower(spec)
        self._body: Body | None = None
        self._started = False
        self.ticks = self.saturated = 0

    # life cycle

    def connect(self, make: Callable[[], Body]) -> None:
        """Start the physics."""
        if self._body is not None:
            raise RobotError("already connected; allowed: close() first")
        self._body = make()

    def close(self) -> None:
        """Stop the physics; a second close does nothing."""
        if self._body is not None:
            self._body.close()
        self._body, self._started = None, False

    @property
    def connected(self) -> bool:
        """True from connect to close."""
        return self._body is not None

    def body(self) -> Body:
        """The physics; RobotError before connect."""
        if self._body is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._body

    def running(self) -> Body:
        """The physics; RobotError before connect, and before reset."""
        body = self.body()
        if not self._started:
            raise RobotError("no episode yet; allowed: reset() first")
        return body

    def reset(self, start: RobotState) -> None:
        """Joints at `start`, time 0, no command; CommandError for a start that makes no sense."""
        body = self.body()
        self.q_rad, self.dq_rad_s = self._checked(start)
        self.tau_nm = np.zeros(self._spec.joints)
        body.reset(self.q_rad, self.dq_rad_s)
        self._follower.reset(self.dq_rad_s)
        self.ticks, self._started = 0, True
        self.saturated = 0

    def _checked(self, start: RobotState) -> tuple[Array, Array]:
        """Copies of a start state that makes sense."""
        pair: list[Array] = []
        for name, value in zip(("q_rad", "dq_rad_s"), start, strict=True):
            array = np.array(value, dtype=np.float64)
            if array.shape != (self._spec.joints,) or not np.isfinite(array).all():
                raise CommandError(f"start {name} is {array}; allowed: {self._spec.joints} finite numbers")
            pair.append(array)
        return pair[0], pair[1]

    # time

    @property
    def now_ns(self) -> int:
        """Time since reset."""
        return self.ticks * TICK_NS

    def tick(self, after_step: Callable[[], None] | None = None) -> None:
        """Let 10 ms pass; `after_step` is called after each millisecond of them."""
        body = self.running()
        before = self._follower.speed_rad_s
        after = self._follower.step(self.now_ns, self.q_rad)
        for row in ramp(before, after):
            body.step(row)
            if after_step is not None:
                after_step()
        self.ticks += 1
        self.q_rad, self.dq_rad_s, self.tau_nm = body.joints()
        self.saturated += bool((abs(self.tau_nm) > _ALL * self._spec.tau_max_nm).any())

    @property
    def interventions(self) -> int:
        """Ticks since the reset in which the guard changed what was asked."""
        return self._follower.guard.interventions

    # driver

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        self.running()
        return self._follower.send(command, self.now_ns)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self.running()
        self._follower.hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self.running()
        self._follower.rearm()


def ramp(before_rad_s: Array, after_rad_s: Array) -> list[list[float]]:
    """Speeds (J) to aim at in each millisecond of a tick that goes linearly from one speed (J,) to another."""
    rows: list[list[float]] = (before_rad_s + _RAMP * (after_rad_s - before_rad_s)).tolist()
    return rows


def home(spec: RobotSpec, q_rad: Array | None = None) -> RobotState:
    """At rest, at home or at q (J,)."""
    q = spec.q_home_rad if q_rad is None else np.asarray(q_rad, dtype=np.float64)
    return RobotState(q.copy(), np.zeros(spec.joints))
