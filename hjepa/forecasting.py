"""The rally level as a forecaster of the stroke benchmark: marginals by its expectation, futures by its predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hjepa.evaluation import forecasts
from hjepa.models.rally import RallyModel
from hjepa.models.strokes import Macro, Strokes, clamp_left
from hjepa.models.transformer import StrokeTransformer, load_transformer, save_transformer
from hjepa.tasks.badminton.chains import Chain
from hjepa.tasks.badminton.forecast import Belief, Fixed, Once, Policy, Quantised
from hjepa.tasks.badminton.rallies import Rallies, from_strokes
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.training import small
from hjepa.training.tactics import TacticsTraining, next_log_loss, padded, train_transformer

Progress = Callable[[int, int, dict[str, float]], None]
"""Told (done, total, figures)."""


def policies() -> dict[str, Policy]:
    """Ways to make six samples, by name."""
    return {"quantised": Quantised(), "offsets": Fixed(), "one": Once()}


class RallyForecaster:
    """Everything that it believes comes out of latent roll-outs from the state after the last stroke told."""

    name = "rally JEPA"

    def __init__(self, model: RallyModel) -> None:
        self.model = model

    @torch.no_grad()
    def believe(self, given: Rallies, draws: int, seed: int) -> list[Belief]:
        """See forecast.Forecaster."""
        data = padded(given)
        s = self.model.encode(data.strokes)
        last = s[torch.arange(len(s)), data.many - 1]
        coming = (data.length - data.many).clamp(min=0)
        generator = torch.Generator().manual_seed(seed)
        marginal = self._marginals(last, coming)
        found: list[Belief] = []
        for r in range(len(s)):
            m = int(coming[r])
            kinds, land = self._futures(last[r].expand(draws, -1), m, generator)
            usual = np.median(land, axis=0) if m else np.zeros((0, 2))
            found.append(Belief(marginal[r, :m].double().numpy(), usual, kinds, land))
        return found

    def _marginals(self, s: Tensor, coming: Tensor) -> Tensor:
        """Type probabilities (R, M, 10) of the strokes to come, M the most of any rally."""
        out = []
        for k in range(int(coming.max())):
            left = clamp_left((coming - k).clamp(min=0))
            out.append(F.softmax(self.model.read.type_logits(s, left), dim=-1))
            s = self.model.expect(s, left)
        return torch.stack(out, dim=1) if out else torch.zeros(len(s), 0, 10)

    def _futures(self, s: Tensor, m: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """m strokes drawn one after the other from s (S, D): types (S, m), landing points (S, m, 2)."""
        kinds, land = np.zeros((len(s), m), dtype=np.int8), np.zeros((len(s), m, 2))
        for k in range(m):
            left = clamp_left(torch.full((len(s),), m - k))
            w = self.model.read.draw(s, left, generator)
            kinds[:, k], land[:, k] = w.type.numpy(), w.land_m.double().numpy()
            s = self.model.predict(s, w, left)
        return kinds, land


class TransformerForecaster:
    """The baseline that draws strokes, appends them and reads on; its marginals are means over what it drew."""

    name = "Transformer"

    def __init__(self, model: StrokeTransformer) -> None:
        self.model = model

    @torch.no_grad()
    def believe(self, given: Rallies, draws: int, seed: int) -> list[Belief]:
        """See forecast.Forecaster."""
        data = padded(given)
        generator = torch.Generator().manual_seed(seed)
        found = []
        for r in range(len(data.many)):
            told, m = int(data.many[r]), max(0, int(data.length[r] - data.many[r]))
            strokes = Strokes(*(x[r, :told].expand(draws, *x[r, :told].shape) for x in data.strokes))
            kinds, land, types = np.zeros((draws, m), dtype=np.int8), np.zeros((draws, m, 2)), np.zeros((m, 10))
            for k in range(m):
                state = self.model.encode(strokes)[:, -1]
                left = clamp_left(torch.full((draws,), m - k))
                types[k] = F.softmax(self.model.read.type_logits(state, left), dim=-1).mean(0).double().numpy()
                w = self.model.read.draw(state, left, generator)
                kinds[:, k], land[:, k] = w.type.numpy(), w.land_m.double().numpy()
                strokes = _appended(strokes, w)
            usual = np.median(land, axis=0) if m else np.zeros((0, 2))
            found.append(Belief(types, usual, kinds, land))
        return found


def _appended(strokes: Strokes, w: Macro) -> Strokes:
    """One stroke more, of which only the macro-action is known."""
    n = len(w.type)
    nothing = torch.full((n, 1, 2), torch.nan)
    new = Strokes(
        w.type[:, None], w.land_m[:, None], nothing, nothing, nothing[..., 0],
        torch.zeros(n, 1, strokes.marks.shape[-1]),
    )  # fmt: skip
    return Strokes(*(torch.cat(pair, dim=1) for pair in zip(strokes, new, strict=True)))


def trained_transformer(folder: Path, seed: int, progress: Progress, quick: bool = False) -> TransformerForecaster:
    """The baseline from a folder, trained there first if need be, on the rallies that the rally level learned from."""
    path = folder / "transformer.safetensors"
    if not path.exists():
        run, rallies = (
            replace(small.TACTICS if quick else TacticsTraining(), seed=seed),
            from_strokes(load_strokes(), "train"),
        )

        def report(step: int, figures: dict[str, float]) -> None:
            progress(step + 1, run.steps, figures)

        model = train_transformer(rallies, run, checkpoint=folder / "transformer.pt", report=report)
        save_transformer(path, model, {"training": asdict(run)})
    return TransformerForecaster(load_transformer(path))


def next_log_losses(forecaster: Any, rallies: Rallies) -> NDArray[np.float64]:
    """-log p(type) (M,) of every stroke but the serves, each from the true strokes before it."""
    if isinstance(forecaster, Chain):
        return forecasts.next_log_loss(forecaster, rallies)
    return next_log_loss(forecaster.model, rallies)
