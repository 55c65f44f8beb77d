"""Where the low level's searches start: mode 1's proposals, what reachability found, points far around them.

Legend: C candidates, G goal space, H heads, J joints, N starts, X search variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hjepa.planning.objectives import TIME_S
from hjepa.planning.protocols import Residual
from hjepa.types import NS

STRAY = 0.6  # spread, in search units, of the points around proposals that lead nowhere


class Ready(NamedTuple):
    """What was found when the high level asked what is reachable: where the search for the chosen goal starts."""

    goals: Tensor  # (C, G)
    x: Tensor  # (C, X)
    stamp_ns: int


class Ranked(NamedTuple):
    """Starts and what they cost, cheapest first."""

    x: Tensor  # (N, X)
    energy: Tensor  # (N,)


class Starts:
    """Owns the random numbers of a planner, and remembers what was found for each goal of a stroke."""

    def __init__(self, proposal: Callable[..., Tensor]) -> None:
        """proposal: z, goals, q, dq -> (B, H, X)."""
        self.proposal = proposal
        self.generator = torch.Generator()
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self.generator.manual_seed(seed)
        self.ready: Ready | None = None

    def propose(self, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor]) -> Tensor:
        """(B, H, X) for z (1, D), goals (B, G)."""
        z = z.expand(len(g), -1)
        return self.proposal(z, g, *(part.expand(len(z), -1) for part in joints))

    def ranked(self, residual: Residual, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor], stamp_ns: int) -> Ranked:
        """The proposals, and what was found for the goal when its reachability was asked for."""
        x = self.propose(z, g, joints).flatten(0, 1)
        if self.ready is not None:
            found = self.ready.x[(self.ready.goals == g[:1]).all(dim=1)]
            x = torch.cat([passed(found, stamp_ns - self.ready.stamp_ns), x])
        return _ranked(residual, x)

    def strayed(self, residual: Residual, around: Tensor, count: int) -> Ranked:
        """So many points far around starts (N, X), for a search that is stuck."""
        x = around[torch.arange(count) % len(around)]
        x = x + STRAY * torch.randn(x.shape, generator=self.generator).to(x.device)
        return _ranked(residual, torch.minimum(torch.maximum(x, residual.low), residual.high))


def passed(x: Tensor, ns: int) -> Tensor:
    """Search variables (..., X) counted from an instant that is so much later."""
    return torch.cat([x[..., :-1], x[..., -1:] - ns / NS / TIME_S], dim=-1)


def _ranked(residual: Residual, x: Tensor) -> Ranked:
    if not len(x):
        return Ranked(x, x.new_zeros(0))
    energy = 0.5 * (residual(x) ** 2).sum(-1)
    order = torch.argsort(energy)
    return Ranked(x[order], energy[order])
