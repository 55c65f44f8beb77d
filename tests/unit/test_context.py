"""The slow context: what past strokes say about the world is found, and what they do not say stays at its prior."""

import pytest
import torch
from torch import Tensor

from hjepa.planning.context import SlowContext


class Sizes:
    context = 2


class World:
    """Outcomes that show both numbers of the context: a linear toy."""

    config = Sizes()

    def in_context(self, z: Tensor, context: Tensor) -> Tensor:
        return torch.cat([z[:, :1], context.expand(len(z), -1)], dim=-1)

    def foresee(self, z: Tensor, m: Tensor, to_go_s: Tensor) -> tuple[Tensor, Tensor]:
        return z @ torch.tensor([[1.0, 0.0, 1.0], [0.5, 1.0, 0.0], [0.0, -1.0, 0.0]]), torch.zeros(len(z), 3)

    def goal_of(self, outcome: Tensor) -> Tensor:
        return outcome


def lived(strokes: int, true: Tensor, noise: float = 0.2, freak: float = 0.0) -> SlowContext:
    world, generator = World(), torch.Generator().manual_seed(0)
    context = SlowContext(world, torch.eye(3) / noise)
    for k in range(strokes):
        z = torch.randn(1, 3, generator=generator)
        outcome = world.foresee(world.in_context(z, true), torch.zeros(1, 1), torch.zeros(1, 1))[0]
        outcome = outcome + noise * torch.randn(1, 3, generator=generator) + freak * (k == 3)
        context.learn(z, torch.zeros(1, 1), torch.zeros(1, 1), outcome)
    return context


def test_nothing_lived_is_the_nominal_world() -> None:
    assert lived(0, torch.zeros(1, 2)).estimate == pytest.approx(torch.zeros(1, 2), abs=1e-6)


def test_strokes_tell_the_world_they_were_played_in() -> None:
    true = torch.tensor([[0.8, -1.1]])
    few, many = (lived(n, true).estimate for n in (1, 12))
    assert (many - true).norm() < 0.25
    assert (many - true).norm() < (few - true).norm()


def test_one_freak_stroke_proves_nothing() -> None:
    true = torch.tensor([[0.8, -1.1]])
    assert (lived(12, true, freak=8.0).estimate - true).norm() < 0.3


def test_forgetting_returns_to_the_nominal_world() -> None:
    context = lived(5, torch.tensor([[1.0, 1.0]]))
    context.forget()
    assert context.estimate == pytest.approx(torch.zeros(1, 2), abs=1e-6)
