"""The shuttle hidden in flight: landing error and returns lost against the hidden time, and one flight.

Legend: T slots in the air, n samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from hjepa.types import Array
from hjepa.viewer.palette import COURT, GREY, INK, MARKERS, SERIES
from hjepa.viewer.pictures.paper import Picture, sheet, soft

SLOT_S = 0.01


class Example(NamedTuple):
    """A flight with a part hidden, and what was expected of it when nothing had arrived since."""

    true_m: Array  # (T, 3) from the launch
    floor_m: Array  # (2,)
    seen_m: Array  # (n, 3) samples that were known
    hidden: tuple[int, int]  # slots: the first hidden one, the one at which is asked
    expected_m: Mapping[str, Array]  # estimator -> (any, 3) from about then on
    hidden_ms: int


def draw(figures: Mapping[str, Any], note: str) -> Picture:
    """Landing error by hidden time in both kinds of worlds, and returns lost. figures: as the examination has them."""
    rows = sorted(figures["landing"], key=lambda r: r["world"] != "varied")  # the clearest colours to what is compared
    estimators = list(dict.fromkeys(r["estimator"] for r in rows))
    with sheet("The shuttle hidden in flight", note, 15.0, 4.8) as figure:
        *worlds, play = figure.subplots(1, 3)
        worlds[1].sharey(worlds[0])
        for axes, world in zip(worlds, ("nominal", "varied"), strict=True):
            _errors(axes, world, figures["landing"], estimators)
        _lost(play, figures["play"])
        lines = {line.get_label(): line for axes in worlds for line in axes.get_lines()}
        shown = {str(name): lines[name] for name in estimators if name in lines}
        figure.legend(list(shown.values()), list(shown), loc="outside right upper", title="landing error of")
        figure.legend(*play.get_legend_handles_labels(), loc="outside right lower", title="returns lost by, hidden")
    return Picture("occlusion", figure, "landing error and returns lost against the hidden time", _rows(figures))


def _errors(axes: Axes, world: str, landing: Sequence[Mapping[str, Any]], estimators: Sequence[str]) -> None:
    rows = [r for r in landing if r["world"] == world and r["seen_again_ms"] == 0]
    soft(axes)
    for k, name in enumerate(estimators):
        mine = [r for r in rows if r["estimator"] == name and r["flights"]]
        x, y, lo, hi = ([r[key] for r in mine] for key in ("hidden_ms", "median_m", "median_lo_m", "median_hi_m"))
        again, turn = divmod(k, len(SERIES))  # more estimators than colours: the others are dashed
        color, style = SERIES[turn], "--" if again else "-"
        axes.fill_between(x, lo, hi, color=color, alpha=0.15, lw=0)
        axes.plot(x, y, style, color=color, marker=MARKERS[turn % len(MARKERS)], ms=6, lw=1.8, label=name)
    flights = max((r["flights"] for r in rows), default=0)
    what = "drag as usual" if world == "nominal" else "drag differs from flight to flight"
    axes.set(title=f"{what}, n = {flights}", xlabel="hidden, ms", ylabel="median landing error, m", yscale="log")


def _lost(axes: Axes, play: Sequence[Mapping[str, Any]]) -> None:
    soft(axes)
    axes.axhline(0.0, color=GREY, lw=0.8)
    agents = list(dict.fromkeys(r["agent"] for r in play))
    for n, (agent, place) in enumerate(dict.fromkeys((r["agent"], r["place"]) for r in play if r["hidden_ms"])):
        mine = [r for r in play if (r["agent"], r["place"]) == (agent, place) and r["hidden_ms"]]
        lost = [r["points_lost"]["returned"] for r in mine]
        y = np.array([one["value"] for one in lost])
        spread = np.abs(np.array([[one["lo"], one["hi"]] for one in lost]).reshape(-1, 2).T - y)
        x = np.array([r["hidden_ms"] for r in mine]) + 6.0 * n  # beside each other
        strokes = " or ".join(str(count) for count in sorted({r["strokes"] for r in mine}))
        k, first = agents.index(agent), place == play[0]["place"]
        line: dict[str, Any] = {
            "color": SERIES[k],
            "ls": "-" if first else "--",
            "mfc": SERIES[k] if first else "white",
        }
        name = f"{agent}, {place}, n = {strokes}"
        axes.errorbar(x, y, spread, marker=MARKERS[k], ms=6, lw=1.8, capsize=3, label=name, **line)
    axes.set(title="returns lost in play", xlabel="hidden, ms", ylabel="points of the return rate lost")


def _rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    landing = [
        {"what": f"landing error, {r['world']} drag", "who": r["estimator"], "hidden_ms": r["hidden_ms"],
         "n": r["flights"], "value": r["median_m"], "lo": r["median_lo_m"], "hi": r["median_hi_m"]}
        for r in figures["landing"] if r["seen_again_ms"] == 0 and r["flights"]
    ]  # fmt: skip
    play = [
        {
            "what": f"points of the return rate lost, {r['place']}",
            "who": r["agent"],
            "hidden_ms": r["hidden_ms"],
            "n": r["strokes"],
        }
        | r["points_lost"]["returned"]
        for r in figures["play"]
    ]
    return landing + play


def flight(example: Example, note: str) -> Picture:
    """One flight from the side: what was seen, what was hidden, and how it was expected to go on."""
    first, asked = example.hidden
    along = _along(example)
    with sheet(f"A flight of which {example.hidden_ms} ms were hidden", note, 10.0, 4.4) as figure:
        axes = figure.subplots()
        soft(axes)
        side = along(example.true_m)
        axes.axhline(0.0, color=INK, lw=1.2)
        axes.plot(*side.T, color=GREY, lw=1.2, label="true")
        axes.plot(*side[first : asked + 1].T, color=COURT, lw=9, solid_capstyle="butt", zorder=0.5)
        axes.plot(
            *side[first : asked + 1].T, color=GREY, lw=3.0, label="nothing known of it yet", solid_capstyle="butt"
        )
        axes.plot(*along(example.seen_m).T, ".", color=INK, ms=4, label="seen")
        for k, (name, path) in enumerate(example.expected_m.items()):
            ahead = along(_to_floor(path))
            axes.plot(*ahead.T, color=SERIES[k], lw=1.8, ls="--", label=name)
            axes.plot(*ahead[-1], MARKERS[k], color=SERIES[k], ms=8)
        landed = along(np.append(example.floor_m, 0.0)[None])[0]
        axes.plot(*landed, "x", color=INK, ms=9, mew=2, label="true landing")
        axes.set(xlabel="along the flight, m", ylabel="height, m")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    says = "seen, hidden and expected path of a shuttle; the flight has the low level's median error"
    return Picture("occlusion_flight", figure, says, _path_rows(example, along))


def _along(example: Example) -> Any:
    """A function of points (k, 3): (k, 2), distance along the flight's heading, and height."""
    start = example.true_m[0, :2]
    heading = (example.floor_m - start) / np.linalg.norm(example.floor_m - start)
    return lambda points: np.stack([(points[:, :2] - start) @ heading, points[:, 2]], axis=-1)


def _to_floor(path: Array) -> Array:
    """A path (k, 3) up to the floor."""
    down = np.flatnonzero(path[:, 2] <= 0.0)
    if not len(down) or down[0] == 0:
        return path
    above, below = path[down[0] - 1], path[down[0]]
    landed = above + above[2] / (above[2] - below[2]) * (below - above)
    return np.concatenate([path[: down[0]], landed[None]])


def _path_rows(example: Example, along: Any) -> list[dict[str, Any]]:
    paths = {"true": example.true_m, "seen": example.seen_m}
    paths |= {name: _to_floor(path) for name, path in example.expected_m.items()}
    return [
        {"path": name, "x_m": float(p[0]), "y_m": float(p[1]), "z_m": float(p[2]), "along_m": float(s[0])}
        for name, points in paths.items()
        for p, s in zip(points, along(points), strict=True)
    ]
