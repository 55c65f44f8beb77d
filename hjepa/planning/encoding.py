"""What is seen, as the level has it: its state in the context that is believed, and where a motion begins.

Legend: D latent, J joints, B rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import stroke
from hjepa.planning.context import SlowContext
from hjepa.planning.held import Committed
from hjepa.planning.programs import LowPrograms
from hjepa.types import NS, Array, Observation


class Encoding:
    """A level's encoder, its context, and the device they live on."""

    def __init__(self, level: Any, programs: LowPrograms, context: SlowContext | None) -> None:
        """context: what learns from past strokes (None: the nominal world for ever)."""
        self.level, self.programs, self.context = level, programs, context
        self.device = level.codec.low.device

    def tensor(self, x: NDArray[Any]) -> Tensor:
        """Numbers as the level takes them."""
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device)

    def encode(self, observation: Observation) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """State z (1, D) in the context that is believed, which learns of the flight; joints and speeds (1, J)."""
        seen = (observation.tracker_xyz_m, observation.tracker_mask, observation.q_rad, observation.dq_rad_s)
        window, mask, *own = (self.tensor(part[None]) for part in seen)
        joints = own[0], own[1]
        z = self.programs.see(window, mask, *joints)
        if self.context is None:
            return z, joints
        self.context.saw(*self.level.context_of(z))
        return self.level.in_context(z, self.context.estimate), joints

    def begins(
        self, old: Committed | None, observation: Observation, ddq_max_rad_s2: Array, latency_s: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Joints, speeds and accelerations (1, J) when the next command begins: on the way of the plan in force, or
        braked, without one."""
        if old is None:
            state = stroke.braked(observation.q_rad, observation.dq_rad_s, ddq_max_rad_s2, latency_s)
        else:
            state = stroke.state_at(old.command, observation.stamp_ns + round(latency_s * NS))
        q, dq, ddq = (self.tensor(part[None]) for part in state)
        return q, dq, ddq
