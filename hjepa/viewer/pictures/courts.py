"""The court from above as a ground to draw on: depth upwards, the hitter's left on the left."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from hjepa.tasks.badminton import court
from hjepa.viewer.palette import COURT, FAINT, INK, LINE

LENGTH_M, WIDE_M, SIDE_M = court.HALF_LENGTH_M, court.HALF_DOUBLES_M, court.HALF_SINGLES_M


def half(axes: Axes, far: bool = True) -> None:
    """One half, the net at 0: the one played into (far), or the hitter's own."""
    sign = 1.0 if far else -1.0
    axes.add_patch(Rectangle((-WIDE_M, min(0.0, sign * LENGTH_M)), 2 * WIDE_M, LENGTH_M, facecolor=COURT, zorder=0))
    for y in (-WIDE_M, -SIDE_M, SIDE_M, WIDE_M):
        axes.plot([y, y], [0, sign * LENGTH_M], color=LINE, lw=1.2, zorder=1)
    for x in (court.SHORT_SERVICE_LINE_M, court.LONG_SERVICE_DOUBLES_M, LENGTH_M):
        axes.plot([-WIDE_M, WIDE_M], [sign * x, sign * x], color=LINE, lw=1.2, zorder=1)
    axes.plot([0, 0], [sign * court.SHORT_SERVICE_LINE_M, sign * LENGTH_M], color=LINE, lw=1.2, zorder=1)
    axes.plot([-WIDE_M - 0.1, WIDE_M + 0.1], [0, 0], color=INK, lw=3.5, solid_capstyle="round", zorder=2)
    axes.set(xlim=(3.8, -3.8), ylim=(-0.5, 7.9) if far else (-7.9, 0.5), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=FAINT)


def whole(axes: Axes) -> None:
    """Both halves."""
    half(axes, far=False)
    half(axes)
    axes.set(xlim=(3.6, -3.6), ylim=(-7.6, 7.6), xticks=(-2, 0, 2), yticks=range(-6, 7, 2))
