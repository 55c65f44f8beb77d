"""Model predictive path integral search over the same residuals (Williams et al. 2017): every candidate counts, by how
little energy it has.

    w_i = exp(-(E_i - min E) / lambda) / sum        Williams et al. 2017, algorithm 2
    mean = sum w_i x_i;  std^2 = sum w_i (x_i - mean)^2   the spread as in TD-MPC (Hansen et al. 2022, equation 4)

Energies are no physical quantity here, and fall by orders of magnitude during a search; so the temperature follows
them: lambda is `temperature` times what the E-th best candidate lies above the best.
"""

from __future__ import annotations

import torch

from hjepa.planning.sampling import Buffers, Round, Sampling

LEAST = 1e-12  # of lambda: all elites may have the same energy


class PathIntegral(Sampling):
    """MPPI with a temperature that adapts. Legend: B situations, n candidates, m older ones, E elites."""

    def __init__(
        self,
        candidates: int = 128,
        elites: int = 12,
        spread: float = 0.3,
        floor: float = 0.003,
        seed: int = 0,
        *,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(candidates, elites, spread, floor, seed)
        self.temperature = temperature

    def refit(self, b: Buffers, t: Round) -> None:
        """Weighted mean and spread of all that was compared."""
        energy, best, last = t.all_size.square(), b.pool_size[:, :1].square(), b.pool_size[:, -1:].square()
        unit = (self.temperature * (last - best)).clamp_(min=LEAST)  # the half of E = |r|^2 / 2 cancels
        weight = torch.softmax((best - energy).div_(unit).nan_to_num_(nan=-torch.inf), dim=1)[:, None]  # (B, 1, m + n)
        torch.bmm(weight, t.all_x, out=b.mean)
        torch.bmm(weight, (t.all_x - b.mean).square_(), out=b.std)
        b.std.sqrt_()
