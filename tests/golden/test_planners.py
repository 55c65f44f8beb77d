"""Both searches on problems whose answer is known, with given noise."""

import time

import pytest
import torch
from torch import Tensor

from hjepa.planning.cem import CrossEntropy
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.protocols import Planner, Residual

X = 6


class Linear:
    """r(x) = A x - b: its energy is a quadratic bowl. Counts what it scores; may be slow."""

    def __init__(self, seed: int = 0, box: float = 5.0, wait_s: float = 0.0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.A = torch.randn(10, X, generator=g) + 2.0 * torch.eye(10, X)
        self.b = torch.randn(10, generator=g)
        self.low, self.high = torch.full((X,), -box), torch.full((X,), box)
        self.wait_s, self.calls, self.rows = wait_s, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        time.sleep(self.wait_s)
        self.calls += 1
        self.rows += len(x)
        assert (x >= self.low - 0.03).all() and (x <= self.high + 0.03).all()  # 0.03: the probe of a slope
        return x @ self.A.T - self.b

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * ((x @ self.A.T - self.b) ** 2).sum(-1)

    def answer(self) -> Tensor:
        return torch.linalg.lstsq(self.A, self.b[:, None]).solution[:, 0]


class Valley(Linear):
    """A curved, narrow valley (Rosenbrock 1960) in each pair of variables: minimum 0 at (1, 1)."""

    def __call__(self, x: Tensor) -> Tensor:
        super().__call__(x)
        return torch.cat([10.0 * (x[:, 1::2] - x[:, ::2] ** 2), 1.0 - x[:, ::2]], dim=-1)

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * (Valley.__call__(self, x) ** 2).sum(-1)


def starts(count: int = 4, seed: int = 1, spread: float = 0.8) -> Tensor:
    return spread * torch.randn(count, X, generator=torch.Generator().manual_seed(seed))


def both() -> list[Planner]:
    return [GaussNewton(), CrossEntropy(seed=3)]


def test_gauss_newton_solves_a_linear_least_squares_problem() -> None:
    problem = Linear()
    plan = GaussNewton().plan(problem, starts(), 12)
    assert plan.x == pytest.approx(problem.answer(), abs=1e-3)
    assert plan.energy == pytest.approx(float(problem.energy(problem.answer()[None])[0]), rel=1e-4)


def test_cross_entropy_comes_close_to_it() -> None:
    problem = Linear()
    plan = CrossEntropy(candidates=256, elites=16, seed=0).plan(problem, starts(), 30)
    best = float(problem.energy(problem.answer()[None])[0])
    assert plan.energy < best + 0.02


def test_gauss_newton_follows_a_curved_valley() -> None:
    plan = GaussNewton().plan(Valley(), starts(), 60)
    assert plan.x == pytest.approx(torch.ones(X), abs=0.02)


@pytest.mark.parametrize("planner", both(), ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("problem", [Linear(seed=5), Valley()], ids=["bowl", "valley"])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_never_worse_than_the_best_start(planner: Planner, problem: Linear, iterations: int) -> None:
    begin = starts(seed=7)
    plan = planner.plan(problem, begin, iterations)
    assert plan.energy <= float(problem.energy(begin).min()) + 1e-5
    assert plan.energy == pytest.approx(float(problem.energy(plan.x[None])[0]), rel=1e-3)


@pytest.mark.parametrize("planner", both(), ids=lambda p: type(p).__name__)
def test_the_box_is_respected(planner: Planner) -> None:
    problem = Linear(box=0.1)  # the answer lies outside; the problem itself checks every candidate
    assert problem.answer().abs().max() > 0.15
    plan = planner.plan(problem, starts(), 8)
    assert (plan.x.abs() <= 0.1 + 1e-6).all()
    assert plan.starts.abs().max() <= 0.1 + 1e-6


@pytest.mark.parametrize("planner", both(), ids=lambda p: type(p).__name__)
def test_a_deadline_ends_the_search_with_the_best_seen(planner: Planner) -> None:
    problem, begin = Linear(wait_s=0.02), starts()
    plan = planner.plan(problem, begin, 1000, deadline_s=0.1)
    assert 1 <= problem.calls < 50
    assert plan.energy <= float(problem.energy(begin).min()) + 1e-5


def test_no_iteration_is_begun_that_would_end_past_the_deadline() -> None:
    problem = Linear(wait_s=0.05)
    began = time.monotonic()
    plan = GaussNewton().plan(problem, starts(), 1000, deadline_s=0.17)  # three calls fit, a fourth does not
    assert problem.calls == 3
    assert plan.evaluations == problem.rows
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("planner", both(), ids=lambda p: type(p).__name__)
def test_evaluations_are_those_that_were_scored(planner: Planner) -> None:
    problem = Linear()
    assert planner.plan(problem, starts(), 4).evaluations == problem.rows


@pytest.mark.parametrize("planner", both(), ids=lambda p: type(p).__name__)
def test_the_next_search_may_start_from_what_this_one_leaves(planner: Planner) -> None:
    problem: Residual = Valley()
    plan = planner.plan(problem, starts(), 3)
    assert plan.starts.shape == (4, X)
    energies = Valley().energy(plan.starts)
    assert energies[0] == pytest.approx(plan.energy, rel=1e-3)
    assert (energies[1:] >= energies[:-1] - 1e-5).all()


def test_a_seed_repeats_a_cross_entropy_search() -> None:
    planner = CrossEntropy()
    runs = []
    for seed in (5, 5, 6):
        planner.reset(seed)
        runs.append(planner.plan(Valley(), starts(), 3).x)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
