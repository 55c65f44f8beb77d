"""What a study leaves: the difference to the configuration, tables, and a report with where the figures come from."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import yaml

from hjepa.benches import host
from hjepa.config import Config
from hjepa.tuning.objective import FIGURES, Figure, mean
from hjepa.tuning.ranking import front, ranked
from hjepa.tuning.space import Params, Space
from hjepa.tuning.study import Trial
from hjepa.tuning.verdict import Verdict

MANAGED = "task"  # the section that tuning sets by itself


class Outcome(NamedTuple):
    """A study at its end. `verdict` is None where the winner is the configuration itself."""

    space: Space
    figures: tuple[Figure, ...]
    trials: list[Trial]
    winner: Trial
    importance: dict[str, dict[str, float]]  # objective -> key -> share
    verdict: Verdict | None

    @property
    def default(self) -> Trial:
        """Trial 0: the configuration as it is."""
        return self.trials[0]

    @property
    def said(self) -> str:
        """What the fresh strokes say of the winner, as a sentence."""
        if self.verdict is None:
            return "no trial beat the default on the strokes of the study: keep it"
        return f"trial {self.winner.number} {self.verdict.said}"


def difference(config: Config, base: Config) -> dict[str, Any]:
    """Keys of a configuration whose value differs from the base's, as nested sections; what is played is left out."""
    ours, theirs = config.model_dump(mode="json"), base.model_dump(mode="json")
    return {name: found for name, found in _different(ours, theirs).items() if name != MANAGED}


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in ours.items():
        if isinstance(value, Mapping):
            inner = _different(value, theirs[name])
            if inner:
                out[name] = inner
        elif value != theirs[name]:
            out[name] = value
    return out


def best_yaml(outcome: Outcome, changes: Mapping[str, Any], space: str, config: str) -> str:
    """The difference as a file for --set-file, with where it comes from as comments."""
    lines = [
        f"# What `hjepa tune {space} {config}` found: hjepa demo {config} --set-file THIS",
        f"# {outcome.said}.",
        f"# Trial {outcome.winner.number} of {len(outcome.trials)}; on the {outcome.space.strokes} "
        f"{outcome.space.feed} strokes of the study: {means(outcome.winner, outcome.figures)}",
        f"# (the default: {means(outcome.default, outcome.figures)})",
    ]
    body = yaml.safe_dump(dict(changes), sort_keys=False, allow_unicode=True) if changes else "{}\n"
    return "\n".join(lines) + "\n" + body


def means(trial: Trial, figures: Sequence[Figure]) -> str:
    """`return_rate 0.975, effort_j 901.2 J`."""
    parts = zip(figures, trial.objectives, strict=True)
    return ", ".join(f"{f.name} {number(v)}{' ' + f.unit if f.unit else ''}" for f, v in parts)


def number(value: float) -> str:
    """Four digits; a dash where there is none."""
    return f"{value:.4g}" if math.isfinite(value) else "-"


def trials_csv(trials: Sequence[Trial], figures: Sequence[Figure], keys: Sequence[str]) -> str:
    """One row a trial: its values, the means of all figures over the strokes it played, why it ended early."""
    names = list(dict.fromkeys([*(f.name for f in figures), *FIGURES]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", *keys, *names, "strokes", "wall_s", "reason"])
    for t in trials:
        values = [mean(t.values.get(name, ())) for name in names]
        strokes = max((len(v) for v in t.values.values()), default=0)
        cells = ["" if math.isnan(v) else f"{v:.6g}" for v in (*values, t.wall_s)]
        params = [t.params.get(key, "") for key in keys]
        writer.writerow([t.number, t.state, *params, *cells[:-1], strokes, cells[-1], t.reason])
    return out.getvalue()


def rows(trials: Sequence[Trial], figures: Sequence[Figure], keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the ranked table; a star marks the front where there are several objectives."""
    best = {t.number for t in front(trials, figures)} if len(figures) > 1 else set()
    header = ["rank", "trial", *(f.name for f in figures), *keys]
    table = []
    for rank, t in enumerate(ranked(trials, figures), 1):
        star = "*" if t.number in best else ""
        who = "0 (default)" if t.number == 0 else str(t.number)
        table.append([f"{rank}{star}", who, *map(number, t.objectives), *(_value(t.params, key) for key in keys)])
    return header, table


def _value(params: Params, key: str) -> str:
    value = params.get(key, "-")
    return number(value) if isinstance(value, float) else str(value)


def ranked_md(outcome: Outcome) -> str:
    """The ranked table and the verdict in Markdown."""
    header, table = rows(outcome.trials, outcome.figures, list(outcome.space.search))
    lines = ["# Study", "", f"{outcome.said[0].upper()}{outcome.said[1:]}.", ""]
    if outcome.verdict is not None:
        lines += [*_markdown(*verdict_rows(outcome.verdict)), ""]
    lines += ["## Trials, best first", ""]
    if len(outcome.figures) > 1:
        lines += ["A star marks the Pareto front.", ""]
    lines += [*_markdown(header, table), "", _counts(outcome.trials)]
    return "\n".join(lines) + "\n"


def verdict_rows(verdict: Verdict) -> tuple[list[str], list[list[str]]]:
    """Header and rows: each figure of winner and default on the fresh strokes, and the paired difference."""
    header = ["figure", "winner", "default", "difference (95 %)", ""]
    return header, [
        [
            f"{c.figure}{', ' + c.unit if c.unit else ''}{' (objective)' if c.objective else ''}",
            number(c.winner),
            number(c.default),
            f"{c.difference.value:+.3g} ({c.difference.lo:+.3g} to {c.difference.hi:+.3g})",
            c.said,
        ]
        for c in verdict.compared
    ]


def _markdown(header: Sequence[str], table: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *table)]


def _counts(trials: Sequence[Trial]) -> str:
    counts = counted(trials)
    return f"{counts['complete']} complete, {counts['pruned']} stopped early, {counts['fail']} failed."


def counted(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials ended in which way."""
    return {state: sum(t.state == state for t in trials) for state in ("complete", "pruned", "fail")}


def report_json(outcome: Outcome, asked: Mapping[str, Any], changes: Mapping[str, Any], load_before: float) -> str:
    """Everything a reader needs to repeat the study, and what came of it."""
    verdict = outcome.verdict
    found = {
        "asked": asked,
        "trials": counted(outcome.trials),
        "winner": {"trial": outcome.winner.number, "changes": changes, "params": outcome.winner.params},
        "on_tuned_strokes": {
            name: dict(zip((f.name for f in outcome.figures), t.objectives, strict=True))
            for name, t in (("winner", outcome.winner), ("default", outcome.default))
        },
        "said": outcome.said,
        "fresh": verdict,
        "importance": outcome.importance,
        "optuna": metadata.version("optuna"),
    }
    where = {**host.where(), "load": {"before": load_before, "after": host.load()}}
    return json.dumps(host.plain({**found, **where}), indent=1, allow_nan=False) + "\n"
