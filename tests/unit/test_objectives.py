"""The low level's energy: what each goal term asks for, and that limits cost what they should."""

import pytest
import torch
from torch import Tensor

from hjepa.planning.flat import AnyGoal
from hjepa.planning.held import limits_of
from hjepa.planning.objectives import (
    EmbeddingGoal,
    LowWeights,
    PointGoal,
    Situation,
    StrokeResidual,
    own_residuals,
)
from tests import tiny

G = 3
ROOT = torch.diag(torch.tensor([1.0, 2.0, 0.5]))


class Bridge:
    """An outcome is its own stroke embedding."""

    codec = None

    def goal_of(self, outcome: Tensor) -> Tensor:
        return outcome


def test_an_embedding_goal_is_a_weighted_distance() -> None:
    term = EmbeddingGoal(Bridge(), torch.tensor([[1.0, 1.0, 1.0]]), ROOT)
    gap = term(torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 3.0]]), {})
    assert gap.tolist() == [[0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]


def test_a_point_goal_counts_metres_of_the_landing_head() -> None:
    term = PointGoal(torch.tensor([[4.0, 1.0]]), tolerance_m=0.5)
    gap = term(torch.zeros(2, G), {"landing_m": torch.tensor([[4.0, 1.0], [5.0, 0.5]])})
    assert gap.tolist() == [[0.0, 0.0], [2.0, -1.0]]


def test_the_flat_term_is_the_cheapest_of_goal_and_price() -> None:
    goals = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    term = AnyGoal(Bridge(), goals, torch.tensor([0.0, 3.0]), ROOT)
    outcomes = torch.tensor([[0.1, 0.0, 0.0], [4.0, 0.0, 0.0], [2.2, 0.0, 0.0]])
    energy = 0.5 * (term(outcomes, {}) ** 2).sum(-1)
    each = torch.stack([0.5 * (EmbeddingGoal(Bridge(), g[None], ROOT)(outcomes, {}) ** 2).sum(-1) for g in goals])
    assert energy == pytest.approx((each + torch.tensor([[0.0], [3.0]])).amin(0))
    assert [term.choice(o[None]) for o in outcomes] == [0, 1, 0]  # the third is nearer to the second, but that costs 3


def make(weights: LowWeights) -> StrokeResidual:
    bundle = tiny.low()
    q = torch.tensor(tiny.SPEC.q_home_rad, dtype=torch.float32)[None]
    z = torch.zeros(1, tiny.LOW.whole)
    situation = Situation(z, q, 0 * q, 0 * q, 0.02, torch.zeros(1, tiny.LOW.goal), torch.eye(tiny.LOW.goal))
    return StrokeResidual(bundle.level, limits_of(tiny.SPEC), weights, situation)


@pytest.fixture(scope="module")
def residual() -> StrokeResidual:
    return make(LowWeights())


def test_the_energy_is_half_the_squared_residual(residual: StrokeResidual) -> None:
    x = 0.3 * torch.randn(7, len(residual.low), generator=torch.Generator().manual_seed(0))
    x[:, -1] = 4.0
    assert residual(x).shape[0] == 7
    assert residual.energy(x) == pytest.approx(0.5 * (residual(x) ** 2).sum(-1))


def test_less_time_for_the_same_event_asks_more_of_the_joints() -> None:
    residual = make(LowWeights(goal=0, contact=0, offset=0, support=0, net=0, prior=0))
    x = torch.zeros(3, len(residual.low))
    x[:, -1] = torch.tensor([5.0, 1.5, 0.5])  # 1.0, 0.3, 0.1 s
    energy = residual.energy(x)
    assert energy[0] < energy[1] < energy[2]


def test_the_box_holds_the_rails_and_a_sensible_time(residual: StrokeResidual) -> None:
    assert (residual.low < residual.high).all()
    codec = residual.level.codec
    reach = residual.high[12:14] * codec.xy_std + codec.xy_mean
    rails = torch.tensor(tiny.SPEC.q_max_rad[:2], dtype=torch.float32)
    assert ((reach - rails).abs() < 1.5).all()


def test_the_last_residuals_are_the_own_bodys_and_no_goal_moves_them(residual: StrokeResidual) -> None:
    n = own_residuals(residual.level.codec, 8)
    x = 0.3 * torch.randn(5, len(residual.low), generator=torch.Generator().manual_seed(1))
    x[:, -1] = 4.0
    situation = residual.situation._replace(z=residual.situation.z + 1.0, goal=residual.situation.goal + 1.0)
    other = StrokeResidual(residual.level, residual.limits, residual.weights, situation)
    assert residual(x).shape[1] - n == tiny.LOW.goal + 3 + 2 + 1
    assert torch.equal(residual(x)[:, -n:], other(x)[:, -n:])
    assert ((residual(x) - other(x))[:, :-n].abs() > 1e-6).any(dim=0).sum() > tiny.LOW.goal
