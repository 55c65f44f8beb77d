"""Which trial won. One objective: the best mean. Several: a Pareto front, and a rule that picks one of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hjepa.tuning.objective import EXACT, Figure, better
from hjepa.tuning.study import Trial


def ranked(trials: Sequence[Trial], figures: Sequence[Figure]) -> list[Trial]:
    """Complete trials, best first: by fronts, then by the objectives in their order, then by number."""
    left = [t for t in trials if t.state == "complete"]
    out: list[Trial] = []
    while left:
        best = front(left, figures)
        out += sorted(best, key=lambda t: (*_costs(t, figures), t.number))
        left = [t for t in left if t not in best]
    return out


def front(trials: Sequence[Trial], figures: Sequence[Figure]) -> list[Trial]:
    """Complete trials that no other is at least as good as in every objective, and better in one."""
    complete = [t for t in trials if t.state == "complete"]
    return [t for t in complete if not any(_dominates(other, t, figures) for other in complete)]


def _dominates(ours: Trial, other: Trial, figures: Sequence[Figure]) -> bool:
    pairs = list(zip(figures, ours.objectives, other.objectives, strict=True))
    return any(better(f, a, b) for f, a, b in pairs) and not any(better(f, b, a) for f, a, b in pairs)


def _costs(trial: Trial, figures: Sequence[Figure]) -> tuple[float, ...]:
    """Objectives as costs, rounded so that equal means are equal."""
    return tuple(round(-v if f.maximise else v, 9) for f, v in zip(figures, trial.objectives, strict=True))


def winner(trials: Sequence[Trial], figures: Sequence[Figure]) -> Trial:
    """One objective: the best; several: the one-standard-error rule (Breiman et al. 1984) along the objectives.

    Of the front, those stay whose first objective is within one standard error of the paired difference to the best;
    of these the same by the second objective, and so on. Trial 0, the configuration itself, wins a tie.
    """
    left = front(trials, figures)
    for figure in figures if len(figures) > 1 else ():
        best = min(left, key=lambda t: ((-1 if figure.maximise else 1) * mean_of(t, figure, figures), t.number))
        left = [t for t in left if not _behind(figure, t, best)]
    return min(left, key=lambda t: (*_costs(t, figures), t.number))


def mean_of(trial: Trial, figure: Figure, figures: Sequence[Figure]) -> float:
    """An objective of a complete trial."""
    return trial.objectives[list(figures).index(figure)]


def _behind(figure: Figure, ours: Trial, best: Trial) -> bool:
    """By more than one standard error of the paired difference."""
    lost = np.array(best.values[figure.name]) - np.array(ours.values[figure.name])
    lost = lost[np.isfinite(lost)] * (1 if figure.maximise else -1)
    error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
    return float(lost.mean()) > error + EXACT if len(lost) else False
