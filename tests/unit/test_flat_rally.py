"""The flat player of rallies: what it searches for, where it starts, and what its searches cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hjepa import build, config
from hjepa.planning.cem import CrossEntropy
from hjepa.planning.flat_rally import FlatRallyAgent, WonRally
from hjepa.planning.objectives import TIME_S
from hjepa.planning.spent import Spent
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.planning.tactics import Seen, TacticsConfig
from tests import tiny

torch.set_num_threads(1)


class Outcomes:
    """Outcome embeddings are the upper level's."""

    def goal_of(self, outcome: torch.Tensor) -> torch.Tensor:
        return outcome


def term(win: float = 4.0) -> WonRally:
    low, high = torch.tensor([0.6, -2.1]), torch.tensor([6.2, 2.1])
    return WonRally(Outcomes(), lambda s: s[:, 0], win, low, high)  # type: ignore[arg-type]


def energy(log_odds: list[float], land: list[tuple[float, float]], win: float = 4.0) -> torch.Tensor:
    r = term(win)(torch.tensor(log_odds)[:, None], {"landing_m": torch.tensor(land)})
    return 0.5 * (r**2).sum(-1)


def test_an_outcome_costs_what_it_lacks_of_a_won_rally() -> None:
    found = energy([-3.0, 0.0, 3.0], [(3.0, 0.0)] * 3)
    np.testing.assert_allclose(found, -4.0 * torch.sigmoid(torch.tensor([-3.0, 0.0, 3.0])).log(), rtol=1e-5)


def test_a_shot_out_of_the_box_costs_as_a_missed_target_does() -> None:
    found = energy([0.0] * 4, [(6.2, 2.1), (6.3, 0.0), (0.5, 0.0), (3.0, -2.3)])
    np.testing.assert_allclose(found - found[0], [0.0, 0.5, 0.5, 2.0], atol=1e-4)


@pytest.fixture(scope="module")
def agent() -> FlatRallyAgent:
    c = config.load("badminton", ["low.first_starts=4", "low.candidates=16", "low.elites=4", "low.planner=cem"])
    high = build.build_tactician(c, tiny.SPEC, TacticsConfig(covers=False, anticipates=False))
    high.saw(Seen(3, np.array([-4.0, 0.0]), np.array([4.0, 0.0]), np.array([-3.4, 0.0]), 0.0))
    return FlatRallyAgent(high, build.build_low(c, tiny.SPEC), 24)


def played(agent: FlatRallyAgent, seed: int) -> list[bytes]:
    agent.reset(seed)
    commands = [agent.act(tiny.flying(tick)) for tick in range(2, 40, 4)]
    return [command.q_rad.tobytes() for command in commands if command is not None]


def test_it_begins_when_enough_was_seen_and_says_what_it_expects(agent: FlatRallyAgent) -> None:
    agent.reset(3)
    assert agent.act(tiny.flying(4)) is None and agent.decision is None
    command = agent.act(tiny.flying(12))
    assert command is not None and command.q_rad.shape[1] == 8
    assert agent.decision is not None and agent.macro is not None
    assert agent.decision.target_xy_m is None  # it was given no goal
    assert agent.decision.type == agent.high.types[int(agent.macro[0])]
    assert agent.low.expected is not None
    read = agent.high.model.read(agent.low.level.goal_of(agent.low.expected)).landing_m[0]
    np.testing.assert_allclose(agent.macro[1:3], read, atol=1e-5)
    agent.reset(3)
    assert agent.decision is None and agent.macro is None


def test_a_stroke_is_searched_again_as_it_was_with_the_same_seed_alone(agent: FlatRallyAgent) -> None:
    once = played(agent, 5)
    assert len(once) > 4 and played(agent, 5) == once and played(agent, 6) != once


def test_starts_are_drawn_as_the_latents_of_the_data_are(agent: FlatRallyAgent) -> None:
    agent.starts, kept = 4000, agent.starts
    x = agent._drawn(torch.zeros(1, 3))[0]
    agent.starts = kept
    codec = agent.low.level.codec
    assert x.shape == (4000, len(codec.low) + 1)
    assert (x[:, :-1] >= codec.low).all() and (x[:, :-1] <= codec.high).all()
    np.testing.assert_allclose(x[:, :12].mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(x[:, :12].std(0), 1.0, atol=0.15)
    assert 0.4 <= TIME_S * x[:, -1].min() < 0.45 and 1.15 < TIME_S * x[:, -1].max() <= 1.2


def test_what_a_search_scores_is_counted() -> None:
    bundle, spent = tiny.low(), Spent()
    low = StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, planner=CrossEntropy(8, 2), flop=10.0)
    low.config = replace(low.config, alarm_energy=1e9, first_iterations=2, first_starts=3, reach_iterations=1)
    spent.motions(low)
    goals = np.zeros((5, tiny.LOW.goal)), np.zeros((5, tiny.LOW.goal, tiny.LOW.goal))
    low.reachability(tiny.flying(20), *goals)
    X = len(bundle.level.codec.low) + 1
    assert spent.flop == 10.0 * 5 * (4 + X + 1 + 1)  # proposals, a point and its neighbours, the step


def test_what_networks_do_is_counted_by_row_and_weight() -> None:
    spent = Spent()
    net = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3), torch.nn.SiLU())
    spent.networks(net)
    net(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert spent.flop == 2.0 * 6 * (4 * 3 + 3)
