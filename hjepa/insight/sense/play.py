"""hjepa probe play: surprise at run time. False alarms in normal play, detection of what is wrong, what reacting saves.

Strokes of the test matches, played alone by the configured robot; play_strokes.py says how, and what is unsafe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hjepa.build import weights_path
from hjepa.errors import ConfigError, WeightsError
from hjepa.evaluation.metrics import Interval, poisson, quantile, rate
from hjepa.insight.sense.asked import Asked, Found, Table
from hjepa.insight.sense.parts import Parts, key_of
from hjepa.insight.sense.play_strokes import CASES, NORMAL, Kept, Row, opened, pairs
from hjepa.insight.sense.said import percent, shown
from hjepa.types import CALM, GRADES
from hjepa.viewer.pictures.alarms import Reaction, draw

STROKES, EACH = 400, 20  # normal ones, and of each case: about 12 minutes
EARLY_S = 0.3  # before the contact there would have been: something can still be done about it
RECALL = 0.95
RESAMPLES = 4000
Pair = tuple[Row, Row]


def examine(asked: Asked) -> Found:
    """False alarms a minute, detection, and return rate, unsafe motions and effort with reactions off and on."""
    if not asked.config.low.surprise.enabled:
        raise ConfigError("probe play: low.surprise.enabled is false; allowed: true, somebody has to watch")
    many = 2 if asked.quick else asked.strokes or STROKES
    each = 1 if asked.quick else max(2, round(many * EACH / STROKES))
    task = asked.config.task.model_copy(update={"strokes": many})
    config = asked.config.model_copy(update={"task": task})
    table = opened(config)
    if table.agents[True].low.reacting.watcher is None:  # type: ignore[attr-defined]  # a StrokePlanner
        raise WeightsError(
            f"'{weights_path(config, 'low')}' was never calibrated for surprise: train the low level again"
        )
    try:
        kept = Parts(asked.out / "play_parts", key_of(config, Row._fields)).rows("strokes")
        played = pairs(asked, table, Kept(kept), many, each)
    finally:
        table.world.close()
    return told(played, asked.name)


def told(played: Sequence[Pair], name: str) -> Found:
    """All figures from pairs of rows (not reacting, reacting)."""
    normal = [pair for pair in played if pair[0].case == NORMAL]
    cases = {c.name: [p for p in played if p[0].case == c.name] for c in CASES}
    cases = {case: rows for case, rows in cases.items() if rows}
    figures: dict[str, Any] = {"normal": _normal(normal), "cases": {}}
    for case, rows in cases.items():
        figures["cases"][case] = _detection(rows, normal) | _saved(rows)
    figures["all cases"] = _saved([pair for rows in cases.values() for pair in rows])
    early = [pair for rows in cases.values() for pair in rows if pair[0].left_s >= EARLY_S]
    figures["all cases, early"] = _saved(early) if early else None
    both = figures["all cases"]
    alarms = figures["normal"]["false_alarms_per_min"][GRADES[1]]
    says = (
        f"{shown(alarms, 2)} false alarms a minute of normal play; when something was wrong, "
        f"{percent(both['returned']['off'])} returned without reactions and {percent(both['returned']['on'])} with "
        f"them, {both['unsafe']['off']['count']} and {both['unsafe']['on']['count']} unsafe motions"
    )
    picture = draw([_reaction(case, figures["cases"][case], rows) for case, rows in cases.items()], name)
    return Found(figures, _tables(figures), [picture], says)


def _normal(rows: Sequence[Pair]) -> dict[str, Any]:
    minutes = sum(on.length_s for _, on in rows) / 60
    alarms = {
        grade: poisson(sum(g == k for _, on in rows for g in _reached(on)), minutes)
        for k, grade in enumerate(GRADES)
        if k > CALM
    }
    return {
        "strokes": len(rows),
        "minutes": minutes,
        "false_alarms_per_min": {grade: asdict(value) for grade, value in alarms.items()},
        "alarmed_strokes": sum(bool(on.rises) for _, on in rows),
    } | _saved(rows)


def _reached(row: Row) -> set[int]:
    """Every grade that was reached or passed: a stroke is a false alarm of each of them, once."""
    return set(range(1, max((grade for _, grade in row.rises), default=CALM) + 1))


def _detection(rows: Sequence[Pair], normal: Sequence[Pair]) -> dict[str, Any]:
    times = [on.noticed() for _, on in rows]
    threshold = float(np.quantile([off.score for off, _ in rows], 1 - RECALL))
    minutes = sum(off.length_s for off, _ in normal) / 60
    above = sum(off.score >= threshold for off, _ in normal)
    return {
        "strokes": len(rows),
        "detected": asdict(rate(np.isfinite(times))),
        "time_to_detection_s": {"median": _known(quantile(times, 0.5)), "p90": _known(quantile(times, 0.9))},
        "false_alarms_per_min_at_95_recall": asdict(poisson(above, minutes)) | {"count": above},
    }


def _saved(rows: Sequence[Pair]) -> dict[str, Any]:
    """Reactions off and on, and the paired difference, of what they are for."""
    asks: dict[str, Callable[[Row], bool]] = {
        "returned": lambda row: row.returned,
        "unsafe": lambda row: row.unsafe,
        "blind_swing": lambda row: row.blind,
        "over_net": lambda row: row.over_net,
    }
    out: dict[str, Any] = {}
    for name, ask in asks.items():
        flags = [[ask(row) for row in side] for side in zip(*rows, strict=True)]
        off, on = ({**asdict(rate(side)), "count": sum(side)} for side in flags)
        out[name] = {"off": off, "on": on, "difference": asdict(_difference(*flags))}
    efforts = [[row.effort_j for row in side] for side in zip(*rows, strict=True)]
    out["effort_j"] = {"off": float(np.mean(efforts[0])), "on": float(np.mean(efforts[1]))}
    out["effort_j"]["difference"] = asdict(_difference(*efforts))
    return out


def _known(value: float) -> float | None:
    """JSON has no nan."""
    return value if np.isfinite(value) else None


def _difference(off: Sequence[float], on: Sequence[float]) -> Interval:
    """Mean of on - off over strokes, bootstrapped over them."""
    d = np.array(on, dtype=np.float64) - np.array(off, dtype=np.float64)
    draws = np.random.default_rng(0).integers(len(d), size=(RESAMPLES, len(d)))
    lo, hi = np.quantile(d[draws].mean(axis=1), [0.025, 0.975])
    return Interval(float(d.mean()), float(lo), float(hi))


def _tables(figures: dict[str, Any]) -> list[Table]:
    normal = figures["normal"]
    title = f"normal play: {normal['strokes']} strokes, {normal['minutes']:.1f} min; false alarms a minute"
    alarms = Table(title, list(GRADES[1:]), [[shown(v, 2) for v in normal["false_alarms_per_min"].values()]])
    found, rows = [], [[NORMAL, *_saved_cells(normal)]]
    for case, f in figures["cases"].items():
        times = (f["time_to_detection_s"][q] for q in ("median", "p90"))
        ms = ["-" if s is None else f"{1e3 * s:.0f}" for s in times]
        at_recall = shown(f["false_alarms_per_min_at_95_recall"], 2)
        found.append([case, str(f["strokes"]), percent(f["detected"]), *ms, at_recall])
        rows.append([case, *_saved_cells(f)])
    rows.append(["all that is wrong", *_saved_cells(figures["all cases"])])
    if figures["all cases, early"]:
        rows.append([f"the same, {EARLY_S:g} s or more before the contact", *_saved_cells(figures["all cases, early"])])
    noticed = ["what is wrong", "strokes", "noticed", "ms, median", "ms, p90", "false alarms/min at 95 % recall"]
    saved = ["what is wrong", "returned, off", "returned, on", "difference, points", "unsafe", "effort, J"]
    return [alarms, Table("noticed", noticed, found), Table("reactions off and on", saved, rows)]


def _saved_cells(f: dict[str, Any]) -> list[str]:
    d, unsafe, effort = f["returned"]["difference"], f["unsafe"], f["effort_j"]
    return [
        *(percent(f["returned"][side]) for side in ("off", "on")),
        shown(d, 1, 100.0, signed=True),
        f"{unsafe['off']['count']} to {unsafe['on']['count']}",
        f"{effort['off']:.0f} to {effort['on']:.0f}",
    ]


def _reaction(case: str, f: dict[str, Any], rows: Sequence[Pair]) -> Reaction:
    bars = [tuple(f["returned"][side][k] for k in ("value", "lo", "hi")) for side in ("off", "on")]
    return Reaction(case, bars[0], bars[1], tuple(on.noticed() for _, on in rows))
