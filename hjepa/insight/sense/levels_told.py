"""What `hjepa probe levels` found, as tables, pictures and figures. Legend: T bins of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from hjepa.evaluation.metrics import Interval
from hjepa.insight.sense import levels_actions
from hjepa.insight.sense.asked import Table
from hjepa.insight.sense.levels_actions import Agreement, Pairs
from hjepa.insight.sense.levels_embedded import CURVE_S, CURVES, LEVELS, SCORED_S, TRUTH, Curve, Drawn, Read
from hjepa.insight.sense.levels_played import UNITS, Side
from hjepa.insight.sense.levels_probes import Score
from hjepa.insight.sense.levels_steps import Ahead
from hjepa.types import Array
from hjepa.viewer.pictures import levels as drawn
from hjepa.viewer.pictures.paper import Picture
from hjepa.viewer.pictures.probes import ProbeTable

ASKED = {  # R2 that a level shall have, and the aim
    **{("low", what): (0.95, 0.99) for what in CURVES},
    ("high", "landing point"): (0.90, 0.97),
}


class Numbers(NamedTuple):
    """Everything that is found, before it is told."""

    fit: Side
    held: Side
    read: Read
    drawn: Drawn
    curves: dict[str, Curve]
    ahead: list[Ahead]
    pairs: Pairs
    changes: dict[str, Agreement]
    sizes: dict[str, int]


def tables(numbers: Numbers) -> list[Table]:
    """What is printed."""
    steps = dict.fromkeys(one.step for one in numbers.ahead)
    ahead = [_ahead_table([one for one in numbers.ahead if one.step == step]) for step in steps]
    return [*(_read_table(numbers, level) for level in (*LEVELS, TRUTH)), *ahead, _action_table(numbers)]


def _read_table(numbers: Numbers, level: str) -> Table:
    rows = []
    asked_of = [(what, scores) for what, scores in numbers.read.items() if level in scores]
    for what, scores in asked_of:
        r2, rmse = ([_cell(getattr(one, name)) for one in scores[level].values()] for name in ("r2", "rmse"))
        asked = ASKED.get((level, what))
        rows.append([f"{what}, {UNITS[what]}", *r2, *rmse, f"must {asked[0]:g}, aim {asked[1]:g}" if asked else ""])
    if level == TRUTH:
        one = numbers.drawn
        rows.append([f"time to contact, s: all but the oracle's draw known ({one.strokes} strokes played twice)", "",
                     _cell(one.r2), "", _cell(one.rmse), "at most, unless the arm tells"])  # fmt: skip
    fit, held = numbers.fit, numbers.held
    name = level if level == TRUTH else f"{level} level"
    words = (
        f"{name}, {SCORED_S[0]:g} to {SCORED_S[1]:g} s before the contact; scored on {held.hit} strokes of test "
        f"matches that the oracle hit (of {held.asked}), fitted on {fit.hit} of training matches (of {fit.asked})"
    )
    kinds = list(asked_of[0][1][level])
    return Table(
        words, ["quantity", *(f"{name}, {kind}" for name in ("R2", "RMSE") for kind in kinds), "R2 asked"], rows
    )


def _ahead_table(ahead: Sequence[Ahead]) -> Table:
    rows = [[f"{k + 1}", *(_cell(one.over_copy[k]) for one in ahead)] for k in range(len(ahead[0].over_copy))]
    worse = [one.name for one in ahead if max(v.value for v in one.over_copy) >= 1.0]
    words = (
        f"squared error k steps ahead ({ahead[0].step}) as a share of copy-last's, below 1: better; worse at some k: "
        f"{', '.join(worse) or 'none'}"
    )
    names = [f"{one.name} ({one.places[0]} places, {one.groups[0]} {_groups(one)})" for one in ahead]
    return Table(words, ["k", *names], rows)


def _groups(one: Ahead) -> str:
    return "strokes" if one.name.startswith("low") else "rallies"


def _action_table(numbers: Numbers) -> Table:
    rows = [
        [name, _cell(one.r2), _cell(one.correlation), _cell(one.slope), f"{one.spread:.3f} {unit}"]
        for (name, one), unit in zip(numbers.changes.items(), levels_actions.UNITS, strict=True)
    ]
    pairs = numbers.pairs
    words = (
        f"what another action changes, simulated against predicted: {int(pairs.hit.all(axis=1).sum())} pairs hit twice "
        f"of {len(pairs.hit)} played of {pairs.asked} strokes"
    )
    return Table(words, ["outcome", "R2", "correlation", "slope", "spread simulated"], rows)


def _cell(value: Interval) -> str:
    digits = 3 if abs(value.value) < 10 else 1
    return f"{value.value:.{digits}f} ({value.lo:.{digits}f} to {value.hi:.{digits}f})"


def pictures(numbers: Numbers, note: str) -> list[Picture]:
    """Probes, curves by time, steps ahead, differences by action; note: the small print."""
    tables = {
        kind: ProbeTable(
            tuple(numbers.read),
            LEVELS,
            tuple(numbers.sizes[level] for level in LEVELS),
            np.array([[scores[level][kind].r2.value for level in LEVELS] for scores in numbers.read.values()]),
            numbers.fit.hit,
            numbers.held.hit,
        )
        for kind in ("linear", "MLP")
    }
    x, y, both = numbers.pairs.change()
    changed = [
        drawn.Changed(name, unit, x[both, k], y[both, k], _agreement(one))
        for k, ((name, one), unit) in enumerate(zip(numbers.changes.items(), levels_actions.UNITS, strict=True))
    ]
    steps = [drawn.StepsAhead(one.name, one.step, _lines(one.over_copy)) for one in numbers.ahead]
    times = [_by_time(what, found) for what, found in numbers.curves.items()]
    return [
        drawn.draw_probes(tables, SCORED_S, note),
        drawn.draw_times(times, CURVE_S, note),
        drawn.draw_steps(steps, note),
        drawn.draw_actions(changed, note),
    ]


def _agreement(one: Agreement) -> str:
    return f"R2 {one.r2.value:.2f}, slope {one.slope.value:.2f}, n {one.pairs}"


def _by_time(what: str, found: Curve) -> drawn.ByTime:
    nothing = Interval(*[float("nan")] * 3)
    r2, rmse = (
        {
            (level, kind): _lines([nothing if one is None else getattr(one, name) for one in line])
            for level, kinds in found.items()
            for kind, line in kinds.items()
        }
        for name in ("r2", "rmse")
    )
    if what == "time to usual contact":  # within a bin all times are nearly the same
        r2 = {which: np.full_like(line, np.nan) for which, line in r2.items()}
    must = {
        level: bounds[0] for (level, name), bounds in ASKED.items() if name == what and name != "time to usual contact"
    }
    return drawn.ByTime(what, UNITS[what], r2, rmse, must)


def _lines(values: Sequence[Interval]) -> Array:
    return np.array([[v.value, v.lo, v.hi] for v in values])


def figures(numbers: Numbers) -> dict[str, Any]:
    """Everything, as JSON."""
    pairs = numbers.pairs
    return {
        "strokes": {side.split: {"played": side.asked, "hit": side.hit} for side in (numbers.fit, numbers.held)},
        "scored_s": SCORED_S,
        "asked": {f"{level}: {what}": {"must": m, "aim": a} for (level, what), (m, a) in ASKED.items()},
        "probes": {
            what: {level: {kind: _score(one) for kind, one in kinds.items()} for level, kinds in scores.items()}
            for what, scores in numbers.read.items()
        },
        "oracle_drawn_twice": numbers.drawn._asdict()
        | {"r2": asdict(numbers.drawn.r2), "rmse": asdict(numbers.drawn.rmse)},
        "curve_edges_s": CURVE_S,
        "curves": {
            what: {
                level: {kind: [one and _score(one) for one in line] for kind, line in kinds.items()}
                for level, kinds in found.items()
            }
            for what, found in numbers.curves.items()
        },
        "ahead": [
            one._asdict() | {"over_copy": [asdict(value) for value in one.over_copy]} for one in numbers.ahead
        ],
        "actions": {
            "strokes": pairs.asked,
            "pairs": len(pairs.hit),
            "hit": pairs.hit.sum(axis=0).tolist(),
            "hit_both": int(pairs.hit.all(axis=1).sum()),
            "changes": {name: _agreed(one) for name, one in numbers.changes.items()},
        },
    }  # fmt: skip


def _score(one: Score) -> dict[str, Any]:
    return one._asdict() | {"r2": asdict(one.r2), "rmse": asdict(one.rmse)}


def _agreed(one: Agreement) -> dict[str, Any]:
    return {name: asdict(value) if isinstance(value, Interval) else value for name, value in one._asdict().items()}


def says(numbers: Numbers) -> str:
    """What was asked for, and what there is."""

    def told(pair: tuple[str, str], bounds: tuple[float, float]) -> str:
        read = " / ".join(f"{score.r2.value:.3f}" for score in numbers.read[pair[1]][pair[0]].values())
        return f"{pair[0]} {pair[1]} {read} (must {bounds[0]:g}, aim {bounds[1]:g})"

    return f"R2, linear / MLP: {'; '.join(told(*item) for item in ASKED.items())}"
