"""Trains mode 1 of the low level: proposals that start the search near its end.

First by hindsight (every recorded contact demonstrates the stroke it turned out to be), then through the frozen energy:
several heads, of which the best is pulled down, for goals the high level would set. Legend: B batch, H heads,
X search variables, G goal space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.models.low import LowLevel
from hjepa.models.proposal import Proposal
from hjepa.training.low import LowData
from hjepa.training.ranks import ALONE, Ranks

TIME_S = 0.2


@dataclass(frozen=True)
class ProposalTraining:
    """Length and mixture of the training."""

    hindsight_steps: int = 1000
    energy_steps: int = 1500
    batch: int = 128
    rate: float = 1.5e-3
    earliest_s: float = 0.08  # youngest observation a first plan is made from
    latest_s: float = 0.35


Energy = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z (B, D), q (B, J), dq (B, J), goal (B, G), root (B, G, G), x (B * H, X)) -> energy (B * H,)."""


def hindsight_loss(
    proposal: Proposal,
    level: LowLevel,
    data: LowData,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    c: ProposalTraining,
    ranks: Ranks = ALONE,
) -> Tensor:
    """The head nearest to the recorded latent is pulled to it, the others a little."""
    early = rng.uniform(c.earliest_s, c.latest_s, len(rows))
    b = ranks.part(data.draw(rows, rng, 0.010, 0.02, data.pairs.event_s[rows] - early))
    with torch.no_grad():
        z = level.in_context(level.encode(b.now), b.context)
    x = proposal(z, b.goal, b.now.q_rad, b.now.dq_rad_s)
    wanted = torch.cat([b.action.m, b.action.to_go_s / TIME_S], dim=-1)
    error = (x - wanted[:, None]).pow(2).clamp(max=9.0).mean(-1)  # (B, H)
    return (0.9 * error.amin(dim=1) + 0.1 * error.mean(dim=1)).mean()


def energy_loss(
    proposal: Proposal,
    level: LowLevel,
    energy: Energy,
    data: LowData,
    rows: NDArray[np.int64],
    wished: tuple[Tensor, Tensor],
    rng: np.random.Generator,
    c: ProposalTraining,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, dict[str, float]]:
    """log(1 + energy) of the best head, softly, plus a little of all heads; wished: own rows' goals, their metric."""
    early = rng.uniform(c.earliest_s, c.latest_s, len(rows))
    b = ranks.part(data.draw(rows, rng, 0.010, 0.02, data.pairs.event_s[rows] - early))
    with torch.no_grad():
        z = level.in_context(level.encode(b.now), b.context)
    x = proposal(z, wished[0], b.now.q_rad, b.now.dq_rad_s)
    e = torch.log1p(energy(z, b.now.q_rad, b.now.dq_rad_s, *wished, x.flatten(0, 1))).view(len(z), -1)
    best = -torch.logsumexp(-2.0 * e, dim=1) / 2.0
    value = (0.85 * best + 0.15 * e.mean(dim=1)).mean()
    return value, {"best": float(e.detach().amin(dim=1).median()), "all": float(e.detach().median())}
