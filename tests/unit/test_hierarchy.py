"""The high decision on a toy level whose every number is known."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from hjepa.planning.hierarchy import HighPlanConfig, HighPlanner, flight_window
from hjepa.protocols import HighLevel
from hjepa.types import Observation

TYPES = ("net shot", "clear", "drop")
CODES = torch.tensor(
    [
        [0.0, -1.0, 0.5, 1.1],
        [1.0, -6.2, 2.0, 1.6],
        [1.0, -6.6, 0.0, 1.7],  # 0.10 m inside: too near the line
        [2.0, -3.0, -1.0, 1.0],
        [2.0, -2.0, 1.0, 0.9],  # hardly ever played
        [0.0, -0.9, -0.5, 1.2],  # would meet the net
    ]
)
PRIOR = torch.tensor([0.2, 0.3, 0.3, 0.15, 0.0005, 0.0495])
NET_M = torch.tensor([1.8, 3.5, 3.5, 2.0, 2.0, 1.5])


class _Reading(NamedTuple):
    net_height_m: torch.Tensor
    landing_m: torch.Tensor
    floor_s: torch.Tensor


class ToyShots:
    """Embeddings are the macro-actions themselves."""

    codebook = CODES

    def __init__(self, win=None):
        self.win = win if win is not None else torch.full((6,), 0.5)
        self.feet = None

    def _code(self, s):
        return (s[:, None] - CODES)[..., [0, 3]].abs().sum(-1).argmin(1)

    def encode(self, window, mask):
        return torch.zeros(len(window), 4)

    def context(self, batch=1, hitter_m=None):
        self.feet = hitter_m
        return

    def code_log_prior(self, context, s_in):
        return PRIOR.log().expand(len(s_in), -1)

    def predict(self, context, s_in, w):
        return w

    def read(self, s, s_in=None):
        return _Reading(NET_M[self._code(s)], s[:, 1:3], s[:, 3])

    def named_logits(self, s, s_in=None):
        return 4.0 * torch.nn.functional.one_hot(s[:, 0].long(), 3).float()

    def metric(self, s, s_in=None, kind=None):
        return torch.diag_embed(torch.nn.functional.one_hot(kind, 4) + 1.0)

    def win_probability(self, s, s_in, context):
        return self.win[self._code(s)]


def _planner(win=None, **changes):
    settings = {"candidates": 6, "mixing": 0.0, "samples": 3, "scatter_m": 0.0} | changes
    return HighPlanner(ToyShots(win), TYPES, HighPlanConfig(**settings))


def _window():
    return np.zeros((40, 3)), np.ones(40)


def _observation(samples, stamp_ns=150_000_000):
    xyz, mask = np.zeros((64, 3)), np.zeros(64, dtype=bool)
    mask[60 - samples : 60] = True
    xyz[mask] = np.arange(samples)[:, None] + np.array([5.0, 0.0, 2.0])
    stamps = stamp_ns - 10_000_000 * np.arange(63, -1, -1)
    return Observation(stamp_ns, np.array([-3.0, 0.5] + [0.0] * 6), np.zeros(8), xyz, mask, stamps)


def test_only_supported_macro_actions_inside_the_court_that_pass_the_net_are_considered():
    found = _planner().candidates(*_window())
    assert sorted(found.codes.astype(int)) == [0, 1, 3]


def test_targets_are_in_the_world_frame_on_the_opponents_side():
    found = _planner().candidates(*_window())
    for target, macro in zip(found.target_xy_m, found.macro, strict=True):
        assert target == pytest.approx(-macro[1:3])
        assert 0.60 <= target[0] <= 6.25


def test_the_feet_reach_the_model_in_the_canonical_frame():
    planner = _planner()
    planner.candidates(*_window(), np.array([-3.0, 0.5]))
    assert planner.model.feet[0].tolist() == pytest.approx([3.0, -0.5])


def test_with_equal_values_the_most_usual_shot_is_chosen_and_a_better_chance_to_win_changes_that():
    usual = _planner()
    found = usual.candidates(*_window())
    assert found.types[usual.choose(found, np.zeros(3))] == "clear"
    bold = _planner(win=torch.tensor([0.5, 0.3, 0.5, 0.95, 0.5, 0.5]))
    found = bold.candidates(*_window())
    assert found.types[bold.choose(found, np.zeros(3))] == "drop"


def test_a_goal_the_low_level_cannot_reach_is_not_chosen():
    planner = _planner()
    found = planner.candidates(*_window())
    best = planner.choose(found, np.zeros(3))
    reach = np.zeros(3)
    reach[best] = 50.0
    assert planner.choose(found, reach) != best


def test_the_mixed_strategy_draws_by_the_energies_and_is_fixed_by_the_seed():
    planner = _planner(mixing=1.0)
    found = planner.candidates(*_window())
    drawn = []
    for seed in range(600):
        planner.reset(seed)
        drawn.append(planner.choose(found, np.zeros(3)))
        assert planner.choose(found, np.zeros(3)) == drawn[-1]
    share = np.bincount(drawn, minlength=3) / len(drawn)
    expected = np.exp(-sum(found.terms(planner.config).values()))
    assert share == pytest.approx(expected / expected.sum(), abs=0.06)


def test_it_decides_once_when_enough_was_seen_and_again_after_reset():
    planner = _planner(samples=5)
    assert isinstance(planner, HighLevel)
    asked = []

    def reachability(goals, roots):
        asked.append((goals.shape, roots.shape))
        return np.zeros(len(goals))

    assert planner.decide(_observation(4), reachability) is None
    goal = planner.decide(_observation(5), reachability)
    assert goal is not None
    assert asked == [((3, 4), (3, 4, 4))]
    assert goal.start_ns - goal.stamp_ns == 40_000_000
    assert goal.embedding == pytest.approx(goal.candidates[int(np.argmin(goal.energies))])
    assert np.diag(goal.root).tolist() == [1.0 + (k == TYPES.index(goal.type)) for k in range(4)]
    assert planner.decide(_observation(20), reachability) is None
    planner.reset(1)
    again = planner.decide(_observation(5), reachability)
    assert again is not None and again.id > goal.id


def test_the_window_starts_at_the_first_measured_slot():
    window, mask = flight_window(_observation(6))
    assert mask.sum() == 6 and mask[:6].all()
    assert window[0].tolist() == [5.0, 0.0, 2.0] and window[6].tolist() == [0.0, 0.0, 0.0]


def test_when_nothing_passes_the_filters_the_most_usual_shot_is_left():
    found = _planner(net_margin_m=50.0, prior_floor=0.9).candidates(*_window())
    assert len(found.codes) >= 1
    assert found.log_prior.max() == pytest.approx(np.log(0.3), abs=1e-5)


def test_scattered_targets_stay_inside_the_margin_and_are_fixed_by_the_seed():
    planner = _planner(scatter_m=1.0)
    targets = []
    for seed in range(40):
        planner.reset(seed)
        found = planner.candidates(*_window())
        assert np.array_equal(found.target_xy_m, planner.candidates(*_window()).target_xy_m)
        targets.append(found.target_xy_m)
    depth, across = np.concatenate(targets).T
    assert depth.min() >= 0.60 - 1e-6 and depth.max() <= 6.25 + 1e-6 and np.abs(across).max() <= 2.14 + 1e-6
    assert depth.std() > 1.0 and len(np.unique(depth)) > 40


def test_the_low_level_is_asked_about_the_cheapest_candidates_alone():
    planner, asked = _planner(samples=5, shortlist=2), []

    def reachability(goals, roots):
        asked.append(goals)
        return np.zeros(len(goals))

    goal = planner.decide(_observation(5), reachability)
    everything = _planner().candidates(*_window())
    cheapest = everything.embeddings[np.argsort(sum(everything.terms(planner.config).values()))[:2]]
    assert asked[0] == pytest.approx(cheapest) and goal is not None and len(goal.energies) == 2


def test_shots_that_the_robot_cannot_play_are_not_considered_unless_nothing_else_is_left():
    assert set(_planner(shots=("clear", "drop")).candidates(*_window()).types) == {"clear", "drop"}
    assert len(_planner(shots=("smash",)).candidates(*_window()).types) >= 1
    unusual = _planner(shots=("drop",), prior_floor=0.9).candidates(*_window())
    assert unusual.codes.tolist() == [3]


def test_without_the_support_any_type_place_and_tempo_is_drawn_and_no_prior_counts():
    planner, drawn = _planner(in_support=False, net_margin_m=-9.0), []
    for seed in range(60):
        planner.reset(seed)
        found = planner.candidates(*_window())
        assert np.array_equal(found.macro, planner.candidates(*_window()).macro)
        assert len(found.macro) == 6 and not found.log_prior.any() and (found.named == 1.0).all()
        drawn.append(found.macro)
    kind, depth, across, tempo = np.concatenate(drawn).T
    assert np.bincount(kind.astype(int)).min() > 80  # of 360, three types
    assert depth.min() < -6.5 and depth.max() > -0.3 and np.abs(across).max() > 2.4
    assert depth.min() >= -6.70 and np.abs(across).max() <= 2.59
    assert 0.9 <= tempo.min() < 1.0 and 1.6 < tempo.max() <= 1.7


def test_without_the_support_only_what_the_robot_can_play_is_drawn():
    planner = _planner(in_support=False, shots=("clear", "drop"), net_margin_m=-9.0)
    assert set(planner.candidates(*_window()).types) == {"clear", "drop"}


@pytest.mark.parametrize(
    ("macro", "gap"),
    [
        ((1.0, -6.2, 2.0, 1.6), 0.0),
        ((1.0, -4.2, 2.0, 1.6), 1.0),  # two metres shorter: one unit
        ((2.0, -3.0, -1.0, 1.8), 2.0),  # 0.8 s slower
        ((2.0, -2.0, 1.0, 0.9), np.hypot(np.hypot(0.5, 2.0 / 1.7), 0.25)),  # hardly ever played: the other drop counts
        ((0.0, -6.2, 2.0, 1.6), np.sqrt(2.6**2 + (1.5 / 1.7) ** 2 + 1.25**2)),  # a net shot: no clear is its neighbour
    ],
)
def test_the_support_is_what_real_players_answer_with_by_type(macro, gap):
    assert _planner().apart(*_window(), np.zeros(2), np.array(macro)) == pytest.approx(gap, abs=1e-5)


def test_what_nobody_plays_is_infinitely_far_from_the_support():
    assert _planner(prior_floor=0.9).apart(*_window(), np.zeros(2), CODES[0].numpy()) == np.inf


def test_an_embedding_is_called_by_what_is_read_of_it():
    assert torch.equal(_planner().called(CODES[:4], torch.zeros(4, 4)), CODES[:4])
