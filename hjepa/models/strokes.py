"""What is read from a state of a rally: the next stroke, part by part. And what a stroke is for a network.

Type first, then how deep, how wide, how long: each part knows those before it, so a stroke is drawn as a whole. Every
stroke is in its hitter's canonical frame. Legend: B rallies, T strokes, N any batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjepa.models.layers import GatedMLP

TYPES = 10
LEFT = 13
MARKS = 4  # backhand, round the head, met below net height, that this is known
UNKNOWN = -1


class Strokes(NamedTuple):
    """Strokes of B rallies, T at most, each in its hitter's frame. Unknown: type -1, numbers nan."""

    type: Tensor  # (B, T) long
    land_m: Tensor  # (B, T, 2)
    hitter_m: Tensor  # (B, T, 2)
    receiver_m: Tensor  # (B, T, 2)
    since_s: Tensor  # (B, T)
    marks: Tensor  # (B, T, MARKS)

    def macro(self, tempo_s: Tensor) -> Macro:
        """The macro-actions of these strokes; tempo_s (B, T): until the next hit, nan unknown."""
        return Macro(self.type, self.land_m, tempo_s)


class Macro(NamedTuple):
    """Macro-actions w."""

    type: Tensor  # (N,) long
    land_m: Tensor  # (N, 2)
    tempo_s: Tensor  # (N,)


class StrokeFeatures(nn.Module):
    """Strokes to (B, T, FEATURES): an embedding of the type, numbers in about unit scale, and what is known."""

    FEATURES = 10 + 2 * 7 + MARKS

    def __init__(self) -> None:
        super().__init__()
        self.kind = nn.Embedding(TYPES + 1, 10)

    def forward(self, strokes: Strokes) -> Tensor:
        kind = self.kind(_index(strokes.type, TYPES))
        numbers = [known(scale_land(strokes.land_m)), known(scale_feet(strokes.hitter_m))]
        numbers += [known(scale_feet(strokes.receiver_m)), known(scale_time(strokes.since_s))]
        return torch.cat([kind, *numbers, strokes.marks], dim=-1)


class Readings(nn.Module):
    """The next stroke, read from a state x (N, inputs) and the strokes left."""

    depth_edges: Tensor
    width_edges: Tensor
    tempo_edges: Tensor

    def __init__(self, inputs: int, width: int, depths: int, widths: int, tempos: int, dropout: float) -> None:
        super().__init__()
        self.kind = nn.Embedding(TYPES, 10)
        self.left = nn.Embedding(LEFT + 1, 8)
        self.drop = nn.Dropout(dropout)
        self.to_type = GatedMLP(inputs + 8, width, 1, TYPES)
        self.to_depth = GatedMLP(inputs + 8 + 10, width, 1, depths)
        self.to_width = GatedMLP(inputs + 8 + 10 + 1, width, 1, widths)
        self.to_tempo = GatedMLP(inputs + 8 + 10 + 2, width, 1, tempos)
        self.register_buffer("depth_edges", torch.linspace(-8.0, 1.0, depths + 1))
        self.register_buffer("width_edges", torch.linspace(-3.0, 3.0, widths + 1))
        self.register_buffer("tempo_edges", torch.linspace(0.2, 2.2, tempos + 1))

    def type_logits(self, x: Tensor, left: Tensor) -> Tensor:
        """(N, 10) of the next stroke's type."""
        return self.to_type(self._at(x, left))

    def depth_logits(self, x: Tensor, left: Tensor, kind: Tensor) -> Tensor:
        """(N, depths) of where the next stroke lands, if its type is `kind` (N,)."""
        return self.to_depth(torch.cat([self._at(x, left), self.kind(kind)], dim=-1))

    def width_logits(self, x: Tensor, left: Tensor, kind: Tensor, depth_m: Tensor) -> Tensor:
        """(N, widths) of the same, across, if it lands at x = depth_m (N,)."""
        parts = [self._at(x, left), self.kind(kind), scale_land(depth_m[:, None].expand(-1, 2))[:, :1]]
        return self.to_width(torch.cat(parts, dim=-1))

    def tempo_logits(self, x: Tensor, left: Tensor, kind: Tensor, land_m: Tensor) -> Tensor:
        """(N, tempos) of the time until the stroke after it, if it lands at land_m (N, 2)."""
        return self.to_tempo(torch.cat([self._at(x, left), self.kind(kind), scale_land(land_m)], dim=-1))

    @torch.no_grad()
    def draw(self, x: Tensor, left: Tensor, generator: torch.Generator) -> Macro:
        """The next stroke, drawn type first, then depth, width and tempo."""
        kind = _choice(self.type_logits(x, left), generator)
        depth = _within(self.depth_edges, _choice(self.depth_logits(x, left, kind), generator), generator)
        across = _within(self.width_edges, _choice(self.width_logits(x, left, kind, depth), generator), generator)
        land = torch.stack([depth, across], dim=-1)
        tempo = _within(self.tempo_edges, _choice(self.tempo_logits(x, left, kind, land), generator), generator)
        return Macro(kind, land, tempo)

    def _at(self, x: Tensor, left: Tensor) -> Tensor:
        return torch.cat([self.drop(x), self.left(left)], dim=-1)


def _index(x: Tensor, unknown: int) -> Tensor:
    return torch.where((x < 0) | (x >= unknown), unknown, x)


def known(x: Tensor) -> Tensor:
    """(..., n) to (..., 2 n): zeros where nan, and what is known."""
    there = torch.isfinite(x)
    return torch.cat([torch.where(there, x, 0.0).clamp(-4, 4), there.to(x.dtype)], dim=-1)


def scale_land(land_m: Tensor) -> Tensor:
    """Landing points (..., 2) in about unit scale."""
    return (land_m - land_m.new_tensor([-3.5, 0.0])) / land_m.new_tensor([2.2, 1.7])


def scale_feet(feet_m: Tensor) -> Tensor:
    """Feet (..., 2) of either side in about unit scale."""
    return torch.stack([(feet_m[..., 0].abs() - 3.5) / 2.0, feet_m[..., 1] / 1.5], dim=-1)


def scale_time(time_s: Tensor) -> Tensor:
    """Times between hits (...) in about unit scale, (..., 1)."""
    return (time_s[..., None] - 0.9) / 0.4


def clamp_left(left: Tensor) -> Tensor:
    """Strokes to come (N,) as an index; negative: unknown."""
    return torch.where(left < 0, LEFT, left.clamp(max=LEFT - 1))


def bin_of(x: Tensor, edges: Tensor) -> Tensor:
    """Index of the bin of x (...)."""
    return (torch.bucketize(x.contiguous(), edges) - 1).clamp(0, len(edges) - 2)


def _within(edges: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    u = torch.rand(index.shape, generator=generator)
    return torch.lerp(edges[index], edges[index + 1], u)


def _choice(logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator)[:, 0]
