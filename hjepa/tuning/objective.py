"""What a tuned configuration is judged by. Every figure is a mean over strokes, so that two trials compare in pairs.

All trials play the same strokes with the same seeds (common random numbers): what differs between two of them is the
configuration alone. Legend: N strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hjepa.evaluation.metrics import within
from hjepa.evaluation.results import NAN, StrokeResult

ERROR_CAP_M = 3.0  # a stroke that is not hit counts as this far from its target, and none as farther
SCORE = "score"
EXACT = 1e-9  # means that differ by less are equal


class Figure(NamedTuple):
    """One quantity of a stroke."""

    name: str
    unit: str  # '' for a share
    maximise: bool
    value: Callable[[StrokeResult], float]
    meaning: str


def _error_m(result: StrokeResult) -> float:
    error = result.landing_error_m
    return min(error, ERROR_CAP_M) if math.isfinite(error) else ERROR_CAP_M


def _plan_ms(result: StrokeResult) -> float:
    return float(np.median(result.plan_ms_low)) if result.plan_ms_low else NAN


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("return_rate", "", True, lambda r: float(r.returned), "share of strokes returned"),
        Figure("within_1m", "", True, lambda r: float(within(r)), "share returned within 1 m of the target"),
        Figure("landing_error_m", "m", False, _error_m, "landing to target; at most, and without a hit, 3 m"),
        Figure("effort_j", "J", False, lambda r: r.effort_j, "joint effort of a stroke"),
        Figure("plan_ms", "ms", False, _plan_ms, "wall time of a low-level plan, median of a stroke; noisy"),
        Figure("mflop", "Mflop", False, lambda r: r.mflop, "arithmetic per low-level decision; the same everywhere"),
    )
}


def figure_of(objectives: Sequence[str], score: Mapping[str, float]) -> tuple[Figure, ...]:
    """What a study optimises: the named figures, or one weighted sum of figures, which is maximised."""
    if not score:
        return tuple(FIGURES[name] for name in objectives)

    def value(result: StrokeResult) -> float:
        return sum(weight * FIGURES[name].value(result) for name, weight in score.items())

    said = " ".join(f"{weight:+g} {name}" for name, weight in score.items())
    return (Figure(SCORE, "", True, value, said),)


def per_stroke(figures: Sequence[Figure], results: Sequence[StrokeResult]) -> dict[str, list[float]]:
    """Values (N,) of each figure, in the strokes' order."""
    return {figure.name: [float(figure.value(result)) for result in results] for figure in figures}


def mean(values: Sequence[float]) -> float:
    """Mean of what is a number; nan where nothing is."""
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else NAN


def surely_worse(figure: Figure, ours: Sequence[float], others: Sequence[float]) -> bool:
    """Whether ours is behind by a paired one-sided t-test at 0.5 %, over the strokes that ours has."""
    gained = (np.array(ours) - np.array(others[: len(ours)])) * (1 if figure.maximise else -1)
    gained = gained[np.isfinite(gained)]
    if len(gained) < 2:
        return False
    error = float(gained.std(ddof=1)) / math.sqrt(len(gained))
    return float(gained.mean()) < -_student(len(gained) - 1) * error - EXACT


def _student(freedom: int, z: float = 2.5758) -> float:
    """Quantile of Student's t from the normal one, to second order in 1/freedom (Cornish & Fisher 1938)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def better(figure: Figure, ours: float, other: float) -> bool:
    """Whether a mean is strictly better than another one, rounding left aside."""
    return (ours - other) * (1 if figure.maximise else -1) > EXACT
