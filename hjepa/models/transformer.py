"""A baseline: a plain causal Transformer over the same strokes, of the rally level's size, that tells the next one.

It has the rally level's inputs and readings and no latent dynamics: to look further it draws a stroke, appends it and
reads on (Vaswani et al. 2017, pre-norm). Legend: B rallies, T strokes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.models.checkpoint import load, load_module, save
from hjepa.models.strokes import Readings, StrokeFeatures, Strokes

LONGEST = 80


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes; as many parameters as models.rally has."""

    width: int = 96
    heads: int = 4
    layers: int = 3
    readings: int = 64
    dropout: float = 0.15


class StrokeTransformer(nn.Module):
    """Strokes (B, T) to states (B, T, width) after each of them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.features = StrokeFeatures()
        self.stem = nn.Linear(StrokeFeatures.FEATURES, c.width)
        self.place = nn.Embedding(LONGEST, c.width)
        layer = nn.TransformerEncoderLayer(c.width, c.heads, 2 * c.width, c.dropout, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, c.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(c.width)
        self.read = Readings(c.width, c.readings, 16, 16, 8, c.dropout)

    def encode(self, strokes: Strokes) -> Tensor:
        """(B, T, width): after each stroke, of all strokes up to it."""
        x = self.stem(self.features(strokes))
        count = x.shape[1]
        x = x + self.place(torch.arange(count).clamp(max=LONGEST - 1))
        mask = nn.Transformer.generate_square_subsequent_mask(count)
        return self.norm(self.body(x, mask=mask, is_causal=True))


def save_transformer(path: Path, model: StrokeTransformer, header: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    tensors = {f"transformer.{k}": v for k, v in model.state_dict().items()}
    save(path, tensors, header | {"transformer": asdict(model.config)})


def load_transformer(path: Path) -> StrokeTransformer:
    """A frozen one; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    model = StrokeTransformer(TransformerConfig(**header["transformer"]))
    load_module(model, tensors, "transformer")
    return model.eval().requires_grad_(False)
