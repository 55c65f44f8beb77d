"""A court made of arithmetic: courtbot follows commands exactly, the shuttle flies by its equation, rackets strike.

Stands in for the simulator where a test wants a stroke from launch to landing in a blink.
"""

from __future__ import annotations

import numpy as np

from hjepa.tasks.badminton.court import in_singles, net_height_at
from hjepa.tasks.badminton.flight import fly, land, rk4_step
from hjepa.tasks.badminton.impact import contacts
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import Array, Launch, Observation, Outcome, RobotSpec, RobotState
from robots.fake import FakeDriver
from robots.sensors import SensorConfig

NOISY = SensorConfig(0.010, 0.025, 0.02, 1e-4, 2e-3)
_NONE2, _NONE3 = np.full(2, np.nan), np.full(3, np.nan)


class FakeCourt(FakeDriver):
    """A World that also tells the truth (shuttle, joints)."""

    def __init__(self, spec: RobotSpec, sensors: SensorConfig = NOISY, drag_length_m: float = 4.5759) -> None:
        super().__init__(spec, sensors)
        self.drag_length_m = drag_length_m
        self.resets: list[tuple[RobotState, Launch, int]] = []
        self.connect()

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation:
        self.resets.append((start, launch, seed))
        xs, vs = fly(launch.x_m[None], launch.v_m_s[None], dt_s=0.01, steps=401, L=self.drag_length_m)
        parts = [rk4_step(xs[0], vs[0], 0.001 * ms, self.drag_length_m) for ms in range(10)]
        self._x, self._v = (np.stack(column, axis=1).reshape(-1, 3) for column in zip(*parts))  # each ms
        self._struck: Outcome | None = None
        return super().reset(start, launch, seed)

    def tick(self) -> Observation:
        before = self._q, self._dq
        seen = super().tick()
        gap = self._x[self._ticks * 10, :2] - self._q[:2]
        if self._struck is None and float(np.hypot(*gap)) < 2.5:  # out of reach otherwise
            self._strike(before, (self._q, self._dq))
        return seen

    def shuttle(self) -> tuple[Array, Array]:
        k = self._ticks * 10
        return self._x[k].copy(), self._v[k].copy()

    def joints(self) -> RobotState:
        return RobotState(self._q.copy(), self._dq.copy())

    @property
    def done(self) -> bool:
        over = 0.9 + self._struck.contact_s if self._struck is not None else 0.0
        return self._ticks * 0.01 >= max(self._landing_s, over) or self._ticks >= 395

    def outcome(self) -> Outcome:
        if self._struck is not None:
            return self._struck
        return super().outcome()._replace(landing_m=self._x[round(self._landing_s * 1000), :2])

    def _strike(self, before: tuple[Array, Array], after: tuple[Array, Array]) -> None:
        """Contact within the last tick, tested every ms."""
        share = np.linspace(0, 1, 11)[:, None]
        q, dq = ((1 - share) * a + share * b for a, b in zip(before, after))
        racket = racket_motion(self.spec, q, dq)
        k = (self._ticks - 1) * 10
        path = self._x[None, k : k + 11], self._v[None, k : k + 11]
        met = contacts(*(column[None] for column in racket), *path, self.spec.racket_semi_axes_m)
        if not met.hit[0]:
            return
        there = land(met.point_m, met.u_out_m_s, self.drag_length_m)
        over = there.net_height_m[0] > net_height_at(there.net_y_m[0])
        good = bool(over and in_singles(there.xy_m[0], 1))
        contact_s = (k + met.instant[0] + met.fraction[0]) / 1000
        self._landing_s = float(contact_s + there.time_s[0])
        speed = float(np.linalg.norm(met.struck_m_s[0]))
        self._struck = Outcome(
            True, float(contact_s), met.offset_m[0], met.point_m[0], met.u_in_m_s[0], met.u_out_m_s[0], speed,
            there.xy_m[0], self._landing_s, float(there.net_height_m[0]), good, "" if good else "out", 100.0,
        )  # fmt: skip

    def _at(self, time_s: float) -> Array:
        return self._x[min(round(time_s * 1000), 4000)].copy()

    def _land(self) -> None:
        self._landing_s = float((self._x[:, 2] <= 0.0).argmax()) / 1000
