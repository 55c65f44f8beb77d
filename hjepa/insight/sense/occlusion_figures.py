"""What an examination of occlusion found, as figures with intervals, as tables, and in a sentence.

Legend: N flights, H hidden spans, A instants at which is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from hjepa.evaluation.results import StrokeResult
from hjepa.insight.sense import occlusion_flights as sky
from hjepa.insight.sense import occlusion_landing as falls
from hjepa.insight.sense import occlusion_play as court
from hjepa.insight.sense.asked import Table
from hjepa.insight.sense.said import shown
from hjepa.types import Array

AFTER_MS = tuple(round(1e3 * slots * sky.SLOT_S) for slots in sky.AFTER)
PAIRS = (  # world, whose error, over whose
    ("nominal", falls.OURS, falls.TRUE),
    ("nominal", falls.OURS, falls.WINDOW),
    ("nominal", falls.OURS, falls.ESTIMATED),
    ("nominal", falls.ALONE, falls.TRUE),
    ("varied", falls.OURS, falls.NOMINAL),
    ("varied", falls.ALONE, falls.NOMINAL),
    ("varied", falls.OURS, falls.TRUE),
    ("varied", falls.OURS, falls.ESTIMATED),
    ("varied", falls.TOLD, falls.TRUE),
)
ANY = "50-400"  # all spans but the empty one together
SHOWN_MS = 200  # the sentence is about this span
TO_FLOOR_S = (0.25, 0.5, 1.0)  # edges of the time left to the floor
Rows = list[dict[str, Any]]


def figures(
    hidden_ms: Sequence[int],
    errors: Mapping[str, falls.Errors],
    played: Mapping[str, Mapping[court.Condition, Sequence[StrokeResult]]],
    seed: int,
) -> dict[str, Any]:
    """Everything, as JSON has it. played: agent -> what is hidden -> strokes."""
    return {
        "hidden_ms": list(hidden_ms),
        "landing": [row for world, found in errors.items() for row in _landing(world, hidden_ms, found)],
        "by_time_left": [row for world, found in errors.items() for row in _late(world, hidden_ms, found)],
        "against": [row for world, found in errors.items() for row in _against(world, hidden_ms, found)],
        "play": [_play(agent, one, made, seed) for agent, made in played.items() for one in made],
    }


def _landing(world: str, hidden_ms: Sequence[int], found: falls.Errors) -> Rows:
    cases = [(name, h, a) for name in found.m for h in range(len(hidden_ms)) for a in range(len(AFTER_MS))]
    rows = []
    for name, h, a in cases:
        errors = found.m[name][h, a]
        there = np.isfinite(found.m[falls.COPY][h, a])  # what copies is never at a loss
        fine = np.isfinite(errors)
        counts = {"flights": int(fine.sum()), "nothing_expected": int((there & ~fine).sum())}
        if name == falls.OURS:
            counts["never_down"] = int(found.aloft[h, a, there].sum())
        row = {"world": world, "estimator": name, "hidden_ms": hidden_ms[h], "seen_again_ms": AFTER_MS[a], **counts}
        row |= _spread(errors[fine])
        if not a and fine.any():  # the figures that are compared
            middle = falls.clustered(errors[None, fine], found.match[fine], falls.median)
            row |= {"median_lo_m": middle.lo, "median_hi_m": middle.hi}
        rows.append(row)
    return rows


def _spread(errors: Array) -> dict[str, float | None]:
    if not len(errors):
        return dict.fromkeys(("median_m", "mean_m", "p90_m"))
    middle, tail = np.quantile(errors, [0.5, 0.9])
    return {"median_m": float(middle), "mean_m": float(errors.mean()), "p90_m": float(tail)}


def _late(world: str, hidden_ms: Sequence[int], found: falls.Errors) -> Rows:
    """Errors by the time that is left to the floor, nothing seen since SHOWN_MS were hidden."""
    h = list(hidden_ms).index(SHOWN_MS)
    left = np.digitize(found.to_floor_s[h], TO_FLOOR_S)
    rows = []
    for k, low in enumerate((0.0, *TO_FLOOR_S)):
        high = TO_FLOOR_S[k] if k < len(TO_FLOOR_S) else None
        for name, errors in found.m.items():
            kept = errors[h, 0, (left == k) & np.isfinite(errors[h, 0])]
            row = {"world": world, "estimator": name, "hidden_ms": SHOWN_MS, "from_s": low, "to_s": high}
            rows.append(row | {"flights": len(kept)} | _spread(kept))
    return rows


def _against(world: str, hidden_ms: Sequence[int], found: falls.Errors) -> Rows:
    """The low level's error over a rival's, when nothing has arrived since the shuttle was hidden."""
    spans: dict[Any, list[int]] = {ms: [h] for h, ms in enumerate(hidden_ms)}
    spans[ANY] = [h for h, ms in enumerate(hidden_ms) if ms]
    rows = []
    for own, rival in ((own, rival) for where, own, rival in PAIRS if where == world):
        for span, at in spans.items():
            ours, theirs = (found.m[name][at, 0].ravel() for name in (own, rival))
            both, match = falls.paired(ours, theirs, np.tile(found.match, len(at)))
            row = {"world": world, "estimator": own, "rival": rival, "hidden_ms": span, "pairs": len(match)}
            if len(match):
                row["ratio_of_medians"] = asdict(falls.clustered(both, match, falls.medians_ratio))
                row["ratio_of_means"] = asdict(falls.clustered(both, match, falls.means_ratio))
            rows.append(row)
    return rows


def _play(
    agent: str, condition: court.Condition, made: Mapping[court.Condition, Sequence[StrokeResult]], seed: int
) -> dict[str, Any]:
    results = made[condition]
    shares = {name: asdict(value) for name, value in court.shares(results).items()}
    lost = {name: asdict(value) for name, value in court.lost(results, made[court.PLAIN], seed).items()}
    feasible = sum(r.feasible for r in results)
    counts = {"agent": agent, **condition._asdict(), "strokes": len(results), "feasible": feasible}
    before = {r.id: r.returned for r in made[court.PLAIN]}
    changed = {
        "returns_lost": sum(before[r.id] and not r.returned for r in results),
        "returns_gained": sum(r.returned and not before[r.id] for r in results),
    }
    return {**counts, **changed, "rates": shares, "points_lost": lost}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """As they are printed."""
    spans = [str(ms) for ms in found["hidden_ms"]]
    made = [_errors(found, world, spans) for world in falls.WORLDS]
    return [*made, _ratios(found, "medians"), _ratios(found, "means"), _again(found), _left(found), _strokes(found)]


def _errors(found: Mapping[str, Any], world: str, spans: Sequence[str]) -> Table:
    rows = []
    for name in falls.WORLDS[world]:
        mine = [r for r in found["landing"] if (r["world"], r["estimator"], r["seen_again_ms"]) == (world, name, 0)]
        rows.append([name, *(_metres(r, "median_m", "mean_m", "p90_m") for r in mine)])
    flights = max(r["flights"] for r in found["landing"] if r["world"] == world)
    title = f"Landing error (m: median, mean, 90 %) after so many ms hidden; {world} drag, {flights} flights"
    return Table(title, ["estimator", *spans], rows)


def _ratios(found: Mapping[str, Any], kind: str) -> Table:
    """kind: of 'medians' or 'means'."""
    rows = []
    for span in [*found["hidden_ms"], ANY]:
        cells = []
        for pair in PAIRS:
            mine = (r for r in found["against"] if (r["world"], r["estimator"], r["rival"]) == pair)
            row = next(r for r in mine if r["hidden_ms"] == span)
            cells.append(shown(row[f"ratio_of_{kind}"], 2) if row["pairs"] else "-")
        rows.append([str(span), *cells])
    title = f"Ratio of {kind} of the landing error, the low level's over a rival's, paired; 95 % intervals by match"
    return Table(title, ["hidden, ms", *(f"{world} drag: {own} / {rival}" for world, own, rival in PAIRS)], rows)


def _again(found: Mapping[str, Any]) -> Table:
    rows = []
    for world, names in falls.WORLDS.items():
        for name in names:
            mine = [
                r for r in found["landing"] if (r["world"], r["estimator"], r["hidden_ms"]) == (world, name, SHOWN_MS)
            ]
            rows.append([world, name, *(f"{_metres(r, 'median_m')} ({r['flights']})" for r in mine)])
    title = f"Median landing error (m; flights that last so long) when seen again for so many ms, {SHOWN_MS} ms hidden"
    return Table(title, ["drag", "estimator", *(str(ms) for ms in AFTER_MS)], rows)


def _left(found: Mapping[str, Any]) -> Table:
    edges = [0.0, *TO_FLOOR_S]
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"above {edges[-1]:g}"]
    rows = []
    for world, estimators in falls.WORLDS.items():
        for name in estimators:
            mine = [r for r in found["by_time_left"] if (r["world"], r["estimator"]) == (world, name)]
            rows.append([world, name, *(f"{_metres(r, 'median_m')} ({r['flights']})" for r in mine)])
    title = (
        f"Median landing error (m; flights) by the time left to the floor (s), {SHOWN_MS} ms hidden, nothing seen since"
    )
    return Table(title, ["drag", "estimator", *names], rows)


def _strokes(found: Mapping[str, Any]) -> Table:
    rows = []
    for r in found["play"]:
        rates = [shown(r["rates"][name], 1, 100.0) for name in ("hit", "returned", "returned, feasible")]
        lost = [shown(r["points_lost"][name], 1) if r["hidden_ms"] else "-" for name in ("hit", "returned")]
        lost[1] += f"; {r['returns_lost']} lost, {r['returns_gained']} gained" if r["hidden_ms"] else ""
        where = r["place"] if r["hidden_ms"] else "-"
        rows.append([r["agent"], str(r["hidden_ms"]), where, str(r["strokes"]), *rates, *lost])
    columns = ["agent", "hidden, ms", "where", "strokes", "hit, %", "returned, %", "of the feasible, %"]
    return Table(
        "Strokes with the shuttle hidden; points lost to the same strokes with nothing hidden",
        [*columns, "hits lost", "returns lost"],
        rows,
    )


def _metres(row: Mapping[str, Any], *names: str) -> str:
    return ", ".join(f"{row[name]:.3f}" if row["flights"] else "-" for name in names)


def says(found: Mapping[str, Any]) -> str:
    """The examination in a sentence."""
    ratio = next(
        r
        for r in found["against"]
        if (r["world"], r["estimator"], r["rival"], r["hidden_ms"]) == ("nominal", falls.OURS, falls.TRUE, SHOWN_MS)
    )
    case = ("hjepa", SHOWN_MS, court.MIDDLE)
    lost = next(r for r in found["play"] if (r["agent"], r["hidden_ms"], r["place"]) == case)
    return (
        f"{SHOWN_MS} ms hidden: the low level's landing error is {shown(ratio['ratio_of_medians'], 2)} times that of a "
        f"Kalman filter told the drag (medians, {ratio['pairs']} flights); agent hjepa loses "
        f"{shown(lost['points_lost']['returned'], 1)} points of its return rate ({lost['strokes']} strokes)"
    )
