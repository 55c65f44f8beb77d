"""A search that the clock cut off is repeated exactly when told how many candidates it scored."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hjepa.bus.fake import PointLow
from hjepa.planning.cem import CrossEntropy
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.protocols import Repeats
from hjepa.types import Goal, Observation
from tests import tiny

torch.set_num_threads(1)
TICK_NS = 10_000_000


class Bowl:
    """A curved valley: every iteration moves on. Time passes with every call, if `clock` is a list."""

    def __init__(self, clock=None, took_s=0.01):
        self.low, self.high = torch.full((3,), -4.0), torch.full((3,), 4.0)
        self.clock, self.took_s = clock, took_s

    def __call__(self, x):
        if self.clock is not None:
            self.clock[0] += self.took_s
        return torch.cat([x[:, :1] ** 2 - x[:, 1:2], x[:, 1:] - 1.0, 0.1 * x], dim=-1)


@pytest.mark.parametrize("planner", [GaussNewton, CrossEntropy])
@pytest.mark.parametrize("fit", [1, 2, 4])
def test_a_search_ends_at_the_count_where_the_clock_ended_it(planner, fit, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    starts = torch.linspace(-2.0, 2.0, 6).view(2, 3)
    cut = planner().plan(Bowl(clock), starts, 9, deadline_s=fit * 0.01 + 0.005)
    again = planner().plan(Bowl(), starts, 9, budget=cut.evaluations)
    free = planner().plan(Bowl(), starts, 9)
    assert again.evaluations == cut.evaluations < free.evaluations
    assert torch.equal(again.x, cut.x) and torch.equal(again.starts, cut.starts)


def observation(tick):
    slots = np.arange(64)
    seen = np.stack([3.0 - 0.05 * slots, 0.01 * slots, 2.0 + 0.0 * slots], axis=-1)
    stamps = (slots - 63 + tick) * TICK_NS
    return Observation(tick * TICK_NS, tiny.SPEC.q_home_rad, np.zeros(8), seen, slots > 30, stamps)


def goal():
    d = tiny.LOW.goal
    return Goal(1, 0, 0, np.zeros(d), np.eye(d), np.zeros(2), "clear", np.zeros((0, d)), np.zeros(0))


def stroke_planner(**changes):
    bundle = tiny.low()
    config = replace(LowPlanConfig(first_iterations=6, iterations=6), **changes)
    return StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, config)


def plans(planner, budgets):
    """Commands (q, dq) and counts of five plans of a stroke."""
    out = []
    planner.reset(3)
    for k in range(5):
        planner.budget_scored = budgets[k] if budgets else None
        command = planner.plan(observation(70 + 4 * k), goal())
        out.append((command.q_rad.tobytes(), command.dq_rad_s.tobytes(), planner.scored, planner.explain().candidates))
    return out


def test_a_stroke_planned_against_the_clock_is_repeated_by_counts(monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 0.003 + 0.002 * (round(now[0] * 1e4) % 3)  # uneven
        return now[0]

    with monkeypatch.context() as patched:
        patched.setattr("time.monotonic", clock)
        first = plans(stroke_planner(budget_s=0.03), None)
    again = plans(stroke_planner(budget_s=0.03), [scored for _, _, scored, _ in first])
    free = plans(stroke_planner(), None)
    assert again == first
    assert any(a[2] < b[2] for a, b in zip(first, free, strict=True)), "the clock cut something off"
    assert all(len(scored) >= 1 for _, _, scored, _ in first)


def test_a_plan_that_searches_nothing_scores_nothing():
    planner = stroke_planner(min_samples=65)
    assert planner.plan(observation(70), goal()) is None and planner.scored == ()


def test_only_levels_that_can_repeat_a_search_are_asked_to():
    assert isinstance(stroke_planner(), Repeats) and not isinstance(PointLow(), Repeats)
