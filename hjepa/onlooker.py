"""What an observer sees of a robot: joints, racket and perhaps the shuttle, as the numbers its network takes.

Legend: N strokes, T instants, J joints, F numbers.
"""

from __future__ import annotations

import numpy as np
import torch

from hjepa.models.observer import Observer
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import Array, RobotSpec


def seen(spec: RobotSpec, q_rad: Array, dq_rad_s: Array, shuttle: Array | None = None) -> Array:
    """(N, F) of joints and their speeds (N, T, J), oldest first, and the shuttle's place and velocity (N, 6)."""
    racket = racket_motion(spec, q_rad, dq_rad_s)
    parts = [q_rad, dq_rad_s, racket.centre_m, racket.v_m_s, racket.w_rad_s]
    flat = [part.reshape(len(q_rad), -1) for part in (*parts, racket.rotation)]
    return np.concatenate(flat if shuttle is None else [*flat, shuttle], axis=1)


class Onlooker:
    """An observer who is shown joints. Implements planning.feint.Watches."""

    def __init__(self, observer: Observer, spec: RobotSpec) -> None:
        self.spec, self._observer = spec, observer
        self.instants, self.every_s = observer.config.instants, observer.config.every_s

    @torch.no_grad()
    def __call__(self, q_rad: Array, dq_rad_s: Array) -> Array:
        """Landing point (2,) that is expected from joints (T, J) and their speeds."""
        numbers = seen(self.spec, q_rad[None], dq_rad_s[None])
        told: Array = self._observer(torch.from_numpy(numbers).float())[0].double().numpy()
        return told
