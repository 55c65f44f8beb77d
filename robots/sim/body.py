"""The robot's body in PyBullet: one private physics client, 1 ms steps, velocity motors with force limits.

Legend: J joints. Collisions are off: racket and shuttle meet by our own swept test, the net by a check on the racket.
"""

from __future__ import annotations

import os

import numpy as np
import pybullet as p

from hjepa.errors import RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.types import Array, RobotSpec
from robots.sim.urdf import RACKET_LINK, urdf_path

STEP_S = 0.001
_FAST = 1000.0  # above every joint speed: Bullet's own cap (100) and damping would distort the motion


class Body:
    """Physics of one robot. Two bodies share nothing."""

    def __init__(self, spec: RobotSpec, gui: bool = False) -> None:
        """Starts a physics client; gui opens PyBullet's window and needs a display."""
        if gui and not os.environ.get("DISPLAY"):
            raise RobotError(
                "gui needs a display, and DISPLAY is not set; allowed: gui=False, or start under a display"
            )
        path = urdf_path(spec.name)
        if not path.exists():
            raise RobotError(f"no URDF for '{spec.name}' at {path}: run python -m robots.sim.urdf {spec.name}")
        self.client = p.connect(p.GUI if gui else p.DIRECT)
        if self.client < 0:
            raise RobotError(f"PyBullet could not open its {'window' if gui else 'physics server'}")
        p.setTimeStep(STEP_S, physicsClientId=self.client)
        p.setGravity(0.0, 0.0, -9.81, physicsClientId=self.client)
        flags = p.URDF_USE_INERTIA_FROM_FILE | p.URDF_IGNORE_COLLISION_SHAPES
        self.robot = p.loadURDF(str(path), useFixedBase=True, flags=flags, physicsClientId=self.client)
        found = {}
        for i in range(p.getNumJoints(self.robot, physicsClientId=self.client)):
            info = p.getJointInfo(self.robot, i, physicsClientId=self.client)
            found[info[1].decode()], link = i, info[12].decode()
            if link == RACKET_LINK:
                self._racket = i
        self._joints = [found[name] for name in spec.joint_names]
        self._force = [float(t) for t in spec.tau_max_nm]
        for link_index in range(-1, len(found)):
            p.changeDynamics(
                self.robot, link_index, linearDamping=0.0, angularDamping=0.0, jointDamping=0.0,
                maxJointVelocity=_FAST, physicsClientId=self.client,
            )  # fmt: skip

    def close(self) -> None:
        """Stop the physics client."""
        p.disconnect(physicsClientId=self.client)

    def reset(self, q_rad: Array, dq_rad_s: Array) -> None:
        """Put the joints at q moving at dq, (J,) each."""
        for joint, q, dq in zip(self._joints, q_rad.tolist(), dq_rad_s.tolist(), strict=True):
            p.resetJointState(self.robot, joint, q, dq, physicsClientId=self.client)
        self._command(dq_rad_s.tolist())

    def step(self, dq_rad_s: list[float]) -> None:
        """One millisecond with the motors aiming at speeds dq (J)."""
        self._command(dq_rad_s)
        p.stepSimulation(physicsClientId=self.client)

    def _command(self, dq_rad_s: list[float]) -> None:
        p.setJointMotorControlArray(
            self.robot,
            self._joints,
            p.VELOCITY_CONTROL,
            targetVelocities=dq_rad_s,
            forces=self._force,
            physicsClientId=self.client,
        )

    def joints(self) -> tuple[Array, Array, Array]:
        """Positions, speeds and motor torques of the last step, (J,) each."""
        states = p.getJointStates(self.robot, self._joints, physicsClientId=self.client)
        values = np.array([(s[0], s[1], s[3]) for s in states])
        return values[:, 0].copy(), values[:, 1].copy(), values[:, 2].copy()

    def racket(self) -> Pose:
        """Racket frame and the velocity of its origin now. Bullet gives the centre of mass's, so it is moved over."""
        com, _, _, _, centre, quaternion, v, w = p.getLinkState(
            self.robot, self._racket, computeLinkVelocity=1, computeForwardKinematics=1, physicsClientId=self.client
        )
        rx, ry, rz = centre[0] - com[0], centre[1] - com[1], centre[2] - com[2]
        velocity = (v[0] + w[1] * rz - w[2] * ry, v[1] + w[2] * rx - w[0] * rz, v[2] + w[0] * ry - w[1] * rx)
        return Pose(centre, p.getMatrixFromQuaternion(quaternion), velocity, w)
