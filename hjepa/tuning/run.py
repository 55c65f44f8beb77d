"""A whole study: choose the strokes, play the trials, judge the winner on fresh strokes, write what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from hjepa import __version__, build
from hjepa.config import Config
from hjepa.tuning import outcome as written
from hjepa.tuning import study, verdict, workers
from hjepa.tuning.objective import figure_of
from hjepa.tuning.outcome import Outcome
from hjepa.tuning.pictures import draw
from hjepa.tuning.ranking import winner
from hjepa.tuning.space import Params, Space, changed, value_at
from hjepa.tuning.strokes import Ground, Judging, choose, play
from hjepa.tuning.tuner import Report, Tuner

Hired = Callable[[workers.Work, Any], AbstractContextManager[workers.Workers]]


class Plan(NamedTuple):
    """What is tuned, and how much is played."""

    space: Space
    config: Config
    trials: int
    fresh: int  # strokes of the verdict

    @property
    def asked(self) -> dict[str, Any]:
        """What makes a study this one: another space, configuration, version or weights is another study."""
        playing = self.config.model_dump(mode="json", exclude={"task"})
        paths = {name: build.weights_path(self.config, name) for name in ("low", "high")}
        hashes = {n: hashlib.sha256(p.read_bytes()).hexdigest()[:16] for n, p in paths.items() if p.is_file()}
        return {"space": self.space.model_dump(mode="json"), "config": playing, "hjepa": __version__, "weights": hashes}

    @property
    def start(self) -> Params:
        """Values of the configuration itself."""
        return {key: value_at(self.config, key) for key in self.space.search}


def strokes_of(plan: Plan, judging: Judging | None = None) -> Ground:
    """The strokes of a study and of its verdict."""
    return choose(plan.config, plan.space.feed, plan.space.seed, plan.space.strokes, plan.fresh, judging)


def tune(
    plan: Plan,
    out: Path,
    hired: Hired,
    ground: Any,
    report: Report,
    judging: Callable[[], None] = lambda: None,
    work: workers.Work = play,
) -> Outcome:
    """Play a study in folder `out`, going on where a killed run was; `judging` is told before the fresh strokes.

    hired: who plays, as `workers.processes` or `workers.on_ray`. ground: what they share, as `strokes_of` gives it.
    work: what they do, as `strokes.play`.
    """
    figures = figure_of(plan.space.objectives, plan.space.score)
    with study.opened(out, plan.space, figures, plan.start, plan.asked) as ledger, hired(work, ground) as hands:
        trials = Tuner(plan.config, plan.space, ledger, hands).run(plan.trials, report)
        best = winner(trials, figures)
        found = None
        if best.params != trials[0].params:
            judging()
            config = changed(plan.config, best.params)
            both = verdict.play_both(config, plan.config, plan.fresh, plan.space.block, hands)
            found = verdict.judge(*both, figures, plan.space.seed)
        importance = {figure.name: ledger.importance(k) for k, figure in enumerate(figures)}
    return Outcome(plan.space, figures, trials, best, importance, found)


def write(folder: Path, outcome: Outcome, plan: Plan, base: Config, names: tuple[str, str], load_before: float) -> None:
    """All files of a study; base: the configuration by its name alone; names: of space and configuration."""
    changes = written.difference(changed(plan.config, outcome.winner.params), base)
    texts = {
        "best.yaml": written.best_yaml(outcome, changes, *names),
        "trials.csv": written.trials_csv(outcome.trials, outcome.figures, list(outcome.space.search)),
        "ranked.md": written.ranked_md(outcome),
        "report.json": written.report_json(outcome, plan.asked, changes, load_before),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    draw(folder, outcome)
