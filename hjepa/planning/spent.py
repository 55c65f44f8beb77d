"""Operations that planning takes, counted while it runs: two for each weight that is touched, as build.candidate_flop.

Layers count their own rows. A low level's searches may be recorded (planning.programs), where no layer can count, so
the motions that they score are. Legend: N candidates, X search variables, R residuals.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hjepa.planning.held import Scorer
from hjepa.planning.stroke_planner import StrokePlanner


class Spent:
    """A count, in operations; set `flop` to 0 to begin again."""

    def __init__(self) -> None:
        self.flop = 0.0

    def networks(self, *models: nn.Module) -> None:
        """Count what these networks do from now on. Looking an embedding up costs nothing."""
        for layer in (layer for model in models for layer in model.modules() if not isinstance(layer, nn.Embedding)):
            weights = sum(p.numel() for p in layer.parameters(recurse=False))
            if weights:
                layer.register_forward_hook(lambda _, given, __, n=weights: self._rows(given[0], n))

    def motions(self, low: StrokePlanner) -> None:
        """Count the motions that a low level scores from now on, those for reachability included."""
        make = low._residual

        def counted(*situation: Any) -> Scorer:
            return _Counted(make(*situation), self, low.flop)

        low._residual = counted  # type: ignore[method-assign,assignment]

    def _rows(self, x: Tensor, weights: int) -> None:
        self.flop += 2.0 * weights * (x.numel() // x.shape[-1])


class _Counted:
    """A residual that counts."""

    def __init__(self, residual: Scorer, spent: Spent, flop: float) -> None:
        self._residual, self._spent, self._flop = residual, spent, flop
        self.low, self.high = residual.low, residual.high

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R)."""
        self._spent.flop += self._flop * len(x)
        return self._residual(x)

    def energy(self, x: Tensor) -> Tensor:
        """(N, X) -> (N,)."""
        return 0.5 * (self(x) ** 2).sum(-1)
