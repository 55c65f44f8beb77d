"""Gauss-Newton search in latent space with a Levenberg-Marquardt damping per candidate (Marquardt 1963).

The energy is a sum of squares of predicted consequences, so its curvature comes with the slope: one batched call of the
predictor per iteration (each candidate and one neighbour per search variable) gives both, and a few iterations from a
good start do what thousands of sampled candidates do. Legend: C candidates, X search variables, R residuals.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from hjepa.planning.protocols import Plan, Residual


class Descent(NamedTuple):
    """Where each start led."""

    x: Tensor  # (C, X) the best seen from each
    energy: Tensor  # (C,)
    residuals: Tensor  # (C, R) there
    begun: Tensor  # (C, R) at the starts
    evaluations: int


class GaussNewton:
    """Anytime: returns the best point scored so far, never worse than the best start."""

    def __init__(self, step: float = 0.02, damping: float = 0.03, trust: float = 0.6) -> None:
        self.step, self.damping, self.trust = step, damping, trust

    def reset(self, seed: int = 0) -> None:
        """Nothing to begin again: the search draws no random numbers."""

    @torch.no_grad()
    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """Minimise from starts (C, X); `deadline_s` seconds from now on, no iteration is begun that
        would end later than that if it took as long as the one before it, and none once `budget` were scored."""
        found = self.descend(residual, starts, iterations, deadline_s, budget)
        order = torch.argsort(found.energy)
        x, best = found.x[order], order[0]
        return Plan(x[0], float(found.energy[best]), x, found.evaluations, found.residuals[best], found.begun[0])

    @torch.no_grad()
    def descend(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Descent:
        """Gauss-Newton from every start (C, X) by itself."""
        began = now = time.monotonic()
        took = 0.0
        C, X = starts.shape
        x = torch.minimum(torch.maximum(starts, residual.low), residual.high)
        best_x, best_e = x.clone(), torch.full((C,), torch.inf)
        damping = torch.full((C,), self.damping)
        nudge = self.step * torch.eye(X)
        evaluations, r0, begun, jacobian = 0, torch.empty(0), torch.empty(0), torch.empty(0)
        for k in range(iterations + 1):
            took, now = time.monotonic() - now, time.monotonic()
            late = deadline_s is not None and now - began + took > deadline_s
            if k > 0 and (late or (budget is not None and evaluations >= budget)):
                break
            if k == iterations:  # score the last step only
                r = residual(x)[:, None]
            else:
                probes = torch.cat([x[:, None], x[:, None] + nudge], dim=1)  # (C, X + 1, X)
                r = residual(probes.reshape(-1, X)).reshape(C, X + 1, -1)
            evaluations += r.shape[0] * r.shape[1]
            energy = 0.5 * (r[:, 0] ** 2).sum(-1)
            better = energy < best_e
            best_e = torch.where(better, energy, best_e)
            best_x = torch.where(better[:, None], x, best_x)
            begun = r[:, 0] if k == 0 else begun
            r0 = r[:, 0] if k == 0 else torch.where(better[:, None], r[:, 0], r0)
            if k == iterations:
                break
            damping = torch.where(better, damping * 0.3, damping * 10.0).clamp(1e-4, 1e3)
            fresh = (r[:, 1:] - r[:, :1]) / self.step  # (C, X, R)
            jacobian = fresh if k == 0 else torch.where(better[:, None, None], fresh, jacobian)
            x = self._move(best_x, jacobian, r0, damping, residual)
        return Descent(best_x, best_e, r0, begun, evaluations)

    def _move(self, x: Tensor, jacobian: Tensor, r: Tensor, damping: Tensor, residual: Residual) -> Tensor:
        """One damped step from x (C, X) within the trust region and the box."""
        H = jacobian @ jacobian.transpose(1, 2)
        slope = (jacobian @ r[..., None])[..., 0]
        scale = H.diagonal(dim1=1, dim2=2)
        H = H + torch.diag_embed(damping[:, None] * (scale + 0.1))
        step = -torch.linalg.solve(H, slope)
        step = step * (self.trust / step.abs().amax(dim=1, keepdim=True).clamp(min=self.trust))
        return torch.minimum(torch.maximum(x + step, residual.low), residual.high)
