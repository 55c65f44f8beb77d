"""Trains what the level knows of free flight: from any instant of a flight to any later one, in the worlds there are.

Nothing else of the level is touched, and no swing is needed, so this comes first. Legend: B batch, C context.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.flight import LearnedFlight, split
from hjepa.training.pairs import Flights
from hjepa.training.ranks import Ranks, device_of, moved

KNEE_M = 0.005  # of the smooth L1: millimetres keep counting
SLOT_S = 0.01
SHORTEST = 20  # samples of a flight that is learned from


class Legs:
    """Pieces of flights: velocity at their beginning, the world they are in, how long they last, where they end."""

    def __init__(self, flights: Flights, rows: NDArray[np.int64]) -> None:
        """rows: flights that may be drawn."""
        self.x_m, self.v_m_s = np.nan_to_num(flights.x_m), np.nan_to_num(flights.v_m_s)
        self.context = flights.context()
        self.last = np.isfinite(flights.x_m[..., 0]).sum(axis=1) - 1
        self.rows = rows[self.last[rows] >= SHORTEST]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Velocity (B, 3), context (B, C), time (B,), way (B, 3)."""
        row = self.rows[rng.integers(len(self.rows), size=count)]
        begin = (rng.random(count) * (self.last[row] - 1)).astype(np.int64)
        end = begin + np.ceil(rng.random(count) ** 0.7 * (self.last[row] - begin)).astype(np.int64)
        way = self.x_m[row, end] - self.x_m[row, begin]
        parts = (self.v_m_s[row, begin], self.context[row], (end - begin) * SLOT_S, way)
        v, c, t, d = (torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in parts)
        return v, c, t, d


def gap_m(flight: LearnedFlight, leg: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Along the heading and upwards (B, 2), m: expected minus real."""
    v, context, t, way = leg
    along, up, heading = split(v)
    forward, upward = flight(along, up, context, t)
    real = torch.stack([(way[:, :2] * heading).sum(-1), way[:, 2]], dim=-1)
    return torch.stack([forward, upward], dim=-1) - real


def flight_loss(flight: LearnedFlight, legs: Legs, count: int, seed: tuple[int, ...], ranks: Ranks) -> Tensor:
    """Of a batch drawn by the seed."""
    gap = gap_m(flight, ranks.part(legs.draw(count, np.random.default_rng(seed))))
    return F.smooth_l1_loss(gap, torch.zeros_like(gap), beta=KNEE_M)


@torch.no_grad()
def flight_error(flight: LearnedFlight, legs: Legs, count: int = 20_000) -> dict[str, float]:
    """Distance between expected and real ends of legs, m: median and 99 of 100."""
    drawn = moved(legs.draw(count, np.random.default_rng(0)), device_of(flight))
    off = gap_m(flight, drawn).norm(dim=-1)
    return {"flight_m": float(off.median()), "flight_m_99": float(off.quantile(0.99))}
