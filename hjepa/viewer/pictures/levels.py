"""What levels know while a stroke is played, how far they see ahead, and whether they know what an action changes.

Legend: Q quantities, L levels, T bins of time, k steps, P pairs of actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from hjepa.types import Array
from hjepa.viewer.palette import BLUE, FAINT, GREY, INK, MARKERS, ORANGE, PURPLE, SERIES
from hjepa.viewer.pictures.paper import Picture, sheet, soft
from hjepa.viewer.pictures.probes import ProbeTable, heat, key

COLOURS = {"low": BLUE, "high": ORANGE, "rally": PURPLE}
STYLES = {"linear": "--", "MLP": "-"}


class ByTime(NamedTuple):
    """One quantity, by time before the contact."""

    name: str
    unit: str
    r2: Mapping[tuple[str, str], Array]  # (level, probe): (T, 3) value, lo, hi; nan where there is none
    rmse: Mapping[tuple[str, str], Array]  # (T, 3)
    asked: Mapping[str, float]  # R2 by level that is asked for


class StepsAhead(NamedTuple):
    """One predictor."""

    name: str
    step: str  # what one is
    over_copy: Array  # (k, 3) squared error as a share of copy-last's: value, lo, hi


class Changed(NamedTuple):
    """One number of the outcome, second action minus first."""

    name: str
    unit: str
    predicted: Array  # (P,)
    simulated: Array  # (P,)
    says: str  # R2 and slope, in words


def draw_probes(tables: Mapping[str, ProbeTable], span_s: tuple[float, float], note: str) -> Picture:
    """A table for each kind of probe."""
    best = [
        f"{kind} {name}: {', '.join(t.asked[k] for k in np.flatnonzero(t.r2[:, j] > 0.9)) or 'nothing'}"
        for kind, t in tables.items()
        for j, name in enumerate(t.levels)
    ]
    first = next(iter(tables.values()))
    title = f"What each level knows {span_s[0]:g} to {span_s[1]:g} s before the contact"
    with sheet(title, note, 11.0, 0.42 * len(first.asked) + 2.2) as figure:
        panels = figure.subplots(1, len(tables), sharey=True)
        for axes, (kind, table) in zip(np.atleast_1d(panels), tables.items(), strict=True):
            shown = heat(axes, table)
            axes.set(title=f"{kind} probes", xlabel=f"fitted on {table.fitted} strokes, scored on {table.held} others")
        key(figure, shown, panels)
    rows = [
        {"quantity": name, "probe": kind, **dict(zip(table.levels, map(float, line), strict=True))}
        for kind, table in tables.items()
        for name, line in zip(table.asked, table.r2, strict=True)
    ]
    return Picture("levels_probes", figure, f"Read with R2 above 0.9 by {'; '.join(best)}", rows)


def draw_times(curves: Sequence[ByTime], edges_s: Sequence[float], note: str) -> Picture:
    """R2 above, the error in its unit below; time runs to the right, towards the contact."""
    middle = (np.array(edges_s[1:]) + np.array(edges_s[:-1])) / 2
    says = "Read of the low level at the contact and long before: " + "; ".join(
        f"{c.name} to {line[0, 0]:.3g} and {line[-1, 0]:.3g} {c.unit}"
        for c in curves
        for line in [c.rmse["low", "MLP"]]
    )
    with sheet("What is known as the contact comes nearer", note, 3.6 * len(curves) + 0.6, 6.2) as figure:
        panels = figure.subplots(2, len(curves), squeeze=False, sharex=True)
        for (above, below), c in zip(panels.T, curves, strict=True):
            above.set(title=c.name, ylim=(0.0, 1.03), xlim=(edges_s[-1], edges_s[0]))
            below.set(xlabel="time before the contact, s", ylabel=f"RMSE, {c.unit}")
            _lines(above, middle, c.r2)
            _lines(below, middle, c.rmse)
            for level, must in c.asked.items():
                above.axhline(must, color=COLOURS[level], lw=1.0, ls=":", label=f"asked of {level}")
            below.set_ylim(bottom=0.0)
        panels[0, 0].set_ylabel("R2")
        _legend(panels[0], curves)
    rows = [
        {"quantity": c.name, "level": level, "probe": kind, "before_s": float(middle[k]),
         "r2": float(c.r2[level, kind][k, 0]), "rmse": float(line[k, 0]), "unit": c.unit}
        for c in curves
        for (level, kind), line in c.rmse.items()
        for k in range(len(middle))
    ]  # fmt: skip
    return Picture("levels_time", figure, says, rows)


def _legend(panels: Sequence[Axes], curves: Sequence[ByTime]) -> None:
    """In a panel that has nothing to show, if there is one: where all moments of a bin are equally far from contact."""
    empty = [k for k, c in enumerate(curves) if not any(np.isfinite(line).any() for line in c.r2.values())]
    place = panels[empty[0] if empty else 0]
    words = "no R2: within a bin there is\nno difference to tell" if empty else None
    place.legend(*panels[0].get_legend_handles_labels(), loc="lower center", title=words, title_fontsize=9)


def _lines(axes: Axes, middle: Array, lines: Mapping[tuple[str, str], Array]) -> None:
    soft(axes)
    for (level, kind), line in lines.items():
        axes.plot(middle, line[:, 0], color=COLOURS[level], ls=STYLES[kind], lw=1.8, label=f"{level}, {kind}")
        if kind == "MLP":
            axes.fill_between(middle, line[:, 1], line[:, 2], color=COLOURS[level], alpha=0.15, lw=0)


def draw_steps(found: Sequence[StepsAhead], note: str) -> Picture:
    """A panel for each kind of step; below the line a prediction is better than saying that nothing changes."""
    kinds = list(dict.fromkeys(one.step for one in found))
    worse = [one.name for one in found if (one.over_copy[:, 0] > 1.0).any()]
    says = f"Worse than copy-last at some step: {', '.join(worse) or 'none'}"
    with sheet("Predictions k steps ahead, beside copy-last", note, 5.4 * len(kinds), 4.4) as figure:
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            soft(axes)
            mine = [one for one in found if one.step == kind]
            for one, colour, marker in zip(mine, SERIES, MARKERS, strict=False):
                k = np.arange(1, len(one.over_copy) + 1)
                gaps = np.abs(one.over_copy[:, 1:].T - one.over_copy[:, 0])
                axes.errorbar(
                    k, one.over_copy[:, 0], gaps, color=colour, marker=marker, lw=1.6, ms=5, capsize=2, label=one.name
                )
                axes.set_xticks(k)
            axes.axhline(1.0, color=INK, lw=1.2, ls="--", label="copy-last")
            axes.set(yscale="log", xlabel=f"steps ahead (one: {kind})", ylabel="squared error / copy-last's")
            axes.legend(loc="best")
    rows = [
        {"predictor": one.name, "step": one.step, "k": k + 1, "over_copy": float(v), "lo": float(lo), "hi": float(hi)}
        for one in found
        for k, (v, lo, hi) in enumerate(one.over_copy)
    ]
    return Picture("levels_steps", figure, says, rows)


def draw_actions(found: Sequence[Changed], note: str) -> Picture:
    """Simulated against predicted differences."""
    says = "; ".join(f"{one.name}: {one.says}" for one in found)
    title = "The same state, another action: what it changes"
    with sheet(title, note, 3.3 * len(found), 4.0) as figure:
        for axes, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            soft(axes)
            axes.set(title=one.name, xlabel=f"predicted difference, {one.unit}", box_aspect=1)
            far = 1.08 * max(float(np.abs([one.predicted, one.simulated]).max(initial=0.0)), 1e-3)
            axes.plot([-far, far], [-far, far], color=GREY, lw=1.0, ls="--")
            axes.plot(one.predicted, one.simulated, "o", color=BLUE, mec="white", mew=0.5, ms=5)
            axes.set(xlim=(-far, far), ylim=(-far, far))
            axes.locator_params(nbins=5)
            axes.text(0.04, 0.96, one.says, transform=axes.transAxes, va="top", color=FAINT, fontsize=9)
        figure.axes[0].set_ylabel("simulated difference")
    rows = [
        {"outcome": one.name, "unit": one.unit, "predicted": float(x), "simulated": float(y)}
        for one in found
        for x, y in zip(one.predicted, one.simulated, strict=True)
    ]
    return Picture("levels_actions", figure, says, rows)
