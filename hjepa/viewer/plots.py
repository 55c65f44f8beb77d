"""Still pictures of a run, in colours that stay apart for colour-blind eyes (Okabe & Ito 2008)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hjepa.evaluation.results import StrokeResult
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array
from hjepa.viewer.palette import BLUE, INK, TYPE_COLOURS, VERMILION
from hjepa.viewer.pictures.courts import half

TARGET, IN, LOST = "#AA4499", BLUE, VERMILION


def landings(path: Path, results: Sequence[StrokeResult]) -> None:
    """PNG: the opponent's half with targets and landings, and how the landing errors are distributed."""
    figure = Figure(figsize=(9.6, 6.4), dpi=125, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[1.18, 1.0])
    _court(left, results)
    _errors(right, results)
    returned = sum(r.returned for r in results)
    figure.suptitle(f"{returned} of {len(results)} strokes returned", fontsize=15, fontweight="bold", color=INK)
    figure.savefig(path)


def shots(path: Path, rallies: Sequence[Sequence[tuple[int, int, Array]]]) -> None:
    """PNG: where both sides' strokes were met or fell, by type: one map a side. Strokes are (side, type, (x, y))."""
    figure = Figure(figsize=(11.6, 6.4), dpi=125, layout="constrained")
    FigureCanvasAgg(figure)
    for side, axes in enumerate(figure.subplots(1, 2)):
        mine = [(kind, xy) for rally in rallies for who, kind, xy in rally if who == side]
        half(axes)
        for kind in sorted({kind for kind, _ in mine}):
            points = np.array([xy for k, xy in mine if k == kind])
            name, colour = TYPES[kind] if kind >= 0 else "unknown", TYPE_COLOURS[kind]
            label = f"{name} ({len(points)})"
            axes.plot(
                -points[:, 1], -points[:, 0], "o", color=colour, mec="white", mew=0.5, ms=6, alpha=0.85, label=label
            )
        axes.set_title(f"side {side + 1}: {len(mine)} strokes", color=INK)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False, fontsize=8)
    figure.suptitle("where the other side met it, or where it fell", fontsize=14, fontweight="bold", color=INK)
    figure.savefig(path)


def _court(axes: Axes, results: Sequence[StrokeResult]) -> None:
    """Opponent's half from above, net below: x upwards, y to the left as the robot sees it."""
    half(axes)
    axes.text(0, -0.30, "net", ha="center", va="top", color=INK)
    outside = 0
    for r in results:
        if not (r.hit and math.isfinite(r.landing_xy_m[0])):
            continue
        (lx, ly), (tx, ty) = r.landing_xy_m, r.target_xy_m
        if not (-1.2 < lx < 8.2 and abs(ly) < 3.7):
            outside += 1
            continue
        if math.isfinite(tx):
            axes.plot([ty, ly], [tx, lx], color=TARGET, lw=0.9, alpha=0.55, zorder=3)
            axes.plot(ty, tx, "o", mfc="none", mec=TARGET, mew=1.5, ms=9, zorder=4)
        if r.returned:
            axes.plot(ly, lx, "o", color=IN, mec="white", mew=0.7, ms=6.5, zorder=6)
        else:
            axes.plot(ly, lx, "X", color=LOST, mec="white", mew=0.7, ms=8.5, zorder=6)
    axes.set(
        xlim=(3.8, -3.8), ylim=(-1.35, 7.9), aspect="equal", xlabel="y, m (left of the robot is left)", ylabel="x, m"
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor="#5B6873")
    handles = [
        Line2D([], [], marker="o", ls="", mfc="none", mec=TARGET, mew=1.5, ms=9, label="target"),
        Line2D([], [], marker="o", ls="", color=IN, ms=6.5, label="landed, returned"),
        Line2D([], [], marker="X", ls="", color=LOST, ms=8.5, label="landed, lost"),
    ]
    axes.legend(handles=handles, loc="upper center", ncols=3, frameon=False, columnspacing=1.1, handletextpad=0.2)
    misses = sum(not r.hit for r in results)
    notes = [f"{misses} missed"] * (misses > 0) + [f"{outside} landed outside the picture"] * (outside > 0)
    axes.text(0, -0.95, ", ".join(notes), ha="center", va="top", color="#5B6873")


def _errors(axes: Axes, results: Sequence[StrokeResult]) -> None:
    """Share of hits that landed within a distance of their target."""
    errors = np.sort([r.landing_error_m for r in results if math.isfinite(r.landing_error_m)])
    axes.set(xlabel="distance of the landing to its target, m", ylabel="share of hits at most that far", ylim=(0, 1.02))
    axes.grid(color="#E3E8E6", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    if len(errors) == 0:
        axes.text(0.5, 0.5, "no stroke was hit", ha="center", va="center", transform=axes.transAxes, color="#5B6873")
        return
    limit = max(0.5, float(np.quantile(errors, 0.95)) * 1.15)
    share = np.arange(1, len(errors) + 1) / len(errors)
    axes.step(np.r_[0, errors, limit], np.r_[0, share, share[-1]], where="post", color=IN, lw=2.2)
    for q, name in ((0.5, "median"), (0.9, "90 %")):
        value = float(np.quantile(errors, q))
        axes.plot([value, value], [0, q], color=INK, lw=1, ls=":")
        axes.plot(value, q, "o", color=INK, ms=4.5)
        if value < 0.62 * limit:
            axes.annotate(f"{name} {value:.2f} m", (value, q), (9, -12), textcoords="offset points", color=INK)
        else:
            axes.annotate(
                f"{name} {value:.2f} m", (value, q), (-9, -12), textcoords="offset points", color=INK, ha="right"
            )
    axes.set_xlim(0, limit)
