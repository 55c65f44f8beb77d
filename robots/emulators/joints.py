"""Kinematic joints of an emulated robot: they chase a set-point, or brake. Legend: J joints."""

from __future__ import annotations

import numpy as np

from hjepa.types import Array


class Joints:
    """Positions that follow a set-point with a first-order lag, within a speed limit."""

    def __init__(self, q_rad: Array, dq_max_rad_s: Array, ddq_max_rad_s2: Array) -> None:
        """q (J,) at the start, at rest; limits (J,)."""
        self.q_rad = np.array(q_rad, dtype=np.float64)
        self.dq_rad_s = np.zeros_like(self.q_rad)
        self._dq_max, self._ddq_max = dq_max_rad_s, ddq_max_rad_s2
        self.stuck: int | None = None  # a joint that does not move whatever it is told

    @property
    def moving(self) -> bool:
        """True unless every joint rests."""
        return bool(np.abs(self.dq_rad_s).max() > 1e-6)

    def chase(self, target_rad: Array, dt_s: float, lag_s: float) -> None:
        """Let dt pass towards a set-point (J,); lag: time constant, 0 for at once (within the speed limit)."""
        share = 1.0 if lag_s <= 0 else -np.expm1(-dt_s / lag_s)
        speed = np.clip(share * (target_rad - self.q_rad) / dt_s, -self._dq_max, self._dq_max)
        self._move(speed, dt_s)

    def brake(self, dt_s: float) -> None:
        """Let dt pass, slowing down at the acceleration limit."""
        step = self._ddq_max * dt_s
        self._move(self.dq_rad_s - np.clip(self.dq_rad_s, -step, step), dt_s)

    def _move(self, speed_rad_s: Array, dt_s: float) -> None:
        if self.stuck is not None:
            speed_rad_s[self.stuck] = 0.0
        self.dq_rad_s = speed_rad_s
        self.q_rad = self.q_rad + dt_s * speed_rad_s
