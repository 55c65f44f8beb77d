"""Whether the winner is better on strokes that no trial has seen: paired differences with 95 % intervals, in words.

The best of many trials looks better than it is on the strokes it was chosen by. Fresh strokes, other seeds and an
interval tell gain from luck. Legend: N strokes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.evaluation.metrics import Interval, paired_bootstrap
from hjepa.evaluation.results import StrokeResult
from hjepa.tuning.blocks import Block, blocks
from hjepa.tuning.objective import FIGURES, Figure, mean
from hjepa.tuning.workers import Failure, Workers

ENOUGH = 50  # strokes: with fewer, a bootstrap over matches gives intervals that are too narrow


class Compared(NamedTuple):
    """A figure of winner and default on the same fresh strokes."""

    figure: str
    unit: str
    objective: bool  # whether the study optimised it
    winner: float
    default: float
    difference: Interval  # winner - default
    said: str  # better, worse, no different, or too few strokes


class Verdict(NamedTuple):
    """What the fresh strokes say of the winner."""

    strokes: int
    compared: tuple[Compared, ...]
    said: str

    @property
    def gained(self) -> bool:
        """Whether the winner is better in an objective and worse in none."""
        said = {c.said for c in self.compared if c.objective}
        return "better" in said and "worse" not in said


def play_both(
    winner: Config, default: Config, strokes: int, block: int, workers: Workers
) -> tuple[list[StrokeResult], list[StrokeResult]]:
    """Results (N,) of winner and default on the same fresh strokes. DataError where one cannot be played."""
    jobs = [Block(config, True, rows) for rows in blocks(strokes, block) for config in (winner, default)]
    played: dict[int, list[StrokeResult]] = {}
    waiting = list(range(len(jobs)))[::-1]
    under_way = 0
    while waiting or under_way:
        while waiting and under_way < workers.slots:
            tag = waiting.pop()
            workers.submit(tag, jobs[tag])
            under_way += 1
        tag, outcome = workers.done()
        under_way -= 1
        if isinstance(outcome, Failure):
            raise DataError(f"the fresh strokes cannot be played: {outcome.reason}")
        played[tag] = outcome
    ours, theirs = ([r for tag in range(first, len(jobs), 2) for r in played[tag]] for first in (0, 1))
    return ours, theirs


def judge(
    winner: Sequence[StrokeResult], default: Sequence[StrokeResult], objectives: Sequence[Figure], seed: int
) -> Verdict:
    """The verdict over strokes that both played."""
    others = [f for f in FIGURES.values() if f not in objectives and _known(f, winner) and _known(f, default)]
    compared = tuple(
        _compared(figure, figure in objectives, winner, default, seed) for figure in (*objectives, *others)
    )
    return Verdict(len(winner), compared, _sentence([c for c in compared if c.objective], len(winner)))


def _known(figure: Figure, played: Sequence[StrokeResult]) -> bool:
    """Whether a stroke has a value of it: an agent without a search has no plan times."""
    return any(math.isfinite(figure.value(r)) for r in played)


def _compared(
    figure: Figure, objective: bool, winner: Sequence[StrokeResult], default: Sequence[StrokeResult], seed: int
) -> Compared:
    difference = paired_bootstrap(winner, default, figure.value, np.random.default_rng([seed, 5]))
    up = 1 if figure.maximise else -1
    said = "better" if min(up * difference.lo, up * difference.hi) > 0 else "no different"
    said = "worse" if max(up * difference.lo, up * difference.hi) < 0 else said
    ours, theirs = (mean([figure.value(r) for r in played]) for played in (winner, default))
    said = said if len(winner) >= ENOUGH else "too few strokes"
    return Compared(figure.name, figure.unit, objective, ours, theirs, difference, said)


def _sentence(compared: Sequence[Compared], strokes: int) -> str:
    if strokes < ENOUGH:
        return f"won; {strokes} fresh strokes are too few to tell gain from luck, give {ENOUGH} or more"
    by = {word: [c for c in compared if c.said == word] for word in ("better", "worse", "no different")}
    if by["better"] and not by["worse"]:
        return f"beats the default on {strokes} fresh strokes: {listed(by['better'])}"
    if by["better"]:
        return (
            f"trades on {strokes} fresh strokes: better {listed(by['better'])}; worse {listed(by['worse'])} "
            f"than the default"
        )
    if by["worse"]:
        return f"is worse than the default on {strokes} fresh strokes: {listed(by['worse'])}; keep the default"
    return (
        f"is no better than the default on {strokes} fresh strokes ({listed(by['no different'])}): "
        f"its gain in the study cannot be told from tuning noise"
    )


def listed(compared: Sequence[Compared]) -> str:
    """`effort_j -120 J (-160 to -85)`, one after another."""
    return ", ".join(
        f"{c.figure} {c.difference.value:+.3g}{' ' + c.unit if c.unit else ''} "
        f"({c.difference.lo:+.3g} to {c.difference.hi:+.3g})"
        for c in compared
    )
