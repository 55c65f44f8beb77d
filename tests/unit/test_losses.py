"""Anti-collapse terms: what they are zero for, what they punish, and which way they push."""

import math

import pytest
import torch

from hjepa.models.losses import SIGReg, effective_rank, vicreg


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sigreg_of_one_repeated_point_is_the_closed_form():
    # phi(t) = exp(i x t): |phi - g|^2 = 1 - 2 g cos(xt) + g^2 with g = exp(-t^2/2); at x = 0 the integral over all t of
    # (1 - g)^2 g is sqrt(2 pi) (1 - 2 / sqrt 2 + 1 / sqrt 3)
    exact = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    got = float(SIGReg(directions=4)(torch.zeros(10, 3), _generator())) / 10
    assert got == pytest.approx(exact, rel=0.05)  # cut at |t| = 3


@pytest.mark.parametrize(
    "change",
    [lambda x: 0.3 * x, lambda x: x + 1.0, lambda x: x[:, :1].expand_as(x), lambda x: x.sign()],
    ids=["shrunk", "shifted", "one direction", "two points"],
)
def test_sigreg_is_least_for_a_round_gaussian(change):
    x = torch.randn(512, 8, generator=_generator(1))
    sigreg = SIGReg()
    assert float(sigreg(change(x), _generator())) > 3.0 * float(sigreg(x, _generator()))


def test_sigreg_is_the_same_for_the_same_generator():
    x = torch.randn(64, 4, generator=_generator(2))
    sigreg = SIGReg()
    assert torch.equal(sigreg(x, _generator(5)), sigreg(x, _generator(5)))
    assert not torch.equal(sigreg(x, _generator(5)), sigreg(x, _generator(6)))


def test_descending_sigreg_undoes_a_collapse():
    x = (0.05 * torch.randn(256, 4, generator=_generator(3))).requires_grad_(True)
    sigreg, optimiser = SIGReg(directions=32), torch.optim.Adam([x], lr=0.05)
    for step in range(80):
        optimiser.zero_grad()
        sigreg(x, _generator(step)).backward()
        optimiser.step()
    assert 0.7 < float(x.detach().std(0).min()) < 1.4


def test_vicreg_punishes_small_spread_and_correlation_only():
    x = torch.randn(4096, 3, generator=_generator(4))
    good, flat, tied = vicreg(1.2 * x), vicreg(0.1 * x), vicreg(torch.stack([x[:, 0]] * 3, dim=1))
    assert float(good.variance) == pytest.approx(0.0, abs=1e-6)
    assert float(good.covariance) < 0.02
    assert float(flat.variance) == pytest.approx(0.9, abs=0.02)
    assert float(tied.covariance) == pytest.approx(2.0, rel=0.1)  # six off-diagonal ones over three dimensions


def test_effective_rank_counts_directions():
    x = torch.randn(4096, 6, generator=_generator(5))
    assert float(effective_rank(x)) == pytest.approx(6.0, abs=0.05)
    assert float(effective_rank(x * torch.tensor([1.0, 1.0, 0, 0, 0, 0]))) == pytest.approx(2.0, abs=0.02)
