"""What an examination of occlusion found, as figures with intervals, as tables, and in a sentence.

Legend: N flights, H hidden spans, A instants at which is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hjepa.evaluation.metrics import Interval, quantile
from hjepa.evaluation.results import StrokeResult
from hjepa.insight.sense import occlusion_flights as sky
from hjepa.insight.sense import occlusion_landing as falls
from hjepa.insight.sense import occlusion_play as court
from hjepa.insight.sense.asked import Table

AFTER_MS = tuple(round(1e3 * slots * sky.SLOT_S) for slots in sky.AFTER)
PAIRS = (  # world, whose error, over whose
    ("nominal", falls.OURS, falls.TRUE),
    ("nominal", falls.OURS, falls.WINDOW),
    ("nominal", falls.OURS, falls.ESTIMATED),
    ("varied", falls.OURS, falls.NOMINAL),
    ("varied", falls.OURS, falls.TRUE),
    ("varied", falls.OURS, falls.ESTIMATED),
    ("varied", falls.TOLD, falls.TRUE),
)
ANY = "50-400"  # all spans but the empty one together
SHOWN_MS = 200  # the sentence is about this span
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
        "against": [row for world, found in errors.items() for row in _against(world, hidden_ms, found)],
        "play": [_play(agent, one, made, seed) for agent, made in played.items() for one in made],
    }


def _landing(world: str, hidden_ms: Sequence[int], found: falls.Errors) -> Rows:
    rows = []
    for name, errors in found.m.items():
        for h, ms in enumerate(hidden_ms):
            for a, after in enumerate(AFTER_MS):
                fine = np.isfinite(errors[h, a])
                kept = errors[h, a, fine]
                row = {"world": world, "estimator": name, "hidden_ms": ms, "seen_again_ms": after, "flights": len(kept)}
                row["no_landing"] = int((~fine & np.isfinite(found.m[falls.COPY][h, a])).sum())
                values = {"median_m": quantile(kept, 0.5), "mean_m": _mean(kept), "p90_m": quantile(kept, 0.9)}
                if not after and len(kept):  # the figures that are compared
                    spread = falls.clustered(kept[None], found.match[fine], falls.median)
                    values |= {"median_lo_m": spread.lo, "median_hi_m": spread.hi}
                rows.append(row | values)
    return rows


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


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
    return {**counts, "rates": shares, "points_lost": lost}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """As they are printed."""
    spans = [str(ms) for ms in found["hidden_ms"]]
    made = [_errors(found, world, spans) for world in falls.WORLDS]
    return [*made, _ratios(found, "medians"), _ratios(found, "means"), _again(found), _strokes(found)]


def _errors(found: Mapping[str, Any], world: str, spans: Sequence[str]) -> Table:
    rows = []
    for name in falls.WORLDS[world]:
        mine = [r for r in found["landing"] if (r["world"], r["estimator"], r["seen_again_ms"]) == (world, name, 0)]
        rows.append([name, *(f"{r['median_m']:.3f}, {r['mean_m']:.3f}, {r['p90_m']:.3f}" for r in mine)])
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
            rows.append([world, name, *(f"{r['median_m']:.3f} ({r['flights']})" for r in mine)])
    title = f"Median landing error (m; flights that last so long) when seen again for so many ms, {SHOWN_MS} ms hidden"
    return Table(title, ["drag", "estimator", *(str(ms) for ms in AFTER_MS)], rows)


def _strokes(found: Mapping[str, Any]) -> Table:
    rows = []
    for r in found["play"]:
        rates = [shown(r["rates"][name], 1, 100.0) for name in ("hit", "returned", "returned, feasible")]
        lost = [shown(r["points_lost"][name], 1) if r["hidden_ms"] else "-" for name in ("hit", "returned")]
        where = r["place"] if r["hidden_ms"] else "-"
        rows.append([r["agent"], str(r["hidden_ms"]), where, str(r["strokes"]), *rates, *lost])
    columns = ["agent", "hidden, ms", "where", "strokes", "hit, %", "returned, %", "of the feasible, %"]
    return Table(
        "Strokes with the shuttle hidden; points lost to the same strokes with nothing hidden",
        [*columns, "hits lost", "returns lost"],
        rows,
    )


def shown(interval: Mapping[str, float] | Interval, digits: int, scale: float = 1.0) -> str:
    """A figure with its interval."""
    value = interval if isinstance(interval, Mapping) else asdict(interval)
    x, lo, hi = (scale * value[name] for name in ("value", "lo", "hi"))
    return f"{x:.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f})"


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
