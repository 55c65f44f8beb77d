"""Driver of Franka arms through the maker's binding, pylibfranka (0.21): joint positions at 1 kHz.

Never run on hardware: it is written against the published signatures and tested with a stand-in that has the same
ones. The loop is clocked by `readOnce`, which waits for the arm's next state; the arm stops by itself (reflex) when 20
commands in a row are missing or one breaks a limit, and every exception of the binding ends the loop.

The arm also limits jerk, which our guard does not know: set-points pass a first-order low-pass of time T, after which
jerk is at most 2 ddq_max / T. With 10 ms that is 200 / s times ddq_max; the arm allows 500 / s times (Franka Control
Interface documentation, limits for Panda). A real-time kernel is asked for unless told otherwise.
Legend: J = 7 joints.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from hjepa.errors import RobotError
from hjepa.protocols import Tracker
from hjepa.types import Array, RobotSpec
from robots.real.streamed import StreamedRobot

_TORQUE_NM, _FORCE_N = 20.0, 20.0  # contact above this is a collision; the maker's examples' values


class FrankaRobot(StreamedRobot):
    """A Panda or FR3; see hjepa.protocols.Driver."""

    paced_by_read = True

    def __init__(
        self,
        spec: RobotSpec,
        host: str = "172.16.0.2",
        *,
        realtime: bool = True,
        smooth_s: float = 0.01,
        tracker: Tracker | None = None,
        sdk: ModuleType | Any = None,
    ) -> None:
        """realtime: refuse to run without a real-time kernel. smooth_s: T above. sdk: pylibfranka, or a stand-in."""
        super().__init__(spec, 1000.0, tracker)
        if spec.joints != 7:
            raise RobotError(f"{spec.name} has {spec.joints} joints; allowed: a Franka arm's 7")
        if not 0.004 <= smooth_s <= 0.1:
            raise RobotError(f"smooth_s is {smooth_s}; allowed: 0.004 (the jerk limit) to 0.1")
        self._host, self._realtime, self._share, self._sdk = host, realtime, 0.001 / smooth_s, sdk
        self._control: Any = None

    def _open(self) -> None:
        sdk = self._sdk = self._sdk or _sdk()
        config = sdk.RealtimeConfig.kEnforce if self._realtime else sdk.RealtimeConfig.kIgnore
        try:
            self._robot = sdk.Robot(self._host, config)
            state = self._robot.read_once()
            if state.robot_mode != sdk.RobotMode.Idle:
                raise RobotError(
                    f"{self._where}: mode is {state.robot_mode.name}; allowed: Idle (unlocked, FCI active)"
                )
            torque, force = [_TORQUE_NM] * 7, [_FORCE_N] * 6
            self._robot.set_collision_behavior(torque, torque, force, force)
            self._control = self._robot.start_joint_position_control(sdk.ControllerMode.JointImpedance)
        except RuntimeError as error:  # the base of all of the binding's exceptions
            raise RobotError(f"{self._where}: {error}; allowed: an unlocked arm with FCI active") from error
        self._sent = np.array(state.q_d, dtype=np.float64)

    def _shut(self) -> None:
        if self._control is None:
            return
        try:
            last = self._sdk.JointPositions(self._sent.tolist())
            last.motion_finished = True
            self._control.readOnce()
            self._control.writeOnce(last)
            self._robot.stop()
        except RuntimeError:  # the arm has stopped already
            pass
        finally:
            self._control = self._robot = None

    def _read(self) -> tuple[Array, Array]:
        try:
            state, _ = self._control.readOnce()
        except RuntimeError as error:
            raise RobotError(
                f"{self._where}: {error}; allowed: clear it at the robot, then close(), connect()"
            ) from error
        return np.array(state.q, dtype=np.float64), np.array(state.dq, dtype=np.float64)

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        self._sent = self._sent + self._share * (q_set_rad - self._sent)
        try:
            self._control.writeOnce(self._sdk.JointPositions(self._sent.tolist()))
        except RuntimeError as error:
            raise RobotError(
                f"{self._where}: {error}; allowed: clear it at the robot, then close(), connect()"
            ) from error

    @property
    def _where(self) -> str:
        return f"{self.spec.name} at {self._host}"


def _sdk() -> ModuleType:
    try:
        import pylibfranka
    except ImportError as missing:
        raise RobotError(f"driver 'franka': {missing}; allowed: pip install 'hjepa[franka]'") from missing
    return pylibfranka
