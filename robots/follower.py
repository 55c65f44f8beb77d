"""Follows joint trajectories: which one is in force, its set-point at each control step, braking when it runs out.

Shared by every driver whose set-points we compute ourselves (fake, PyBullet). Legend: J joints, H samples.
"""

from __future__ import annotations

import numpy as np

from hjepa.errors import CommandError
from hjepa.types import NS, Array, JointTrajectory, RobotSpec
from robots.guard import Guard

GAIN_1_S = 30.0  # position error to speed; by trial (0.1 deg face error at 100 Hz), below 1 / (2 dt)


class Follower:
    """Turns trajectories into one guarded speed set-point per control step."""

    def __init__(self, spec: RobotSpec, latch: bool = False) -> None:
        """latch: a command that has run out is a hold, until `rearm`; False: the next command is followed again."""
        self.spec, self.latch = spec, latch
        self.dt_s = 1.0 / spec.control_rate_hz
        self.dt_ns = round(NS * self.dt_s)
        self.guard = Guard(spec, self.dt_s)
        self.reset(np.zeros(spec.joints))

    def reset(self, dq_rad_s: Array) -> None:
        """Forget all commands, re-arm; the joints move at dq (J,) now."""
        self._active: JointTrajectory | None = None
        self._pending: list[JointTrajectory] = []
        self._speed = np.array(dq_rad_s, dtype=np.float64)  # (J,) speed set-point now
        self._rest: Array | None = None  # (J,) position held once at rest
        self.guard.rearm()
        self.guard.interventions = 0

    @property
    def speed_rad_s(self) -> Array:
        """Speed set-point (J,) now: what the last step ended with."""
        return self._speed

    def send(self, command: JointTrajectory, now_ns: int) -> JointTrajectory:
        """Take a command; it is followed from its `start_ns` on, and replaces pending ones that would start later."""
        followed = self.guard.admit(command, now_ns)
        if self._active is not None and command.start_ns < self._active.start_ns:
            old = (self._active.start_ns - command.start_ns) / 1e6
            raise CommandError(f"command starts {old:.1f} ms before the one being followed; allowed: not earlier")
        self._pending = [c for c in self._pending if c.start_ns < command.start_ns]
        self._pending.append(followed)
        return followed._replace(q_rad=followed.q_rad.copy(), dq_rad_s=followed.dq_rad_s.copy())

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self.guard.hold()
        self._active, self._pending = None, []

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self.guard.rearm()

    def step(self, now_ns: int, q_rad: Array) -> Array:
        """Speed (J,) to reach at now + dt, from joint positions q (J,) now: feed-forward + GAIN * position error.

        The error is the one expected at now + dt if the speed went there linearly.
        """
        target = self._reference(now_ns + self.dt_ns)
        if target is None:
            v = self._stop(q_rad)
        else:
            self._rest = None
            q_ref, v_ref = target
            ahead = q_rad + (0.5 * self.dt_s) * (self._speed + v_ref)
            v = self.guard.limit(q_rad, self._speed, v_ref + GAIN_1_S * (q_ref - ahead))
        self._speed = v
        return v

    def _stop(self, q_rad: Array) -> Array:
        """Brake; once at rest, keep the place."""
        if self._rest is None:
            v = self.guard.brake(self._speed)
            if not self._speed.any():
                self._rest = q_rad.copy()
            return v
        return self.guard.limit(q_rad, self._speed, GAIN_1_S * (self._rest - q_rad))

    def _reference(self, at_ns: int) -> tuple[Array, Array] | None:
        """Position and speed (J,) asked for at an instant: cubic Hermite in q, linear in dq; None: nothing in force."""
        while self._pending and self._pending[0].start_ns <= at_ns:
            self._active = self._pending.pop(0)
        c = self._active
        if c is None:
            return None
        s = (at_ns - c.start_ns) / (c.dt_s * NS)
        last = len(c.q_rad) - 1
        if at_ns > c.start_ns + c.valid_ns or s > last + 1e-9:
            if self.latch:
                self.hold()
            return None
        i = min(int(s + 1e-9), last)
        f = s - i
        if f < 1e-9:
            return c.q_rad[i], c.dq_rad_s[i]
        q0, q1, v0, v1 = c.q_rad[i], c.q_rad[i + 1], c.dq_rad_s[i], c.dq_rad_s[i + 1]
        f2, f3 = f * f, f * f * f
        slope = c.dt_s * ((f3 - 2 * f2 + f) * v0 + (f3 - f2) * v1)
        return q0 + (3 * f2 - 2 * f3) * (q1 - q0) + slope, v0 + f * (v1 - v0)
