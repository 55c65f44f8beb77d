"""Compute of a decision: operations, wall time, processor time, and joules of the processor where they can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hjepa import build
from hjepa.benches import energy as meters
from hjepa.config import Config
from hjepa.evaluation.metrics import Interval, Latency, cluster_bootstrap, latency
from hjepa.insight.sense.asked import Table
from hjepa.insight.sense.effort_play import Stroke, operations
from hjepa.types import Array

COUNTED, QUICK_COUNTED = 12, 1  # strokes in which the high level's operations are counted


class Cost(NamedTuple):
    """What an agent's decisions take."""

    strokes: int
    decisions: int  # of the low level, or of an agent without levels
    low_mflop: float  # mean; 0 for agents without networks: what they compute is not counted
    high_mflop: float  # mean of a decision, its own networks; nan without a high level
    asked_mflop: float  # and of the low level's searches that it asks for
    low_ms: Latency
    high_ms: Latency
    cpu_ms: Interval  # of this process, a decision: all that the agent did, over its decisions
    package_j: Interval  # of the processor's packages, a decision, whoever used them; nan: not readable


def computed(config: Config, parts: Mapping[str, Sequence[Stroke]], quick: bool) -> dict[str, Any]:
    """Costs by setting (a part's name is its agent's, or begins with it), and what could be read of energy."""
    fewer = min(config.task.strokes, QUICK_COUNTED if quick else COUNTED)
    counted = config.model_copy(update={"task": config.task.model_copy(update={"strokes": fewer})})
    costs = {name: _cost(counted, name.partition(" ")[0], strokes) for name, strokes in parts.items()}
    package = all(math.isfinite(s.package_j) for strokes in parts.values() for s in strokes)
    gpu_w = meters.gpu_power_w()
    return {
        "agents": costs,
        "high_counted_strokes": fewer,
        "package_energy": "readable" if package else meters.NOT_READABLE,
        "gpu_power_w": meters.NOT_READABLE if gpu_w is None else gpu_w,  # idle or not: the levels plan on the processor
    }


def _cost(config: Config, agent: str, strokes: Sequence[Stroke]) -> Cost:
    decisions = sum(len(s.low_ms) for s in strokes)
    above = operations(config, agent) if agent in build.HIERARCHICAL else None
    return Cost(
        len(strokes),
        decisions,
        float(np.mean([s.mflop for s in strokes])),
        _mean(above.own if above else ()),
        _mean(above.asked if above else ()),
        latency(ms for s in strokes for ms in s.low_ms),
        latency(ms for s in strokes for ms in s.high_ms),
        _per_decision(strokes, [1e3 * s.cpu_s for s in strokes]),
        _per_decision(strokes, [s.package_j for s in strokes]),
    )


def _per_decision(strokes: Sequence[Stroke], spent: Sequence[float]) -> Interval:
    """What strokes spent, over their decisions; matches are resampled."""
    spent_by, made = np.array(spent), np.array([float(len(s.low_ms)) for s in strokes])
    if not (np.isfinite(spent_by).all() and made.any()):
        return Interval(math.nan, math.nan, math.nan)

    def mean(w: Array) -> Array:
        decisions = w @ made
        return (w @ spent_by) / np.where(decisions > 0, decisions, np.nan)  # a resample of strokes that decided nothing

    return cluster_bootstrap([s.match for s in strokes], mean, np.random.default_rng(0))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def compute_table(found: Mapping[str, Any]) -> Table:
    """For a person."""
    rows = []
    for name, c in found["agents"].items():
        joules = "-" if math.isnan(c.package_j.value) else f"{c.package_j.value:.3f} J"
        high = "-" if math.isnan(c.high_mflop) else f"{c.high_mflop:.1f} + {c.asked_mflop:.1f} asked"
        low = f"{c.low_mflop:.1f}" if c.low_mflop else "not counted"
        times = [f"{t.p50:.1f} / {t.p99:.1f} ms" if math.isfinite(t.p50) else "-" for t in (c.low_ms, c.high_ms)]
        cpu = f"{c.cpu_ms.value:.1f} ({c.cpu_ms.lo:.1f} to {c.cpu_ms.hi:.1f}) ms"
        rows.append([name, str(c.decisions), low, high, *times, cpu, joules])
    gpu = found["gpu_power_w"]
    watts = gpu if isinstance(gpu, str) else f"{gpu:.0f} W"
    title = f"Compute of a decision (joules of the processor: {found['package_energy']}; power of a GPU: {watts})"
    columns = ("agent", "decisions", "low, Mflop", "high, Mflop", "low, p50 / p99", "high, p50 / p99", "processor time")
    return Table(title, (*columns, "processor"), rows)
