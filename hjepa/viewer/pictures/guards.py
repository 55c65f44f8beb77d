"""What guardrails avoid: violations per 1,000 strokes with them off and on, by kind. Legend: K kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hjepa.viewer.palette import BLUE, INK, ORANGE
from hjepa.viewer.pictures.paper import Picture, sheet, soft


class Bar(NamedTuple):
    """One kind; each side with count, rate, lo, hi."""

    name: str
    off: Mapping[str, float]
    on: Mapping[str, float]


def draw(bars: Sequence[Bar], says: str, note: str) -> Picture:
    """Two bars a kind with their 95 % intervals."""
    with sheet("Violations per 1,000 strokes, the planner's guardrails off and on", note, 9.5, 4.8) as figure:
        axes = figure.subplots()
        for side, colour, shift in (("off", ORANGE, -0.2), ("on", BLUE, 0.2)):
            found = [getattr(bar, side) for bar in bars]
            at = [k + shift for k in range(len(bars))]
            rates = [x["rate"] for x in found]
            axes.barh(at, rates, height=0.38, color=colour, label=side)
            spread = [[x["rate"] - x["lo"] for x in found], [x["hi"] - x["rate"] for x in found]]
            axes.errorbar(rates, at, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
            for x, y in zip(found, at, strict=True):
                axes.annotate(
                    f"{x['rate']:.0f}", (x["hi"], y), (5, 0), textcoords="offset points", va="center", color=INK
                )
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.set_xlim(left=0.0)
        axes.margins(x=0.12)
        axes.set_xlabel("per 1,000 strokes (a stroke counts once a kind); whiskers: 95 %")
        axes.legend(loc="center right", title="guardrails")
        soft(axes)
    rows = [
        {"kind": bar.name, **{f"{s}_{k}": v for s in ("off", "on") for k, v in getattr(bar, s).items()}} for bar in bars
    ]
    return Picture("guards", figure, says, rows)
