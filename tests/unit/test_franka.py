"""The Franka driver against a stand-in with pylibfranka's signatures. It has never met an arm."""

from __future__ import annotations

import enum
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, JointTrajectory
from robots.real.franka import FrankaRobot
from robots.spec import load_spec

SPEC = load_spec("panda")


class RobotMode(enum.Enum):
    Other, Idle, Move, Guiding, Reflex, UserStopped, AutomaticErrorRecovery = range(7)


class RealtimeConfig(enum.Enum):
    kEnforce, kIgnore = range(2)


class ControllerMode(enum.Enum):
    JointImpedance, CartesianImpedance = range(2)


class ControlException(RuntimeError):
    pass


class JointPositions:
    def __init__(self, q: list[float]) -> None:
        assert len(q) == 7
        self.q, self.motion_finished = q, False


class Arm:
    """Goes where it is told, one state each millisecond."""

    def __init__(self) -> None:
        self.q, self.dq = SPEC.q_home_rad.copy(), np.zeros(7)
        self.mode, self.written, self.stopped = RobotMode.Idle, [], False
        self.reflex = threading.Event()

    def state(self) -> SimpleNamespace:
        return SimpleNamespace(q=self.q.tolist(), dq=self.dq.tolist(), q_d=self.q.tolist(), robot_mode=self.mode)

    def read_once(self) -> SimpleNamespace:
        return self.state()

    def set_collision_behavior(
        self, lower_torque_thresholds, upper_torque_thresholds, lower_force_thresholds, upper_force_thresholds
    ) -> None:
        assert (len(lower_torque_thresholds), len(upper_force_thresholds)) == (7, 6)

    def start_joint_position_control(self, mode: ControllerMode) -> Arm:
        assert mode is ControllerMode.JointImpedance
        return self

    def readOnce(self) -> tuple[SimpleNamespace, SimpleNamespace]:
        if self.reflex.wait(0.001):
            raise ControlException("joint_velocity_violation")
        return self.state(), SimpleNamespace(to_sec=lambda: 0.001)

    def writeOnce(self, command: JointPositions) -> None:
        assert isinstance(command, JointPositions)
        q = np.array(command.q)
        self.dq, self.q = (q - self.q) / 0.001, q
        self.written.append(command)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.fixture
def robot(arm: Arm):
    sdk = SimpleNamespace(
        Robot=lambda robot_ip_address, realtime_config: arm,
        RobotMode=RobotMode,
        RealtimeConfig=RealtimeConfig,
        ControllerMode=ControllerMode,
        JointPositions=JointPositions,
    )
    made = FrankaRobot(SPEC, sdk=sdk)
    yield made
    made.close()


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def test_it_follows_within_the_arm_s_jerk_limits_and_finishes_its_motion(robot: FrankaRobot, arm: Arm) -> None:
    robot.connect()
    target = SPEC.q_home_rad + 0.1
    stay = JointTrajectory(time.monotonic_ns(), 0.01, np.tile(target, (200, 1)), np.zeros((200, 7)), 2 * NS)
    with pytest.raises(CommandError, match="held"):
        robot.send(stay)
    robot.rearm()
    robot.send(stay)
    until(lambda: np.abs(arm.q - target).max() < 2e-3)
    robot.close()
    q = np.array([c.q for c in arm.written[:-1]])
    jerk = np.diff(q, n=3, axis=0) / 0.001**3
    assert (np.abs(jerk).max(axis=0) < 500 * SPEC.ddq_max_rad_s2).all()
    assert arm.written[-1].motion_finished
    assert arm.stopped


def test_a_reflex_is_told_to_whoever_asks_next(robot: FrankaRobot, arm: Arm) -> None:
    robot.connect()
    arm.reflex.set()
    until(lambda: not robot._connected().running)
    with pytest.raises(RobotError, match="joint_velocity_violation"):
        robot.observe()
    robot.close()


def test_a_locked_arm_is_refused(robot: FrankaRobot, arm: Arm) -> None:
    arm.mode = RobotMode.UserStopped
    with pytest.raises(RobotError, match="mode is UserStopped; allowed: Idle"):
        robot.connect()


def test_a_missing_binding_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylibfranka", None)
    with pytest.raises(RobotError, match=r"pip install 'hjepa\[franka\]'"):
        FrankaRobot(SPEC).connect()


def test_the_stand_in_has_the_binding_s_names() -> None:
    sdk = pytest.importorskip("pylibfranka", reason="pip install 'hjepa[franka]'")
    for mine, theirs in ((RobotMode, sdk.RobotMode), (RealtimeConfig, sdk.RealtimeConfig)):
        assert {m.name: m.value for m in mine} == {n: m.value for n, m in theirs.__members__.items()}
    for verb in ("read_once", "set_collision_behavior", "start_joint_position_control", "stop"):
        assert hasattr(sdk.Robot, verb)
    assert {"readOnce", "writeOnce"} <= set(dir(sdk.ActiveControlBase))
    assert issubclass(sdk.ControlException, RuntimeError) and issubclass(sdk.NetworkException, RuntimeError)
    assert sdk.JointPositions([0.0] * 7).motion_finished is False
