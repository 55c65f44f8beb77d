"""The court in MuJoCo, beside the court in PyBullet. Run: pytest tests/integration/test_mujoco_court.py"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="pip install 'hjepa[mujoco]'")

import mujoco

from hjepa import config, factories, motion
from hjepa.errors import RobotError
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import NS, JointTrajectory, Launch, RobotState
from robots.sim.drive import home
from robots.sim.mjcf import mjcf_text
from robots.sim.mujoco_court import MujocoBody, MujocoCourt
from robots.sim.world import SimulatedCourt, WorldConfig
from robots.spec import load_spec, read_description

SPEC = load_spec("courtbot")
LAUNCH = Launch(np.array([4.0, 0.5, 2.0]), np.array([-14.0, -0.5, 9.0]))
PERFECT = WorldConfig(tracker_noise_m=0.0, tracker_delay_s=0.0, dropout=0.0, joint_noise_rad=0.0, joint_noise_rad_s=0.0)


@pytest.fixture(scope="module")
def world() -> Iterator[MujocoCourt]:
    with MujocoCourt(SPEC, PERFECT, record=True) as made:
        yield made


def fast_swing(rng: np.random.Generator) -> JointTrajectory:
    """A two-phase motion from home that uses at least 90 % of a speed or acceleration limit, and no more than all."""
    while True:
        T = rng.uniform(0.5, 1.0)
        q1 = SPEC.q_home_rad + rng.uniform(-1, 1, 8) * [1.5, 1.5, 1.2, 0.8, 0.8, 1, 1, 1]
        v1 = rng.uniform(-1, 1, 8) * SPEC.dq_max_rad_s * [0.3, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
        m = motion.solve(SPEC.q_home_rad, np.zeros(8), np.zeros(8), q1, v1, np.array(T), np.array(0.15))
        q, v, a = motion.evaluate(m, np.arange(0, T, 0.01)[:, None])
        inside = ((q > SPEC.q_min_rad + 0.05) & (q < SPEC.q_max_rad - 0.05)).all()
        if inside and 0.9 < max((np.abs(v) / SPEC.dq_max_rad_s).max(), (np.abs(a) / SPEC.ddq_max_rad_s2).max()) <= 1.0:
            return JointTrajectory(0, 0.01, q, v, 4 * NS)


def test_kinematics_agree_with_ours(world: MujocoCourt) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        q = rng.uniform(SPEC.q_min_rad, SPEC.q_max_rad)
        dq = rng.uniform(-1, 1, 8) * SPEC.dq_max_rad_s
        world.reset(RobotState(q, dq), LAUNCH, 0)
        T, v, w = world.racket()
        want = racket_motion(SPEC, q, dq)
        np.testing.assert_allclose(T[:3, 3], want.centre_m, atol=1e-9)
        np.testing.assert_allclose(T[:3, :3], want.rotation, atol=1e-9)
        np.testing.assert_allclose(v, want.v_m_s, atol=1e-9)
        np.testing.assert_allclose(w, want.w_rad_s, atol=1e-9)


def test_fast_swings_are_tracked_at_the_racket(world: MujocoCourt) -> None:
    rng = np.random.default_rng(2)
    worst = np.zeros(3)
    for _ in range(12):
        command = fast_swing(rng)
        world.reset(home(SPEC), LAUNCH, 0)
        world.send(command)
        for q, dq in zip(command.q_rad[1:], command.dq_rad_s[1:], strict=True):
            world.tick()
            T, v, _ = world.racket()
            want = racket_motion(SPEC, q, dq)
            turn = np.arccos(np.clip((np.trace(T[:3, :3].T @ want.rotation) - 1) / 2, -1, 1))
            errors = [np.linalg.norm(T[:3, 3] - want.centre_m), np.degrees(turn), np.linalg.norm(v - want.v_m_s)]
            worst = np.maximum(worst, errors)
    assert worst[0] < 0.003  # m
    assert worst[1] < 0.15  # deg
    assert worst[2] < 0.15  # m/s


def test_drives_push_no_harder_than_the_description_allows(world: MujocoCourt) -> None:
    """A start at full speed asks for the hardest braking there is."""
    world.reset(RobotState(SPEC.q_home_rad.copy(), 0.9 * SPEC.dq_max_rad_s), LAUNCH, 0)
    for _ in range(60):
        seen = world.tick()
        body = world._drive.body()
        assert isinstance(body, MujocoBody)
        assert (np.abs(body._data.qfrc_actuator) <= SPEC.tau_max_nm * (1 + 1e-9)).all()
    np.testing.assert_allclose(seen.dq_rad_s, 0.0, atol=1e-2)


def test_effort_is_the_work_of_the_motors(world: MujocoCourt) -> None:
    """Speeding the base up from rest costs its kinetic energy, braking the same again."""
    t = np.arange(101) * 0.01
    q, dq = np.tile(SPEC.q_home_rad, (101, 1)), np.zeros((101, 8))
    q[:, 1] += t - np.sin(2 * np.pi * t) / (2 * np.pi)
    dq[:, 1] = 1 - np.cos(2 * np.pi * t)
    world.reset(home(SPEC), LAUNCH, 0)
    world.send(JointTrajectory(0, 0.01, q, dq, 2 * NS))
    while not world.done:
        world.tick()
    moved = 15 + 14 + 12 + 8 + 3 + 1.5 + 0.6 + 0.1
    assert world.outcome().effort_j == pytest.approx(2 * 0.5 * moved * 2.0**2, rel=0.05)


def test_gravity_does_not_pull_a_resting_arm_down(world: MujocoCourt) -> None:
    seen = world.reset(home(SPEC), LAUNCH, 0)
    for _ in range(300):
        seen = world.tick()
    np.testing.assert_allclose(seen.q_rad, SPEC.q_home_rad, atol=1e-4)


def test_model_has_the_description_s_masses_and_limits() -> None:
    model = mujoco.MjModel.from_xml_string(mjcf_text(SPEC))
    raw = read_description("courtbot")
    for joint, kg in raw["masses_kg"].items():
        assert model.body(f"{joint}_link").mass[0] == pytest.approx(kg)
    assert model.body("racket").mass[0] == pytest.approx(raw["racket"]["mass_kg"])
    np.testing.assert_allclose(model.jnt_actfrcrange[:, 1], SPEC.tau_max_nm)


def test_both_simulators_move_the_racket_alike() -> None:
    court = pytest.importorskip("robots.sim.court", reason="needs pybullet")
    command = fast_swing(np.random.default_rng(4))

    def path(world: SimulatedCourt) -> np.ndarray:
        with world:
            world.reset(home(SPEC), LAUNCH, 0)
            world.send(command)
            out = []
            for _ in range(len(command.q_rad) + 30):
                world.tick()
                out.append(world.racket()[0][:3, 3])
        return np.array(out)

    one, two = path(MujocoCourt(SPEC, PERFECT)), path(court.CourtWorld(SPEC, PERFECT))
    apart = np.linalg.norm(one - two, axis=1)
    assert 1e-6 < apart.max() < 0.003  # not the same engine twice, and no other motion


def test_the_shuttle_does_not_depend_on_the_simulator(world: MujocoCourt) -> None:
    court = pytest.importorskip("robots.sim.court", reason="needs pybullet")
    landings = []
    for made in (MujocoCourt(SPEC), court.CourtWorld(SPEC)):
        with made:
            made.reset(home(SPEC), LAUNCH, 0)
            while not made.done:
                made.tick()
            landings.append(made.outcome().landing_m)
    np.testing.assert_array_equal(*landings)


def test_the_configuration_chooses_the_simulator() -> None:
    with factories.build_world(config.load("badminton", ["robot.driver=mujoco"])) as made:
        assert isinstance(made, MujocoCourt)


def test_it_opens_no_window() -> None:
    with pytest.raises(RobotError, match="allowed with MuJoCo: gui=False"):
        MujocoCourt(SPEC, gui=True).connect()


def test_it_runs_where_pybullet_has_no_wheel() -> None:
    code = "import sys, robots.sim.mujoco_court; print('LOADED', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pybullet", "torch", "zmq"} & set(out.stdout.partition("LOADED")[2].split())
