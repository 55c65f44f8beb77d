"""Gauss-Newton search in latent space with a Levenberg-Marquardt damping per candidate (Marquardt 1963).

The energy is a sum of squares of predicted consequences, so its curvature comes with the slope: one batched call of the
predictor per iteration (each candidate and one neighbour per search variable) gives both, and a few iterations from a
good start do what thousands of sampled candidates do. Legend: C candidates, X search variables, R residuals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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


class Iterate(NamedTuple):
    """A search between two iterations."""

    x: Tensor  # (C, X) to be scored next
    best: Tensor  # (C, X) of least energy so far
    energy: Tensor  # (C,) there
    residuals: Tensor  # (C, R) there
    jacobian: Tensor  # (C, X, R) there
    damping: Tensor  # (C,)


def beginning(x: Tensor, damping: float, residuals: int = 1) -> Iterate:
    """At starts (C, X), nothing scored yet; residuals: R, if the iteration needs its sizes."""
    C, X = x.shape
    unknown, flat = x.new_zeros(C, residuals), x.new_zeros(C, X, residuals)
    return Iterate(x, x, x.new_full((C,), torch.inf), unknown, flat, x.new_full((C,), damping))


def iterate(residual: Callable[[Tensor], Tensor], s: Iterate, low: Tensor, high: Tensor, sizes: Tensor) -> Iterate:
    """One iteration within the box low, high (X,) or (C, X): score each candidate and its neighbours, keep what is
    better, and step from the best. sizes (2,): distance of the neighbours, largest step."""
    C, X = s.x.shape
    nudge = sizes[0] * torch.eye(X, device=s.x.device)
    probes = torch.cat([s.x[:, None], s.x[:, None] + nudge], dim=1)  # (C, X + 1, X)
    r = residual(probes.reshape(-1, X)).reshape(C, X + 1, -1)
    energy = 0.5 * (r[:, 0] ** 2).sum(-1)
    better = energy < s.energy
    best = torch.where(better[:, None], s.x, s.best)
    residuals = torch.where(better[:, None], r[:, 0], s.residuals)
    jacobian = torch.where(better[:, None, None], (r[:, 1:] - r[:, :1]) / sizes[0], s.jacobian)
    damping = torch.where(better, s.damping * 0.3, s.damping * 10.0).clamp(1e-4, 1e3)
    H = jacobian @ jacobian.transpose(1, 2)
    slope = (jacobian @ residuals[..., None])[..., 0]
    H = H + torch.diag_embed(damping[:, None] * (H.diagonal(dim1=1, dim2=2) + 0.1))
    step = -torch.linalg.solve_ex(H, slope)[0]  # damped, so never singular; what is not finite is never better
    step = step * (sizes[1] / torch.maximum(step.abs().amax(dim=1, keepdim=True), sizes[1]))
    x = torch.minimum(torch.maximum(best + step, low), high)
    return Iterate(x, best, torch.where(better, energy, s.energy), residuals, jacobian, damping)


class GaussNewton:
    """Anytime: returns the best point scored so far, never worse than the best start.

    A residual that has a `step(Iterate, sizes)` of its own, such as planning.programs.Fused, does a whole iteration in
    one call.
    """

    def __init__(self, step: float = 0.02, damping: float = 0.03, trust: float = 0.6) -> None:
        self.step, self.damping, self.trust = step, damping, trust
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin again; the search draws no random numbers."""
        self._turn = 0  # the variable that a small budget moves first

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
        would end later than that if it took as long as the one before it, and none that would score more than `budget`
        in all: with less than an iteration left, some of the variables are moved, in turn; the last step is scored."""
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
        sizes = x.new_tensor([self.step, self.trust])
        step = getattr(residual, "step", None) or (lambda s, w: iterate(residual, s, residual.low, residual.high, w))
        s = beginning(x, self.damping)
        evaluations, begun = 0, s.residuals
        for k in range(iterations + 1):
            took, now = time.monotonic() - now, time.monotonic()
            late = deadline_s is not None and now - began + took > deadline_s
            left = C * (X + 1) if budget is None else budget - evaluations
            if k > 0 and (late or left < C):
                break
            last = k == iterations or left < 3 * C  # score the last step only
            moved = X if left >= C * (X + 1) else left // C - 2  # a base, so many neighbours, and a score for the step
            if last:
                s = _scored(s, residual(s.x))
            elif moved == X:
                s = step(s, sizes)
            else:
                s = iterate(self._few(residual, moved, X), s, residual.low, residual.high, sizes)
            evaluations += C * (1 + (0 if last else moved))
            begun = s.residuals if k == 0 else begun
            if last:
                break
        return Descent(s.best, s.energy, s.residuals, begun, evaluations)

    def _few(self, residual: Residual, count: int, X: int) -> Callable[[Tensor], Tensor]:
        """The residual of candidates and all their neighbours, of which only so many are asked; the others do not seem
        to differ, so that an iteration leaves their variables alone."""
        columns = (self._turn + torch.arange(count)) % X
        self._turn = (self._turn + count) % X
        asked = torch.cat([torch.zeros(1, dtype=torch.long), 1 + columns])

        def call(probes: Tensor) -> Tensor:
            r = residual(probes.reshape(-1, X + 1, X)[:, asked].reshape(-1, X)).unflatten(0, (-1, 1 + count))
            out = r[:, :1].repeat(1, X + 1, 1)
            out[:, asked] = r
            return out.flatten(0, 1)

        return call


def _scored(s: Iterate, r: Tensor) -> Iterate:
    """With the residuals r (C, R) of s.x."""
    energy = 0.5 * (r**2).sum(-1)
    better = energy < s.energy
    best, residuals = torch.where(better[:, None], s.x, s.best), torch.where(better[:, None], r, s.residuals)
    return s._replace(best=best, energy=torch.where(better, energy, s.energy), residuals=residuals)
