"""Cross-entropy method over the same residuals (Rubinstein 1999): the sampling rival of the Gauss-Newton search.

Legend: N candidates, X search variables.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from hjepa.planning.protocols import Plan, Residual


class CrossEntropy:
    """Diagonal Gaussian refitted to the elites; keeps the best candidate seen, starts included."""

    def __init__(self, candidates: int = 128, elites: int = 12, spread: float = 0.3, seed: int = 0) -> None:
        self.candidates, self.elites, self.spread = candidates, elites, spread
        self.generator = torch.Generator()
        self.reset(seed)

    def reset(self, seed: int = 0) -> None:
        """Begin a new sequence of random numbers."""
        self.generator.manual_seed(seed)

    @torch.no_grad()
    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """Minimise from starts (C, X): the first round samples around each start."""
        began = time.monotonic()
        X = starts.shape[1]
        mean = starts[torch.arange(self.candidates) % len(starts)]
        std = torch.full((X,), self.spread)
        best_x, best_e, evaluations = starts[0], torch.inf, 0
        best_r, begun, pool = torch.empty(0), torch.empty(0), starts
        for k in range(iterations):
            late = deadline_s is not None and time.monotonic() - began > deadline_s
            if k > 0 and (late or (budget is not None and evaluations >= budget)):
                break
            noise = torch.randn(self.candidates, X, generator=self.generator)
            x = torch.cat([pool, mean + std * noise])
            x = torch.minimum(torch.maximum(x, residual.low), residual.high)
            r = residual(x)
            energy = 0.5 * (r**2).sum(-1)
            evaluations += len(x)
            order = torch.argsort(energy)
            pool = x[order[: self.elites]]
            begun = r[0] if k == 0 else begun
            if float(energy[order[0]]) < best_e:
                best_e, best_x, best_r = float(energy[order[0]]), pool[0], r[order[0]]
            mean = pool.mean(0).expand(self.candidates, X)
            std = pool.std(0).clamp(min=0.01)
        return Plan(best_x, float(best_e), pool[: len(starts)], evaluations, best_r, begun)
