"""A robot made of arithmetic: follows commands exactly within its limits. For tests and for runs without a simulator.

It is a World too: a shuttle flies a parabola over it and is never hit. Legend: J joints.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, Array, JointTrajectory, Launch, Observation, Outcome, RobotSpec, RobotState
from robots.follower import Follower
from robots.sensors import SLOT_NS, SensorConfig, Sensors

_PERFECT = SensorConfig(0.0, 0.0, 0.0, 0.0, 0.0)
_GRAVITY = np.array([0.0, 0.0, -9.81])
_MAX_TICKS = 400


class FakeDriver:
    """A Driver and World (see hjepa.protocols) without physics."""

    def __init__(self, spec: RobotSpec, sensors: SensorConfig = _PERFECT) -> None:
        if round(NS / spec.control_rate_hz) != SLOT_NS:
            raise RobotError(f"{spec.name} takes set-points at {spec.control_rate_hz} Hz; allowed here: 100 Hz")
        self.spec, self._config = spec, sensors
        self._follower = Follower(spec)
        self._connected = self._started = False

    def connect(self) -> None:
        """Ready for `reset`."""
        if self._connected:
            raise RobotError("already connected; allowed: close() first")
        self._connected = True

    def close(self) -> None:
        """End; a second close does nothing."""
        self._connected = self._started = False

    def __enter__(self) -> FakeDriver:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation:
        """Joints at `start`, a shuttle launched now, time 0."""
        self._check(started=False)
        for value in start:
            if np.shape(value) != (self.spec.joints,) or not np.isfinite(value).all():
                raise CommandError(f"start has {value}; allowed: {self.spec.joints} finite numbers")
        self._q, self._dq = np.array(start.q_rad, dtype=np.float64), np.array(start.dq_rad_s, dtype=np.float64)
        self._x0, self._v0 = np.array(launch.x_m, dtype=np.float64), np.array(launch.v_m_s, dtype=np.float64)
        self._follower.reset(self._dq)
        self._sensors = Sensors(self._config, self.spec.joints, _MAX_TICKS, np.random.default_rng(seed))
        self._ticks, self._started = 0, True
        self._land()
        return self._measure()

    def tick(self) -> Observation:
        """Let 10 ms pass."""
        self._check()
        if self._ticks >= _MAX_TICKS:
            raise RobotError("the episode is over; allowed: reset()")
        before = self._follower.speed_rad_s
        after = self._follower.step(self._ticks * SLOT_NS, self._q)
        self._q = self._q + 0.5 * self._follower.dt_s * (before + after)
        self._dq = after.copy()
        self._ticks += 1
        return self._measure()

    def observe(self) -> Observation:
        """The observation of this instant again."""
        self._check()
        return self._measure()

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        self._check()
        return self._follower.send(command, self._ticks * SLOT_NS)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self._check()
        self._follower.hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._check()
        self._follower.rearm()

    @property
    def done(self) -> bool:
        """True once the shuttle is down, and while there is no episode."""
        return not self._started or self._ticks * 0.01 >= self._landing_s or self._ticks >= _MAX_TICKS

    def outcome(self) -> Outcome:
        """A miss, once the shuttle is down: nothing is ever hit here."""
        none3, none2 = np.full(3, np.nan), np.full(2, np.nan)
        down = self.done
        return Outcome(
            hit=False, contact_s=np.nan, offset_m=none2, contact_m=none3, u_in_m_s=none3.copy(), u_out_m_s=none3.copy(),
            racket_speed_m_s=np.nan, landing_m=self._at(self._landing_s)[:2] if down else none2.copy(),
            landing_s=self._landing_s if down else np.nan, net_height_m=np.nan, returned=False,
            fault="miss" if down else "", effort_j=0.0,
        )  # fmt: skip

    def _at(self, time_s: float) -> Array:
        """Shuttle (3,) on its parabola, lying on the floor at its end."""
        t = min(time_s, self._landing_s)
        x = self._x0 + t * self._v0 + 0.5 * t * t * _GRAVITY
        x[2] = max(x[2], 0.0)
        return x

    def _land(self) -> None:
        fall = self._v0[2] + np.sqrt(self._v0[2] ** 2 - 2.0 * _GRAVITY[2] * max(self._x0[2], 0.0))
        self._landing_s = float(fall / -_GRAVITY[2])

    def _measure(self) -> Observation:
        x = self._at(self._ticks * 0.01)
        return self._sensors.observe(self._ticks, (x[0], x[1], x[2]), self._q, self._dq)

    def _check(self, started: bool = True) -> None:
        if not self._connected:
            raise RobotError("not connected; allowed: connect() first")
        if started and not self._started:
            raise RobotError("no episode yet; allowed: reset(start, launch, seed) first")
