"""What reacting to surprise saves, and how soon it comes. Legend: C cases, N strokes of a case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hjepa.viewer.palette import BLUE, GREY, ORANGE
from hjepa.viewer.pictures.paper import Picture, sheet, soft

Share = tuple[float, float, float]  # value, and its interval


class Reaction(NamedTuple):
    """What came of one thing that went wrong."""

    case: str
    off: Share  # returned, reactions off
    on: Share
    after_s: tuple[float, ...]  # (N,) until it was noticed; nan: it was not


def draw(found: Sequence[Reaction], note: str) -> Picture:
    """Left: return rates with reactions off and on; right: every detection."""
    says = "; ".join(f"{r.case}: returned {100 * r.off[0]:.0f} % to {100 * r.on[0]:.0f} %" for r in found)
    y = np.arange(len(found))[::-1]
    with sheet("Something is wrong: what reacting saves", note, 9.0, 0.5 * len(found) + 1.9) as figure:
        rates, times = figure.subplots(1, 2, sharey=True, width_ratios=[1.2, 1.0])
        for label, colour, marker, shift in (("off", GREY, "o", 0.13), ("on", BLUE, "s", -0.13)):
            shares = 100 * np.array([getattr(r, label) for r in found]).reshape(-1, 3)
            spread = np.abs(shares[:, 1:] - shares[:, :1]).T
            rates.errorbar(
                shares[:, 0],
                y + shift,
                xerr=spread,
                fmt=marker,
                color=colour,
                capsize=2.5,
                ms=5,
                label=f"reactions {label}",
            )
        rates.set_xlim(-3, 103)
        rates.set_xlabel("returned, % (95 % intervals)")
        rates.set_yticks(y, [r.case for r in found])
        rates.legend(loc="lower right")
        for at, r in zip(y, found, strict=True):
            ms = 1e3 * np.array([s for s in r.after_s if math.isfinite(s)])
            times.plot(ms, at + np.linspace(-0.18, 0.18, len(ms)), "o", color=ORANGE, ms=3.5, alpha=0.8, mec="none")
            missed = len(r.after_s) - len(ms)
            if missed:
                times.annotate(
                    f"{missed} missed", (1.0, at), xycoords=("axes fraction", "data"), ha="right", va="center"
                )
        times.set_xlabel("noticed after, ms")
        times.set_xlim(left=0)
        soft(rates)
        soft(times)
    rows = [
        {"case": r.case, "off": r.off[0], "off_lo": r.off[1], "off_hi": r.off[2], "on": r.on[0], "on_lo": r.on[1],
         "on_hi": r.on[2], "noticed": sum(map(math.isfinite, r.after_s)), "strokes": len(r.after_s)}
        for r in found
    ]  # fmt: skip
    return Picture("play", figure, says, rows)
