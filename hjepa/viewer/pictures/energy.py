"""What a decision was chosen from: slices of the low level's energy, and the high level's candidates by term."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import SubFigure
from matplotlib.ticker import LogLocator

from hjepa.types import Array
from hjepa.viewer.palette import FAINT, INK, ORANGE, SEQUENTIAL, SERIES
from hjepa.viewer.pictures.paper import Picture, parts, sheet

LEVELS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # of the lines, above the plan's energy
TOP = 64.0  # of the colours, above the plan's energy
SHOWN = 12.0  # a candidate's bar is cut where it is so much above the cheapest one
HATCHES = ("", "//", "..", "xx", "--", "++", "\\\\", "oo")  # beside the colour


class Slice(NamedTuple):
    """The energy on a plane through the plan, which lies at 0, 0."""

    title: str
    across: str  # what is moved, with unit
    up: str
    x: Array  # (W,)
    y: Array  # (H,)
    energy: Array  # (H, W)


class Stacked(NamedTuple):
    """Candidates and the terms of their energies."""

    names: tuple[str, ...]  # (C,)
    terms: dict[str, Array]  # (C,) each; their sum is the energy, but for a constant
    chosen: int


class Landscape(NamedTuple):
    """One decision of both levels."""

    stroke: str  # which, in words
    energy: float  # of the low level's plan
    slices: tuple[Slice, ...]
    low: Stacked  # the plan alone, by term
    high: Stacked


def draw(found: Landscape, note: str) -> Picture:
    """Slices above, terms below."""
    says = f"{found.stroke}: {found.high.names[found.high.chosen]}; the motion found for it costs {found.energy:.2f}"
    with sheet(f"One decision. {says}", note, 13.0, 9.0) as figure:
        above, below = parts(figure, 2, 1, height_ratios=[1.12, 1.0])
        for axes, part in zip(above.subplots(1, len(found.slices)), found.slices, strict=True):
            _slice(above, axes, part, found.energy)
        left, right = below.subplots(1, 2, width_ratios=[1.5, 1.0])
        _candidates(left, found.high)
        _terms(right, found.low, found.energy)
    return Picture("energy", figure, says, _rows(found))


def _slice(figure: SubFigure, axes: Axes, part: Slice, energy: float) -> None:
    low, high = max(float(part.energy.min()), 1e-3), energy + TOP
    norm, shown = LogNorm(low, high), part.energy.clip(low, high)
    ground = axes.pcolormesh(part.x, part.y, shown, cmap=SEQUENTIAL, norm=norm, shading="gouraud", rasterized=True)
    lines = axes.contour(
        part.x, part.y, part.energy, levels=[energy + rise for rise in LEVELS], colors="white", linewidths=0.8
    )
    axes.clabel(lines, fmt=lambda value: f"+{value - energy:g}", fontsize=9)
    axes.plot(0, 0, "*", color=ORANGE, mec=INK, ms=15, label="the plan", zorder=5)
    axes.set(title=part.title, xlabel=part.across, ylabel=part.up)
    axes.set(xlim=(part.x[0], part.x[-1]), ylim=(part.y[0], part.y[-1]))
    bar = figure.colorbar(ground, ax=axes, pad=0.01, aspect=28)
    bar.outline.set_visible(False)
    bar.locator = LogLocator(10, subs=(1.0, 2.0, 5.0))
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bar.ax.yaxis.set_minor_formatter(lambda *_: "")
    bar.set_label("energy (lines: above the plan's)")


def _candidates(axes: Axes, found: Stacked) -> None:
    """Bars of every candidate's terms, cheapest at the top; each term counts from its cheapest candidate."""
    total = np.sum([*found.terms.values()], axis=0)
    order = np.argsort(total)[::-1]
    start = np.zeros(len(order))
    for k, (name, value) in enumerate(found.terms.items()):
        width = (value - value.min())[order]
        axes.barh(
            range(len(order)), width, left=start, color=SERIES[k], hatch=HATCHES[k], ec="white", lw=0.5, label=name
        )
        start = start + width
    end = min(float(start.max()), float(start.min()) + SHOWN)
    for place, whole in enumerate(start):
        beyond = " (cut)" if whole > end else ""
        axes.text(min(whole, end), place, f" {whole:.2f}{beyond}", va="center", color=INK)
    axes.set_xlim(0, 1.6 * end)  # room for the legend
    names = [found.names[k] for k in order]
    axes.set_yticks(range(len(names)), names)
    for tick, k in zip(axes.get_yticklabels(), order, strict=True):
        tick.set(color=INK, weight="bold" if k == found.chosen else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set(
        xlabel="energy, each term counted from its cheapest candidate",
        title="high level: the shots it weighed (bold: chosen)",
    )
    axes.legend(loc="center right", ncols=1)


def _terms(axes: Axes, found: Stacked, energy: float) -> None:
    names = list(found.terms)
    values = [float(value[found.chosen]) for value in found.terms.values()]
    axes.barh(range(len(names))[::-1], values, color=SERIES[0])
    for place, value in zip(range(len(names))[::-1], values, strict=True):
        axes.text(value, place, f" {value:.3f}", va="center", color=INK)
    axes.set_yticks(range(len(names))[::-1], names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlim(0, 1.18 * max(values))
    axes.set(xlabel="energy", title=f"low level: what the plan's {energy:.2f} is made of")
    axes.spines["left"].set_color(FAINT)


def _rows(found: Landscape) -> list[dict[str, object]]:
    """Terms of both levels, then the slices' points."""
    out: list[dict[str, object]] = []
    for level, part in (("high", found.high), ("low", found.low)):
        for term, values in part.terms.items():
            for name, value in zip(part.names, values, strict=True):
                out.append({"part": level, "name": name, "x": term, "y": "", "energy": float(value)})
    for plane in found.slices:
        for (row, column), value in np.ndenumerate(plane.energy):
            x, y = float(plane.x[column]), float(plane.y[row])
            out.append({"part": plane.title, "name": "", "x": x, "y": y, "energy": float(value)})
    return out
