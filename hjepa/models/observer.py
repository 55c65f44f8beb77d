"""Someone across the net who watches the robot and says where its shot will fall, before it is hit.

Joints and racket are seen at a few instants, the last one `hinge_s` before the contact; perhaps the shuttle too. A
feint is as good as it leaves such an observer in the dark. World frame: the shot falls at x > 0. Legend: N batch, F
numbers that are seen (hjepa.onlooker).
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

    numbers: int  # F
    instants: int = 4
    every_s: float = 0.03
    hinge_s: float = 0.15  # before the contact: the last look
    shuttle: bool = False  # it also follows the shuttle
    width: int = 96


class Observer(nn.Module):
    """Landing points (N, 2) from what is seen (N, F); trained on the distance, so it answers with the middle of what
    may come."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ObserverConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.numbers))
        self.register_buffer("scale", torch.ones(config.numbers))
        self.body = GatedMLP(config.numbers, config.width, 2, 2)

    def forward(self, seen: Tensor) -> Tensor:
        """(N, F) -> (N, 2) m."""
        return self.body((seen - self.mean) / self.scale) * SPREAD_M + MIDDLE_M

    def fit_scale(self, seen: Tensor) -> None:
        """Centre and spread of the inputs, from data."""
        self.mean.copy_(seen.mean(dim=0))
        self.scale.copy_(seen.std(dim=0).clamp_min(1e-2))


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
    observer = Observer(ObserverConfig(**header.get("observer", {"numbers": 1})))
    load_module(observer, tensors, "observer")
    return ObserverBundle(observer.eval().requires_grad_(False), header)
