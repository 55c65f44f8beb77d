"""Where the robot's strokes landed, beside where they were meant to. Legend: N hits with a landing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from hjepa.evaluation.results import StrokeResult
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array
from hjepa.viewer.palette import BLUE, FAINT, GREY, INK, PURPLE, TYPE_COLOURS, TYPE_MARKERS, VERMILION
from hjepa.viewer.pictures import courts
from hjepa.viewer.pictures.paper import Picture, blank, label, sheet, soft

SHARES = (0.5, 0.95)  # of a normal distribution within the ellipses
FEW = 5  # hits that an ellipse needs
GROUND_M = ((-1.4, -3.6), (7.8, 3.6))  # x, y that the court's panel shows; landings beyond are put on its edge
FAR_M = 1.0  # misses of the target beyond this are put on the edge of the panel


def draw(results: Sequence[StrokeResult], note: str) -> Picture:
    """The opponent's half, the misses as vectors with ellipses, and their size by shot type."""
    hits = [r for r in results if math.isfinite(r.landing_error_m)]
    returned = sum(r.returned for r in results)
    median = f", {np.median([r.landing_error_m for r in hits]):.2f} m from the target in the median" if hits else ""
    says = f"{returned} of {len(results)} strokes returned{median}"
    with sheet(says, note, 13.0, 5.4) as figure:
        court, vectors, kinds = figure.subplots(1, 3, width_ratios=[0.9, 1.0, 1.05])
        _court(court, hits)
        _vectors(vectors, hits)
        _kinds(kinds, hits)
    return Picture("landing", figure, says, _rows(results))


def _court(axes: Axes, hits: Sequence[StrokeResult]) -> None:
    courts.half(axes)
    axes.set(
        xlabel="y, m (the robot's left is left)",
        ylabel="x, m (net at 0)",
        title=f"targets and landings, n = {len(hits)}",
    )
    target, landed = _points(hits, "target_xy_m"), _points(hits, "landing_xy_m").clip(*GROUND_M)
    axes.plot(*(np.stack([target[:, k], landed[:, k]]) for k in (1, 0)), color=PURPLE, lw=0.9, zorder=3)
    good = np.array([r.returned for r in hits], dtype=bool)
    axes.plot(target[:, 1], target[:, 0], "o", mfc="none", mec=PURPLE, mew=1.4, ms=9, zorder=4, label="target")
    axes.plot(landed[good, 1], landed[good, 0], "o", color=BLUE, mec="white", mew=0.6, ms=6, zorder=6, label="returned")
    lost = axes.plot(landed[~good, 1], landed[~good, 0], "X", color=VERMILION, mec="white", mew=0.6, ms=9, zorder=6)
    lost[0].set_label("lost")
    axes.set_ylim(GROUND_M[0][0] - 0.2, GROUND_M[1][0] + 0.2)
    axes.legend(loc="lower center", ncols=3, handletextpad=0.2, columnspacing=1.0)  # there is room below the net


def _vectors(axes: Axes, hits: Sequence[StrokeResult]) -> None:
    """Landing minus target, with the ellipses of a normal distribution about their mean."""
    axes.set(xlabel="too far to the left or right, m", ylabel="too short or too long, m", title="landing minus target")
    soft(axes)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.axvline(0, color=GREY, lw=0.8)
    ticks = np.arange(-1.0, 1.1, 0.5)
    axes.set(xlim=(1.1, -1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=ticks, yticks=ticks)
    if not hits:
        blank(axes, "no stroke was hit")
        return
    gap = _points(hits, "landing_xy_m") - _points(hits, "target_xy_m")
    far = (np.abs(gap) > FAR_M).any(axis=1)
    edge = gap.clip(-FAR_M, FAR_M)
    axes.plot(
        gap[~far, 1], gap[~far, 0], "o", color=BLUE, mec="white", mew=0.6, ms=6, label=f"a hit (n = {(~far).sum()})"
    )
    if far.any():
        axes.plot(
            edge[far, 1],
            edge[far, 0],
            "X",
            color=VERMILION,
            ms=8,
            label=f"beyond the panel (n = {far.sum()})",
        )
    near = gap[~far]
    if len(near) >= FEW:
        for share, style in zip(SHARES, ("-", "--"), strict=True):
            axes.add_patch(ellipse(near, share, ls=style, label=f"{100 * share:.0f} % of a normal distribution"))
    axes.legend(loc="upper left", handletextpad=0.5, borderpad=0.2)


def ellipse(gap: Array, share: float, **look: Any) -> Ellipse:
    """Around points (N, 2: x up, y left), holds a share of the normal distribution with their mean and covariance."""
    values, vectors = np.linalg.eigh(np.cov(gap.T))
    size = 2.0 * np.sqrt(values.clip(min=0.0) * -2.0 * math.log(1.0 - share))
    angle = math.degrees(math.atan2(vectors[0, 1], vectors[1, 1]))  # of the longer axis, from y (drawn across)
    x, y = gap.mean(axis=0)
    return Ellipse((y, x), size[1], size[0], angle=angle, fill=False, ec=INK, lw=1.5, **look)


def _kinds(axes: Axes, hits: Sequence[StrokeResult]) -> None:
    """Every hit's distance from its target, in a row for its commanded type."""
    names = sorted({r.commanded_type or "none named" for r in hits})
    axes.set(xlabel="distance from the target, m (log scale)", title="by the shot that was chosen", xscale="log")
    soft(axes)
    if not names:
        axes.set_yticks([])
        blank(axes, "no stroke was hit")
        return
    for k, name in enumerate(names):
        errors = np.array([max(r.landing_error_m, 0.01) for r in hits if (r.commanded_type or "none named") == name])
        spread = (np.arange(len(errors)) % 5 - 2) * 0.07
        kind = TYPES.index(name) if name in TYPES else -1
        axes.plot(errors, k + spread, TYPE_MARKERS[kind], color=TYPE_COLOURS[kind], mec=INK, mew=0.4, ms=7, alpha=0.9)
        middle = float(np.median(errors))
        axes.plot([middle, middle], [k - 0.3, k + 0.3], color=INK, lw=2)
        label(axes, middle, k + 0.36, f"median {middle:.2f} m", ha="center", va="bottom", fontsize=9)
    counts = [sum((r.commanded_type or "none named") == name for r in hits) for name in names]
    axes.set_yticks(range(len(names)), [f"{name}\nn = {n}" for name, n in zip(names, counts, strict=True)])
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.spines["left"].set_color(FAINT)


def _points(results: Sequence[StrokeResult], name: str) -> Array:
    return np.array([getattr(r, name) for r in results], dtype=np.float64).reshape(-1, 2)


def _rows(results: Sequence[StrokeResult]) -> list[dict[str, object]]:
    return [
        {
            "id": r.id,
            "type": r.commanded_type,
            "hit": r.hit,
            "returned": r.returned,
            "fault": r.fault,
            "target_x_m": r.target_xy_m[0],
            "target_y_m": r.target_xy_m[1],
            "landing_x_m": r.landing_xy_m[0],
            "landing_y_m": r.landing_xy_m[1],
            "landing_error_m": r.landing_error_m,
        }
        for r in results
    ]
