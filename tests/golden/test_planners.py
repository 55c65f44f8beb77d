"""The searches on problems whose answer is known, with given noise."""

import pytest
import torch
from torch import Tensor

from hjepa.errors import ConfigError
from hjepa.planning.cem import CrossEntropy, ImprovedCrossEntropy, mixing
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.mppi import PathIntegral
from hjepa.planning.protocols import Planner, Residual
from hjepa.planning.sampling import Sampling
from hjepa.planning.searches import NAMES, make_planner

X = 6


class Linear:
    """r(x) = A x - b: its energy is a quadratic bowl. Counts what it scores; a call takes some of `clock`, if given."""

    def __init__(self, seed: int = 0, box: float = 5.0, clock: list[float] | None = None, took_s: float = 0.0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.A = torch.randn(10, X, generator=g) + 2.0 * torch.eye(10, X)
        self.b = torch.randn(10, generator=g)
        self.low, self.high = torch.full((X,), -box), torch.full((X,), box)
        self.clock, self.took_s, self.calls, self.rows = clock, took_s, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        if self.clock is not None:
            self.clock[0] += self.took_s
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


def every() -> list[Planner]:
    return [GaussNewton(), *sampling()]


def sampling(candidates: int = 128, elites: int = 12) -> list[Sampling]:
    return [kind(candidates, elites, seed=3) for kind in (CrossEntropy, ImprovedCrossEntropy, PathIntegral)]


class Bowls(Linear):
    """Several bowls at once, each with its own bottom: rows (B n, X), n for each."""

    def __init__(self, seeds: list[int]) -> None:
        super().__init__()
        self.each = [Linear(seed) for seed in seeds]

    def __call__(self, x: Tensor) -> Tensor:
        parts = x.unflatten(0, (len(self.each), -1))
        return torch.cat([bowl(part) for bowl, part in zip(self.each, parts, strict=True)])


def test_gauss_newton_solves_a_linear_least_squares_problem() -> None:
    problem = Linear()
    plan = GaussNewton().plan(problem, starts(), 12)
    assert plan.x == pytest.approx(problem.answer(), abs=1e-3)
    assert plan.energy == pytest.approx(float(problem.energy(problem.answer()[None])[0]), rel=1e-4)


@pytest.mark.parametrize("planner", sampling(256, 16), ids=lambda p: type(p).__name__)
def test_sampling_comes_close_to_it(planner: Planner) -> None:
    problem = Linear()
    plan = planner.plan(problem, starts(), 40)
    best, begun = (float(problem.energy(x).min()) for x in (problem.answer()[None], starts()))
    assert plan.energy < best + 0.02 * (begun - best)


def test_gauss_newton_follows_a_curved_valley() -> None:
    plan = GaussNewton().plan(Valley(), starts(), 60)
    assert plan.x == pytest.approx(torch.ones(X), abs=0.02)


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("problem", [Linear(seed=5), Valley()], ids=["bowl", "valley"])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_never_worse_than_the_best_start(planner: Planner, problem: Linear, iterations: int) -> None:
    begin = starts(seed=7)
    plan = planner.plan(problem, begin, iterations)
    assert plan.energy <= float(problem.energy(begin).min()) + 1e-5
    assert plan.energy == pytest.approx(float(problem.energy(plan.x[None])[0]), rel=1e-3)


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_the_box_is_respected(planner: Planner) -> None:
    problem = Linear(box=0.1)  # the answer lies outside; the problem itself checks every candidate
    assert problem.answer().abs().max() > 0.15
    plan = planner.plan(problem, starts(), 8)
    assert (plan.x.abs() <= 0.1 + 1e-6).all()
    assert plan.starts.abs().max() <= 0.1 + 1e-6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time in s, as planners read it."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_a_deadline_ends_the_search_with_the_best_seen(planner: Planner, clock: list[float]) -> None:
    problem, begin = Linear(clock=clock, took_s=0.02), starts()
    plan = planner.plan(problem, begin, 1000, deadline_s=0.1)
    assert 3 <= problem.calls <= 5
    assert plan.energy <= float(problem.energy(begin).min()) + 1e-5


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_no_iteration_is_begun_that_would_end_past_the_deadline(planner: Planner, clock: list[float]) -> None:
    problem = Linear(clock=clock, took_s=0.05)
    plan = planner.plan(problem, starts(), 1000, deadline_s=0.17)  # three calls fit, a fourth does not
    assert problem.calls == 3
    assert plan.evaluations == problem.rows
    assert clock[0] <= 0.17


@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_no_iteration_is_begun_once_the_budget_is_spent(planner: Planner) -> None:
    problem = Linear()
    whole = planner.plan(problem, starts(), 4)
    planner.reset(3)
    problem.calls = 0
    again = planner.plan(problem, starts(), 100, budget=whole.evaluations - 1)
    assert problem.calls == 4
    assert again.evaluations >= whole.evaluations - 1


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_evaluations_are_those_that_were_scored(planner: Planner) -> None:
    problem = Linear()
    assert planner.plan(problem, starts(), 4).evaluations == problem.rows


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_the_next_search_may_start_from_what_this_one_leaves(planner: Planner) -> None:
    problem: Residual = Valley()
    plan = planner.plan(problem, starts(), 3)
    assert plan.starts.shape == (4, X)
    energies = Valley().energy(plan.starts)
    assert energies[0] == pytest.approx(plan.energy, rel=1e-3)
    assert (energies[1:] >= energies[:-1] - 1e-5).all()


@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_a_seed_repeats_a_search(planner: Planner) -> None:
    runs = []
    for seed in (5, 5, 6):
        planner.reset(seed)
        runs.append(planner.plan(Valley(), starts(), 3))
    assert torch.equal(runs[0].x, runs[1].x)
    assert torch.equal(runs[0].residuals, runs[1].residuals)
    assert not torch.equal(runs[0].x, runs[2].x)


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_without_iterations_the_starts_are_scored_and_nothing_is_searched(planner: Planner) -> None:
    problem, begin = Linear(), starts()
    plan = planner.plan(problem, begin, 0)
    energies = problem.energy(begin).sort()
    assert plan.evaluations == problem.rows == len(begin)
    assert plan.energy == pytest.approx(float(energies.values[0]), rel=1e-5)
    assert plan.starts == pytest.approx(begin[energies.indices])


@pytest.mark.parametrize("planner", every(), ids=lambda p: type(p).__name__)
def test_residuals_are_those_of_the_best_and_of_the_first_start(planner: Planner) -> None:
    plan = planner.plan(Valley(), starts(), 5)
    assert plan.residuals == pytest.approx(Valley()(plan.x[None])[0], abs=1e-5)
    assert plan.begun == pytest.approx(Valley()(starts()[:1])[0], abs=1e-5)


@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_a_second_search_of_the_same_shape_takes_no_new_buffers(planner: Sampling) -> None:
    seen: list[int] = []

    class Watched(Linear):
        def __call__(self, x: Tensor) -> Tensor:
            seen.append(x.data_ptr())
            return super().__call__(x)

    first = planner.plan(Watched(), starts(), 3)
    told = first.x.clone(), first.starts.clone(), first.residuals.clone(), first.begun.clone()
    (memory,) = planner._buffers.values()
    held = {name: value.data_ptr() for name, value in vars(memory).items() if isinstance(value, Tensor)}
    planner.plan(Watched(seed=9), starts(seed=8), 3)
    assert list(planner._buffers.values()) == [memory]
    assert {name: getattr(memory, name).data_ptr() for name in held} == held
    assert len(set(seen)) == 1
    assert all(torch.equal(a, b) for a, b in zip(told, (first.x, first.starts, first.residuals, first.begun)))


@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_searches_side_by_side_find_what_each_finds_alone(planner: Sampling) -> None:
    bowls = Bowls([0, 5, 6])
    begin = torch.stack([starts(seed=k) for k in range(3)])
    planner.reset(4)
    together = planner.plan_many(bowls, begin, 6)
    for bowl, start, plan in zip(bowls.each, begin, together, strict=True):
        planner.reset(4)
        alone = planner.plan(bowl, start, 6)
        assert plan.x == pytest.approx(alone.x, abs=1e-5)
        assert plan.energy == pytest.approx(alone.energy, rel=1e-5)
        assert plan.starts == pytest.approx(alone.starts, abs=1e-5)
        assert plan.residuals == pytest.approx(alone.residuals, abs=1e-4)
        assert plan.begun == pytest.approx(alone.begun, abs=1e-4)
        assert plan.evaluations == alone.evaluations


@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_a_prediction_that_is_no_number_never_wins(planner: Planner) -> None:
    class Broken(Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return torch.where(x[:, :1] > 0.0, torch.nan, super().__call__(x))

    plan = planner.plan(Broken(), -starts().abs(), 5)
    assert plan.x[0] <= 0.0 and plan.residuals.isfinite().all()


def test_smooth_noise_has_unit_variance_and_changes_slowly_over_the_horizon() -> None:
    steps = mixing(20, 2.0) @ torch.randn(20, 20000, generator=torch.Generator().manual_seed(0))
    assert steps.std(1) == pytest.approx(torch.ones(20), abs=0.03)
    power = torch.fft.rfft(steps, dim=0).abs().square().mean(1)
    assert (power[2] / power[4]) == pytest.approx(4.0, rel=0.1)  # 1 / f^2
    assert mixing(20, 0.0) == pytest.approx(torch.eye(20), abs=1e-6)


def test_later_rounds_of_icem_ask_fewer_candidates() -> None:
    problem = Linear()
    sizes = []
    for k in range(1, 12):
        sizes.append(ImprovedCrossEntropy(100, 10).plan(problem, starts(), k).evaluations)
    rounds = [b - a for a, b in zip(sizes, sizes[1:], strict=False)]
    assert (sizes[0], rounds[0], rounds[1], rounds[-1]) == (100, 80, 64, 20)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("planner", sampling(), ids=lambda p: type(p).__name__)
def test_a_search_stays_on_the_device_of_its_starts(planner: Planner) -> None:
    problem = Linear()
    for name in ("A", "b", "low", "high"):
        setattr(problem, name, getattr(problem, name).cuda())
    plan = planner.plan(problem, starts().cuda(), 40, deadline_s=5.0)
    assert plan.x.is_cuda and plan.residuals.is_cuda
    assert plan.energy < float(problem.energy(starts().cuda()).min())


@pytest.mark.parametrize("name", NAMES)
def test_a_search_is_made_by_its_name(name: str) -> None:
    assert make_planner(name).plan(Linear(), starts(), 2).energy < float(Linear().energy(starts()).min())


def test_an_unknown_search_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cem'"):
        make_planner("ceem")


def test_gauss_newton_moves_some_variables_where_the_budget_is_less_than_an_iteration() -> None:
    calls: list[int] = []

    class Bowl:
        low, high = torch.full((4,), -9.0), torch.full((4,), 9.0)

        def __call__(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x - torch.tensor([1.0, -1.0, 2.0, 0.5])

    planner, x = GaussNewton(trust=9.0, damping=1e-6), torch.zeros(1, 4)
    for moved, budget in (((0, 1), 4), ((2, 3), 4)):
        calls.clear()
        plan = planner.plan(Bowl(), x, 3, budget=budget)
        assert sum(calls) == plan.evaluations == budget  # a base, two neighbours, the step
        assert set((plan.x - x[0]).abs().gt(0.1).nonzero()[:, 0].tolist()) == set(moved)
        x = plan.x[None]
    assert plan.energy < 1e-3
