"""Runs a study: deals blocks of strokes to workers, stops trials that are behind, writes what came of them.

Legend: N strokes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hjepa.config import Config
from hjepa.errors import ConfigError
from hjepa.evaluation.results import StrokeResult
from hjepa.tuning.blocks import Block, blocks
from hjepa.tuning.objective import FIGURES, Figure, mean, per_stroke, surely_worse
from hjepa.tuning.space import Params, Space, changed
from hjepa.tuning.study import Ledger, Trial
from hjepa.tuning.workers import Failure, Workers

Report = Callable[[list[Trial]], None]  # is told of all trials that ended, after each of them


@dataclass
class _Live:
    """A trial under way."""

    params: Params
    config: Config
    left: list[tuple[int, ...]]  # blocks not dealt yet
    begun_s: float
    results: list[StrokeResult] = field(default_factory=list)


class Tuner:
    """One run of a study. `figures` are its objectives, as in `objective.figure_of`."""

    def __init__(self, config: Config, space: Space, ledger: Ledger, workers: Workers) -> None:
        self._config, self._space, self._ledger, self._workers = config, space, ledger, workers
        self._figures = ledger.figures
        self._shown = (*self._figures, *(f for f in FIGURES.values() if f not in self._figures))
        self._live: dict[int, _Live] = {}

    def run(self, most: int, report: Report) -> list[Trial]:
        """Play until `most` trials ended, and none is under way; all that ended. ConfigError if trial 0 fails."""
        ended = self._ended(report)
        while True:
            while len(self._live) < self._workers.slots and (drawn := self._ledger.next(most)):
                if not self._begin(*drawn, ended):
                    ended = self._ended(report)
            if not self._live:
                return ended
            number, outcome = self._workers.done()
            if self._took(number, outcome, ended):
                ended = self._ended(report)

    def _ended(self, report: Report) -> list[Trial]:
        trials = self._ledger.trials()
        if trials and trials[0].number == 0 and trials[0].state == "fail":
            raise ConfigError(
                f"the configuration itself cannot be played: {trials[0].reason}; mend it, or another --out"
            )
        report(trials)
        return trials

    def _begin(self, number: int, params: Params, ended: Sequence[Trial]) -> bool:
        """Deal a trial's first block; False where it ended without being played."""
        twin = next((t for t in ended if t.params == params and t.state == "complete"), None)
        if twin is not None:
            said = f"repeats trial {twin.number}"
            self._ledger.complete(number, twin.values, twin.objectives, reason=said, wall_s=0.0)
            return False
        try:
            config = changed(self._config, params)
        except ConfigError as error:
            self._ledger.fail(number, str(error))
            return False
        self._live[number] = _Live(params, config, blocks(self._space.strokes, self._space.block), time.monotonic())
        self._deal(number)
        return True

    def _deal(self, number: int) -> None:
        live = self._live[number]
        self._workers.submit(number, Block(live.config, False, live.left.pop(0)))

    def _took(self, number: int, outcome: list[StrokeResult] | Failure, ended: Sequence[Trial]) -> bool:
        """Take a block's results; whether the trial ended with it."""
        live = self._live[number]
        if isinstance(outcome, Failure):
            self._ledger.fail(number, outcome.reason, **self._notes(live))
        else:
            live.results += outcome
            values = per_stroke(self._shown, live.results)
            means = [mean(values[figure.name]) for figure in self._figures]
            lacking = [f.name for f, value in zip(self._figures, means, strict=True) if math.isnan(value)]
            why = "" if not live.left else self._stopped(number, values, means[0], ended)
            if lacking:
                self._ledger.fail(number, f"no stroke has a value of {', '.join(lacking)}", **self._notes(live))
            elif why:
                self._ledger.prune(number, values, reason=why, **self._notes(live))
            elif live.left:
                self._deal(number)
                return False
            else:
                self._ledger.complete(number, values, means, **self._notes(live))
        del self._live[number]
        return True

    def _stopped(self, number: int, values: dict[str, list[float]], value: float, ended: Sequence[Trial]) -> str:
        """Why a trial stops here; '' where it goes on. Trial 0, which all are compared with, is played to its end."""
        count = len(values[self._figures[0].name])
        single = len(self._figures) == 1
        prune = single and not math.isnan(value) and self._ledger.may_stop(number, count, value)
        if number == 0 or self._space.pruner == "none":
            return ""
        if prune:
            return f"below the median after {count} strokes"
        if self._space.pruner != "race":
            return ""
        rival = next((t for t in ended if t.state == "complete" and _beaten(self._figures, values, t)), None)
        return "" if rival is None else f"surely behind trial {rival.number} after {count} strokes"

    def _notes(self, live: _Live) -> dict[str, Any]:
        return {"wall_s": time.monotonic() - live.begun_s}


def _beaten(figures: Sequence[Figure], values: dict[str, list[float]], other: Trial) -> bool:
    """Whether another trial is surely better in every objective, on the strokes that both have played."""
    return all(surely_worse(figure, values[figure.name], other.values[figure.name]) for figure in figures)
