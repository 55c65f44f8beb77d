"""A level learned from motor babbling: what the joints do next, and what the tracker will then see at the tool.

    z = body(joints)                  state of the arm, 2J numbers
    e = glimpse(tracker window)       embedding of what was seen in the last 40 ms: the tool's marker while babbling,
                                      later the target; goals live here
    z' = predict(z, a)                a: joint speeds at the end of a chunk, reached linearly
    e^ = see(z')                      what will be seen at the tool
    a^ = inverse(z, z')               inverse dynamics
    e~ = ahead(past glimpses, lead)   what will be seen of a thing that moves by itself

No kinematics inside: every part is learned from what joints and tracker said. Legend: B batch, J joints, W slots of a
glimpse, D its embedding, P past glimpses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hjepa.models import checkpoint
from hjepa.models.layers import GatedMLP


@dataclass(frozen=True)
class BabbledConfig:
    """Sizes and times of the level."""

    joints: int = 7
    glimpse: int = 5  # W: 40 ms
    seen: int = 4  # D
    width: int = 128
    depth: int = 3
    chunk_s: float = 0.1  # length of an action
    past: int = 10  # P glimpses of the target ...
    past_step: int = 5  # ... so many slots apart

    @property
    def state(self) -> int:
        """Size of z: position and speed of every joint."""
        return 2 * self.joints


class Units(NamedTuple):
    """Statistics of the babbling that inputs are measured in."""

    q_mean_rad: Tensor  # (J,)
    q_std_rad: Tensor  # (J,)
    dq_std_rad_s: Tensor  # (J,) also the unit of an action
    place_mean_m: Tensor  # (3,)
    place_std_m: Tensor  # (1,)


class BabbledLevel(nn.Module):
    """Encoders, predictors and inverse dynamics of one arm."""

    q_mean: Tensor
    q_std: Tensor
    dq_std: Tensor
    place_mean: Tensor
    place_std: Tensor
    root: Tensor

    def __init__(self, config: BabbledConfig) -> None:
        super().__init__()
        self.config = c = config
        J, S, D = c.joints, c.state, c.seen
        self.body_line = nn.Linear(2 * J, S)
        self.body_bend = GatedMLP(2 * J, 48, 1, S)
        # a line with a bend: what lies side by side is embedded side by side, and a far goal pulls the right way
        self.glimpse_line = nn.Linear(3 + 4 * c.glimpse, D)
        self.glimpse_bend = GatedMLP(3 + 4 * c.glimpse, c.width // 2, 2, D)
        self.step_line = nn.Linear(S + J, S)
        self.step_bend = GatedMLP(S + J, 64, 1, S)
        self.see_net = GatedMLP(S, c.width, c.depth, D)
        self.inverse_net = GatedMLP(2 * S, 48, 1, J)
        moves = c.past * (D + 1)
        self.ahead_line = nn.Linear(moves, 2 * D)
        self.ahead_bend = GatedMLP(moves + D + 1, c.width, 2, D)
        for name, size in (("q_mean", J), ("q_std", J), ("dq_std", J), ("place_mean", 3), ("place_std", 1)):
            self.register_buffer(name, torch.zeros(size) if name.endswith("mean") else torch.ones(size))
        self.register_buffer("root", torch.eye(D))  # root of the precision of what is expected: weighs the energy

    def measure_in(self, units: Units) -> None:
        """Take the statistics of the babbling."""
        for name, value in zip(("q_mean", "q_std", "dq_std", "place_mean", "place_std"), units, strict=True):
            getattr(self, name).copy_(value)

    def body(self, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        """Joints (B, J) -> z (B, 2J)."""
        x = torch.cat([(q_rad - self.q_mean) / self.q_std, dq_rad_s / self.dq_std], dim=-1)
        return self.body_line(x) + 0.1 * self.body_bend(x)

    def glimpse(self, window_m: Tensor, mask: Tensor) -> Tensor:
        """Slots (B, W, 3) with mask (B, W) -> e (B, D); at least one slot must be measured."""
        weight = mask[..., None]
        middle = (window_m * weight).sum(1) / weight.sum(1).clamp(min=1.0)  # (B, 3)
        around = ((window_m - middle[:, None]) * weight / 0.02).clamp(-5.0, 5.0)
        place = (middle - self.place_mean) / self.place_std
        x = torch.cat([place, around.flatten(1), mask], dim=-1)
        return self.glimpse_line(x) + 0.1 * self.glimpse_bend(x)

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """z (B, 2J) and speeds at the chunk's end (B, J) in `dq_std` -> z a chunk later."""
        x = torch.cat([z, action], dim=-1)
        return z + self.step_line(x) + 0.1 * self.step_bend(x)

    def see(self, z: Tensor) -> Tensor:
        """z (B, 2J) -> what the tracker would see at the tool (B, D)."""
        return self.see_net(z)

    def inverse(self, z: Tensor, later: Tensor) -> Tensor:
        """z and z a chunk later (B, 2J) -> the action between them (B, J)."""
        return self.inverse_net(torch.cat([z, later], dim=-1))

    def ahead(self, past: Tensor, known: Tensor, lead_s: Tensor) -> Tensor:
        """Past glimpses (B, P, D), newest first, which of them there are (B, P), and a lead (B, 1) -> e then (B, D)."""
        newest, known = past[:, 0], known[..., None]
        moves = torch.cat([(past - newest[:, None]) * known * 5.0, known], dim=-1).flatten(1)
        rate, bend = self.ahead_line(moves).chunk(2, dim=-1)
        lead = lead_s / 0.2
        more = self.ahead_bend(torch.cat([newest, moves, lead], dim=-1))
        return newest + lead * (rate + lead * bend) + 0.1 * lead * more

    def describe(self) -> dict[str, Any]:
        """Configuration as plain values, for the checkpoint."""
        return asdict(self.config)


def save_babbled(path: Path, level: BabbledLevel, header: dict[str, Any]) -> None:
    """Weights and what is said about them."""
    checkpoint.save(path, dict(level.state_dict()), header | {"babbled": level.describe()})


def load_babbled(path: Path) -> tuple[BabbledLevel, dict[str, Any]]:
    """A frozen level and its header; WeightsError if the file is missing, damaged or of something else."""
    tensors, header = checkpoint.load(path)
    config = header.get("babbled")
    if not isinstance(config, dict):
        raise checkpoint.WeightsError(
            f"'{path}' holds no level learned from babbling; allowed: what `hjepa train low reach` writes"
        )
    level = BabbledLevel(BabbledConfig(**config))
    checkpoint.load_module(level, {f"level.{k}": v for k, v in tensors.items()}, "level")
    return level.eval().requires_grad_(False), header
