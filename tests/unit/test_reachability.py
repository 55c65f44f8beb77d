"""What the low level answers when the high level asks what is reachable, and that the answer starts its own search."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hjepa.planning.held import Scorer
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import Observation
from tests import tiny

torch.set_num_threads(1)
GOALS = np.random.default_rng(0).normal(size=(5, tiny.LOW.goal))
ROOTS = np.tile(np.eye(tiny.LOW.goal), (5, 1, 1))


def seen(stamp_ns: int = 200_000_000) -> Observation:
    k = tiny.LOW.window
    t = np.arange(k)[:, None]
    stamps = stamp_ns - 10_000_000 * np.arange(k - 1, -1, -1)
    track = np.array([4.0, 0.3, 2.0]) - np.array([0.08, 0.0, 0.01]) * t
    return Observation(stamp_ns, tiny.SPEC.q_home_rad.copy(), np.zeros(8), track, np.ones(k, dtype=bool), stamps)


def planner(**changes: int) -> StrokePlanner:
    bundle = tiny.low()
    return StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, replace(LowPlanConfig(), **changes))


def test_a_short_search_finds_cheaper_ways_than_the_proposals() -> None:
    proposed = planner(reach_iterations=0).reachability(seen(), GOALS, ROOTS)
    searched = planner(reach_iterations=2).reachability(seen(), GOALS, ROOTS)
    assert proposed.shape == searched.shape == (5,)
    assert (searched <= proposed + 1e-4).all()
    assert (searched < 0.9 * proposed).any()


def test_each_goal_is_weighed_by_its_own_root() -> None:
    made = planner(reach_iterations=0)
    plain, heavy = ROOTS, ROOTS.copy()
    heavy[2] *= 30.0
    before, after = made.reachability(seen(), GOALS, plain), made.reachability(seen(), GOALS, heavy)
    assert after[2] > before[2] + 1000.0
    assert np.delete(after, 2) == pytest.approx(np.delete(before, 2), rel=1e-4)


def test_what_was_found_for_a_goal_is_a_start_of_its_search_and_of_no_other() -> None:
    made = planner(reach_iterations=2)
    energies = made.reachability(seen(), GOALS, ROOTS)
    z, joints = made.encoding.encode(seen())
    g = torch.tensor(GOALS, dtype=torch.float32)
    latency = made.config.latency_s + made.config.goal_latency_s
    residual: Scorer = made._residual(made._situation(seen(), z, g[1:2], torch.eye(tiny.LOW.goal)[None], latency))
    heads = made.starts.proposal.heads
    with torch.no_grad():
        starts, energy = made.starts.ranked(residual, z, g[1:2], joints, seen().stamp_ns)
        assert len(starts) == heads + 1
        assert float(energy[0]) == pytest.approx(energies[1], rel=1e-3)
        later, _ = made.starts.ranked(residual, z, g[1:2], joints, seen().stamp_ns + 40_000_000)
        assert later[:, -1].min() == pytest.approx(float(starts[:, -1].min()) - 0.2, abs=1e-4)  # 0.04 s of 0.2 s passed
        assert len(made.starts.ranked(residual, z, g[1:2] + 1.0, joints, seen().stamp_ns)[0]) == heads
    made.reset()
    with torch.no_grad():
        assert len(made.starts.ranked(residual, z, g[1:2], joints, seen().stamp_ns)[0]) == heads
