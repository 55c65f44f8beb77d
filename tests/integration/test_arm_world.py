"""Fixed-base arms in PyBullet. Run: pytest tests/integration/test_arm_world.py"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")

from hjepa import motion
from hjepa.errors import RobotError
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import NS, JointTrajectory, Observation, RobotSpec
from robots.sim.arm import ArmConfig, ArmDriver, ArmWorld
from robots.sim.drive import home
from robots.spec import load_spec

pytestmark = pytest.mark.sim
PERFECT = ArmConfig(joint_noise_rad=0.0, joint_noise_rad_s=0.0)


@pytest.fixture(params=["panda", "iiwa", "ur5e"])
def spec(request: pytest.FixtureRequest) -> RobotSpec:
    return load_spec(request.param)


def fast_swing(spec: RobotSpec, rng: np.random.Generator, start_ns: int = 0) -> JointTrajectory:
    """A two-phase motion from home that uses at least 90 % of a joint's speed or acceleration, and no more than all."""
    J = spec.joints
    while True:
        T = rng.uniform(0.5, 1.2)
        q1 = spec.q_home_rad + rng.uniform(-1, 1, J) * spec.dq_max_rad_s * T * 0.6
        v1 = rng.uniform(-1, 1, J) * spec.dq_max_rad_s * 0.6
        m = motion.solve(spec.q_home_rad, np.zeros(J), np.zeros(J), q1, v1, np.array(T), np.array(0.15))
        q, v, a = motion.evaluate(m, np.arange(0, T, 0.01)[:, None])
        inside = ((q > spec.q_min_rad + 0.05) & (q < spec.q_max_rad - 0.05)).all()
        used = max((np.abs(v) / spec.dq_max_rad_s).max(), (np.abs(a) / spec.ddq_max_rad_s2).max())
        if inside and 0.9 < used <= 1.0:
            return JointTrajectory(start_ns, 0.01, q, v, 4 * NS)


def test_fast_motions_are_tracked(spec: RobotSpec) -> None:
    rng = np.random.default_rng(2)
    worst_m = worst_rad = 0.0
    with ArmWorld(spec, PERFECT) as arm:
        for _ in range(8):
            command = fast_swing(spec, rng)
            arm.reset(home(spec))
            arm.send(command)
            for q in command.q_rad[1:]:
                seen = arm.tick()
                worst_rad = max(worst_rad, float(np.abs(seen.q_rad - q).max()))
                tool, want = (joint_frames(spec, x)[-1, :3, 3] for x in (seen.q_rad, q))
                worst_m = max(worst_m, float(np.linalg.norm(tool - want)))
    assert worst_rad < 1e-3
    assert worst_m < 1e-3


def test_gravity_does_not_pull_a_resting_arm_down(spec: RobotSpec) -> None:
    with ArmWorld(spec, PERFECT) as arm:
        arm.reset(home(spec))
        for _ in range(200):
            seen = arm.tick()
        np.testing.assert_allclose(seen.q_rad, spec.q_home_rad, atol=1e-4)
        assert np.abs(arm.torques()).max() > 5.0  # it is held against gravity


def test_motors_push_no_harder_than_the_machine_s(spec: RobotSpec) -> None:
    rng = np.random.default_rng(3)
    with ArmWorld(spec, PERFECT) as arm:
        arm.reset(home(spec))
        arm.send(fast_swing(spec, rng))
        for _ in range(80):
            arm.tick()
            assert (np.abs(arm.torques()) <= spec.tau_max_nm * 1.001).all()


def test_encoder_noise_has_its_stated_size_and_comes_from_the_seed(spec: RobotSpec) -> None:
    def readings(seed: int) -> np.ndarray:
        arm.reset(home(spec), seed)
        return np.array([arm.tick().q_rad - arm.joints().q_rad for _ in range(100)])

    with ArmWorld(spec) as arm:
        first, same, other = readings(1), readings(1), readings(2)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first.std(), 1e-4, rtol=0.15)


def test_episode_ends_when_its_time_is_over() -> None:
    spec = load_spec("panda")
    with ArmWorld(spec, ArmConfig(max_s=0.03)) as arm:
        arm.reset(home(spec))
        for _ in range(3):
            assert not arm.done
            arm.tick()
        assert arm.done
        with pytest.raises(RobotError, match="over"):
            arm.tick()


class Target:
    """A tracker that sees a point move along x at 1 m/s, and counts its life cycle."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def connect(self) -> None:
        self.calls.append("connect")

    def window(self, stamp_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stamps = stamp_ns + 10_000_000 * np.arange(-63, 1)
        xyz = np.stack([stamps / NS, 0 * stamps, 0 * stamps], axis=1)
        return xyz, np.ones(64, dtype=bool), stamps

    def close(self) -> None:
        self.calls.append("close")


def test_an_arm_reports_what_its_tracker_sees() -> None:
    spec, target = load_spec("panda"), Target()
    with ArmWorld(spec, tracker=target) as arm:
        arm.reset(home(spec))
        seen = arm.tick()
        assert seen.tracker_xyz_m[-1, 0] == pytest.approx(0.01)
        assert seen.tracker_mask.all()
    assert target.calls == ["connect", "close"]


class Blind(Target):
    """A tracker that cannot be reached."""

    def connect(self) -> None:
        raise RobotError("no camera")


@pytest.mark.parametrize("arm", [ArmWorld, ArmDriver])
def test_an_arm_whose_tracker_fails_is_not_connected(arm: type[ArmWorld] | type[ArmDriver]) -> None:
    made = arm(load_spec("panda"), tracker=Blind())
    with pytest.raises(RobotError, match="no camera"):
        made.connect()
    with pytest.raises(RobotError, match="not connected"):
        made.observe()


@pytest.fixture
def live() -> Iterator[ArmDriver]:
    with ArmDriver(load_spec("panda"), PERFECT) as driver:
        yield driver


def wait_until(driver: ArmDriver, stamp_ns: int) -> Observation:
    """The first observation from then on."""
    pause = threading.Event()
    while (seen := driver.observe()).stamp_ns < stamp_ns:
        pause.wait(0.002)
    return seen


def test_by_the_clock_on_the_wall_a_motion_ends_where_it_was_sent(live: ArmDriver) -> None:
    spec = live.spec
    live.rearm()
    begin = time.monotonic_ns() + NS // 20
    t = np.arange(0, 0.4005, 0.01)[:, None]
    q = spec.q_home_rad + 0.1 * (1 - np.cos(np.pi * t / 0.4))
    dq = 0.1 * np.pi / 0.4 * np.sin(np.pi * t / 0.4) * np.ones(spec.joints)
    live.send(JointTrajectory(begin, 0.01, q, dq, NS))
    seen = wait_until(live, begin + 2 * NS // 3)
    np.testing.assert_allclose(seen.q_rad, spec.q_home_rad + 0.2, atol=2e-3)
