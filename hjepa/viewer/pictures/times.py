"""How long decisions took. Legend: N decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from hjepa.types import Array
from hjepa.viewer.palette import BLUE, INK, ORANGE
from hjepa.viewer.pictures.paper import Picture, blank, sheet, soft

BINS = 40


def draw(low_ms: Sequence[float], high_ms: Sequence[float], charged_ms: tuple[float, float], note: str) -> Picture:
    """Histograms of both levels' decisions; charged_ms: what the clock charges for them (low, high)."""
    levels = (
        ("low level", np.array(low_ms, dtype=np.float64), charged_ms[0], BLUE),
        ("high level", np.array(high_ms, dtype=np.float64), charged_ms[1], ORANGE),
    )
    says = "; ".join(f"{name}: {len(ms)} decisions{_middle(ms)}" for name, ms, _, _ in levels)
    with sheet("How long decisions took", note, 12.0, 3.9) as figure:
        for axes, level in zip(figure.subplots(1, 2), levels, strict=True):
            _histogram(axes, *level)
    rows = [{"level": name, "ms": float(value)} for name, ms, _, _ in levels for value in ms]
    return Picture("times", figure, says, rows)


def _middle(ms: Array) -> str:
    return f", {np.median(ms):.1f} ms median, {np.quantile(ms, 0.99):.1f} ms p99" if len(ms) else ""


def _histogram(axes: Axes, name: str, ms: Array, charged: float, colour: str) -> None:
    axes.set(title=f"{name}, n = {len(ms)}", xlabel="wall time of a decision, ms", ylabel="decisions")
    soft(axes)
    if not len(ms):
        blank(axes, "no decision was timed")
        return
    edges = np.linspace(0.0, max(float(ms.max()), charged) * 1.05, BINS + 1)
    axes.hist(ms, edges.tolist(), color=colour, ec="white", lw=0.4)
    for value, style, what in ((float(np.median(ms)), "-", "median"), (float(np.quantile(ms, 0.99)), "--", "p99")):
        axes.axvline(value, color=INK, ls=style, lw=1.4, label=f"{what} {value:.1f} ms")
    axes.axvline(charged, color=INK, ls=":", lw=2.0, label=f"charged {charged:g} ms")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper right", frameon=True, facecolor="white", edgecolor="none", framealpha=1.0)
