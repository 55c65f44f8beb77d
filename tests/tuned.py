"""A study whose strokes cost nothing: what a stroke brings is a formula of the configuration.

python -m tests.tuned OUT TRIALS: runs it in two processes, one line for each trial that ended.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hjepa.config import Config, load
from hjepa.errors import ConfigError
from hjepa.evaluation.results import StrokeResult
from hjepa.tuning import study, workers
from hjepa.tuning.blocks import Block
from hjepa.tuning.objective import figure_of
from hjepa.tuning.space import Space, changed, value_at
from hjepa.tuning.study import Trial
from hjepa.tuning.tuner import Tuner

CONFIG = load("badminton")
SEARCH = {
    "low.iterations": {"low": 1, "high": 6},
    "low.weights.effort": {"low": 0.03, "high": 0.6, "log": True},
    "low.planner": {"choices": ["gradient", "cem"]},
}


def space(**keys: Any) -> Space:
    """A search over three keys; best at 5 iterations and effort 0.3."""
    plain = {"objectives": ["landing_error_m"], "strokes": 24, "block": 8, "pruner": "none", "search": SEARCH}
    return Space.model_validate(plain | keys)


def stroke(config: Config, row: int, fresh: bool = False) -> StrokeResult:
    """What stroke `row` brings: its own luck, the same for every configuration, and what the configuration costs."""
    luck = np.random.default_rng([row, fresh]).uniform(0.0, 0.2)
    low = config.low
    off = 0.1 * abs(low.iterations - 5) + 0.2 * abs(np.log(low.weights.effort / 0.3)) + luck
    return StrokeResult(
        id=str(row),
        match=str(row % 8),
        hit=True,
        returned=bool(off < 0.75),
        landing_xy_m=(3.0 + float(off), 0.0),
        target_xy_m=(3.0, 0.0),
        effort_j=1000.0 * low.weights.effort**-0.5 + 100 * float(luck),
        plan_ms_low=(5.0,),
        mflop=10.0 * low.iterations,
    )


def work(shared: str, block: Block) -> list[StrokeResult]:
    """The block's strokes; `shared` names a planner that cannot be played."""
    if block.config.low.planner == shared:
        raise ConfigError(f"planner {shared} cannot be played")
    return [stroke(block.config, row, block.fresh) for row in block.rows]


def start(config: Config, wanted: Space) -> dict[str, Any]:
    """Values of the configuration itself."""
    return {name: value_at(config, name) for name in wanted.search}


class Here:
    """Workers that play in this process, one job at a time."""

    slots = 1

    def __init__(self, shared: str = "") -> None:
        self.shared, self.played, self._result = shared, 0, None

    def submit(self, tag: int, job: Block) -> None:
        self.played += len(job.rows)
        try:
            self._result = tag, work(self.shared, job)
        except ConfigError as error:
            self._result = tag, workers.Failure(str(error))

    def done(self) -> Any:
        return self._result


@contextmanager
def opened(out: Path, space: Space, asked: dict[str, Any] | None = None) -> Iterator[study.Ledger]:
    """The ledger of a study in that folder."""
    figures = figure_of(space.objectives, space.score)
    with study.opened(out, space, figures, start(CONFIG, space), asked or {"space": 1}) as ledger:
        yield ledger


def played(out: Path, space: Space, trials: int, by: workers.Workers | None = None) -> list[Trial]:
    """The trials of a study after so many, played here unless by others."""
    with opened(out, space) as ledger:
        return Tuner(CONFIG, space, ledger, by or Here()).run(trials, lambda trials: None)


def trial(number: int, values: dict[str, list[float]], objectives: tuple[str, ...]) -> Trial:
    """A complete trial with these values."""
    means = tuple(float(np.mean(values[name])) for name in objectives)
    return Trial(number, "complete", {"low.iterations": number}, values, means, 1.0, "")


def with_values(t: Trial) -> Config:
    """The configuration that a trial played."""
    return changed(CONFIG, t.params)


def main(out: Path, trials: int) -> None:
    config, wanted = load("badminton"), space()
    figures = figure_of(wanted.objectives, wanted.score)

    def report(trials: list[Trial]) -> None:
        sys.stdout.write(f"{len(trials)}\n")
        sys.stdout.flush()

    ledger = study.opened(out, wanted, figures, start(config, wanted), {"space": wanted.model_dump(mode="json")})
    with ledger as opened, workers.processes(work, "", 2) as hands:
        Tuner(config, wanted, opened, hands).run(trials, report)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
