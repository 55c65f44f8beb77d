"""Probes of embeddings, fitted on some strokes and scored on others; intervals resample strokes, not moments.

Legend: S moments, D embedding, n columns of a quantity, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hjepa.evaluation.metrics import Interval
from hjepa.insight.linear import PENALTIES, Ridge
from hjepa.types import Array

CHECK = 5  # every fifth stroke of those to fit on chooses the penalty, or when to stop
RESAMPLES = 2000
WIDTH, BATCH, RATE, PATIENCE, EPOCHS = 128, 512, 2e-3, 20, 300

Probe = Callable[[Array], Array]
"""Embeddings (S, D) -> quantity (S, n)."""


class Known(NamedTuple):
    """Embeddings and a quantity of S moments."""

    z: Array  # (S, D)
    y: Array  # (S, n); rows with nan are left out
    stroke: NDArray[np.int64]  # (S,)

    def whole(self) -> Known:
        """Without the moments whose quantity is not known."""
        rows = np.isfinite(self.y).all(axis=1)
        return Known(self.z[rows], self.y[rows], self.stroke[rows])


class Score(NamedTuple):
    """How well a quantity is read on strokes that no probe was fitted on."""

    r2: Interval  # mean over the columns of the share of each one's variance
    rmse: Interval  # root of the mean squared distance, in the quantity's unit
    columns: tuple[float, ...]  # (n,) R2 of each
    strokes: int
    moments: int


def linear(fit: Known) -> Probe:
    """Ridge; its penalty is chosen on a fifth of the strokes."""
    into, out = _standard(fit.z), _standard(fit.y)
    z, y = into(fit.z), out(fit.y)
    ridge = Ridge(z, y, _ridge(z, y, _checked(fit.stroke))[1])
    return lambda z: out.back(ridge(into(z)))


def _ridge(z: Array, y: Array, check: NDArray[np.bool_]) -> tuple[Ridge, float]:
    """The ridge that does best on the check and is fitted without it, and its penalty."""
    tried = [Ridge(z[~check], y[~check], penalty) for penalty in PENALTIES]
    best = int(np.argmin([((ridge(z[check]) - y[check]) ** 2).sum() for ridge in tried]))
    return tried[best], PENALTIES[best]


class _Bent(nn.Module):
    """A straight path, begun as a ridge's, and beside it two hidden layers that begin with nothing to say."""

    def __init__(self, ridge: Ridge) -> None:
        super().__init__()
        inputs, outputs = ridge.weights.shape
        self.straight, self.last = nn.Linear(inputs, outputs), nn.Linear(WIDTH, outputs)
        self.hidden = nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        with torch.no_grad():
            self.straight.weight.copy_(torch.from_numpy(ridge.weights.T))
            self.straight.bias.copy_(torch.from_numpy(ridge(np.zeros((1, inputs)))[0]))
            for part in (self.last.weight, self.last.bias):
                part.zero_()

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.straight(z) + self.last(self.hidden(z))
        return out


def mlp(fit: Known, seed: int = 0, epochs: int = EPOCHS) -> Probe:
    """Two hidden layers and a straight path; training stops when a fifth of the strokes, not trained on, say so."""
    into, out, check = _standard(fit.z), _standard(fit.y), _checked(fit.stroke)
    z, y = into(fit.z), out(fit.y)
    ridge, _ = _ridge(z, y, check)
    x, target = (torch.from_numpy(part).float() for part in (z, y))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Bent(ridge)
    held = torch.from_numpy(check)
    _train(net, (x[~held], target[~held]), (x[held], target[held]), torch.Generator().manual_seed(seed), epochs)

    def probe(z: Array) -> Array:
        with torch.no_grad():
            return out.back(net(torch.from_numpy(into(z)).float()).double().numpy())

    return probe


def _train(
    net: nn.Module, fit: tuple[Tensor, Tensor], check: tuple[Tensor, Tensor], generator: torch.Generator, epochs: int
) -> None:
    """Adam at a rate that falls when the check gets no better; ends with the best weights on the check."""

    def error() -> float:
        with torch.no_grad():
            return float(nn.functional.mse_loss(net(check[0]), check[1]))

    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    best, kept, since = error(), _copy(net), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(fit[0]), generator=generator).split(BATCH):
            optimiser.zero_grad()
            nn.functional.mse_loss(net(fit[0][rows]), fit[1][rows]).backward()
            optimiser.step()
        now, since = error(), since + 1
        if now < best:
            best, kept, since = now, _copy(net), 0
        elif since % (PATIENCE // 2) == 0:
            for group in optimiser.param_groups:
                group["lr"] *= 0.3
        if since >= PATIENCE:
            break
    net.load_state_dict(kept)


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


class _Standard(NamedTuple):
    """Columns to mean 0 and spread 1; those that never change to 0, for they tell nothing."""

    mean: Array
    scale: Array

    def __call__(self, x: Array) -> Array:
        out: Array = (x - self.mean) / np.where(self.scale > 1e-9, self.scale, np.inf)
        return out

    def back(self, x: Array) -> Array:
        out: Array = x * self.scale + self.mean
        return out


def _standard(x: Array) -> _Standard:
    return _Standard(x.mean(axis=0), x.std(axis=0))


def _checked(stroke: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(S,) True for the moments of every fifth stroke."""
    _, number = np.unique(stroke, return_inverse=True)
    out: NDArray[np.bool_] = number % CHECK == 0
    return out


def score(probe: Probe, held: Known, rng: np.random.Generator) -> Score:
    """On strokes that the probe has never met."""
    held = held.whole()
    centred = held.y - held.y.mean(axis=0)
    wrong = (probe(held.z) - held.y) ** 2
    _, number = np.unique(held.stroke, return_inverse=True)
    many = int(number.max()) + 1
    sums = np.zeros((many, 1 + 3 * held.y.shape[1]))  # per stroke: moments; sums of y, y^2, squared errors
    np.add.at(sums, number, np.concatenate([np.ones((len(held.y), 1)), centred, centred**2, wrong], axis=1))
    value = _figures(sums.sum(axis=0)[None])
    drawn = _figures(rng.multinomial(many, np.full(many, 1 / many), size=RESAMPLES).astype(np.float64) @ sums)
    r2, rmse = (interval(a[0], b) for a, b in zip(value[:2], drawn[:2], strict=True))
    return Score(r2, rmse, tuple(map(float, value[2][0])), many, len(held.y))


def _figures(sums: Array) -> tuple[Array, Array, Array]:
    """R2 (B,), RMSE (B,) and R2 of the columns (B, n) from sums (B, 1 + 3 n)."""
    count, (y, square, wrong) = sums[:, :1], np.split(sums[:, 1:], 3, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = square - y**2 / count
        columns = 1.0 - wrong / np.where(spread > 1e-9 * count, spread, np.nan)  # nothing to tell apart: no R2
        return columns.mean(axis=1), np.sqrt(wrong.sum(axis=1) / count[:, 0]), columns


def interval(value: float, drawn: Array) -> Interval:
    """A figure with the middle 95 % of its resamples; nan where too few can be told apart."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return Interval(float(value), float("nan"), float("nan"))
    lo, hi = np.quantile(known, (0.025, 0.975))
    return Interval(float(value), float(lo), float(hi))
