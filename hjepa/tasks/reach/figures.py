"""How well a target was followed. Legend: N ticks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from hjepa.types import Array

SETTLED_S = 1.0  # from here on the way to the target is over


@dataclass(frozen=True)
class Following:
    """Figures of one run. Distances are true ones, tool to target."""

    robot: str
    agent: str
    seconds: float
    seed: int
    speed_m_s: float  # of the target
    clock: str
    median_m: float  # without the first second
    p90_m: float
    worst_m: float
    median_all_m: float  # with it
    p90_all_m: float
    start_m: float  # at the beginning
    plan_p50_ms: float
    plan_p99_ms: float
    speed_use: float  # largest share of a joint's speed limit
    effort_j: float
    deadline_misses: int
    commands: int

    def to_json(self) -> str:
        """As a JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened, true values."""

    times_s: Array  # (N,)
    q_rad: Array  # (N, J)
    tool_m: Array  # (N, 3)
    target_m: Array  # (N, 3)

    @property
    def distance_m(self) -> Array:
        """Tool to target (N,)."""
        out: Array = np.linalg.norm(self.tool_m - self.target_m, axis=-1)
        return out


def settled(trace: Trace) -> Array:
    """Distances after the first second; of a run that is shorter, all."""
    late = trace.times_s >= SETTLED_S
    return trace.distance_m[late] if late.any() else trace.distance_m
