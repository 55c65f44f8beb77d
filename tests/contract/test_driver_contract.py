"""One suite for every driver that can run without hardware. Run: pytest tests/contract/test_driver_contract.py"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.protocols import Driver, World
from hjepa.types import NS, JointTrajectory, Launch, Observation, RobotState
from robots.catalog import DRIVERS, driver_class, make_driver

TICK_NS = NS // 100
COURTS = ("fake", "pybullet")
LAUNCH = Launch(np.array([4.0, 0.5, 2.0]), np.array([-14.0, -0.5, 9.0]))
PARAMS = [pytest.param(name, marks=pytest.mark.sim) if name == "pybullet" else name for name in COURTS]


def start_of(driver: Driver) -> RobotState:
    return RobotState(driver.spec.q_home_rad.copy(), np.zeros(driver.spec.joints))


def slide(driver: Driver, start_ns: int = 0, samples: int = 60, metres: float = 0.2) -> JointTrajectory:
    """A smooth half-cosine move of every joint by `metres` (or rad)."""
    t = np.arange(samples) * 0.01
    T = t[-1]
    q = start_of(driver).q_rad + 0.5 * metres * (1 - np.cos(np.pi * t / T))[:, None]
    dq = 0.5 * metres * np.pi / T * np.sin(np.pi * t / T)[:, None] * np.ones(driver.spec.joints)
    return JointTrajectory(start_ns, 0.01, q, dq, 2 * NS)


@pytest.fixture(params=PARAMS)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "pybullet":
        pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")
    return str(request.param)


@pytest.fixture
def driver(name: str) -> Iterator[World]:
    made = make_driver(name)
    assert isinstance(made, World)
    made.connect()
    made.reset(start_of(made), LAUNCH, 3)
    yield made
    made.close()


def test_spec_is_readable_before_connect(name: str) -> None:
    spec = make_driver(name).spec
    assert spec.name == "courtbot"
    assert spec.joints == len(spec.q_home_rad) == 8


@pytest.mark.parametrize("verb", ["observe", "hold", "tick", "reset", "send"])
def test_use_before_connect_raises_and_says_what_to_do(name: str, verb: str) -> None:
    made = make_driver(name)
    arguments = {"reset": (start_of(made), LAUNCH, 0), "send": (slide(made),)}.get(verb, ())
    with pytest.raises(RobotError, match="connect"):
        getattr(made, verb)(*arguments)


def test_use_before_reset_raises(name: str) -> None:
    made = make_driver(name)
    made.connect()
    with pytest.raises(RobotError, match="reset"):
        made.observe()
    made.close()


def test_connecting_twice_raises(driver: World) -> None:
    with pytest.raises(RobotError, match="already connected"):
        driver.connect()


def test_closing_twice_is_fine_and_ends_use(driver: World) -> None:
    driver.close()
    driver.close()
    with pytest.raises(RobotError):
        driver.observe()


def test_context_manager_closes_on_error(name: str) -> None:
    made = make_driver(name)
    with pytest.raises(KeyError), made:  # type: ignore[attr-defined]
        raise KeyError
    with pytest.raises(RobotError):
        made.observe()


def test_observation_matches_spec_in_shape_and_type(driver: World) -> None:
    seen = driver.tick()
    joints = driver.spec.joints
    assert seen.q_rad.shape == seen.dq_rad_s.shape == (joints,)
    assert seen.tracker_xyz_m.shape == (64, 3)
    assert seen.tracker_mask.shape == seen.tracker_stamp_ns.shape == (64,)
    assert (seen.tracker_mask.dtype, seen.tracker_stamp_ns.dtype) == (np.bool_, np.int64)
    assert all(np.isfinite(a).all() for a in seen[1:])
    assert seen.tracker_stamp_ns[-1] == seen.stamp_ns == TICK_NS
    assert (np.diff(seen.tracker_stamp_ns) == TICK_NS).all()
    assert not seen.tracker_xyz_m[~seen.tracker_mask].any()


def test_stamps_never_go_back(driver: World) -> None:
    stamps = [driver.tick().stamp_ns for _ in range(5)]
    assert stamps == [TICK_NS * k for k in range(1, 6)]
    assert driver.observe().stamp_ns == stamps[-1]


def test_arrays_handed_out_are_copies(driver: World) -> None:
    seen = driver.tick()
    kept = Observation(seen.stamp_ns, *(a.copy() for a in seen[1:]))
    for a in seen[1:]:
        a[...] = 1
    again = driver.observe()
    assert all(np.array_equal(a, b) for a, b in zip(again[1:], kept[1:], strict=True))


def test_a_sent_command_may_be_overwritten_by_its_sender(driver: World) -> None:
    command = slide(driver)
    expected = command.q_rad[-1].copy()
    followed = driver.send(command)
    command.q_rad[...] = 0.0
    followed.q_rad[...] = 0.0
    for _ in range(len(command.q_rad)):
        seen = driver.tick()
    np.testing.assert_allclose(seen.q_rad, expected, atol=5e-3)


def test_send_returns_what_is_followed_within_limits(driver: World) -> None:
    wild = slide(driver)._replace(q_rad=np.full((60, 8), 99.0), dq_rad_s=np.full((60, 8), -99.0))
    followed = driver.send(wild)
    spec = driver.spec
    np.testing.assert_array_equal(followed.q_rad, np.tile(spec.q_max_rad, (60, 1)))
    np.testing.assert_array_equal(followed.dq_rad_s, np.tile(-spec.dq_max_rad_s, (60, 1)))
    mild = slide(driver)
    assert all(np.array_equal(a, b) for a, b in zip(driver.send(mild), mild, strict=True))


def test_wild_commands_never_break_limits(driver: World) -> None:
    spec = driver.spec
    rng = np.random.default_rng(0)
    before = driver.observe()
    for k in range(150):
        q = rng.uniform(2 * spec.q_min_rad, 2 * spec.q_max_rad, (3, 8))
        dq = rng.uniform(-3, 3, (3, 8)) * spec.dq_max_rad_s
        driver.send(JointTrajectory(k * TICK_NS, 0.01, q, dq, NS))
        after = driver.tick()
        assert (after.q_rad > spec.q_min_rad - 2e-3).all()
        assert (after.q_rad < spec.q_max_rad + 2e-3).all()
        assert (np.abs(after.dq_rad_s) < 1.02 * spec.dq_max_rad_s + 0.02).all()
        assert (np.abs(after.dq_rad_s - before.dq_rad_s) < 1.1 * spec.ddq_max_rad_s2 * 0.01 + 0.03).all()
        before = after


def bad_commands(driver: Driver) -> dict[str, tuple[JointTrajectory, str]]:
    good = slide(driver, start_ns=5 * TICK_NS)
    nan = good.q_rad.copy()
    nan[3, 2] = np.nan
    infinite = good.dq_rad_s.copy()
    infinite[0, 0] = np.inf
    return {
        "nan": (good._replace(q_rad=nan), "q_rad is nan at sample 3, joint a1"),
        "inf": (good._replace(dq_rad_s=infinite), "dq_rad_s is inf"),
        "width": (good._replace(q_rad=good.q_rad[:, :7]), r"allowed: \(H, 8\)"),
        "empty": (good._replace(q_rad=good.q_rad[:0], dq_rad_s=good.dq_rad_s[:0]), "H >= 1"),
        "flat": (good._replace(q_rad=good.q_rad[0]), "shape"),
        "uneven": (good._replace(dq_rad_s=good.dq_rad_s[:-1]), "equally many"),
        "dt": (good._replace(dt_s=0.0), "dt_s is 0.0"),
        "validity": (good._replace(valid_ns=0), "valid_ns is 0"),
        "expired": (good._replace(start_ns=0, valid_ns=TICK_NS), "expired"),
    }


@pytest.mark.parametrize("what", ["nan", "inf", "width", "empty", "flat", "uneven", "dt", "validity", "expired"])
def test_bad_command_is_refused_clearly_and_moves_nothing(driver: World, what: str) -> None:
    for _ in range(4):
        rest = driver.tick()
    command, message = bad_commands(driver)[what]
    with pytest.raises(CommandError, match=message):
        driver.send(command)
    for _ in range(30):
        seen = driver.tick()
    np.testing.assert_allclose(seen.q_rad, rest.q_rad, atol=1e-3)


def test_command_older_than_the_followed_one_is_refused(driver: World) -> None:
    driver.send(slide(driver, start_ns=2 * TICK_NS))
    for _ in range(4):
        driver.tick()
    with pytest.raises(CommandError, match="before the one being followed"):
        driver.send(slide(driver, start_ns=TICK_NS))


def test_command_waits_for_its_start(driver: World) -> None:
    first = driver.observe()
    driver.send(slide(driver, start_ns=10 * TICK_NS))
    for _ in range(10):
        waiting = driver.tick()
    np.testing.assert_allclose(waiting.q_rad, first.q_rad, atol=1e-3)
    for _ in range(30):
        moving = driver.tick()
    assert (np.abs(moving.q_rad - first.q_rad) > 0.02).all()


def test_later_command_takes_over_at_its_start(driver: World) -> None:
    driver.send(slide(driver))
    one = slide(driver)
    stay = JointTrajectory(30 * TICK_NS, 0.01, np.tile(one.q_rad[30], (50, 1)), np.zeros((50, 8)), NS)
    driver.send(stay)
    for k in range(70):
        seen = driver.tick()
        if k == 28:
            np.testing.assert_allclose(seen.q_rad, one.q_rad[29], atol=3e-3)
    np.testing.assert_allclose(seen.q_rad, one.q_rad[30], atol=3e-3)


def test_robot_brakes_and_holds_when_the_command_expires(driver: World) -> None:
    driver.send(slide(driver, metres=0.6)._replace(valid_ns=30 * TICK_NS))
    for _ in range(30):
        seen = driver.tick()
    assert (np.abs(seen.dq_rad_s) > 0.5).all()
    for _ in range(40):
        seen = driver.tick()
    for _ in range(50):
        later = driver.tick()
    assert np.abs(seen.dq_rad_s).max() < 0.02
    np.testing.assert_allclose(later.q_rad, seen.q_rad, atol=1e-3)


def test_hold_brakes_and_stays_latched(driver: World) -> None:
    driver.send(slide(driver, metres=0.6))
    for _ in range(30):
        driver.tick()
    driver.hold()
    with pytest.raises(CommandError, match="held"):
        driver.send(slide(driver, start_ns=31 * TICK_NS))
    for _ in range(50):
        seen = driver.tick()
    assert np.abs(seen.dq_rad_s).max() < 0.02
    driver.rearm()  # type: ignore[attr-defined]
    driver.send(slide(driver, start_ns=90 * TICK_NS))


def test_reset_rearms(driver: World) -> None:
    driver.hold()
    driver.reset(start_of(driver), LAUNCH, 0)
    driver.send(slide(driver))


def test_speeds_agree_with_differences_of_positions(driver: World) -> None:
    driver.send(slide(driver, metres=0.6))
    q, dq = [], []
    for _ in range(55):
        seen = driver.tick()
        q.append(seen.q_rad)
        dq.append(seen.dq_rad_s)
    difference = (np.array(q)[2:] - np.array(q)[:-2]) / 0.02
    np.testing.assert_allclose(np.array(dq)[1:-1], difference, atol=0.05)


def run(world: World, seed: int) -> list[Observation]:
    world.reset(start_of(world), LAUNCH, seed)
    world.send(slide(world))
    return [world.tick() for _ in range(80)]


def test_a_seed_gives_identical_episodes(driver: World) -> None:
    first, second = run(driver, 7), run(driver, 7)
    for one, two in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_two_instances_share_nothing(name: str) -> None:
    alone = make_driver(name)
    alone.connect()
    expected = run(alone, 5)
    alone.close()
    one, two = make_driver(name), make_driver(name)
    one.connect()
    two.connect()
    one.reset(start_of(one), LAUNCH, 5)
    two.reset(start_of(two), replace_launch(), 6)
    one.send(slide(one))
    for want in expected:
        got = one.tick()
        two.tick()
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    two.close()
    one.tick()
    one.close()


def replace_launch() -> Launch:
    return LAUNCH._replace(v_m_s=np.array([-20.0, 1.0, 3.0]))


def test_episode_ends_with_an_outcome(driver: World) -> None:
    assert not driver.done
    for _ in range(400):
        if driver.done:
            break
        driver.tick()
    outcome = driver.outcome()
    assert driver.done
    assert (outcome.hit, outcome.returned, outcome.fault) == (False, False, "miss")
    assert outcome.landing_s > 0.5


def test_importing_a_driver_loads_neither_torch_nor_zmq(name: str) -> None:
    module = DRIVERS[name].path.split(":")[0]
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {{'torch', 'zmq', 'yaml'}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in result.stdout
    assert "zmq" not in result.stdout


def test_wrong_control_rate_is_refused(name: str) -> None:
    spec = replace(make_driver(name).spec, control_rate_hz=250.0)
    with pytest.raises(RobotError, match="250"):
        driver_class(name)(spec)


def test_unknown_driver_lists_the_known_ones() -> None:
    with pytest.raises(RobotError, match="did you mean 'pybullet'.*fake"):
        make_driver("pybulet")
