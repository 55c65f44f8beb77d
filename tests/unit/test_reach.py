"""Targets keep to their box and speed; the level learned from babbling is one arm's, and its plans keep limits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hjepa import stroke
from hjepa.errors import ConfigError, WeightsError
from hjepa.models.babbled import BabbledConfig, BabbledLevel, load_babbled, save_babbled
from hjepa.planning.follow import Ahead, FollowConfig, FollowPlanner
from hjepa.planning.gradient import GaussNewton
from hjepa.tasks.reach.target import KINDS, target_path
from hjepa.types import NS, JointTrajectory, Observation
from robots.spec import load_spec

CENTRE, HALF = np.array([0.5, 0.0, 0.5]), np.array([0.08, 0.16, 0.12])
SPEC = load_spec("panda")
LEVEL = BabbledConfig(width=16, depth=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_target_stays_in_its_box_at_its_speed(kind: str, seed: int) -> None:
    times = np.arange(0.0, 20.0, 0.005)
    x = target_path(CENTRE, HALF, 0.2, seed, kind)(times)
    assert (np.abs(x - CENTRE) <= HALF + 1e-9).all()
    speed = np.linalg.norm(np.diff(x, axis=0), axis=-1) / 0.005
    assert speed == pytest.approx(np.full(len(speed), 0.2), rel=0.02)


def test_an_unknown_path_and_a_box_too_small_to_turn_in_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'circle'"):
        target_path(CENTRE, HALF, 0.2, 0, "circel")
    with pytest.raises(ConfigError, match="turns wider"):
        target_path(CENTRE, 0.01 * HALF, 0.2, 0)


def level() -> BabbledLevel:
    torch.manual_seed(0)
    made = BabbledLevel(LEVEL)
    made.q_mean.copy_(torch.tensor(SPEC.q_home_rad))
    return made.eval().requires_grad_(False)


def seen(stamp_ns: int, command: JointTrajectory | None = None) -> Observation:
    """A target passes; the joints are where the command has them."""
    stamps = stamp_ns - 10_000_000 * np.arange(63, -1, -1)
    mask = np.arange(64) < 61
    xyz = np.where(mask[:, None], CENTRE + 0.2e-9 * stamps[:, None] * np.array([0.0, 1.0, 0.0]), 0.0)
    joints = SPEC.q_home_rad.copy(), np.zeros(7)
    if command is not None:
        joints = stroke.state_at(command, stamp_ns)[:2]
    return Observation(stamp_ns, *joints, xyz, mask, stamps)


def test_a_plan_keeps_the_arms_limits_and_goes_on_from_where_the_last_one_will_be() -> None:
    config = FollowConfig(latency_s=0.02)
    high = Ahead(level(), config)
    low = FollowPlanner(level(), SPEC, GaussNewton(), config)
    last = None
    for k in range(8):
        now = seen(k * 40_000_000, last)
        goal = high.decide(now, lambda goals, roots: np.zeros(len(goals)))
        assert goal is not None
        command = low.plan(now, goal)
        assert command is not None
        assert (np.abs(command.dq_rad_s) <= SPEC.dq_max_rad_s + 1e-9).all()
        assert not command.dq_rad_s[-1].any(), "it ends at rest if nothing newer comes"
        assert command.start_ns == now.stamp_ns + round(0.02 * NS)
        if last is not None:
            i = round((command.start_ns - last.start_ns) / (last.dt_s * NS))
            assert command.q_rad[0] == pytest.approx(last.q_rad[i], abs=1e-6)
        last = command


def test_too_little_of_a_target_is_no_goal() -> None:
    now = seen(0)
    blind = now._replace(tracker_mask=np.arange(64) == 60)
    assert Ahead(level(), FollowConfig()).decide(blind, lambda goals, roots: np.zeros(0)) is None


def test_weights_survive_the_disk_and_others_are_named(tmp_path: Path) -> None:
    made = level()
    save_babbled(tmp_path / "a.safetensors", made, SPEC.identity)
    again, header = load_babbled(tmp_path / "a.safetensors")
    z = torch.randn(3, 14)
    assert torch.equal(made.see(z), again.see(z))
    assert header["robot_sha256"] == SPEC.fingerprint != replace(SPEC, dq_max_rad_s=SPEC.dq_max_rad_s * 2).fingerprint
    with pytest.raises(WeightsError, match="no level learned from babbling"):
        load_babbled(Path(__file__).parents[2] / "hjepa" / "weights" / "high.safetensors")
