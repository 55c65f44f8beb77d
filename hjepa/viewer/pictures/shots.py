"""Shot maps: from where each type is hit and where it comes down, real players and robot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array
from hjepa.viewer.palette import BLUE, FAINT, INK, ORANGE
from hjepa.viewer.pictures import courts
from hjepa.viewer.pictures.paper import Picture, parts, sheet

SHOWN = 150  # strokes of a type that are drawn
SERVICES = ("short service", "long service")  # the robot does not serve


class Shots(NamedTuple):
    """Strokes of one hitter, who stands at x < 0 and plays towards x > 0; nan where a point is not known."""

    who: str
    kind: NDArray[np.int64]  # (N,) index of the type
    hit_m: Array  # (N, 2)
    landing_m: Array  # (N, 2)


def draw(players: Sequence[Shots], note: str) -> Picture:
    """One row of courts for each hitter, one column for each type that any of them plays."""
    kinds = [
        k for k, name in enumerate(TYPES) if name not in SERVICES and any((shots.kind == k).any() for shots in players)
    ]
    says = "; ".join(f"{shots.who}: {len(shots.kind)} strokes" for shots in players)
    with sheet(
        f"Where shots are hit from and where they land. {says}", note, max(1.62 * len(kinds) + 0.6, 10.0), 8.0
    ) as figure:
        (board,) = parts(figure, 1, 1)
        panels = board.subplots(len(players), len(kinds), squeeze=False, sharex=True, sharey=True)
        for row, shots in zip(panels, players, strict=True):
            for axes, k in zip(row, kinds, strict=True):
                _court(axes, shots, k)
            row[0].set_ylabel(f"{shots.who}\nx, m (net at 0)")
        for axes in panels[-1]:
            axes.set_xlabel("y, m")
        board.legend(handles=_legend(), loc="outside upper right", ncols=3)
    return Picture("shots", figure, says, [row for shots in players for row in _rows(shots)])


def _court(axes: Axes, shots: Shots, kind: int) -> None:
    chosen = np.flatnonzero(shots.kind == kind)
    courts.whole(axes)
    axes.set_title(f"{TYPES[kind]}\nn = {len(chosen)}", color=INK if len(chosen) else FAINT)
    some = chosen[:: max(1, -(-len(chosen) // SHOWN))]
    hit, fell = shots.hit_m[some], shots.landing_m[some]
    axes.plot(*np.stack([hit, fell])[..., ::-1].T.reshape(2, -1, 2).transpose(0, 2, 1), color=FAINT, lw=0.4, alpha=0.25)
    axes.plot(hit[:, 1], hit[:, 0], "o", mfc="none", mec=BLUE, mew=0.9, ms=3.6, alpha=0.7)
    axes.plot(fell[:, 1], fell[:, 0], "^", color=ORANGE, mec=INK, mew=0.3, ms=4.2, alpha=0.8)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], marker="o", ls="", mfc="none", mec=BLUE, mew=1.2, ms=6, label="hit from here"),
        Line2D(
            [], [], marker="^", ls="", color=ORANGE, mec=INK, mew=0.4, ms=7, label="comes down here, if nobody hits it"
        ),
        Line2D([], [], color=FAINT, lw=1, label=f"one stroke (at most {SHOWN} of a type are drawn)"),
    ]


def _rows(shots: Shots) -> list[dict[str, object]]:
    return [
        {
            "who": shots.who,
            "type": TYPES[kind] if kind >= 0 else "unknown",
            **{f"hit_{axis}_m": float(v) for axis, v in zip("xy", hit, strict=True)},
            **{f"landing_{axis}_m": float(v) for axis, v in zip("xy", fell, strict=True)},
        }
        for kind, hit, fell in zip(shots.kind, shots.hit_m, shots.landing_m, strict=True)
    ]
