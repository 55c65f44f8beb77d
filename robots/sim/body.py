"""A robot's body in PyBullet: one private physics client, 1 ms steps, velocity motors with force limits.

Bullet's habits, dealt with here: it damps links and joints unless told not to, and caps joint speed at a value of its
own instead of the robot's limit (the guard's business). Collisions are off: racket and shuttle meet by our own swept
test, the net by a check on the racket. Legend: J joints.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pybullet as p

from hjepa.errors import RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.types import Array, RobotSpec
from robots.sim.drive import STEP_S
from robots.sim.links import RACKET_LINK
from robots.sim.urdf import urdf_path, urdf_text
from robots.spec import described_by

_FAST = 1000.0  # above every joint speed: Bullet's own cap (100) and damping would distort the motion
_GRIP_N = 100.0  # holds what moves beyond the arm (fingers)


@contextmanager
def _model(spec: RobotSpec) -> Iterator[Path]:
    """The URDF beside a robot's description; of a user's own robot one that is made for now."""
    name = described_by(spec)
    shipped = urdf_path(name)
    if shipped.exists():
        yield shipped
        return
    with tempfile.TemporaryDirectory(prefix="hjepa-urdf-") as folder:
        made = Path(folder) / "robot.urdf"
        made.write_text(urdf_text(name), encoding="utf-8")
        yield made


class PyBulletBody:
    """Physics of one robot. Two bodies share nothing."""

    def __init__(self, spec: RobotSpec, gui: bool = False, urdf: Path | None = None) -> None:
        """Starts a physics client; gui opens PyBullet's window and needs a display.

        urdf: another model of the same machine, whose first J moving joints are the spec's in order. Its inertias are
        taken from its shapes and masses: those stated in pybullet_data are placeholders (Panda: 0.1 kg m^2 a link).
        """
        if gui and not os.environ.get("DISPLAY"):
            raise RobotError(
                "gui needs a display, and DISPLAY is not set; allowed: gui=False, or start under a display"
            )
        with ExitStack() as stack:
            path = stack.enter_context(_model(spec)) if urdf is None else urdf
            self._load(spec, gui, path, made=urdf is None)

    def _load(self, spec: RobotSpec, gui: bool, path: Path, made: bool) -> None:
        self.client = p.connect(p.GUI if gui else p.DIRECT)
        if self.client < 0:
            raise RobotError(f"PyBullet could not open its {'window' if gui else 'physics server'}")
        p.setTimeStep(STEP_S, physicsClientId=self.client)
        p.setGravity(0.0, 0.0, -9.81, physicsClientId=self.client)
        flags = p.URDF_USE_INERTIA_FROM_FILE | p.URDF_IGNORE_COLLISION_SHAPES if made else 0
        self.robot = p.loadURDF(str(path), useFixedBase=True, flags=flags, physicsClientId=self.client)
        self._find_joints(spec)
        self._force = [float(t) for t in spec.tau_max_nm]
        for link in range(-1, p.getNumJoints(self.robot, physicsClientId=self.client)):
            p.changeDynamics(
                self.robot, link, linearDamping=0.0, angularDamping=0.0, jointDamping=0.0,
                maxJointVelocity=_FAST, physicsClientId=self.client,
            )  # fmt: skip

    def _find_joints(self, spec: RobotSpec) -> None:
        moving, self._racket = [], -1
        for i in range(p.getNumJoints(self.robot, physicsClientId=self.client)):
            info = p.getJointInfo(self.robot, i, physicsClientId=self.client)
            if info[2] in (p.JOINT_REVOLUTE, p.JOINT_PRISMATIC):
                moving.append(i)
            if info[12].decode() == RACKET_LINK:
                self._racket = i
        if len(moving) < spec.joints:
            raise RobotError(f"the URDF of '{spec.name}' has {len(moving)} moving joints; allowed: {spec.joints}")
        self._joints, self._fingers = moving[: spec.joints], moving[spec.joints :]
        for i in self._fingers:
            p.setJointMotorControl2(self.robot, i, p.VELOCITY_CONTROL, force=_GRIP_N, physicsClientId=self.client)

    def close(self) -> None:
        """Stop the physics client."""
        p.disconnect(physicsClientId=self.client)

    def reset(self, q_rad: Array, dq_rad_s: Array) -> None:
        """Put the joints at q moving at dq, (J,) each."""
        for joint, q, dq in zip(self._joints, q_rad.tolist(), dq_rad_s.tolist(), strict=True):
            p.resetJointState(self.robot, joint, q, dq, physicsClientId=self.client)
        for joint in self._fingers:
            p.resetJointState(self.robot, joint, 0.0, 0.0, physicsClientId=self.client)
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
        if self._racket < 0:
            raise RobotError("this robot has no racket; allowed: a description with one")
        com, _, _, _, centre, quaternion, v, w = p.getLinkState(
            self.robot, self._racket, computeLinkVelocity=1, computeForwardKinematics=1, physicsClientId=self.client
        )
        rx, ry, rz = centre[0] - com[0], centre[1] - com[1], centre[2] - com[2]
        velocity = (v[0] + w[1] * rz - w[2] * ry, v[1] + w[2] * rx - w[0] * rz, v[2] + w[0] * ry - w[1] * rx)
        return Pose(centre, p.getMatrixFromQuaternion(quaternion), velocity, w)
