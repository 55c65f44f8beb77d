"""What does not happen to a shuttle: for examinations of who notices. Drawn from a seed of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hjepa.tasks.badminton.shuttle import State


@dataclass(frozen=True)
class Disturbance:
    """One violation of physics in an episode."""

    kind: str  # teleport
    at_s: float  # from the launch
    size: float = 1.0  # teleport: how far, m
    seed: int = 0


def teleported(state: State, size_m: float, seed: int) -> State:
    """The shuttle so far away, to a side that the seed draws, flying on as it did; never lower than 0.3 m."""
    side = np.random.default_rng(seed).normal(size=3)
    x, y, z, *v = state
    dx, dy, dz = (size_m * side / np.linalg.norm(side)).tolist()
    return (x + dx, y + dy, max(z + dz, 0.3), *v)
