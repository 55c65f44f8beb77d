"""The control loop brakes by itself, holds, and tells what went wrong."""

import time

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, Array, JointTrajectory
from robots.loop import ControlLoop
from robots.spec import load_spec

SPEC = load_spec("courtbot")


class Joints:
    """Goes exactly where it is told; remembers when and how fast."""

    def __init__(self) -> None:
        self.q, self.dq = SPEC.q_home_rad.copy(), np.zeros(SPEC.joints)
        self.speeds: list[tuple[int, Array]] = []
        self.broken = False

    def read(self) -> tuple[Array, Array]:
        if self.broken:
            raise OSError("cable")
        return self.q.copy(), self.dq.copy()

    def write(self, q_set: Array, dq_set: Array) -> None:
        self.q, self.dq = q_set.copy(), dq_set.copy()
        self.speeds.append((time.monotonic_ns(), dq_set.copy()))


def onwards(start_ns: int, valid_s: float, speed: float = 0.3) -> JointTrajectory:
    t = np.arange(200) * 0.01
    q = SPEC.q_home_rad + speed * t[:, None] * np.eye(SPEC.joints)[1]
    return JointTrajectory(start_ns, 0.01, q, np.tile(speed * np.eye(SPEC.joints)[1], (200, 1)), round(valid_s * NS))


@pytest.fixture
def joints() -> Joints:
    return Joints()


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def test_it_starts_disarmed_follows_once_armed_and_stops_by_itself(joints: Joints) -> None:
    loop = ControlLoop(SPEC, joints.read, joints.write)
    loop.start()
    try:
        with pytest.raises(CommandError, match="held"):
            loop.send(onwards(time.monotonic_ns(), 0.2))
        loop.rearm()
        command = onwards(time.monotonic_ns(), 0.3)
        loop.send(command)
        until(lambda: joints.dq[1] > 0.2)
        until(lambda: loop.held)
        until(lambda: not joints.dq.any())
        moving_after = [at for at, v in joints.speeds if v[1] >= 0.3 - 1e-9]
        period = NS / SPEC.control_rate_hz
        assert moving_after[-1] <= command.start_ns + command.valid_ns + 2 * period + loop.report().late_ns
        with pytest.raises(CommandError, match="held"):  # latched: a fresh command moves nothing
            loop.send(onwards(time.monotonic_ns(), 0.2))
    finally:
        loop.close()


def test_braking_stays_within_the_acceleration_limit(joints: Joints) -> None:
    loop = ControlLoop(SPEC, joints.read, joints.write)
    loop.start()
    loop.rearm()
    loop.send(onwards(time.monotonic_ns(), 0.3, speed=1.0))
    until(lambda: joints.dq[1] > 0.3)
    loop.close()
    steps = np.diff([v for _, v in joints.speeds], axis=0)
    assert np.abs(steps).max() <= SPEC.ddq_max_rad_s2[1] / SPEC.control_rate_hz + 1e-9
    assert not joints.dq.any()


def test_a_device_that_fails_is_told_to_whoever_asks_next(joints: Joints) -> None:
    loop = ControlLoop(SPEC, joints.read, joints.write)
    loop.start()
    joints.broken = True

    until(lambda: not loop.running)
    with pytest.raises(RobotError, match="cable"):
        loop.measured()
    loop.close()


def test_use_before_start_says_what_to_do(joints: Joints) -> None:
    with pytest.raises(RobotError, match="connect"):
        ControlLoop(SPEC, joints.read, joints.write).measured()
