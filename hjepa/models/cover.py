"""How likely a robot returns a reply from where its base stands when the reply is hit: learned from its own play.

Robot frame: the world's, the robot at x < 0. A reply is what the rally level draws or tells: type, where it is met (or
falls), and how long it takes there. Legend: N any batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.models.checkpoint import load, load_module, save
from hjepa.models.layers import GatedMLP
from hjepa.models.strokes import TYPES


class CoverModel(nn.Module):
    """Logits (N,) that the robot returns replies."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.kind = nn.Embedding(TYPES, 6)
        self.body = GatedMLP(6 + 9, width, 2, 1)

    def forward(self, base_m: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor:
        """base_m (N, 2) at the hit, at rest; kind (N,); land_m (N, 2) and tempo_s (N,) of the reply."""
        way = land_m - base_m
        pace = way / tempo_s[:, None].clamp_min(0.2)
        numbers = [base_m / 3.0, land_m / 3.0, way / 2.0, pace / 3.0, (tempo_s[:, None] - 0.9) / 0.4]
        return self.body(torch.cat([self.kind(kind), *numbers], dim=-1))[:, 0]


def save_cover(path: Path, model: CoverModel, header: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    save(path, {f"cover.{k}": v for k, v in model.state_dict().items()}, header)


def load_cover(path: Path) -> tuple[CoverModel, dict[str, Any]]:
    """A frozen one and its header; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    model = CoverModel()
    load_module(model, tensors, "cover")
    return model.eval().requires_grad_(False), header
