"""The rally level: one step is a stroke, the state is the rally so far. A JEPA over how people play.

s = E(strokes so far) | s' = P(s, w) after macro-action w | E[s'] = X(s) whoever plays what | w = I(s, s') | readings.

A macro-action w is what a coach would say of a stroke: type, landing point (where the opponent meets it, or where it
falls) and tempo (s until then), six numbers after A. P is told the next stroke; X, the expectation, is not: iterated,
it carries the whole distribution of play forward, and the readings of X^k(s) are marginals k strokes ahead, without one
sampled history. Every stroke is seen in its hitter's canonical frame (hitter at x > 0), so frames turn with each step.
Strokes left in the rally are told where they are known (`left`; 0 none, LEFT - 1 that many or more, LEFT unknown).
Legend: B rallies, T strokes, N any batch, D latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.models.checkpoint import load, load_module, save
from hjepa.models.layers import ConditionedMLP, GatedMLP
from hjepa.models.strokes import (
    LEFT,
    MARKS,
    TYPES,
    Macro,
    Readings,
    StrokeFeatures,
    Strokes,
    known,
    scale_land,
    scale_time,
)


@dataclass(frozen=True)
class RallyConfig:
    """Sizes of the rally level."""

    latent: int = 64  # D
    memory: int = 96
    width: int = 64
    action: int = 6
    depths: int = 16  # bins of landing depth, of equal mass
    widths: int = 16
    tempos: int = 8
    dropout: float = 0.15


class RallyModel(nn.Module):
    """Encoder, macro-action encoder, two predictors, inverse dynamics and readings."""

    def __init__(self, config: RallyConfig) -> None:
        super().__init__()
        self.config = c = config
        self.features = StrokeFeatures()
        self.stem = nn.Sequential(nn.Linear(StrokeFeatures.FEATURES, c.memory), nn.SiLU(), nn.Dropout(c.dropout))
        self.memory = nn.GRU(c.memory, c.memory, batch_first=True)
        self.lift = nn.Linear(c.memory, c.latent)
        self.project = nn.BatchNorm1d(c.latent, affine=False, momentum=0.02)
        self.left = nn.Embedding(LEFT + 1, 8)
        self.action = GatedMLP(10 + 2 * 3, 48, 1, c.action)
        self.predictor = ConditionedMLP(c.latent, c.action + 8, c.width, 2, c.latent)
        self.expectation = ConditionedMLP(c.latent, 8, c.width, 2, c.latent)
        self.inverse = GatedMLP(2 * c.latent, c.width, 1, TYPES + 2)
        self.read = Readings(c.latent, c.width, c.depths, c.widths, c.tempos, c.dropout)
        self.ending = GatedMLP(c.latent, c.width, 1, 2)

    def encode(self, strokes: Strokes) -> Tensor:
        """s (B, T, D): after each stroke, of all strokes up to it."""
        memory, _ = self.memory(self.stem(self.features(strokes)))
        s = self.lift(memory)
        return self.project(s.flatten(0, 1)).view_as(s)

    def act(self, w: Macro) -> Tensor:
        """A: macro-actions to (N, 6)."""
        numbers = [known(scale_land(w.land_m)), known(scale_time(w.tempo_s))]
        return self.action(torch.cat([self.features.kind(torch.where(w.type < 0, TYPES, w.type)), *numbers], dim=-1))

    def predict(self, s: Tensor, w: Macro, left: Tensor) -> Tensor:
        """P: s (N, D) after the stroke w; left (N,) strokes to come before it, itself included."""
        return self.predictor(s, torch.cat([self.act(w), self.left(left)], dim=-1))

    def expect(self, s: Tensor, left: Tensor) -> Tensor:
        """X: the expected s (N, D) after the next stroke, whatever it will be."""
        return self.expectation(s, self.left(left))

    def infer(self, s: Tensor, after: Tensor) -> Tensor:
        """I: type logits and scaled landing (N, 10 + 2) of the stroke between two states."""
        return self.inverse(torch.cat([s, after], dim=-1))

    # what planning asks, of any batch; nobody knows how long a rally will be

    @torch.no_grad()
    def state(self, history: Sequence[Any]) -> Tensor:
        """s (1, D) after strokes that have the fields of planning.tactics.Seen; s of nothing before the serve."""
        columns = [[float(v) for v in (*h.land_m, *h.hitter_m, *h.receiver_m, h.since_s)] for h in history]
        x = torch.tensor(columns or [[float("nan")] * 7])[None]
        kinds = torch.tensor([[h.type for h in history] or [-1]])
        low = torch.tensor([[h.low for h in history] or [0]])
        marks = torch.zeros(1, x.shape[1], MARKS)
        marks[..., 2], marks[..., 3] = (low == 2).float(), (low > 0).float()
        return self.encode(Strokes(kinds, x[..., 0:2], x[..., 2:4], x[..., 4:6], x[..., 6], marks))[:, -1]

    @torch.no_grad()
    def after(self, s: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor:
        """s (N, D) after strokes of a type (N,), that land at (N, 2), with a tempo (N,)."""
        return self.predict(s, Macro(kind, land_m, tempo_s), torch.full((len(s),), LEFT))

    @torch.no_grad()
    def reply(self, s: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A next stroke drawn for each s (N, D): type (N,), landing (N, 2), tempo (N,)."""
        return tuple(self.read.draw(s, torch.full((len(s),), LEFT), generator))  # type: ignore[return-value]

    @torch.no_grad()
    def outlook(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Chances (N,), (N,): that the rally is over with the last stroke; that its hitter wins the rally."""
        over, wins = self.end_logits(s)
        return torch.sigmoid(over), torch.sigmoid(wins)

    def end_logits(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(N,), (N,): that the rally is over with the last stroke; that its hitter wins the rally."""
        out = self.ending(s)
        return out[..., 0], out[..., 1]


def save_rally(path: Path, model: RallyModel, header: dict[str, Any]) -> None:
    """Write a rally level whole or not at all."""
    save(path, {f"rally.{k}": v for k, v in model.state_dict().items()}, header | {"rally": asdict(model.config)})


def load_rally(path: Path) -> RallyModel:
    """A frozen rally level; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    model = RallyModel(RallyConfig(**header["rally"]))
    load_module(model, tensors, "rally")
    return model.eval().requires_grad_(False)
