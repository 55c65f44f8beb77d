"""How likely a robot returns a reply from where its base stands when the reply is hit: learned from its own play.

Robot frame: the world's, the robot at x < 0. A reply is what the rally level draws or tells: type, where it is met (or
falls), and how long it takes there. Legend: N any batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

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
        self.body = GatedMLP(6 + 13, width, 2, 1)

    def forward(self, base_m: Tensor, speed_m_s: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor:
        """base_m and speed_m_s (N, 2) at the hit; kind (N,); land_m (N, 2) and tempo_s (N,) of the reply."""
        way = land_m - base_m
        pace = way / tempo_s[:, None].clamp_min(0.2)
        pull = (pace - speed_m_s) / tempo_s[:, None].clamp_min(0.2)
        time = (tempo_s[:, None] - 0.9) / 0.4
        numbers = [base_m / 3.0, speed_m_s / 3.0, land_m / 3.0, way / 2.0, pace / 3.0, pull / 10.0, time]
        return self.body(torch.cat([self.kind(kind), *numbers], dim=-1))[:, 0]


class ShotRisk(nn.Module):
    """Logits (N,) that a shot, once chosen, does not become a return, by what the low level said of it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.kind = nn.Embedding(TYPES, 4)
        self.body = GatedMLP(4 + 4, width, 1, 1)

    def forward(self, kind: Tensor, target_m: Tensor, reach: Tensor) -> Tensor:
        """kind (N,); target_m (N, 2), in the world (x > 0); reach (N,) energy of a short search for it."""
        energy = torch.log1p(reach.clamp(0.0, 1e4))[:, None] - 2.0
        numbers = [energy, energy.clamp_min(0.0) ** 2 / 4.0, target_m[:, :1] / 3.0 - 1.2, target_m[:, 1:].abs() / 2.0]
        return self.body(torch.cat([self.kind(kind), *numbers], dim=-1))[:, 0]


class CoverBundle(NamedTuple):
    """What the file holds."""

    cover: CoverModel
    risk: ShotRisk
    header: dict[str, Any]


def save_cover(path: Path, bundle: CoverBundle) -> None:
    """Write it whole or not at all."""
    parts = {"cover": bundle.cover, "risk": bundle.risk}
    save(path, {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}, bundle.header)


def load_cover(path: Path) -> CoverBundle:
    """Frozen; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    bundle = CoverBundle(CoverModel(), ShotRisk(), header)
    for name in ("cover", "risk"):
        part: nn.Module = getattr(bundle, name)
        load_module(part, tensors, name)
        part.eval().requires_grad_(False)
    return bundle
