"""What a stroke planner holds while a stroke lasts, and a few numbers it asks for.

Legend: C candidates, D latent, J joints, N rows, R residuals, X search variables.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hjepa.planning.objectives import TIME_S, Limits
from hjepa.planning.programs import LowPrograms, example
from hjepa.planning.protocols import Residual
from hjepa.types import Array, JointTrajectory, RobotSpec

SHAPE = -2  # index in x of the number that names the switch of the motion
LATEST_SWITCH = 0.72  # of the time to go: a motion's first phase takes at least the rest


class Scorer(Residual, Protocol):
    """A residual that also sums itself up."""

    def energy(self, x: Tensor) -> Tensor: ...


class Committed(NamedTuple):
    """The plan in force."""

    goal_id: int
    x: Tensor  # (X,), time to go counted from `stamp_ns`
    stamp_ns: int
    event_ns: int
    command: JointTrajectory
    own: float  # share of the energy that the own body had when the command was made
    spares: Tensor  # (C, X) other starts of the last search, same stamp


class Found(NamedTuple):
    """What a search came to."""

    x: Tensor  # (X,)
    energy: float
    own: float  # share of the energy that the own body has
    spares: Tensor  # (C, X)
    kept: bool = False  # x is the one in force


class Decided(NamedTuple):
    """The latest decision, for whoever asks what else there was."""

    goal_id: int
    stamp_ns: int
    residual: Scorer
    z: Tensor  # (1, Z)
    goal: Tensor  # (1, G)
    joints: tuple[Tensor, Tensor]
    found: Found


class Look(NamedTuple):
    """The last look at a shuttle before its event."""

    z: Tensor  # (1, Z)
    stamp_ns: int


def residual_count(level: Any, programs: LowPrograms, joints: int) -> int:
    """R."""
    shapes = example(level, joints)
    with torch.no_grad():
        return int(programs.residuals(*shapes.residuals(1)).shape[1])


def latest_switch(codec: Any, x_time: Tensor) -> Tensor:
    """Largest shape numbers (N,) for times to go (N,): a switch named earlier than now would be split anew at every
    re-planning, and the motion would ask for more and more."""
    before_s = LATEST_SWITCH * x_time * TIME_S
    out: Tensor = (before_s.clamp(min=0.05).log() - codec.shape_mean) / codec.shape_std
    return out


def limits_of(spec: RobotSpec, device: torch.device | None = None) -> Limits:
    """A RobotSpec's limits as tensors."""
    arrays = (spec.q_min_rad, spec.q_max_rad, spec.dq_max_rad_s, spec.ddq_max_rad_s2)
    return Limits(*(torch.tensor(a, dtype=torch.float32, device=device) for a in arrays))


def half_square(r: Tensor) -> float:
    return float(0.5 * (r**2).sum())


def as_array(x: Tensor) -> Array:
    return x.double().cpu().numpy()
