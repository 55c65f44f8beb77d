"""Residuals in several situations at once. Legend: N situations, k candidates for each, X search variables."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hjepa.planning.objectives import Situation
from hjepa.planning.protocols import Residual


class Several:
    """Rows (N k, X) of x are k candidates for each of N situations; a situation's part of batch one is shared."""

    def __init__(self, make: Callable[[Situation], Residual], situation: Situation) -> None:
        """make: the residual in a situation whose batched parts have a row for each row of x."""
        self.make, self.situation = make, situation
        box = make(situation)
        self.low, self.high = box.low, box.high

    def __call__(self, x: Tensor) -> Tensor:
        """(N k, X) -> (N k, R)."""
        times = len(x) // len(self.situation.goal)
        parts = (p.repeat_interleave(times, 0) if isinstance(p, Tensor) and len(p) > 1 else p for p in self.situation)
        return self.make(Situation(*parts))(x)  # type: ignore[arg-type]  # each part stays what it is

    def energy(self, x: Tensor) -> Tensor:
        """(N k, X) -> (N k,)."""
        return 0.5 * (self(x) ** 2).sum(-1)
