"""The guard and the follower above it. Run: pytest tests/unit/test_guard.py"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, JointTrajectory
from robots.catalog import make_driver
from robots.follower import Follower
from robots.guard import Guard
from robots.spec import load_spec, slowed

SPEC = load_spec("courtbot")
DT = 0.01
TICK_NS = NS // 100


def trajectory(start_ns: int = 0, samples: int = 5, value: float = 0.0) -> JointTrajectory:
    q = np.tile(SPEC.q_home_rad + value, (samples, 1))
    return JointTrajectory(start_ns, DT, q, np.zeros_like(q), NS)


seeds = st.integers(0, 2**31)


@settings(max_examples=80, deadline=None)
@given(seed=seeds)
def test_limit_keeps_speed_and_acceleration_and_is_idempotent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    guard = Guard(SPEC, DT)
    q = rng.uniform(SPEC.q_min_rad, SPEC.q_max_rad)
    dq = rng.uniform(-1, 1, 8) * SPEC.dq_max_rad_s
    wanted = rng.uniform(-4, 4, 8) * SPEC.dq_max_rad_s
    v = guard.limit(q, dq, wanted)
    assert (np.abs(v) <= SPEC.dq_max_rad_s + 1e-12).all()
    assert (np.abs(v - dq) <= SPEC.ddq_max_rad_s2 * DT + 1e-12).all()
    np.testing.assert_array_equal(guard.limit(q, dq, v), v)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_limit_never_lets_a_joint_leave_its_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    guard = Guard(SPEC, DT)
    q, dq = SPEC.q_home_rad.copy(), np.zeros(8)
    push = np.sign(rng.uniform(-1, 1, 8))
    for _ in range(400):
        push = np.where(rng.random(8) < 0.01, -push, push)
        v = guard.limit(q, dq, push * 1.5 * SPEC.dq_max_rad_s)
        q, dq = q + 0.5 * DT * (dq + v), v
        assert (q >= SPEC.q_min_rad - 1e-9).all()
        assert (q <= SPEC.q_max_rad + 1e-9).all()


def test_limit_leaves_a_mild_speed_alone() -> None:
    dq = 0.2 * SPEC.dq_max_rad_s
    wanted = dq + 0.5 * SPEC.ddq_max_rad_s2 * DT
    np.testing.assert_array_equal(Guard(SPEC, DT).limit(SPEC.q_home_rad, dq, wanted), wanted)


def test_limit_uses_nearly_the_whole_range() -> None:
    guard = Guard(SPEC, DT)
    q, dq = SPEC.q_home_rad.copy(), np.zeros(8)
    for _ in range(500):
        v = guard.limit(q, dq, SPEC.dq_max_rad_s)
        q, dq = q + 0.5 * DT * (dq + v), v
    assert (SPEC.q_max_rad - q < 2e-3).all()


def test_brake_takes_the_shortest_time() -> None:
    guard = Guard(SPEC, DT)
    v = SPEC.dq_max_rad_s.copy()
    steps = 0
    while v.any():
        v = guard.brake(v)
        steps += 1
    assert steps == int(np.ceil((SPEC.dq_max_rad_s / SPEC.ddq_max_rad_s2).max() / DT - 1e-9))


def test_hold_is_latched_until_rearmed() -> None:
    guard = Guard(SPEC, DT)
    guard.hold()
    with pytest.raises(CommandError, match="rearm"):
        guard.admit(trajectory(), 0)
    guard.rearm()
    guard.admit(trajectory(), 0)


def test_admit_refuses_objects_and_complex_numbers() -> None:
    good = trajectory()
    for bad in (good.q_rad.astype(object), good.q_rad.astype(complex)):
        with pytest.raises(CommandError, match="allowed"):
            Guard(SPEC, DT).admit(good._replace(q_rad=bad), 0)


def test_admit_accepts_a_late_command_that_is_still_valid() -> None:
    assert Guard(SPEC, DT).admit(trajectory(start_ns=0), NS // 2).start_ns == 0


def simulate(follower: Follower, ticks: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact motor: speed goes linearly to each set-point. Positions and speeds (ticks + 1, J)."""
    q, dq = [SPEC.q_home_rad.copy()], [follower.speed_rad_s.copy()]
    for k in range(ticks):
        v = follower.step(k * TICK_NS, q[-1])
        q.append(q[-1] + 0.5 * DT * (dq[-1] + v))
        dq.append(v)
    return np.array(q), np.array(dq)


def test_follower_reaches_samples_of_a_coarse_grid_and_between() -> None:
    t = np.arange(16) * 0.04
    wave = 0.1 * (1 - np.cos(np.pi * t / 0.6))
    speed = 0.1 * np.pi / 0.6 * np.sin(np.pi * t / 0.6)
    command = JointTrajectory(0, 0.04, SPEC.q_home_rad + wave[:, None], speed[:, None] * np.ones(8), NS)
    follower = Follower(SPEC)
    follower.send(command, 0)
    q, _ = simulate(follower, 60)
    fine = 0.1 * (1 - np.cos(np.pi * np.arange(61) * DT / 0.6))
    np.testing.assert_allclose(q - SPEC.q_home_rad, fine[:, None] * np.ones(8), atol=1e-3)


def test_follower_corrects_a_disturbance() -> None:
    follower = Follower(SPEC)
    follower.send(trajectory(samples=100, value=0.01), 0)
    q, dq = simulate(follower, 60)
    np.testing.assert_allclose(q[-1], SPEC.q_home_rad + 0.01, atol=1e-5)
    assert np.abs(dq[-1]).max() < 1e-3


def test_pending_command_is_replaced_by_an_earlier_starting_one() -> None:
    follower = Follower(SPEC)
    follower.send(trajectory(20 * TICK_NS, 50, value=0.2), 0)
    follower.send(trajectory(10 * TICK_NS, 50, value=0.05), 0)
    q, _ = simulate(follower, 55)
    np.testing.assert_allclose(q[-1], SPEC.q_home_rad + 0.05, atol=1e-3)


def test_commands_take_over_in_the_order_of_their_starts() -> None:
    follower = Follower(SPEC)
    follower.send(trajectory(0, 90, value=0.05), 0)
    follower.send(trajectory(40 * TICK_NS, 60, value=0.1), 0)
    q, _ = simulate(follower, 95)
    np.testing.assert_allclose(q[39], SPEC.q_home_rad + 0.05, atol=1e-3)
    np.testing.assert_allclose(q[-1], SPEC.q_home_rad + 0.1, atol=1e-3)


def test_a_slowed_robot_is_the_same_robot_with_lower_limits() -> None:
    full, slow = load_spec("courtbot"), slowed(load_spec("courtbot"), 0.1)
    assert slow.dq_max_rad_s == pytest.approx(0.1 * full.dq_max_rad_s)
    assert slow.ddq_max_rad_s2 == pytest.approx(0.1 * full.ddq_max_rad_s2)
    assert np.array_equal(slow.q_max_rad, full.q_max_rad)
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(RobotError, match="more than 0, at most 1"):
            slowed(full, share)


@pytest.mark.parametrize("name", ["fake", "ideal"])
def test_a_driver_with_a_share_of_its_speed_limits_keeps_to_it(name: str) -> None:
    made = make_driver(name, "courtbot", speed_share=0.1)
    assert made.spec.dq_max_rad_s == pytest.approx(0.1 * load_spec("courtbot").dq_max_rad_s)
