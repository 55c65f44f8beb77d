"""Where the time of commands went, from the observation to the motion. Legend: N commands, L legs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hjepa.types import Array
from hjepa.viewer.palette import BLUE, FAINT, GREY, INK, MARKERS, SERIES, VERMILION
from hjepa.viewer.pictures.paper import Picture, sheet, soft

BINS = 40


class Ledgers(NamedTuple):
    """Legs of commands in the order they were actuated."""

    legs: tuple[str, ...]  # (L,)
    legs_ms: Array  # (N, L) nan where the graph lacks a stage
    whole_ms: Array  # (N,) observed -> actuated
    late: NDArray[np.bool_]  # (N,) actuated after it was due
    slack_ms: Array  # (N,) due minus actuated


def draw(found: Ledgers, note: str) -> Picture:
    """A waterfall of the usual command, how long the whole way takes, and every command in turn."""
    p50, p99 = np.quantile(found.whole_ms, [0.5, 0.99])
    says = (
        f"{len(found.whole_ms)} commands: from observation to motion {p50:.1f} ms in the median, "
        f"{p99:.1f} ms p99; {found.late.sum()} late"
    )
    with sheet(says, note, 13.0, 5.0) as figure:
        fall, spread, each = figure.subplots(1, 3, width_ratios=[1.2, 1.0, 1.2])
        _waterfall(fall, found)
        _histogram(spread, found, (p50, p99))
        _each(each, found)
    return Picture("ledger", figure, says, _rows(found))


def _waterfall(axes: Axes, found: Ledgers) -> None:
    """The legs' medians one after the other, with a whisker to each leg's p99."""
    start = 0.0
    for k, (name, ms) in enumerate(zip(found.legs, found.legs_ms.T, strict=True)):
        known = ms[np.isfinite(ms)]
        p50, p99 = np.quantile(known, [0.5, 0.99]) if len(known) else (0.0, 0.0)
        axes.barh(k, p50, left=start, color=SERIES[k], height=0.55)
        axes.plot([start + p50, start + p99], [k, k], color=INK, lw=1.2, marker="|", ms=9)
        text = f"{p50:.1f} ms, p99 {p99:.1f}" if len(known) else "this graph has no such stage"
        axes.text(start, k - 0.36, f"{name}: {text}", color=INK, va="bottom")
        start += p50
    axes.set(title="the usual command, leg by leg", xlabel="ms after the observation", yticks=[])
    axes.set_ylim(len(found.legs) - 0.5, -0.75)
    axes.set_xlim(0, max(1.1 * float(np.quantile(found.whole_ms, 0.99)), 1.6 * start))
    soft(axes)


def _histogram(axes: Axes, found: Ledgers, marks: tuple[float, float]) -> None:
    top = float(np.quantile(found.whole_ms, 0.995)) * 1.05
    edges = np.linspace(0.0, max(top, 1.0), BINS + 1)
    axes.hist(found.whole_ms.clip(max=edges[-1]), edges.tolist(), color=BLUE)
    for value, name, style in zip(marks, ("median", "p99"), ("-", "--"), strict=True):
        axes.axvline(value, color=INK, ls=style, lw=1.4, label=f"{name} {value:.1f} ms")
    axes.set(title="observed -> actuated", xlabel="ms (the last bar: that much or more)", ylabel="commands")
    low, high = axes.get_ylim()
    axes.set_ylim(low, 1.25 * high)
    axes.legend(loc="upper left", frameon=True, facecolor="white", edgecolor="none", framealpha=1.0)


def _each(axes: Axes, found: Ledgers) -> None:
    at = np.arange(len(found.whole_ms))
    shown = found.legs_ms.copy()
    ends = np.nancumsum(shown, axis=1)
    due = found.whole_ms + found.slack_ms
    most = 1.1 * float(np.quantile(np.r_[due, found.whole_ms], 0.98))  # what is beyond lies on this line
    for k, name in enumerate(found.legs):
        axes.plot(
            at, ends[:, k].clip(max=most), MARKERS[k], ms=4, color=SERIES[k], mew=0, label=name.partition(" -> ")[2]
        )
    axes.plot(at, due.clip(max=most), color=GREY, lw=0.9, ls=":", label="due")
    if found.late.any():
        late_ms = found.whole_ms[found.late].clip(max=most)
        axes.plot(at[found.late], late_ms, "X", color=VERMILION, ms=8, label="late", zorder=5)
    axes.set(title="every command: when each stage was done", xlabel="command", ylabel="ms after the observation")
    axes.set_ylim(0, 1.35 * most)  # room for the legend
    axes.legend(loc="upper left", ncols=3, markerscale=1.3, columnspacing=1.0, handletextpad=0.3)
    axes.spines["left"].set_color(FAINT)
    soft(axes)


def _rows(found: Ledgers) -> list[dict[str, object]]:
    return [
        {
            **{f"{name.replace(' -> ', '_to_')}_ms": float(ms) for name, ms in zip(found.legs, legs, strict=True)},
            "whole_ms": float(whole),
            "slack_ms": float(slack),
            "late": bool(late),
        }
        for legs, whole, slack, late in zip(found.legs_ms, found.whole_ms, found.slack_ms, found.late, strict=True)
    ]
