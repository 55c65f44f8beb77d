"""The PyBullet court: kinematics, tracking, sensors, contact. Run: pytest tests/integration/test_court_world.py"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")

from hjepa import motion
from hjepa.errors import CommandError, RobotError
from hjepa.tasks.badminton import flight, impact
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import NS, JointTrajectory, Launch, Outcome, RobotState
from robots.sim.court import CourtWorld, WorldConfig, home
from robots.sim.scene import Scene
from robots.spec import load_spec

pytestmark = pytest.mark.sim
SPEC = load_spec("courtbot")
LAUNCH = Launch(np.array([4.0, 0.5, 2.0]), np.array([-14.0, -0.5, 9.0]))
PERFECT = WorldConfig(tracker_noise_m=0.0, tracker_delay_s=0.0, dropout=0.0, joint_noise_rad=0.0, joint_noise_rad_s=0.0)


@pytest.fixture(scope="module")
def world() -> Iterator[CourtWorld]:
    with CourtWorld(SPEC, record=True) as made:
        yield made


@pytest.fixture(autouse=True)
def _nominal(world: CourtWorld) -> None:
    world.config = WorldConfig()


def random_swing(rng: np.random.Generator) -> JointTrajectory:
    """A two-phase motion from home within the limits, as planners send them."""
    while True:
        T = rng.uniform(0.5, 1.0)
        q1 = SPEC.q_home_rad + rng.uniform(-1, 1, 8) * [1.5, 1.5, 1.2, 0.8, 0.8, 1, 1, 1]
        v1 = rng.uniform(-1, 1, 8) * SPEC.dq_max_rad_s * [0.3, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
        m = motion.solve(SPEC.q_home_rad, np.zeros(8), np.zeros(8), q1, v1, np.array(T), np.array(0.15))
        q, v, a = motion.evaluate(m, np.arange(0, T, 0.01)[:, None])
        inside = ((q > SPEC.q_min_rad + 0.05) & (q < SPEC.q_max_rad - 0.05)).all()
        if inside and (np.abs(v) <= SPEC.dq_max_rad_s).all() and (np.abs(a) <= SPEC.ddq_max_rad_s2).all():
            return JointTrajectory(0, 0.01, q, v, 4 * NS)


FACING = home(SPEC, SPEC.q_home_rad + [0, 0, np.pi / 2, 0, 0, 0, 0, 0])  # the face normal along the court


def play(
    world: CourtWorld,
    launch: Launch = LAUNCH,
    seed: int = 0,
    command: JointTrajectory | None = None,
    start: RobotState | None = None,
) -> Outcome:
    world.reset(start or home(SPEC), launch, seed)
    if command is not None:
        world.send(command)
    while not world.done:
        world.tick()
    return world.outcome()


def test_kinematics_agree_with_pybullet(world: CourtWorld) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        q = rng.uniform(SPEC.q_min_rad, SPEC.q_max_rad)
        dq = rng.uniform(-1, 1, 8) * SPEC.dq_max_rad_s
        world.reset(RobotState(q, dq), LAUNCH, 0)
        T, v, w = world.racket()
        want = racket_motion(SPEC, q, dq)
        np.testing.assert_allclose(T[:3, 3], want.centre_m, atol=1e-6)
        np.testing.assert_allclose(T[:3, :3], want.rotation, atol=1e-6)
        np.testing.assert_allclose(v, want.v_m_s, atol=1e-5)
        np.testing.assert_allclose(w, want.w_rad_s, atol=1e-6)


def test_smooth_motions_are_tracked_at_the_racket(world: CourtWorld) -> None:
    world.config = PERFECT
    rng = np.random.default_rng(2)
    worst = np.zeros(3)
    for _ in range(12):
        command = random_swing(rng)
        world.reset(home(SPEC), LAUNCH, 0)
        world.send(command)
        for q, dq in zip(command.q_rad[1:], command.dq_rad_s[1:], strict=True):
            world.tick()
            T, v, _ = world.racket()
            want = racket_motion(SPEC, q, dq)
            turn = np.arccos(np.clip((np.trace(T[:3, :3].T @ want.rotation) - 1) / 2, -1, 1))
            errors = [np.linalg.norm(T[:3, 3] - want.centre_m), np.degrees(turn), np.linalg.norm(v - want.v_m_s)]
            worst = np.maximum(worst, errors)
    assert worst[0] < 0.001  # m
    assert worst[1] < 0.1  # deg
    assert worst[2] < 0.1  # m/s


def test_gravity_does_not_pull_a_resting_arm_down(world: CourtWorld) -> None:
    world.config = PERFECT
    seen = world.reset(home(SPEC), LAUNCH, 0)
    for _ in range(300):
        seen = world.tick()
    np.testing.assert_allclose(seen.q_rad, SPEC.q_home_rad, atol=1e-4)


def test_full_speed_braking_stays_within_the_torque_limits(world: CourtWorld) -> None:
    world.config = PERFECT
    dq = 0.6 * SPEC.dq_max_rad_s
    q = SPEC.q_home_rad.copy()
    world.reset(RobotState(q, dq), LAUNCH, 0)
    ideal = dq.copy()
    for _ in range(40):
        seen = world.tick()
        ideal = np.maximum(ideal - SPEC.ddq_max_rad_s2 * 0.01, 0.0)
        assert (np.abs(seen.dq_rad_s - ideal) < 0.12).all()


def test_a_seed_gives_bit_identical_episodes(world: CourtWorld) -> None:
    command = random_swing(np.random.default_rng(3))
    one = play(world, seed=11, command=command), world.log()
    two = play(world, seed=11, command=command), world.log()
    with CourtWorld(SPEC, record=True) as other:
        three = play(other, seed=11, command=command), other.log()
    for again in (two, three):
        for a, b in zip((*one[0], *one[1][:-1]), (*again[0], *again[1][:-1]), strict=True):
            np.testing.assert_array_equal(a, b)
    play(world, seed=12, command=command)
    assert not np.array_equal(one[1].tracker_xyz_m, world.log().tracker_xyz_m)
    np.testing.assert_array_equal(one[1].q_rad, world.log().q_rad)


@pytest.mark.parametrize(("delay", "hidden"), [(0.0, 0), (0.010, 1), (0.025, 3), (0.060, 6), (0.9, 64)])
def test_the_newest_slots_are_masked_by_the_delay(world: CourtWorld, delay: float, hidden: int) -> None:
    world.config = replace(PERFECT, tracker_delay_s=delay)
    world.reset(home(SPEC), LAUNCH, 0)
    for _ in range(80):
        seen = world.tick()
    expected = np.arange(64) < 64 - hidden
    np.testing.assert_array_equal(seen.tracker_mask, expected)
    np.testing.assert_array_equal(seen.tracker_xyz_m[~expected], 0.0)


def test_a_hidden_shuttle_counts_from_the_next_reset_and_flies_on(world: CourtWorld) -> None:
    world.config = PERFECT
    world.reset(home(SPEC), LAUNCH, 0)
    world.config = replace(PERFECT, hidden=((0.10, 0.20),))
    for _ in range(30):
        plain = world.tick()
    where = world.shuttle()[0]
    world.reset(home(SPEC), LAUNCH, 0)
    for _ in range(30):
        hidden = world.tick()
    inside = (hidden.tracker_stamp_ns >= 0.10 * NS) & (hidden.tracker_stamp_ns < 0.20 * NS)
    assert plain.tracker_mask[inside].all() and inside.sum() == 10
    np.testing.assert_array_equal(hidden.tracker_mask, plain.tracker_mask & ~inside)
    np.testing.assert_array_equal(world.shuttle()[0], where)


def test_slots_before_the_launch_are_masked(world: CourtWorld) -> None:
    world.config = PERFECT
    world.reset(home(SPEC), LAUNCH, 0)
    for _ in range(5):
        seen = world.tick()
    np.testing.assert_array_equal(seen.tracker_mask, np.arange(64) >= 58)
    np.testing.assert_allclose(seen.tracker_xyz_m[58], LAUNCH.x_m)


def test_tracker_noise_and_dropouts_have_their_stated_size(world: CourtWorld) -> None:
    noise, lost, joint = [], [], []
    for seed in range(8):
        play(world, seed=seed)
        log = world.log()
        noise.append((log.tracker_xyz_m - log.shuttle_m)[log.tracker_mask])
        lost.append(~log.tracker_mask)
        joint.append(log.q_measured_rad - log.q_rad)
    errors = np.concatenate(noise)
    assert len(errors) > 1000
    np.testing.assert_allclose(errors.std(0), 0.010, rtol=0.08)
    np.testing.assert_allclose(errors.mean(0), 0.0, atol=0.0012)
    assert np.abs(np.corrcoef(errors[:-1, 0], errors[1:, 0])[0, 1]) < 0.1
    assert 0.005 < np.concatenate(lost).mean() < 0.04
    np.testing.assert_allclose(np.concatenate(joint).std(), 1e-4, rtol=0.1)


def test_the_window_holds_what_was_measured_then(world: CourtWorld) -> None:
    world.reset(home(SPEC), LAUNCH, 5)
    for _ in range(90):
        seen = world.tick()
    log = world.log()
    slots = seen.tracker_stamp_ns // (NS // 100)
    np.testing.assert_array_equal(seen.tracker_xyz_m[:61], log.tracker_xyz_m[slots[:61]])
    np.testing.assert_array_equal(seen.tracker_mask[:61], log.tracker_mask[slots[:61]])


def smash_at_racket(world: CourtWorld, speed: float) -> tuple[Launch, np.ndarray]:
    """A fast shuttle through the racket centre of a robot that faces it, and the face normal."""
    world.reset(FACING, LAUNCH, 0)
    T, _, _ = world.racket()
    start = np.array([4.0, 0.4, 2.6])
    low, high = 0.02, 0.5
    for _ in range(60):  # flight time at which the launch speed is the one asked for
        middle = 0.5 * (low + high)
        v0, _ = flight.solve_launch(start[None], T[None, :3, 3], np.array([middle]))
        low, high = (middle, high) if np.linalg.norm(v0) > speed else (low, middle)
    return Launch(start, v0[0]), T[:3, 2]


@pytest.mark.parametrize("speed", [40.0, 95.0])
def test_a_smash_at_a_resting_racket_is_hit_where_it_should_be(world: CourtWorld, speed: float) -> None:
    launch, normal = smash_at_racket(world, speed)
    assert np.linalg.norm(launch.v_m_s) == pytest.approx(speed, rel=1e-3)
    outcome = play(world, launch, start=FACING)
    assert outcome.hit
    np.testing.assert_allclose(outcome.offset_m, 0.0, atol=2e-3)
    want = impact.rebound(outcome.u_in_m_s.tolist(), (0.0, 0.0, 0.0), normal.tolist(), 0.55)
    np.testing.assert_allclose(outcome.u_out_m_s, want, atol=0.02)
    assert outcome.racket_speed_m_s < 0.01


def test_recorded_racket_milliseconds_reproduce_the_contact(world: CourtWorld) -> None:
    """The batch code that pairs recorded swings with flights sees the contact that the simulator saw."""
    command = random_swing(np.random.default_rng(8))
    world.config = PERFECT
    world.reset(home(SPEC), LAUNCH, 0)
    world.record_racket(0.2, 0.5)
    world.send(command)
    for _ in range(50):
        world.tick()
    track = world.racket_at_ms()
    np.testing.assert_allclose(track.time_s, np.arange(0.2, 0.5005, 0.001), atol=1e-9)
    steps = np.diff(track.centre_m, axis=0) / 0.001
    np.testing.assert_allclose(steps, 0.5 * (track.v_m_s[1:] + track.v_m_s[:-1]), atol=0.05)
    i = 150  # aim a shuttle at a point 3 cm off the centre at this instant
    point = track.centre_m[i] + 0.03 * track.rotation[i, :, 0]
    x0 = np.array([4.0, 0.2, 2.4])
    v0, _ = flight.solve_launch(x0[None], point[None], track.time_s[i : i + 1])
    outcome = play(world, Launch(x0, v0[0]), command=command)
    assert outcome.hit
    xs, vs = flight.fly(x0[None], v0, dt_s=0.001, steps=500)
    window = slice(200, 501)
    pair = impact.contacts(*(a[None] for a in track[1:]), xs[:, window], vs[:, window], SPEC.racket_semi_axes_m, 0.55)
    assert pair.hit[0]
    assert 0.2 + 0.001 * (pair.instant[0] + pair.fraction[0]) == pytest.approx(outcome.contact_s, abs=1e-4)
    np.testing.assert_allclose(pair.offset_m[0], outcome.offset_m, atol=1e-3)
    np.testing.assert_allclose(pair.u_out_m_s[0], outcome.u_out_m_s, atol=0.05)


def test_recording_does_not_change_the_episode(world: CourtWorld) -> None:
    command = random_swing(np.random.default_rng(8))
    plain = play(world, command=command)
    world.reset(home(SPEC), LAUNCH, 0)
    world.record_racket(0.0, 2.0)
    world.send(command)
    while not world.done:
        world.tick()
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain[1:8], world.outcome()[1:8], strict=True))


def test_physics_parameters_count_from_the_next_reset(world: CourtWorld) -> None:
    launch, _ = smash_at_racket(world, 40.0)
    nominal = play(world, launch, start=FACING)
    world.config = replace(WorldConfig(), restitution=0.7)
    lively = play(world, launch, start=FACING)
    assert lively.u_out_m_s[0] / nominal.u_out_m_s[0] == pytest.approx(0.70 / 0.55, rel=0.01)
    world.config = replace(WorldConfig(), drag_length_m=5.4)
    slippery = play(world)
    world.config = WorldConfig()
    assert slippery.landing_m[0] < play(world).landing_m[0] - 0.3


def test_effort_is_the_work_of_the_motors(world: CourtWorld) -> None:
    """Speeding the base up from rest costs its kinetic energy, braking the same again."""
    t = np.arange(101) * 0.01
    T, D = 1.0, 1.0
    q = np.tile(SPEC.q_home_rad, (101, 1))
    dq = np.zeros_like(q)
    q[:, 1] += D * (t / T - np.sin(2 * np.pi * t / T) / (2 * np.pi))
    dq[:, 1] = D / T * (1 - np.cos(2 * np.pi * t / T))
    outcome = play(world, command=JointTrajectory(0, 0.01, q, dq, 2 * NS))
    moved = 15 + 14 + 12 + 8 + 3 + 1.5 + 0.6 + 0.1
    assert outcome.effort_j == pytest.approx(2 * 0.5 * moved * (2 * D / T) ** 2, rel=0.05)


def test_episode_goes_on_until_the_robot_had_time_to_recover(world: CourtWorld) -> None:
    launch, _ = smash_at_racket(world, 40.0)
    outcome = play(world, launch, start=FACING)
    length = (len(world.log().stamp_ns) - 1) * 0.01
    assert length >= outcome.contact_s + 0.9
    assert length < max(outcome.contact_s + 0.9, outcome.landing_s) + 0.011


def test_a_long_flight_ends_at_four_seconds_with_its_landing_known(world: CourtWorld) -> None:
    outcome = play(world, Launch(np.array([4.0, 0.0, 2.0]), np.array([-1.0, 0.0, 400.0])))
    assert len(world.log().stamp_ns) == 401
    assert outcome.landing_s > 4.0
    with pytest.raises(RobotError, match="over"):
        world.tick()


@pytest.mark.parametrize(
    ("x", "v"), [([4, 0, -1], [0, 0, 0]), ([4, 0, np.nan], [0, 0, 0]), ([4, 0], [0, 0, 0]), ([4, 0, 2], [np.inf, 0, 0])]
)
def test_an_impossible_launch_is_refused(world: CourtWorld, x: list[float], v: list[float]) -> None:
    with pytest.raises(RobotError, match="allowed: finite"):
        world.reset(home(SPEC), Launch(np.array(x), np.array(v)), 0)


def test_an_impossible_start_is_refused(world: CourtWorld) -> None:
    with pytest.raises(CommandError, match="8 finite numbers"):
        world.reset(RobotState(np.full(8, np.nan), np.zeros(8)), LAUNCH, 0)


def test_log_needs_recording() -> None:
    with CourtWorld(SPEC) as plain:
        plain.reset(home(SPEC), LAUNCH, 0)
        with pytest.raises(RobotError, match="record=True"):
            plain.log()


def test_the_window_s_scene_moves_the_shuttle_no_faster_than_time() -> None:
    import pybullet as p

    client = p.connect(p.DIRECT)
    scene = Scene(client)
    bodies = p.getNumBodies(physicsClientId=client)
    start = time.perf_counter()
    scene.show((1.0, 0.5, 2.0), 0.0)
    scene.show((0.9, 0.5, 2.1), 0.05)
    assert time.perf_counter() - start >= 0.05
    position, _ = p.getBasePositionAndOrientation(bodies - 1, physicsClientId=client)
    assert position == pytest.approx((0.9, 0.5, 2.1))
    p.disconnect(physicsClientId=client)


@pytest.mark.parametrize("name", ["panda-court", "iiwa-court", "ur5e-court"])
def test_preset_arms_stand_still_and_follow(name: str) -> None:
    spec = load_spec(name)
    t = np.arange(101) * 0.01
    q = spec.q_home_rad + 0.1 * (1 - np.cos(np.pi * t))[:, None] * np.ones(spec.joints)
    dq = 0.1 * np.pi * np.sin(np.pi * t)[:, None] * np.ones(spec.joints)
    with CourtWorld(spec, PERFECT) as arm:
        seen = arm.reset(home(spec), LAUNCH, 0)
        sent = arm.send(JointTrajectory(0, 0.01, q, dq, 2 * NS))
        np.testing.assert_array_equal(sent.q_rad, q)
        worst = 0.0
        for want in q[1:]:
            seen = arm.tick()
            worst = max(worst, float(np.abs(seen.q_rad - want).max()))
    assert worst < 2e-3


def test_gui_without_a_display_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(RobotError, match="DISPLAY"):
        CourtWorld(SPEC, gui=True).connect()
