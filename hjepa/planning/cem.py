"""Cross-entropy method over the same residuals (Rubinstein 1999): the sampling rival of the Gauss-Newton search.

iCEM (Pinneri et al. 2020) draws noise that is smooth over the horizon, asks fewer candidates in later rounds and lets
part of the elites compete again. Legend: N candidates, E elites, X = H A search variables, H steps of A numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hjepa.planning.sampling import Buffers, Round, Sampling


class CrossEntropy(Sampling):
    """Diagonal Gaussian refitted to the elites; keeps the best candidates seen, starts included."""


class ImprovedCrossEntropy(Sampling):
    """iCEM. horizon: H, where the search variables are a sequence (step after step); color: beta, the power of 1 / f
    of the noise over it; shrink: gamma, by which each round has fewer candidates; momentum: share of the mean and
    spread before."""

    kept = 0.3  # Pinneri et al. 2020, table 5: fraction of elites reused

    def __init__(
        self,
        candidates: int = 128,
        elites: int = 12,
        spread: float = 0.3,
        floor: float = 0.01,
        seed: int = 0,
        *,
        horizon: int = 1,
        color: float = 2.0,
        shrink: float = 1.25,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(candidates, elites, spread, floor, seed)
        self.horizon, self.shrink, self.momentum = horizon, shrink, momentum
        self._mix = mixing(horizon, color)

    def draw(self, b: Buffers, noise: Tensor, generator: torch.Generator) -> None:
        """Noise over the horizon with a spectrum of 1 / f^beta."""
        if self.horizon == 1:
            super().draw(b, noise, generator)
            return
        white = b.white[: len(noise)].normal_(generator=generator)
        self._mix = self._mix.to(white)
        steps = (len(noise), self.horizon, -1)
        torch.matmul(self._mix, white.view(steps), out=noise.view(steps))

    def count(self, most: int, least: int, k: int) -> int:
        """N gamma^-k, at least twice the elites (Pinneri et al. 2020, algorithm 1)."""
        return max(least, int(most * self.shrink**-k))

    def refit(self, b: Buffers, t: Round) -> None:
        """Towards the elites' mean and spread, with momentum."""
        b.mean.lerp_(b.pool_x.mean(1, keepdim=True), 1.0 - self.momentum)
        b.std.lerp_(b.pool_x.std(1, keepdim=True), 1.0 - self.momentum)


def mixing(horizon: int, color: float) -> Tensor:
    """Matrix (H, H) that turns white noise into noise of unit variance with a spectrum of 1 / f^color (Timmer and
    Koenig 1995, the lowest frequency standing for the mean's too): the noise that an inverse Fourier transform gives is
    a circular convolution of white noise."""
    f = torch.fft.rfftfreq(horizon, dtype=torch.float64).clamp(min=1.0 / horizon)
    kernel = torch.fft.irfft((f ** (-color / 2.0)).to(torch.complex128), n=horizon)
    row = torch.arange(horizon)
    return (kernel / kernel.norm())[(row[:, None] - row) % horizon].float()
