"""Pictures of a study: how it went, which keys mattered, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogFormatter

from hjepa.tuning.objective import Figure, better, mean
from hjepa.tuning.outcome import Outcome
from hjepa.tuning.ranking import front
from hjepa.tuning.study import Trial
from hjepa.viewer.palette import BLUE, GREEN, INK, ORANGE

GREY = "#9AA5AB"  # lighter than the palette's: many trials lie behind the best
SUFFIXES = (".png", ".svg")
WIDE = 8.0  # values that span more than this factor are drawn on a logarithmic axis


def draw(folder: Path, outcome: Outcome) -> None:
    """history, importance where it is known, and pareto where there are several objectives, as PNG and SVG."""
    _save(folder / "history", _history(outcome))
    if any(outcome.importance.values()):
        _save(folder / "importance", _importance(outcome))
    if len(outcome.figures) > 1:
        _save(folder / "pareto", _pareto(outcome))


def _canvas(width: float, height: float) -> Canvas:
    canvas = Canvas(figsize=(width, height), dpi=125, layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def _save(stem: Path, canvas: Canvas) -> None:
    for suffix in SUFFIXES:
        canvas.savefig(stem.with_suffix(suffix))


def _plain(axes: Axes) -> None:
    axes.grid(color="#E3E8E6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(figure: Figure) -> str:
    unit = f", {figure.unit}" if figure.unit else ""
    return f"{figure.name}{unit} ({'more' if figure.maximise else 'less'} is better)"


def _history(outcome: Outcome) -> Canvas:
    """Each objective over the trials."""
    n = len(outcome.figures)
    canvas = _canvas(8.6, 1.2 + 2.9 * n)
    for k, axes in enumerate(canvas.subplots(n, 1, squeeze=False, sharex=True)[:, 0]):
        _course(axes, outcome, k)
        if k == n - 1:
            axes.set_xlabel("trial")
        if k == 0:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=5, frameon=False)
    return canvas


def _course(axes: Axes, outcome: Outcome, k: int) -> None:
    figure = outcome.figures[k]
    complete = [t for t in outcome.trials if t.state == "complete"]
    stopped = [t for t in outcome.trials if t.state == "pruned"]
    _plain(axes)
    axes.plot(
        [t.number for t in stopped],
        [mean(t.values[figure.name]) for t in stopped],
        *("x",),
        color=GREY,
        ms=6,
        label="stopped early",
    )
    axes.plot(
        [t.number for t in complete], [t.objectives[k] for t in complete], "o", color=BLUE, ms=5, label="complete"
    )
    axes.axhline(outcome.default.objectives[k], color=INK, lw=1, ls=":", label="default")
    axes.step(
        *_running(complete, figure, k, outcome.trials[-1].number),
        where="post",
        color=ORANGE,
        lw=2,
        label="best so far",
        zorder=1,
    )
    axes.plot(
        outcome.winner.number, outcome.winner.objectives[k], "o", mfc="none", mec=GREEN, mew=2, ms=12, label="winner"
    )
    axes.set_ylabel(_label(figure))


def _running(complete: Sequence[Trial], figure: Figure, k: int, last: int) -> tuple[list[int], list[float]]:
    """The best value so far at each complete trial, up to the last trial."""
    numbers: list[int] = []
    values: list[float] = []
    for t in complete:
        value = t.objectives[k]
        values.append(value if not values or better(figure, value, values[-1]) else values[-1])
        numbers.append(t.number)
    return [*numbers, last], [*values, values[-1]]


def _importance(outcome: Outcome) -> Canvas:
    """Share of each key in what decides each objective."""
    known = {name: shares for name, shares in outcome.importance.items() if shares}
    keys = list(outcome.space.search)
    canvas = _canvas(8.6, 1.4 + 0.36 * len(keys))
    for axes, (name, shares) in zip(canvas.subplots(1, len(known), squeeze=False, sharey=True)[0], known.items()):
        _plain(axes)
        axes.barh(keys, [shares.get(key, 0.0) for key in keys], color=BLUE)
        axes.set(title=name, xlim=(0, 1))
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.tick_params(axis="y", length=0)
    canvas.axes[0].invert_yaxis()
    canvas.supxlabel("share of what decides the objective (PED-ANOVA)", fontsize=10)
    return canvas


def _pareto(outcome: Outcome) -> Canvas:
    """Every objective against every other one: the lower triangle of a grid, the legend in its empty corner."""
    side = len(outcome.figures) - 1
    canvas = _canvas(1.2 + 3.9 * side, 1.0 + 3.5 * side)
    grid = canvas.subplots(side, side, squeeze=False)
    for row in range(side):
        for column in range(side):
            if column > row:
                grid[row, column].set_axis_off()
            else:
                _pair(grid[row, column], outcome, column, row + 1)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    corner = grid[0, -1] if side > 1 else grid[0, 0]
    corner.legend(handles, labels, loc="center" if side > 1 else "best", frameon=False)
    return canvas


def _pair(axes: Axes, outcome: Outcome, across: int, up: int) -> None:
    """One objective against another one, by their places among the objectives."""
    _plain(axes)
    complete = [t for t in outcome.trials if t.state == "complete"]
    best = front(outcome.trials, outcome.figures)
    for trials, colour, name in ((complete, GREY, "complete"), (best, BLUE, "on the front")):
        xs, ys = [t.objectives[across] for t in trials], [t.objectives[up] for t in trials]
        axes.plot(xs, ys, "o", ms=6, color=colour, label=name)
    for t, colour, mark, name in ((outcome.default, INK, "s", "default"), (outcome.winner, GREEN, "o", "winner")):
        axes.plot(t.objectives[across], t.objectives[up], mark, mfc="none", mec=colour, mew=2, ms=12, label=name)
    axes.set(xlabel=_label(outcome.figures[across]), ylabel=_label(outcome.figures[up]))
    for k, scale, axis in ((across, axes.set_xscale, axes.xaxis), (up, axes.set_yscale, axes.yaxis)):
        values = [t.objectives[k] for t in complete]
        if min(values) > 0 and max(values) > WIDE * min(values):
            scale("log")
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
