"""What a low level could do beside its plan, made for viewers once the command has left.

Legend: C candidates, X search variables, D latent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hjepa.planning.objectives import TIME_S
from hjepa.planning.protocols import Residual
from hjepa.types import Considered

SHOWN = 8  # candidates, the plan included


@torch.no_grad()
def considered(
    level: Any,
    residual: Residual,
    z: Tensor,
    x: Tensor,
    energy: float,
    others: Tensor,
    *,
    goal_id: int,
    stamp_ns: int,
    surprise: float,
) -> Considered:
    """The plan x (X,), which costs `energy`, beside others (C, X) by what they cost; z (1, D): what was seen."""
    cost = 0.5 * (residual(others) ** 2).sum(-1)
    order = torch.argsort(cost)[: SHOWN - 1]
    rows = torch.cat([x[None], others[order]])
    m, to_go_s = rows[:, :-1], rows[:, -1:] * TIME_S
    event = level.codec.decode(m)
    outcome, _ = level.foresee(z.expand(len(rows), -1), m, to_go_s, event)
    parts = (
        torch.cat([cost.new_tensor([energy]), cost[order]]),
        to_go_s[:, 0],
        event.q_rad,
        event.dq_rad_s,
        event.before_s,
        level.codec.read_racket(m)[:, :3],
        level.read(outcome)["landing_m"],
    )
    energies, to_go, q, dq, before, contact, landing = (part.double().cpu().numpy() for part in parts)
    return Considered(goal_id, stamp_ns, energies, to_go, q, dq, before, contact, landing, surprise)
