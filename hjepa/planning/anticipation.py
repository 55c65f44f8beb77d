"""Where to stand before the opponent hits: the predicted reply moves the base.

    E(b) = - mean over replies r of p(return r | the base is where it has come to on its way to b)

Replies are drawn from the rally level's readings after our own stroke; the cover level tells p. Nothing is simulated.
Legend: G places, K replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import motion
from hjepa.types import Array


class Covers(Protocol):
    """Logits (N,) of returning replies."""

    def __call__(self, base_m: Tensor, speed_m_s: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor: ...


class Replies(NamedTuple):
    """Strokes that the opponent may play, in the robot's world frame."""

    type: Tensor  # (K,) long
    land_m: Tensor  # (K, 2)
    tempo_s: Tensor  # (K,)


@dataclass(frozen=True)
class AnticipationConfig:
    """Where the base may wait, and how it moves."""

    x_m: tuple[float, float] = (-6.0, -1.0)
    y_m: tuple[float, float] = (-2.2, 2.2)
    step_m: float = 0.4
    speed_m_s: float = 4.3  # a little less than the rails' limit
    acceleration_m_s2: float = 11.0
    replies: int = 192  # K

    def places(self) -> Array:
        """(G, 2)"""
        x, y = (np.arange(low, high + 1e-9, self.step_m) for low, high in (self.x_m, self.y_m))
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def on_the_way(start_m: Any, goal_m: Any, time_s: Any, speed: float, acceleration: float) -> tuple[Array, Array]:
    """Position and speed (..., 2) of a base that left rest at start_m for rest at goal_m time_s ago, axis by axis."""
    start, goal = np.asarray(start_m, dtype=np.float64), np.asarray(goal_m, dtype=np.float64)
    t = np.asarray(time_s, dtype=np.float64)[..., None]
    x, v, _ = motion.quickest(start, np.zeros_like(start), goal, speed, acceleration, t)
    return x, v


class Anticipation:
    """Chooses where to wait."""

    def __init__(self, cover: Covers, config: AnticipationConfig = AnticipationConfig()) -> None:  # noqa: B008
        self.cover, self.config = cover, config
        self.places = config.places()

    def chances(self, start_m: Array, time_s: float, replies: Replies) -> Array:
        """Expected chance (G,) of a return for every place, if the opponent hits time_s after the base left."""
        found: Array = self.returned(self.came(start_m, time_s), replies).mean(axis=1)
        return found

    def came(self, start_m: Array, time_s: float) -> tuple[Array, Array]:
        """Where the base is after that time on its way to each place, and its speed, (G, 2) both."""
        c, times = self.config, np.full(len(self.places), time_s)
        return on_the_way(start_m, self.places, times, c.speed_m_s, c.acceleration_m_s2)

    @torch.no_grad()
    def returned(self, came: tuple[Array, Array], replies: Replies) -> NDArray[np.float64]:
        """Chances (G, K) from bases and speeds (G, 2)."""
        g, k = len(came[0]), len(replies.type)
        base, speed = (torch.from_numpy(x).float().repeat_interleave(k, 0) for x in came)
        many = Replies(*(part.repeat(g, *[1] * (part.ndim - 1)) for part in replies))
        logits = self.cover(base, speed, many.type, many.land_m, many.tempo_s)
        return torch.sigmoid(logits).view(g, k).double().numpy()

    def place(self, start_m: Array, time_s: float, replies: Replies) -> Array:
        """The place (2,) of least energy."""
        return np.asarray(self.places[int(np.argmax(self.chances(start_m, time_s, replies)))])
