"""How well surprise tells what cannot happen, and how it grows when it does. Legend: K kinds, S sizes, T instants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hjepa.types import Array
from hjepa.viewer.palette import BLUE, FAINT, INK, SEQUENTIAL, VERMILION
from hjepa.viewer.pictures.paper import Picture, sheet, soft


class AucTable(NamedTuple):
    """AUC of impossible against possible episodes; nan where there is none."""

    kinds: tuple[str, ...]  # (K,)
    sizes: tuple[str, ...]  # (S,)
    auc: Array  # (K, S)
    lo: Array  # (K, S)
    hi: Array  # (K, S)


class Example(NamedTuple):
    """One pair watched."""

    kind: str
    time_s: Array  # (T,) from the launch
    impossible: Array  # (T,) score
    possible: Array  # (T,)
    at_s: float  # it happens


def draw_table(found: AucTable, note: str) -> Picture:
    """Kinds down, sizes across, bright: always told apart."""
    means = {kind: float(np.nanmean(line)) for kind, line in zip(found.kinds, found.auc, strict=True)}
    says = "Mean AUC over sizes: " + ", ".join(f"{kind} {value:.2f}" for kind, value in means.items())
    with sheet("Impossible against possible: AUC of surprise", note, 7.2, 0.46 * len(found.kinds) + 1.9) as figure:
        axes = figure.subplots()
        shown = axes.imshow(found.auc, cmap=SEQUENTIAL, vmin=0.5, vmax=1.0, aspect="auto")
        for (row, column), value in np.ndenumerate(found.auc):
            if np.isfinite(value):
                text = f"{value:.2f}  ({found.lo[row, column]:.2f}-{found.hi[row, column]:.2f})"
                axes.text(column, row, text, ha="center", va="center", color="white" if value < 0.8 else INK)
        axes.set_xticks(range(len(found.sizes)), found.sizes)
        axes.set_yticks(range(len(found.kinds)), [kind.replace("_", " ") for kind in found.kinds])
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(shown, ax=axes, aspect=30, pad=0.02, extend="min", label="AUC (0.5: a guess)")
        bar.outline.set_visible(False)
    rows = [
        {"kind": kind, "size": size, "auc": float(found.auc[k, s]), "lo": float(found.lo[k, s]),
         "hi": float(found.hi[k, s])}
        for k, kind in enumerate(found.kinds)
        for s, size in enumerate(found.sizes)
    ]  # fmt: skip
    return Picture("violations", figure, says, rows)


def draw_examples(examples: Sequence[Example], threshold: float, note: str) -> Picture:
    """The first pair of each kind: surprise over time."""
    columns = 4
    lines = -(-len(examples) // columns)
    rows = []
    with sheet("Surprise over a flight: the first pair of each kind", note, 10.5, 2.1 * lines + 1.0) as figure:
        panels = np.atleast_1d(figure.subplots(lines, columns, squeeze=False, sharey=True)).ravel()
        floor = max(threshold, 1e-6) / 300.0  # a logarithm has no zero
        for axes, example in zip(panels, examples, strict=False):
            soft(axes)
            axes.axhline(threshold, color=FAINT, lw=0.9, ls="--")
            axes.axvline(example.at_s, color=FAINT, lw=0.9, ls=":")
            axes.plot(example.time_s, example.possible.clip(floor), color=BLUE, lw=1.4, label="possible")
            axes.plot(example.time_s, example.impossible.clip(floor), color=VERMILION, lw=1.6, label="impossible")
            axes.set_yscale("log")
            axes.set_title(example.kind.replace("_", " "))
            for t, a, b in zip(example.time_s, example.impossible, example.possible, strict=True):
                rows.append({"kind": example.kind, "time_s": float(t), "impossible": float(a), "possible": float(b)})
        for axes in panels[len(examples) :]:
            axes.set_axis_off()
        panels[0].legend(loc="upper right", fontsize=8)
        panels[0].set_ylabel("surprise")
        panels[min(columns, len(panels) - 1)].set_xlabel("s from the launch")
    says = f"Surprise over time for a pair of each of {len(examples)} kinds; dashed: the alarm, dotted: when it happens"
    return Picture("violations_examples", figure, says, rows)
