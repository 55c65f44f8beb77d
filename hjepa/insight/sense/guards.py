"""Guardrails inside the planner, off and on, over the same strokes: what the simulator saw that must not happen.

The driver's own guard is on in both. Every second stroke a person walks into the robot's half. A stroke counts once a
kind. Legend: N strokes, K kinds, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hjepa.evaluation.metrics import Interval, poisson, rate
from hjepa.insight.sense.asked import Asked, Found, Table
from hjepa.insight.sense.guards_played import KINDS, SIDES, Row, play
from hjepa.insight.sense.said import percent, shown
from hjepa.types import Array
from hjepa.viewer.pictures.guards import Bar, draw

STROKES, QUICK = 250, 3
PER = 1000  # strokes
RESAMPLES = 4000
WORDS = {
    "driver": "the driver's guard had to intervene",
    "torque": "a drive at its largest torque",
    "self": "self contact",
    "net": "racket in the net",
    "person": "inside a person's zone",
    "speed": "racket faster than allowed",
}
assert tuple(WORDS) == KINDS


class Pair(NamedTuple):
    """One stroke, played twice."""

    off: Row
    on: Row


def examine(asked: Asked) -> Found:
    """Violations per 1,000 strokes with planner guardrails off and on, and what they cost in returns."""
    count = asked.strokes or (QUICK if asked.quick else STROKES)
    off, on = play(asked, count)
    pairs = [Pair(*both) for both in zip(off, on, strict=True)]
    rng = np.random.default_rng(asked.config.task.seed)
    kinds = {kind: _kind(pairs, lambda row, kind=kind: row.broke[kind], rng) for kind in KINDS}  # type: ignore[misc]
    total = _kind(pairs, lambda row: sum(row.broke.values()), rng)
    returns = {name: _returns(some, rng) for name, some in _groups(pairs).items()}
    spent = {side: float(np.median([row.plan_ms for row in rows])) for side, rows in zip(SIDES, (off, on), strict=True)}
    figures = {
        "strokes": count,
        "with_person": sum(pair.on.person for pair in pairs),
        "per": PER,
        "kinds": kinds,
        "all": total,
        "returns": returns,
        "not_swung_at": {side: sum(r.gave_up for r in rows) for side, rows in zip(SIDES, (off, on), strict=True)},
        "plan_ms_p50": spent,
        "rows": [{side: row._asdict() for side, row in zip(SIDES, pair, strict=True)} for pair in pairs],
    }
    bars = [Bar(WORDS[k], *(kinds[k][s] for s in SIDES)) for k in KINDS] + [Bar("all", *(total[s] for s in SIDES))]
    note = f"{asked.name}, {count} strokes ({asked.config.task.feed}), the driver's own guard on in both"
    says = _says(total, returns["all"])
    return Found(figures, _tables(kinds, total, returns), [draw(bars, says, note)], says)


def _groups(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    return {
        "all": list(pairs),
        "without a person": [p for p in pairs if not p.on.person],
        "with a person": [p for p in pairs if p.on.person],
    }


def _kind(pairs: Sequence[Pair], count: Callable[[Row], int], rng: np.random.Generator) -> dict[str, Any]:
    """Counts, rates per 1,000 strokes, and their ratio with a paired bootstrap over strokes."""
    counts = np.array([[count(side) for side in pair] for pair in pairs], dtype=np.float64)  # (N, 2)
    out: dict[str, Any] = {}
    for side, column in zip(SIDES, counts.T, strict=True):
        found = poisson(int(column.sum()), len(pairs) / PER)
        out[side] = {"count": int(column.sum()), "rate": found.value, "lo": found.lo, "hi": found.hi}
    out["ratio"] = _ratio(counts, rng)
    return out


def _ratio(counts: Array, rng: np.random.Generator) -> dict[str, float | None]:
    """On over off (N, 2), strokes resampled; None where nothing happened in the off run."""
    off, on = counts.sum(axis=0)
    if off == 0:
        return {"value": None, "lo": None, "hi": None}
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES) @ counts  # (R, 2)
    kept = drawn[drawn[:, 0] > 0]
    lo, hi = np.quantile(kept[:, 1] / kept[:, 0], [0.025, 0.975])
    return {"value": float(on / off), "lo": float(lo), "hi": float(hi)}


def _returns(pairs: Sequence[Pair], rng: np.random.Generator) -> dict[str, Any]:
    """Return rates (Wilson), of all and of feasible strokes, and the paired difference on - off (bootstrap)."""
    if not pairs:
        return {"strokes": 0}
    out: dict[str, Any] = {"strokes": len(pairs), "feasible": sum(p.on.feasible for p in pairs)}
    for k, side in enumerate(SIDES):
        out[side] = _interval(rate(pair[k].returned for pair in pairs))
        out[f"{side}_feasible"] = _interval(rate(pair[k].returned for pair in pairs if pair.on.feasible))
    gain = np.array([float(p.on.returned) - float(p.off.returned) for p in pairs])
    drawn = rng.choice(gain, (RESAMPLES, len(gain))).mean(axis=1)
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    out["difference"] = _interval(Interval(float(gain.mean()), float(lo), float(hi)))
    return out


def _interval(x: Interval) -> dict[str, float]:
    return {"value": x.value, "lo": x.lo, "hi": x.hi}


def _says(total: dict[str, Any], returns: dict[str, Any]) -> str:
    off, on, gain = total["off"], total["on"], returns["difference"]
    return (
        f"Violations per {PER:,} strokes: {off['rate']:.0f} with the planner's guardrails off, {on['rate']:.0f} on; "
        f"return rate {100 * gain['value']:+.1f} points ({100 * gain['lo']:+.1f} to {100 * gain['hi']:+.1f})"
    )


def _tables(kinds: dict[str, Any], total: dict[str, Any], returns: dict[str, Any]) -> list[Table]:
    rows = [[WORDS[name], *_cells(kind)] for name, kind in kinds.items()] + [["all", *_cells(total)]]
    columns = ["violation", "off", "on", "on / off"]
    played = [
        [
            name,
            f"{found['strokes']} ({found['feasible']})",
            *(percent(found[key]) for key in ("off", "on", "off_feasible", "on_feasible", "difference")),
        ]
        for name, found in returns.items()
        if found["strokes"]
    ]
    heads = ["strokes", "n (feasible)", "returned, off", "on", "of the feasible, off", "on", "on - off, points"]
    return [
        Table(f"Violations per {PER:,} strokes (count; 95 %)", columns, rows),
        Table("Returned (95 %)", heads, played),
    ]


def _cells(found: dict[str, Any]) -> list[str]:
    sides = [
        f"{found[s]['rate']:.0f} ({found[s]['count']}; {found[s]['lo']:.0f} to {found[s]['hi']:.0f})" for s in SIDES
    ]
    ratio = found["ratio"]
    return [*sides, "-" if ratio["value"] is None else shown(ratio, 2)]
