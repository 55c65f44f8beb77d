"""The Gymnasium environment. Run: pytest tests/integration/test_env.py"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")

import gymnasium
from gymnasium.utils.env_checker import check_env

from hjepa import motion
from hjepa.envs.badminton import BadmintonEnv
from hjepa.errors import CommandError, ConfigError
from hjepa.tasks.badminton.feeds import random_feed
from hjepa.tasks.badminton.oracle import Oracle
from hjepa.types import Launch
from robots.catalog import make_driver

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def env() -> Iterator[BadmintonEnv]:
    made = gymnasium.make("hjepa.envs:hjepa/Badminton-v0")
    assert isinstance(made.unwrapped, BadmintonEnv)
    yield made.unwrapped
    made.close()


def stay(env: BadmintonEnv) -> np.ndarray:
    spec = env.world.spec
    return np.concatenate([spec.q_home_rad, np.zeros(spec.joints)])


def test_gymnasium_s_checker_passes_without_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants actions in -1..1; ours are joint angles and speeds
        check_env(gymnasium.make("hjepa.envs:hjepa/Badminton-v0").unwrapped, skip_render_check=True)


def test_a_seed_gives_the_same_stroke(env: BadmintonEnv) -> None:
    def run(seed: int) -> list[np.ndarray]:
        env.reset(seed=seed)
        return [env.step(stay(env))[0]["tracker_xyz_m"] for _ in range(30)]

    np.testing.assert_array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_observations_stay_in_their_space_and_the_stroke_ends(env: BadmintonEnv) -> None:
    env.reset(seed=1)
    env.action_space.seed(0)
    done, steps = False, 0
    while not done:
        seen, reward, done, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(seen)
        assert np.isfinite(reward)
        assert not truncated
        steps += 1
    assert steps <= 400
    assert info["outcome"].fault


def test_doing_nothing_costs_nearly_nothing_and_earns_nothing(env: BadmintonEnv) -> None:
    env.reset(seed=2)
    total, done = 0.0, False
    while not done:
        _, reward, done, _, _ = env.step(stay(env))
        total += reward
    assert -0.01 < total <= 0.0


def test_moving_costs_effort(env: BadmintonEnv) -> None:
    env.reset(seed=2)
    away = stay(env)
    away[1] += 1.0
    rewards = [env.step(away)[1] for _ in range(60)]
    assert sum(rewards) < -0.02


def test_a_return_earns_one_minus_effort(env: BadmintonEnv) -> None:
    """The physics oracle's swing, sent target by target, returns the shuttle."""
    spec = env.world.spec
    oracle, rng = Oracle(spec), np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        x, v = env.world.shuttle()  # type: ignore[attr-defined]
        q0, nothing = spec.q_home_rad, np.zeros(spec.joints)
        swing = oracle.plan(q0, nothing, nothing, x, v, np.array([[4.0, 0.0]]), rng)
        if swing is not None:
            break
    assert swing is not None
    plan = motion.solve(
        q0, nothing, nothing, swing.q_hit_rad, swing.dq_hit_rad_s, np.array(swing.time_s), swing.before_s
    )
    total, done, k = 0.0, False, 0
    while not done:
        k += 1
        t = min(0.01 * k, swing.time_s + 0.01)
        q, dq, _ = motion.evaluate(plan, t)
        action = np.concatenate([q, dq]) if 0.01 * k <= t + 1e-9 else np.concatenate([q, nothing])
        _, reward, done, _, info = env.step(action)
        total += reward
    assert info["outcome"].returned
    assert 0.0 < 1.0 - total < 1.0


def test_options_choose_launch_and_start(env: BadmintonEnv) -> None:
    launch = Launch(np.array([3.0, 0.0, 2.0]), np.array([-10.0, 0.0, 6.0]), "lob")
    _, info = env.reset(seed=0, options={"launch": launch})
    assert info["type"] == "lob"
    np.testing.assert_allclose(env.world.shuttle()[0], launch.x_m)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="did you mean 'launch'"):
        env.reset(options={"lunch": launch})


def test_misshapen_action_is_refused(env: BadmintonEnv) -> None:
    env.reset(seed=0)
    with pytest.raises(CommandError, match="allowed"):
        env.step(np.full(16, np.nan))
    with pytest.raises(CommandError, match="allowed"):
        env.step(np.zeros(15))


def test_a_world_may_be_handed_in_and_a_feed_table_starts_at_the_receiver() -> None:
    feed = random_feed(3, 0)
    feed = feed._replace(receiver_xy_m=np.array([[-4.0, 1.0]] * 3))
    handed = BadmintonEnv(make_driver("fake"), feed=feed)  # type: ignore[arg-type]
    seen, _ = handed.reset(seed=0)
    np.testing.assert_allclose(seen["q_rad"][:2], [-4.0, 1.0])
    handed.close()


def test_importing_the_room_does_not_load_a_simulator() -> None:
    code = "import sys, hjepa.envs, hjepa.envs.badminton; print('pybullet' in sys.modules or 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
