"""The simulated court with its robot in MuJoCo: a second opinion on the physics of the first (court.py).

Legend: J joints.
"""

from __future__ import annotations

import mujoco
import numpy as np

from hjepa.errors import RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.types import Array, RobotSpec
from robots.sim.drive import STEP_S, Body
from robots.sim.links import RACKET_LINK
from robots.sim.mjcf import STEP_S as FINE_S
from robots.sim.mjcf import mjcf_text
from robots.sim.world import SimulatedCourt
from robots.spec import described_by, load_spec

_SUBSTEPS = round(STEP_S / FINE_S)


class MujocoBody:
    """Physics of one robot in MuJoCo, two steps a millisecond. Two bodies share nothing."""

    def __init__(self, spec: RobotSpec) -> None:
        # the machine's own gains, whatever share of its speed the guard allows just now
        self._model = mujoco.MjModel.from_xml_string(mjcf_text(load_spec(described_by(spec))))
        self._data = mujoco.MjData(self._model)
        self._racket = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_SITE, RACKET_LINK)
        self._twist = np.zeros(6)
        self._tau_max = spec.tau_max_nm
        self._speeds: list[Array] = []  # reached by the substeps of the last millisecond

    def close(self) -> None:
        """Nothing to stop."""

    def reset(self, q_rad: Array, dq_rad_s: Array) -> None:
        """Put the joints at q moving at dq, (J,) each."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:], self._data.qvel[:], self._data.ctrl[:] = q_rad, dq_rad_s, dq_rad_s
        self._speeds = [self._data.qvel.copy()]
        mujoco.mj_step1(self._model, self._data)

    def step(self, dq_rad_s: list[float]) -> None:
        """One millisecond with the drives aiming at speeds dq (J)."""
        self._data.ctrl[:] = dq_rad_s
        self._speeds = []
        for _ in range(_SUBSTEPS):
            mujoco.mj_step2(self._model, self._data)
            mujoco.mj_step1(self._model, self._data)  # frames and velocities of the state reached
            self._speeds.append(self._data.qvel.copy())

    def joints(self) -> tuple[Array, Array, Array]:
        """Positions, speeds and drive torques of the last step, (J,) each.

        Integrated implicitly, a drive pushed with what the speeds reached leave of its error; MuJoCo's own reading is
        what it would have pushed with at the speed before.
        """
        data, kv = self._data, self._model.actuator_gainprm[:, 0]
        reached: Array = np.mean(self._speeds, axis=0)
        push = kv * (data.ctrl - reached) + data.qfrc_gravcomp
        return data.qpos.copy(), data.qvel.copy(), np.clip(push, -self._tau_max, self._tau_max)

    def racket(self) -> Pose:
        """Racket frame and the velocity of its origin now."""
        if self._racket < 0:
            raise RobotError("this robot has no racket; allowed: a description with one")
        site = mujoco.mjtObj.mjOBJ_SITE
        mujoco.mj_objectVelocity(self._model, self._data, site, self._racket, self._twist, 0)
        w, v = self._twist[:3].tolist(), self._twist[3:].tolist()
        centre, rotation = self._data.site_xpos[self._racket].tolist(), self._data.site_xmat[self._racket].tolist()
        return Pose(tuple(centre), tuple(rotation), tuple(v), tuple(w))


class MujocoCourt(SimulatedCourt):
    """The court in MuJoCo. It opens no window."""

    def _make_body(self) -> Body:
        if self._gui:
            raise RobotError("gui is PyBullet's window; allowed with MuJoCo: gui=False")
        return MujocoBody(self.spec)
