"""What a return costs in joint energy, as effort weighs more. Legend: S settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from hjepa.viewer.palette import INK, MARKERS, SERIES
from hjepa.viewer.pictures.paper import Picture, blank, sheet, soft


class Spot(NamedTuple):
    """A value and its interval in both directions: energy in J, return rate in percent."""

    name: str
    j: tuple[float, float, float]  # value, low, high; infinite without a return
    returned: tuple[float, float, float]


class Panel(NamedTuple):
    """One panel: curves of settings in their order, and single points beside them."""

    title: str
    energy: str  # what the energy is of, for the axis
    curves: Mapping[str, Sequence[Spot]]
    beside: Sequence[Spot]


def draw(panels: Sequence[Panel], says: str, note: str) -> Picture:
    """Return rate over energy, two panels in a row: left and up is better."""
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    with sheet("Effort and return", note, 6.6 * columns, 4.6 * rows + 0.6) as figure:
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(every, panels, strict=False):
            _panel(axes, panel)
    cells = [
        {"panel": panel.title, "of": panel.energy, "series": series, "setting": spot.name, **_cells(spot)}
        for panel in panels
        for series, spots in (*panel.curves.items(), ("beside", panel.beside))
        for spot in spots
    ]
    return Picture("effort", figure, says, cells)


def _panel(axes: Axes, panel: Panel) -> None:
    axes.set(title=panel.title, xlabel=f"joint energy of a {panel.energy}, J", ylabel="returned, %", ylim=(-4, 104))
    soft(axes)
    looks = iter(zip(SERIES, MARKERS, strict=True))
    shown = [spot for spots in (*panel.curves.values(), panel.beside) for spot in spots if math.isfinite(spot.j[0])]
    absent = [spot.name for spots in (*panel.curves.values(), panel.beside) for spot in spots if spot not in shown]
    for name, spots in panel.curves.items():
        colour, mark = next(looks)
        seen = [spot for spot in spots if spot in shown]
        axes.plot([s.j[0] for s in seen], [s.returned[0] for s in seen], color=colour, lw=1.4, label=name)
        for spot in seen:
            _spot(axes, spot, colour, mark)
            axes.annotate(spot.name, (spot.j[0], spot.returned[0]), xytext=(4, -11), textcoords="offset points",
                          fontsize=7.5, color=colour)  # fmt: skip
    for spot in panel.beside:
        colour, mark = next(looks)
        if spot in shown:
            _spot(axes, spot, colour, mark, spot.name)
    if absent:
        axes.text(0.99, 0.02, f"no return: {', '.join(absent)}", transform=axes.transAxes, ha="right", fontsize=8,
                  color=INK)  # fmt: skip
    if not shown:
        blank(axes, "nothing was returned")
        return
    values = [spot.j[0] for spot in shown]
    axes.set_xlim(0.85 * min(values), 1.15 * max(values))  # intervals may be endless
    axes.legend(loc="lower left", fontsize=8)


def _spot(axes: Axes, spot: Spot, colour: str, mark: str, name: str | None = None) -> None:
    x, y = spot.j, spot.returned
    right = x[2] if math.isfinite(x[2]) else x[0]
    across = [[max(0.0, x[0] - x[1])], [max(0.0, right - x[0])]]
    up = [[max(0.0, y[0] - y[1])], [max(0.0, y[2] - y[0])]]
    axes.errorbar(
        x[0], y[0], xerr=across, yerr=up, fmt=mark, color=colour, mec="white", mew=0.6, ms=7, elinewidth=0.8, label=name
    )


def _cells(spot: Spot) -> dict[str, float]:
    names = ("", "_lo", "_hi")
    energies = {f"energy_j{end}": value for end, value in zip(names, spot.j, strict=True)}
    return energies | {f"returned_percent{end}": value for end, value in zip(names, spot.returned, strict=True)}
