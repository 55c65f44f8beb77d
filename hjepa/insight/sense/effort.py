"""What a return costs: joint energy against return rate as effort weighs more, and the compute of a decision.

The planner's weights `effort` and `haste` are multiplied, effort alone and both together; every setting and every rival
plays the same strokes of the configuration's matches with the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hjepa.benches import host
from hjepa.config import Config
from hjepa.evaluation.metrics import Interval
from hjepa.insight import origin
from hjepa.insight.sense.asked import Asked, Found, Table
from hjepa.insight.sense.effort_cost import compute_table, computed
from hjepa.insight.sense.effort_curve import Costs, Equal, Point
from hjepa.insight.sense.effort_play import Setting, Stroke, kept, play
from hjepa.insight.sense.said import percent, shown
from hjepa.viewer.pictures import effort as picture

STROKES, QUICK_STROKES = 60, 2
FACTORS, QUICK_FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), (1.0, 16.0)
RIVALS = ("reactive", "coded-goal", "classical", "oracle")
USUAL = "hjepa x1"  # the weights as configured: not chosen for this table
ALONE, BOTH = "effort alone", "effort and haste"


def examine(asked: Asked) -> Found:
    """Play every setting and rival, or read the parts that are there, and compare them."""
    count = asked.strokes or (QUICK_STROKES if asked.quick else STROKES)
    task = asked.config.task.model_copy(update={"strokes": count})
    config = asked.config.model_copy(update={"task": task})
    curves = sweeps(QUICK_FACTORS if asked.quick else FACTORS)
    settings = {s.name: s for curve in curves.values() for s in curve} | {n: Setting(n, n) for n in RIVALS}
    parts = _all_parts(asked, config, list(settings.values()))
    feasible = {name: [s for s in strokes if s.feasible] for name, strokes in parts.items()}
    groups = {"all strokes": parts} | ({"feasible strokes": feasible} if feasible[USUAL] else {})
    names = {name: [s.name for s in curve] for name, curve in curves.items()}
    compared = {title: _compared(group, names, config.task.seed) for title, group in groups.items()}
    compute = computed(config, {name: parts[name] for name in (USUAL, *RIVALS)}, asked.quick)
    figures = {
        "strokes": count,
        "feasible": len(feasible[USUAL]),
        "settings": {name: setting._asdict() for name, setting in settings.items()},
        **compared,
        "compute": compute,
        "machine": origin.machine(),
    }
    first = compared["all strokes"]
    note = origin.small_print(config, asked.name)
    pictures = [picture.draw(_panels(compared, curves), _says(first), note)]
    tables = [*_tables(compared), compute_table(compute)]
    return Found(host.plain(figures), tables, pictures, _says(first))


def sweeps(factors: Sequence[float]) -> dict[str, list[Setting]]:
    """Settings of hjepa by curve, in the order of their factor; both curves pass through the configured weights."""
    alone = [Setting(USUAL if f == 1.0 else f"hjepa effort x{f:g}", "hjepa", f) for f in factors]
    both = [Setting(USUAL if f == 1.0 else f"hjepa both x{f:g}", "hjepa", f, f) for f in factors]
    return {ALONE: alone, BOTH: both}


def _all_parts(asked: Asked, config: Config, settings: Sequence[Setting]) -> dict[str, list[Stroke]]:
    """Strokes by setting, played where they are not there yet."""
    parts: dict[str, list[Stroke]] = {}
    total, folder = len(settings) * config.task.strokes, asked.out / "effort_parts"
    for k, setting in enumerate(settings):
        done = k * config.task.strokes

        def progress(strokes: int, _: int, done: int = done, name: str = setting.name) -> None:
            asked.progress(name, done + strokes, total)

        def played(setting: Setting = setting, progress: Callable[[int, int], None] = progress) -> list[Stroke]:
            return play(setting, config, progress)

        parts[setting.name] = kept(folder, setting, config, played)
        progress(config.task.strokes, 0)
    return parts


def _compared(parts: Mapping[str, list[Stroke]], curves: Mapping[str, Sequence[str]], seed: int) -> dict[str, Any]:
    """All comparisons over some strokes; values of effort_curve, by name."""
    costs = Costs(parts, seed)
    every = list(dict.fromkeys(name for names in curves.values() for name in names))
    return {
        "points": {name: costs.point(name) for name in parts},
        "usual_against": {name: costs.ratio(USUAL, name) for name in RIVALS},
        "at_equal_rate": {name: costs.at_equal_rate(every, name) for name in RIVALS},
    }


POINTS = ("setting", "returns", "returned", "energy of a stroke", "until the contact", "energy of a return")
AGAINST = (
    "rival", f"{USUAL}: stroke's energy over its", f"{USUAL}: return's energy over its", f"{USUAL}: points ahead",
    "at its return rate: least energy of a stroke over its", "with",
)  # fmt: skip


def _tables(compared: Mapping[str, Any]) -> list[Table]:
    """Every setting's place, and the comparisons."""
    made = []
    for title, found in compared.items():
        points: Mapping[str, Point] = found["points"]
        rows = [
            [
                name,
                f"{p.returns} of {p.strokes}",
                *(percent(p.returned), _joules(p.stroke_j), _joules(p.before_j), _joules(p.return_j)),
            ]
            for name, p in points.items()
        ]
        made.append(Table(f"Effort and return, {title}", POINTS, rows))
        pairs = {name: (found["usual_against"][name], found["at_equal_rate"][name]) for name in RIVALS}
        against = [
            [
                name,
                _share(usual.per_stroke),
                _share(usual.per_return),
                shown(usual.rate_difference, 1, 100.0, signed=True),
                _share(equal.ratio),
                _mix(equal),
            ]
            for name, (usual, equal) in pairs.items()
        ]
        made.append(Table(f"Against rivals, {title}", AGAINST, against))
    return made


def _says(found: Mapping[str, Any]) -> str:
    """The sentence under the tables."""
    usual, equal = found["usual_against"], found["at_equal_rate"]
    parts = [
        f"{_share(equal[name].ratio)} of what {name} spends on a stroke at its return rate "
        f"(configured weights: {_share(usual[name].per_stroke)})"
        for name in ("reactive", "classical", "oracle")
    ]
    return f"hjepa spends {'; '.join(parts)}"


def _panels(compared: Mapping[str, Any], curves: Mapping[str, Sequence[Setting]]) -> list[picture.Panel]:
    made = []
    for title, found in compared.items():
        points: Mapping[str, Point] = found["points"]
        for of in ("return", "stroke"):
            drawn = {
                name: [_spot(_factor(s, name), points[s.name], of) for s in curve] for name, curve in curves.items()
            }
            made.append(picture.Panel(title, of, drawn, [_spot(name, points[name], of) for name in RIVALS]))
    return made


def _factor(setting: Setting, curve: str) -> str:
    return f"x{setting.effort:g}" if curve == ALONE or setting.name != USUAL else ""


def _spot(name: str, point: Point, of: str) -> picture.Spot:
    energy = point.return_j if of == "return" else point.stroke_j
    returned = point.returned
    percent = (100 * returned.value, 100 * returned.lo, 100 * returned.hi)
    return picture.Spot(name, (energy.value, energy.lo, energy.hi), percent)


def _joules(energy: Interval) -> str:
    if not math.isfinite(energy.value):
        return "no return"
    return f"{energy.value:,.0f} J ({energy.lo:,.0f} to {energy.hi:,.0f})"


def _share(ratio: Interval) -> str:
    if not math.isfinite(ratio.value):
        return "not reached" if math.isinf(ratio.value) else "-"
    return shown(ratio, 2)


def _mix(equal: Equal) -> str:
    return " and ".join(equal.settings) or "-"
