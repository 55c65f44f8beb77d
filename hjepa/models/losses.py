"""Terms that keep embeddings from collapsing. Legend: N samples, D embedding, P random directions, T knots."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SIGReg(nn.Module):
    """Sketched isotropic Gaussian regularisation (Balestriero & LeCun 2025, LeJEPA).

    Along each random unit direction the Epps-Pulley statistic N * int |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt
    compares the empirical characteristic function phi of the projected samples with that of N(0, 1); the integrand is
    even, so it is summed over t in [0, 3] by the trapezoid rule and doubled.
    """

    t: Tensor
    target: Tensor
    weight: Tensor

    def __init__(self, directions: int = 256, knots: int = 17, reach: float = 3.0) -> None:
        super().__init__()
        t = torch.linspace(0.0, reach, knots)
        step = torch.full((knots,), 2.0 * reach / (knots - 1))
        step[0] = step[-1] = reach / (knots - 1)
        target = torch.exp(-0.5 * t**2)
        self.directions = directions
        self.register_buffer("t", t)
        self.register_buffer("target", target)
        self.register_buffer("weight", step * target)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Samples (N, D) -> mean statistic over the directions, a scalar; 0 would be exactly Gaussian."""
        direction = torch.randn(x.shape[1], self.directions, generator=generator, dtype=x.dtype).to(x.device)
        projected = x @ (direction / direction.norm(dim=0, keepdim=True))  # (N, P)
        angle = projected[..., None] * self.t  # (N, P, T)
        error = (angle.cos().mean(0) - self.target) ** 2 + angle.sin().mean(0) ** 2  # (P, T)
        return x.shape[0] * (error @ self.weight).mean()


class VICReg(NamedTuple):
    """The alternative's two terms (Bardes, Ponce & LeCun 2022, eqs. 1-3)."""

    variance: Tensor
    covariance: Tensor


def vicreg(x: Tensor, floor: float = 1.0, epsilon: float = 1e-4) -> VICReg:
    """Samples (N, D) -> hinge on each dimension's standard deviation, and mean squared off-diagonal covariance."""
    centred = x - x.mean(0)
    covariance = centred.T @ centred / (x.shape[0] - 1)
    spread = (covariance.diagonal() + epsilon).sqrt()
    off = covariance - torch.diag(covariance.diagonal())
    return VICReg(F.relu(floor - spread).mean(), off.pow(2).sum() / x.shape[1])


def effective_rank(x: Tensor) -> Tensor:
    """exp(entropy of the normalised singular values) of centred samples (N, D) (Roy & Vetterli 2007): 1 .. D."""
    s = torch.linalg.svdvals(x - x.mean(0))
    p = s / s.sum().clamp_min(1e-12)
    return torch.exp(-(p * p.clamp_min(1e-12).log()).sum())
