"""pytest tests/integration/test_baselines_sim.py: real strokes, judged and played in the simulator."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")

from hjepa.evaluation.baselines import ClassicalAgent, OracleAgent
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import Starts, judge
from hjepa.evaluation.results import StrokeResult
from hjepa.protocols import Agent
from hjepa.tasks.badminton.feeds import load_feed
from robots.sim.court import CourtWorld
from robots.spec import load_spec

pytestmark = pytest.mark.sim
SPEC = load_spec("courtbot")
FEED = load_feed("val")
FEED = FEED.take(np.random.default_rng(2).choice(len(FEED.id), 4, replace=False))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Starts:
    folder: Path = tmp_path_factory.mktemp("starts")
    with CourtWorld(SPEC) as world:
        first = judge(world, FEED, folder)
    with CourtWorld(SPEC) as world:
        again = judge(world, FEED)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    return first


def played(agent_of: type[ClassicalAgent] | None, starts: Starts) -> list[StrokeResult]:
    with CourtWorld(SPEC) as world:
        agent: Agent = OracleAgent(SPEC, world.shuttle) if agent_of is None else agent_of(SPEC)
        return [p.result for p in run(world, agent, FEED, starts)]


def test_the_oracle_returns_what_is_feasible_to_its_target(judged: Starts) -> None:
    assert judged.feasible.sum() >= 2
    results = [r for r in played(None, judged) if r.feasible]
    assert all(r.returned for r in results)
    assert np.median([r.landing_error_m for r in results]) < 0.02


def test_the_classical_agent_is_close_and_the_same_twice(judged: Starts) -> None:
    one, two = (played(ClassicalAgent, judged) for _ in range(2))
    feasible = [r for r in one if r.feasible]
    assert sum(r.returned for r in feasible) >= len(feasible) - 1
    assert np.median([r.landing_error_m for r in feasible]) < 0.10
    bare = [[dataclasses.replace(r, plan_ms_low=()) for r in results] for results in (one, two)]
    assert repr(bare[0]) == repr(bare[1])  # nan compares as text
