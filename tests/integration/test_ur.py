"""The UR driver against the emulated controller. Run: pytest tests/integration/test_ur.py"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS
from robots.catalog import make_driver
from robots.emulators.rig import emulated
from robots.emulators.rtde import Knobs, UrEmulator
from robots.real.ur import UrRobot
from robots.spec import load_spec
from tests.robot_moves import error_rad, stands, swing, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs loopback addresses other than 127.0.0.1")
SPEC = load_spec("ur5e")
WATCHDOG_HZ = 5.0  # slow: the tests' processor has more to do than this


@pytest.fixture
def robot() -> Iterator[UrEmulator]:
    with UrEmulator(SPEC) as emulator:
        yield emulator


@pytest.fixture
def driver(robot: UrEmulator) -> Iterator[UrRobot]:
    made = UrRobot(SPEC, robot.host, watchdog_hz=WATCHDOG_HZ, lost_s=0.4)
    made.connect()
    yield made
    made.close()


def start_swing(robot: UrEmulator, driver: UrRobot) -> None:
    driver.rearm()
    driver.send(swing(driver.observe().q_rad))
    until(lambda: bool(np.abs(robot.joints.dq_rad_s).max() > 0.1))


def faulted(driver: UrRobot) -> bool:
    return not driver._connected().running


def test_it_starts_held_then_follows_and_ends_its_program(robot: UrEmulator, driver: UrRobot) -> None:
    assert robot.program is not None
    assert robot.program.watchdog_s == 1.0 / WATCHDOG_HZ
    with pytest.raises(CommandError, match="held"):
        driver.send(swing(driver.observe().q_rad))
    driver.rearm()
    command = swing(driver.observe().q_rad)
    driver.send(command)
    errors = []
    until(
        lambda: errors.append(error_rad(command, driver.observe())) or driver.observe().q_rad[0] > command.q_rad[95, 0]
    )
    assert np.median(errors) < 0.03  # servoj's look-ahead of 30 ms at 0.3 rad/s, and the wait for the reading
    driver.close()
    until(lambda: robot.program is None and not robot.joints.moving)
    assert robot.stopped_by == "client"


def test_it_brakes_and_holds_when_the_command_has_run_out(driver: UrRobot) -> None:
    driver.rearm()
    command = swing(driver.observe().q_rad, valid_s=0.4)
    driver.send(command)
    until(lambda: driver.held and stands(driver))
    assert command.q_rad[5, 0] < driver.observe().q_rad[0] < command.q_rad[60, 0]


def test_nan_is_refused_and_moves_nothing(driver: UrRobot) -> None:
    driver.rearm()
    before = driver.observe()
    command = swing(before.q_rad)
    command.q_rad[3, 2] = np.nan
    with pytest.raises(CommandError, match="q_rad is nan at sample 3"):
        driver.send(command)
    until(lambda: driver.observe().stamp_ns > before.stamp_ns + NS // 10)
    np.testing.assert_allclose(driver.observe().q_rad, before.q_rad, atol=1e-6)


@pytest.mark.parametrize("how", ["mute", "cut"])
def test_a_lost_link_is_a_fault_here_and_the_controller_stops_the_arm(
    robot: UrEmulator, driver: UrRobot, how: str
) -> None:
    start_swing(robot, driver)
    lost = time.monotonic()
    robot.set_knobs(mute=True) if how == "mute" else robot.cut()
    until(lambda: faulted(driver), seconds=1.5)  # lost_s is 0.4
    with pytest.raises(RobotError, match="silent for|connection"):
        driver.observe()
    until(lambda: robot.program is None)
    assert robot.stopped_by == "watchdog"
    assert 1e-9 * robot.stopped_at_ns - lost < 1.0 / WATCHDOG_HZ + 0.5  # half a second for a busy processor
    until(lambda: not robot.joints.moving)


def test_a_protective_stop_is_told_and_nothing_moves_until_someone_connects_again(
    robot: UrEmulator, driver: UrRobot
) -> None:
    start_swing(robot, driver)
    robot.protective_stop()
    until(lambda: faulted(driver))
    with pytest.raises(RobotError, match="protective stop; allowed: clear it at the robot"):
        driver.observe()
    until(lambda: not robot.joints.moving)
    driver.close()
    with pytest.raises(RobotError, match="protective stop"):
        driver.connect()
    robot.unlock()
    driver.connect()
    assert driver.held
    assert not robot.joints.moving


def test_an_emergency_stop_is_told(robot: UrEmulator, driver: UrRobot) -> None:
    robot.emergency_stop()
    until(lambda: faulted(driver))
    driver.hold()  # a stop never complains
    with pytest.raises(RobotError, match="robot emergency stop"):
        driver.observe()


def test_it_refuses_to_run_without_a_watchdog() -> None:
    with UrEmulator(SPEC, knobs=Knobs(deaf_watchdog=True)) as robot:
        driver = UrRobot(SPEC, robot.host)
        with pytest.raises(RobotError, match="watchdog reads back as 0.0 Hz; allowed: 25.0"):
            driver.connect()
        until(lambda: robot.program is None)
        with pytest.raises(RobotError, match=r"connect\(\) first"):
            driver.observe()


def test_an_old_controller_is_refused() -> None:
    with (
        UrEmulator(SPEC, knobs=Knobs(wrong_version=True)) as robot,
        pytest.raises(RobotError, match="refuses RTDE version 2"),
    ):
        UrRobot(SPEC, robot.host).connect()


def test_damaged_states_end_in_a_fault_or_are_borne_but_never_hang(robot: UrEmulator, driver: UrRobot) -> None:
    robot.set_knobs(corrupt=0.5)
    driver.rearm()
    driver.send(swing(driver.observe().q_rad))
    until(lambda: robot.joints.q_rad[0] > SPEC.q_home_rad[0] + 0.19 or faulted(driver))
    assert np.isfinite(robot.joints.q_rad).all()
    assert (robot.joints.q_rad < SPEC.q_home_rad + 0.21).all()


def test_lost_and_late_packages_and_a_stuck_joint_are_borne(robot: UrEmulator, driver: UrRobot) -> None:
    robot.set_knobs(drop=0.3, delay_s=0.02)
    robot.joints.stuck = 1
    driver.rearm()
    command = swing(driver.observe().q_rad)
    driver.send(command)
    until(lambda: driver.observe().q_rad[0] > command.q_rad[95, 0])
    assert driver.observe().q_rad[1] == pytest.approx(command.q_rad[0, 1])


def test_use_before_connect_and_a_controller_that_is_off() -> None:
    driver = make_driver("ur", "ur5e", host="127.0.0.1", connect_s=0.3)
    for verb in (driver.observe, driver.hold):
        with pytest.raises(RobotError, match=r"connect\(\) first"):
            verb()
    with pytest.raises(RobotError, match="a Universal Robots controller that is on"):
        driver.connect()


def test_the_rig_yields_a_driver_that_can_connect() -> None:
    with emulated("ur", SPEC) as driver, driver:  # type: ignore[attr-defined]
        assert driver.spec.control_rate_hz == 500.0
        assert driver.observe().q_rad.shape == (6,)


_CLIENT = """
import json, sys, time
import rtde_control, rtde_receive
host = sys.argv[1]
receive = rtde_receive.RTDEReceiveInterface(host, 500.0, ["actual_q", "safety_mode"])
control = rtde_control.RTDEControlInterface(host, 500.0)
watchdog = control.setWatchdog(5.0)
target = [q + 0.05 for q in receive.getActualQ()]
deadline = time.monotonic() + 30.0
while max(abs(a - b) for a, b in zip(receive.getActualQ(), target)) > 1e-3 and time.monotonic() < deadline:
    control.servoJ(target, 0.5, 0.5, 0.002, 0.03, 300)
    time.sleep(0.002)
print(json.dumps([watchdog, receive.getSafetyMode(), max(abs(a - b) for a, b in zip(receive.getActualQ(), target))]))
control.servoStop()
control.stopScript()
"""


def test_the_emulator_is_a_controller_to_the_public_client_library(robot: UrEmulator) -> None:
    pytest.importorskip("rtde_control", reason="pip install ur-rtde")
    client = subprocess.run(
        [sys.executable, "-c", _CLIENT, robot.host], capture_output=True, text=True, timeout=60, check=True
    )
    watchdog, safety, error = json.loads(client.stdout.strip().splitlines()[-1])
    assert (watchdog, safety) == (True, 1)
    assert error < 1e-3
    until(lambda: robot.program is None)
    assert robot.stopped_by == "client"
