"""A search whose proposals all lie in the wrong basin is started again from far around them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hjepa.planning.held import Committed
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from tests import tiny

torch.set_num_threads(1)
X = 16
JOINTS = torch.zeros(1, 8), torch.zeros(1, 8)


class TwoBasins:
    """Energy 0 at x = -1, but everything beyond x > 0 runs down to a ledge of energy 50 at x = 2."""

    def __init__(self) -> None:
        self.low, self.high = torch.full((X,), -4.0), torch.full((X,), 4.0)

    def __call__(self, x: Tensor) -> Tensor:
        ledge = torch.cat([x[:, :1] - 2.0, torch.full_like(x[:, :1], 10.0)], dim=-1)
        well = torch.cat([x[:, :1] + 1.0, torch.zeros_like(x[:, :1])], dim=-1)
        return torch.where(x[:, :1] > 0.0, ledge, well)

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * (self(x) ** 2).sum(-1)


def planner(**changes: float | None) -> StrokePlanner:
    bundle = tiny.low()

    def wrong(z: Tensor, g: Tensor, q: Tensor, dq: Tensor) -> Tensor:
        x = torch.zeros(len(z), 4, X)
        x[..., 0], x[..., -1] = 0.5, 3.0
        return x

    config = replace(LowPlanConfig(), **changes)
    made = StrokePlanner(bundle.level, wrong, tiny.SPEC, config)
    made.reset(5)
    return made


def first_plan(made: StrokePlanner) -> float:
    z, g = torch.zeros(1, tiny.LOW.whole), torch.zeros(1, tiny.LOW.goal)
    with torch.no_grad():
        return made._search(TwoBasins(), z, g, JOINTS, None, 0).energy


def test_without_looking_around_it_stays_stuck() -> None:
    assert first_plan(planner(strayed=0)) == pytest.approx(50.0, abs=0.5)


def test_looking_around_finds_the_other_basin() -> None:
    assert first_plan(planner()) < 0.1


def test_points_far_around_are_the_best_of_those_drawn_and_in_the_box() -> None:
    made, problem = planner(first_kept=2), TwoBasins()
    proposals = torch.full((4, X), 3.9)
    x, _ = made.searching.strayed(problem, proposals)
    assert x.shape == (made.config.first_kept, X)
    assert (x <= problem.high).all()
    assert (x >= problem.low).all()
    energy = problem.energy(x)
    assert energy[0] <= energy[1] < problem.energy(proposals)[0]
    made.reset(5)
    assert torch.equal(made.searching.strayed(problem, proposals)[0], x)  # a seed, a draw
    made.reset(6)
    assert not torch.equal(made.searching.strayed(problem, proposals)[0], x)


def test_a_search_out_of_budget_is_cut_short() -> None:
    calls: list[int] = []

    class Counted(TwoBasins):
        def __call__(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().__call__(x)

    z, g = torch.zeros(1, tiny.LOW.whole), torch.zeros(1, tiny.LOW.goal)
    counts = []
    for budget_s in (None, 0.0):
        made, _ = planner(strayed=0, budget_s=budget_s), calls.clear()
        with torch.no_grad():
            made._search(Counted(), z, g, JOINTS, None, 0)
        assert made.searching.tally == sum(calls)
        counts.append(len(calls))
    assert counts == [6, 3]  # proposals, 1 + 2 iterations and their scores; out of time: one of each


@pytest.mark.parametrize("most", [1, 16, 40, 64])
def test_no_more_candidates_are_scored_than_a_decision_may(most: int) -> None:
    calls: list[int] = []

    class Counted(TwoBasins):
        def __call__(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().__call__(x)

    z, g = torch.zeros(1, tiny.LOW.whole), torch.zeros(1, tiny.LOW.goal)
    made = planner(most=most, first_starts=3, strayed=48)
    heads = 4
    with torch.no_grad():
        found = made._search(Counted(), z, g, JOINTS, None, 0)
        assert sum(calls) <= max(most, heads + 2)  # proposals are scored before anything else
        old = Committed(0, found.x, 0, 10**9, None, 0.0, found.spares)  # type: ignore[arg-type]  # no command is asked
        made.searching.energy, made.searching.tally = 1e6, 0  # the alarm: proposals and points around once more
        calls.clear()
        made._search(Counted(), z, g, JOINTS, old, 0)
    assert made.searching.tally == sum(calls) <= max(most, heads + 2)
