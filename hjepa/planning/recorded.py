"""The low level's energy recorded once as TorchScript: the same numbers, without Python between the operations.

A search scores a few dozen candidates at a time; at that size most of the time goes into calling operations, not into
arithmetic. Recording the residual halves it. Legend: N candidates, X search variables, R residuals.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.planning.objectives import Limits, LowWeights, Situation, StrokeResidual


class _Residual(nn.Module):
    """StrokeResidual with the situation's parts as arguments."""

    def __init__(self, level: nn.Module, limits: Limits, weights: LowWeights) -> None:
        super().__init__()
        self.level, self.limits, self.weights = level, limits, weights

    def forward(self, x: Tensor, *situation: Any) -> Tensor:
        level: Any = self.level
        return StrokeResidual(level, self.limits, self.weights, Situation(*situation))(x)


class RecordedEnergy:
    """Makes residuals for situations whose goal is an embedding; made once per planner."""

    def __init__(self, level: nn.Module, limits: Limits, weights: LowWeights, example: Situation) -> None:
        """example: any situation, for its shapes."""
        plain: Any = level
        box = StrokeResidual(plain, limits, weights, example)
        self.low, self.high = box.low, box.high
        x = ((box.low + box.high) / 2).expand(2, -1)
        module = _Residual(level, limits, weights).eval()
        with warnings.catch_warnings():  # the box becomes constant, as it should; and TorchScript is on its way out
            warnings.simplefilter("ignore")
            self._call = torch.jit.freeze(torch.jit.trace(module, (x, *_tensors(example)), check_trace=False))

    def at(self, situation: Situation) -> RecordedResidual:
        """The residual in a situation."""
        return RecordedResidual(self, _tensors(situation))

    def run(self, x: Tensor, situation: tuple[Tensor, ...]) -> Tensor:
        """(N, X) -> (N, R). TorchScript's own optimiser would re-specialise for every new N; it is left out."""
        with torch.jit.optimized_execution(False):
            out: Tensor = self._call(x, *situation)
        return out


class RecordedResidual:
    """Residuals of candidate strokes in one situation."""

    def __init__(self, energy: RecordedEnergy, situation: tuple[Tensor, ...]) -> None:
        self._energy, self._situation = energy, situation
        self.low, self.high = energy.low, energy.high.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R)."""
        return self._energy.run(x, self._situation)

    def energy(self, x: Tensor) -> Tensor:
        """(N, X) -> (N,)."""
        return 0.5 * (self(x) ** 2).sum(-1)


def _tensors(s: Situation) -> tuple[Tensor, ...]:
    return (s.z, s.q, s.dq, s.ddq, torch.tensor(s.latency_s), s.goal, s.root)
