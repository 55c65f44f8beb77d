"""Someone across the net who watches the robot and says where its shot will fall, before it is hit.

Joints are seen at a few instants, the last one `hinge_s` before the contact, and perhaps the shuttle too. A feint is as
good as it leaves such an observer in the dark. World frame: the shot falls at x > 0. Legend: N any batch, T instants, J
joints.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hjepa.models.checkpoint import load, load_module, save
from hjepa.models.layers import GatedMLP

MIDDLE_M, SPREAD_M = torch.tensor([3.5, 0.0]), torch.tensor([2.0, 1.5])  # of shots on a court


@dataclass(frozen=True)
class ObserverConfig:
    """What is looked at."""

    joints: int = 8  # J
    instants: int = 8  # T
    every_s: float = 0.03
    hinge_s: float = 0.15  # before the contact: the last look
    shuttle: bool = False  # it also follows the shuttle
    width: int = 96
    dropout: float = 0.1


class Observer(nn.Module):
    """Landing points (N, 2) from motion; trained on the distance to where shots fell, so it answers with the median."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ObserverConfig) -> None:
        super().__init__()
        self.config = c = config
        numbers = 2 * c.joints * c.instants + (6 if c.shuttle else 0)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.drop = nn.Dropout(c.dropout)
        self.body = GatedMLP(numbers, c.width, 2, 2)

    def forward(self, q_rad: Tensor, dq_rad_s: Tensor, shuttle: Tensor | None = None) -> Tensor:
        """q_rad and dq_rad_s (N, T, J), oldest first; shuttle (N, 6): place and velocity at the last look."""
        return self._tell(self._numbers(q_rad, dq_rad_s, shuttle))

    def told(self, q_rad: Tensor, dq_rad_s: Tensor, shuttle: Tensor, noise: Tensor) -> Tensor:
        """As forward, with noise (N, inputs) on what is seen."""
        return self._tell(self._numbers(q_rad, dq_rad_s, shuttle) + noise)

    def _tell(self, numbers: Tensor) -> Tensor:
        return self.body(self.drop((numbers - self.mean) / self.scale)) * SPREAD_M + MIDDLE_M

    def fit_scale(self, q_rad: Tensor, dq_rad_s: Tensor, shuttle: Tensor | None = None) -> None:
        """Centre and spread of the inputs, from data."""
        x = self._numbers(q_rad, dq_rad_s, shuttle)
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_(x.std(dim=0).clamp_min(1e-2))

    def _numbers(self, q_rad: Tensor, dq_rad_s: Tensor, shuttle: Tensor | None) -> Tensor:
        parts = [q_rad.flatten(1), dq_rad_s.flatten(1)]
        return torch.cat(parts if not self.config.shuttle or shuttle is None else [*parts, shuttle], dim=-1)


class ObserverBundle(NamedTuple):
    """What the file holds."""

    observer: Observer
    header: dict[str, Any]


def save_observer(path: Path, observer: Observer, header: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    tensors = {f"observer.{k}": v for k, v in observer.state_dict().items()}
    save(path, tensors, {**header, "observer": asdict(observer.config)})


def load_observer(path: Path) -> ObserverBundle:
    """Frozen; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    observer = Observer(ObserverConfig(**header.get("observer", {})))
    load_module(observer, tensors, "observer")
    return ObserverBundle(observer.eval().requires_grad_(False), header)
