"""Latent maps: what the high level's space is organised by. Legend: N strokes, P principal axes, Q quantities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array
from hjepa.viewer.palette import DIVERGING, FAINT, INK, SEQUENTIAL, TYPE_COLOURS, TYPE_MARKERS
from hjepa.viewer.pictures.paper import Picture, parts, sheet

COLOURED = ("landing depth, m", "landing across, m", "time to floor, s", "hit height, m", "speed, log m/s")


class LatentMap(NamedTuple):
    """Embeddings along their principal axes, and what is true of the strokes."""

    scores: Array  # (N, P)
    shares: Array  # (P,) of the variance
    kind: NDArray[np.int64]  # (N,) index of the shot type
    truths: dict[str, Array]  # (N,) each, by name and unit
    correlation: Array  # (Q, P) Pearson's r with each axis
    r2: Array  # (Q,) of a linear probe from the whole embedding, on strokes it was not fitted on


def draw(found: LatentMap, note: str) -> Picture:
    """Six maps of the same points, and what each axis goes along with."""
    names = list(found.truths)
    best = names[int(np.nanargmax(np.abs(found.correlation[:, 0])))]
    says = (
        f"{len(found.kind)} real strokes in the high level's space: the widest axis goes along with "
        f"{best.split(',')[0]} (r {found.correlation[names.index(best), 0]:+.2f})"
    )
    with sheet(says, note, 13.0, 7.2) as figure:
        maps, table = parts(figure, 1, 2, width_ratios=[3.0, 1.25])
        panels = maps.subplots(2, 3, sharex=True, sharey=True).ravel()
        _types(panels[0], found)
        for axes, name in zip(panels[1:], COLOURED, strict=True):
            _coloured(maps, axes, found, name)
        for axes in panels[3:]:
            axes.set_xlabel(f"axis 1 ({100 * found.shares[0]:.0f} % of variance)")
        for axes in panels[::3]:
            axes.set_ylabel(f"axis 2 ({100 * found.shares[1]:.0f} % of variance)")
        maps.legend(loc="outside upper left", ncols=5, handletextpad=0.2, columnspacing=1.2)
        _table(table.subplots(), found)
    return Picture("latent", figure, says, _rows(found))


def _types(axes: Axes, found: LatentMap) -> None:
    for k in np.unique(found.kind):
        x = found.scores[found.kind == k]
        look: dict[str, Any] = {"marker": TYPE_MARKERS[k], "color": TYPE_COLOURS[k], "ls": "", "mew": 0}
        axes.plot(x[:, 0], x[:, 1], ms=2.6, alpha=0.6, rasterized=True, **look)
        axes.plot([], [], ms=7, label=TYPES[k], **look)
    axes.set_title("shot type")


def _coloured(figure: SubFigure, axes: Axes, found: LatentMap, name: str) -> None:
    value = found.truths[name]
    low, high = np.nanquantile(value, [0.02, 0.98])
    dots = axes.scatter(
        found.scores[:, 0],
        found.scores[:, 1],
        c=value,
        s=4,
        lw=0,
        cmap=SEQUENTIAL,
        vmin=low,
        vmax=high,
        alpha=0.8,
        rasterized=True,
    )
    axes.set_title(name)
    bar = figure.colorbar(dots, ax=axes, shrink=0.85, aspect=25, pad=0.01)
    bar.solids.set_alpha(1.0)  # type: ignore[union-attr]
    bar.outline.set_visible(False)


def _table(axes: Axes, found: LatentMap) -> None:
    """Correlation of every quantity with every axis, and its probe."""
    cells = np.column_stack([found.correlation, found.r2])
    P = found.correlation.shape[1]
    axes.imshow(
        found.correlation,
        cmap=DIVERGING,
        vmin=-1,
        vmax=1,
        aspect="auto",
        extent=(-0.5, P - 0.5, len(cells) - 0.5, -0.5),
    )
    for (row, column), value in np.ndenumerate(cells):
        strong = column < P and abs(value) > 0.6
        weight = "bold" if column == P else "normal"
        text = f"{round(value, 1) + 0.0:+.1f}" if column < P else f"{value:.3f}"
        axes.text(
            column + 0.3 * (column == P),
            row,
            text,
            ha="center",
            va="center",
            color="white" if strong else INK,
            weight=weight,
        )
    axes.set_xlim(-0.5, P + 0.9)
    axes.set_xticks([*range(P), P + 0.3], [*(str(k + 1) for k in range(P)), "R2"])
    axes.set_yticks(range(len(cells)), [name.rpartition(",")[0] or name for name in found.truths])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title("correlation with axis\n(R2: linear probe, held out)", pad=8)
    axes.set_xlabel(f"axes 1 to {P}: {100 * found.shares.sum():.0f} % of variance", color=FAINT)


def _rows(found: LatentMap) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for name, r, r2 in zip(found.truths, found.correlation, found.r2, strict=True):
        out.append({"quantity": name, **{f"r_axis_{k + 1}": float(v) for k, v in enumerate(r)}, "probe_r2": float(r2)})
    share: dict[str, object] = {f"r_axis_{k + 1}": float(v) for k, v in enumerate(found.shares)}
    return [*out, {"quantity": "share of variance", **share, "probe_r2": float("nan")}]
