"""What the low level computes, recorded once as TorchScript: the same numbers, without Python between the operations.

A search scores a few dozen candidates at a time; at that size most of the time goes into calling operations, not into
arithmetic. Recording the residual halves it. TorchScript's own optimiser would re-specialise for every new N; it is
left out. Legend: N candidates, X search variables, R residuals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.planning.objectives import Limits, LowWeights, Situation, StrokeResidual


class _Call(nn.Module):
    """A function of a level's as a module of its own."""

    def __init__(self, level: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.level, self.function = level, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def record(level: nn.Module, function: Callable[..., Any], example: tuple[Tensor, ...]) -> Callable[..., Any]:
    """`function` of tensors, which uses `level` alone, recorded for inputs of the example's sizes."""
    return _recorded(_Call(level, function), example)


def _recorded(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Any]:
    with warnings.catch_warnings():  # constants become constant, as they should; and TorchScript is on its way out
        warnings.simplefilter("ignore")
        call = torch.jit.freeze(torch.jit.trace(module.eval(), example, check_trace=False))

    def run(*inputs: Tensor) -> Any:
        with torch.jit.optimized_execution(False):
            return call(*inputs)

    return run


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
        self._call = _recorded(_Residual(level, limits, weights), (x, *_tensors(example)))

    def at(self, situation: Situation) -> RecordedResidual:
        """The residual in a situation."""
        return RecordedResidual(self, _tensors(situation))

    def run(self, x: Tensor, situation: tuple[Tensor, ...]) -> Tensor:
        """(N, X) -> (N, R)."""
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
