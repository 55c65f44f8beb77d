"""Calibrates surprise: how high its scores get in strokes as they normally are, of flights never trained on.

Legend: F flights, N strokes, K window slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.models.low import LowLevel
from hjepa.models.surprise import FlightSurprise
from hjepa.training.low import DELAY_SLOTS, GAP_SLOTS
from hjepa.training.pairs import L_NOMINAL_M, Flights
from hjepa.types import Array

_LEAST = 8  # slots flown at the first look


@dataclass(frozen=True)
class CalibrationConfig:
    """How many strokes, and as what tracker."""

    strokes: int = 3000
    every: int = 4  # slots between two looks
    noise_m: float = 0.010
    dropout: float = 0.02
    hidden: float = 0.3  # share of strokes in which the shuttle is hidden for a while
    met: tuple[float, float] = (0.55, 1.0)  # share of the way to the floor after which it is met
    seed: int = 0


@torch.no_grad()
def normal_flights(
    level: LowLevel, flights: Flights, rows: NDArray[np.int64], c: CalibrationConfig
) -> dict[str, Array]:
    """Highest scores (N,) of strokes in the nominal world, drawn from flights `rows`: of the flight, and unseen."""
    rng = np.random.default_rng([c.seed, 12])
    rows = rng.choice(rows[flights.drag_m[rows] == L_NOMINAL_M], c.strokes)
    score = FlightSurprise(level.encoder.memory).eval()
    highest: dict[str, list[float]] = {"flight": [], "unseen": []}
    for row in rows:
        window, mask = looks(flights.x_m[row], rng, c, level.config.window)
        said = score(window, mask)
        highest["flight"].append(float(said.score.max()))
        highest["unseen"].append(float((said.unseen * mask.any(dim=-1)).max()))
    return {cause: np.sort(np.array(values)) for cause, values in highest.items()}


def looks(path_m: Array, rng: np.random.Generator, c: CalibrationConfig, window: int) -> tuple[Tensor, Tensor]:
    """What is seen of a flight (T, 3) at each look, until it is met: windows (L, K, 3), masks (L, K)."""
    last = int(np.isfinite(path_m[:, 0]).sum()) - 1
    met = max(_LEAST + 1, int(last * rng.uniform(*c.met)))
    seen = rng.random(met + 1) >= c.dropout
    if rng.random() < c.hidden:
        begin = rng.integers(_LEAST, met + 1)
        seen[begin : begin + rng.integers(GAP_SLOTS[0], GAP_SLOTS[1] + 1)] = False
    measured = path_m[: met + 1] + c.noise_m * rng.standard_normal((met + 1, 3))
    at = np.arange(_LEAST, met + 1, c.every)
    slots = at[:, None] - np.arange(window - 1, -1, -1)
    inside = (slots >= 0) & (np.arange(window - 1, -1, -1) >= DELAY_SLOTS)
    slots = slots.clip(0)
    mask = inside & seen[slots]
    xyz = measured[slots] * mask[..., None]
    return torch.from_numpy(xyz.astype(np.float32)), torch.from_numpy(mask.astype(np.float32))
