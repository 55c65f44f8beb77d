"""The UDP driver against the emulated 1 kHz robot. Run: pytest tests/integration/test_udp_robot.py"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS
from robots.catalog import make_driver
from robots.emulators.rig import emulated
from robots.emulators.udp_robot import UdpRobotEmulator
from robots.real.udp import UdpRobot
from robots.spec import load_spec
from tests.robot_moves import error_rad, stands, swing, until

SPEC = load_spec("panda")
PATIENT = 200  # missed commands: the tests' processor has more to do than this


@pytest.fixture
def robot() -> Iterator[UdpRobotEmulator]:
    with UdpRobotEmulator(SPEC, missed_max=PATIENT) as emulator:
        yield emulator


@pytest.fixture
def driver(robot: UdpRobotEmulator) -> Iterator[UdpRobot]:
    made = UdpRobot(SPEC, robot.host, robot.port, lost_s=0.2)
    made.connect()
    yield made
    made.close()


def faulted(driver: UdpRobot) -> bool:
    return not driver._connected().running


def test_it_starts_held_then_follows_and_releases_the_robot(robot: UdpRobotEmulator, driver: UdpRobot) -> None:
    command = swing(driver.observe().q_rad)
    with pytest.raises(CommandError, match="held"):
        driver.send(command)
    driver.rearm()
    command = swing(driver.observe().q_rad)
    driver.send(command)
    errors = []
    until(
        lambda: errors.append(error_rad(command, driver.observe())) or driver.observe().q_rad[0] > command.q_rad[95, 0]
    )
    assert np.median(errors) < 0.01
    driver.close()
    until(lambda: robot.mode == "idle" and not robot.joints.moving)


def test_a_bad_line_does_not_stop_it_and_is_counted(robot: UdpRobotEmulator, driver: UdpRobot) -> None:
    robot.set_knobs(drop=0.1, corrupt=0.1, reorder=0.1, delay_s=0.003)
    driver.rearm()
    command = swing(driver.observe().q_rad)
    driver.send(command)
    until(lambda: driver.observe().q_rad[0] > command.q_rad[95, 0])
    assert error_rad(command, driver.observe()) < 0.05
    assert driver.bad_packets > 10


def test_it_brakes_and_holds_when_the_command_has_run_out(driver: UdpRobot) -> None:
    driver.rearm()
    command = swing(driver.observe().q_rad, valid_s=0.4)
    driver.send(command)
    until(lambda: driver.held and stands(driver))
    assert command.q_rad[5, 0] < driver.observe().q_rad[0] < command.q_rad[60, 0]


def test_nan_is_refused_and_moves_nothing(driver: UdpRobot) -> None:
    driver.rearm()
    before = driver.observe()
    command = swing(before.q_rad)
    command.q_rad[3, 2] = np.nan
    with pytest.raises(CommandError, match="q_rad is nan at sample 3, joint a3"):
        driver.send(command)
    until(lambda: driver.observe().stamp_ns > before.stamp_ns + NS // 10)
    np.testing.assert_allclose(driver.observe().q_rad, before.q_rad, atol=1e-6)


def test_a_pulled_cable_is_a_fault_here_and_the_robot_stops_by_itself(
    robot: UdpRobotEmulator, driver: UdpRobot
) -> None:
    driver.rearm()
    driver.send(swing(driver.observe().q_rad))
    until(lambda: bool(np.abs(robot.joints.dq_rad_s).max() > 0.1))
    pulled = time.monotonic()
    robot.set_knobs(mute=True)
    until(lambda: faulted(driver), seconds=1.0)  # lost_s is 0.2
    with pytest.raises(RobotError, match=r"silent for \d+ ms; allowed: 200 ms"):
        driver.observe()
    until(lambda: robot.mode == "stopped" and not robot.joints.moving)
    assert 1e-9 * robot.stopped_at_ns - pulled < 0.001 * PATIENT + 0.5  # half a second for a busy processor
    robot.set_knobs(mute=False)
    driver.close()
    driver.connect()  # nothing moves before it is armed again
    assert driver.held
    until(lambda: robot.mode == "following")


def test_a_robot_in_fault_is_told_to_whoever_asks_next(robot: UdpRobotEmulator, driver: UdpRobot) -> None:
    robot.fault()
    until(lambda: faulted(driver))
    with pytest.raises(RobotError, match="the robot is in fault"):
        driver.observe()
    driver.close()
    with pytest.raises(RobotError, match="clear it at the robot first"):
        driver.connect()


def test_a_stranger_cannot_move_a_robot_that_follows(robot: UdpRobotEmulator, driver: UdpRobot) -> None:
    with pytest.raises(RobotError, match="sent no state"):
        UdpRobot(SPEC, robot.host, robot.port, connect_s=0.3).connect()
    assert not faulted(driver)


def test_a_stuck_joint_shows_in_what_is_observed(robot: UdpRobotEmulator, driver: UdpRobot) -> None:
    robot.joints.stuck = 1
    driver.rearm()
    command = swing(driver.observe().q_rad)
    driver.send(command)
    until(lambda: driver.observe().q_rad[0] > command.q_rad[95, 0])
    assert driver.observe().q_rad[1] == pytest.approx(command.q_rad[0, 1])


class StubTracker:
    """Sees the same thing in every slot."""

    def __init__(self) -> None:
        self.life: list[str] = []

    def connect(self) -> None:
        self.life.append("connect")

    def window(self, stamp_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stamps = stamp_ns + 10_000_000 * np.arange(-63, 1)
        return np.full((64, 3), 7.0), np.ones(64, dtype=bool), stamps

    def close(self) -> None:
        self.life.append("close")


def test_a_tracker_lives_with_the_driver_and_fills_its_observations(robot: UdpRobotEmulator) -> None:
    tracker = StubTracker()
    with UdpRobot(SPEC, robot.host, robot.port, lost_s=0.2, tracker=tracker) as driver:
        seen = driver.observe()
    assert seen.tracker_mask.all() and (seen.tracker_xyz_m == 7.0).all()
    assert seen.tracker_stamp_ns[-1] == seen.stamp_ns
    assert tracker.life == ["connect", "close"]


def test_use_before_connect_and_a_robot_that_is_off() -> None:
    driver = make_driver("udp", "panda", connect_s=0.2, port=free_port())
    for verb in (driver.observe, driver.hold):
        with pytest.raises(RobotError, match=r"connect\(\) first"):
            verb()
    with pytest.raises(RobotError, match="sent no state within 0.2 s"):
        driver.connect()
    driver.close()


def test_the_rig_yields_a_driver_that_can_connect() -> None:
    with emulated("udp", SPEC) as driver, driver:  # type: ignore[attr-defined]
        assert driver.spec.control_rate_hz == 1000.0
        assert driver.observe().q_rad.shape == (7,)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
