"""What a planner and an objective need of each other. Legend: N candidates, X search variables, R residuals."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Residual(Protocol):
    """A least-squares energy: E(x) = 1/2 |r(x)|^2."""

    low: Tensor  # (X,) box of the search
    high: Tensor  # (X,)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> r (N, R)."""
        ...


class Plan(NamedTuple):
    """Result of a search, and what warm-starts the next one."""

    x: Tensor  # (X,) best seen
    energy: float
    starts: Tensor  # (C, X) last iterates, best first
    evaluations: int  # candidates scored
    residuals: Tensor  # (R,) at x
    begun: Tensor  # (R,) at the first start


class Planner(Protocol):
    """Minimises a residual from given starts within a count of iterations, and a deadline or a count of candidates."""

    def reset(self, seed: int = 0) -> None:
        """Begin again: what is drawn from now on depends on the seed alone."""
        ...

    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """`deadline_s` from now on, or once `budget` candidates were scored, no iteration is begun."""
        ...
