"""What can be read linearly from each level's embedding. Legend: Q quantities, L levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hjepa.types import Array
from hjepa.viewer.palette import INK, SEQUENTIAL
from hjepa.viewer.pictures.paper import Picture, sheet


class ProbeTable(NamedTuple):
    """R2 of ridge probes on strokes they were not fitted on."""

    asked: tuple[str, ...]  # (Q,)
    levels: tuple[str, ...]  # (L,)
    sizes: tuple[int, ...]  # (L,) numbers in the embedding
    r2: Array  # (Q, L)
    fitted: int  # strokes
    held: int


def draw(found: ProbeTable, note: str) -> Picture:
    """A table of R2, dark: nothing, bright: everything."""
    best = {
        name: ", ".join(found.asked[k] for k in np.flatnonzero(found.r2[:, j] > 0.9)) or "nothing"
        for j, name in enumerate(found.levels)
    }
    says = "Read linearly, R2 above 0.9: " + "; ".join(f"{name}: {known}" for name, known in best.items())
    with sheet("What each level knows: R2 of linear probes", note, 8.2, 0.42 * len(found.asked) + 2.0) as figure:
        axes = figure.subplots()
        shown = heat(axes, found)
        axes.set_xlabel(f"fitted on {found.fitted} strokes of training matches, scored on {found.held} of others")
        key(figure, shown, axes)
    rows = [
        {"quantity": name, **dict(zip(found.levels, map(float, line), strict=True))}
        for name, line in zip(found.asked, found.r2, strict=True)
    ]
    return Picture("probes", figure, says, rows)


def heat(axes: Axes, found: ProbeTable) -> AxesImage:
    """R2 by quantity and level, in colour and in figures."""
    shown = axes.imshow(found.r2.clip(0, 1), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(found.r2):
        text = f"{max(value, 0.0):.2f}" if np.isfinite(value) else "-"
        axes.text(column, row, text, ha="center", va="center", color="white" if value < 0.6 else INK, weight="bold")
    names = [f"{name}\n{size} numbers" for name, size in zip(found.levels, found.sizes, strict=True)]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(found.asked)), found.asked)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    return shown


def key(figure: Figure, shown: AxesImage, axes: Any) -> None:
    """What the colours say; axes: those that it stands beside."""
    bar = figure.colorbar(shown, ax=axes, aspect=30, pad=0.02, label="R2 (0: no better than the mean, 1: all)")
    bar.outline.set_visible(False)
