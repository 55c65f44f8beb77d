"""What `demo` and `eval` share: a table of strokes while they are played, the figures at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hjepa.evaluation.metrics import Interval, Summary
from hjepa.evaluation.results import Played, Point, StrokeResult

DASH = "-"
TICK, CROSS = "[green]yes[/green]", "[red]no[/red]"


@contextmanager
def judging(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Shows how far the oracle is with judging the feed, which comes first; nothing when that was done before."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("an oracle judges which strokes are feasible", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=done < total)


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else DASH


def point(xy: Point) -> str:
    return f"{xy[0]:.2f} {xy[1]:5.2f}" if math.isfinite(xy[0]) else DASH


def row(index: int, r: StrokeResult) -> list[str]:
    """One stroke as table cells."""
    hit, returned = (TICK if flag else CROSS for flag in (r.hit, r.returned))
    plan = number(r.plan_ms, 0)
    error = number(r.landing_error_m)
    chosen = r.commanded_type or DASH
    return [str(index), r.feed_type, chosen, point(r.predicted_xy_m), point(r.landing_xy_m), error, hit, returned, plan]


def table() -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")  # fits 80 columns
    for name, side in (
        ("#", "right"),
        ("incoming", "left"),
        ("chosen", "left"),
        ("predicted", "right"),
        ("landed x y", "right"),
        ("error m", "right"),
        ("hit", "left"),
        ("in", "left"),
        ("plan ms", "right"),
    ):
        out.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    return out


def show(console: Console, strokes: Iterator[Played]) -> list[Played]:
    """Play all strokes; a live table on a terminal, the whole table at the end elsewhere."""
    kept: list[Played] = []
    rows = table()
    with Live(rows, console=console, refresh_per_second=8, vertical_overflow="visible"):
        for stroke in strokes:
            kept.append(stroke)
            rows.add_row(*row(len(kept), stroke.result))
    if not console.is_terminal:  # elsewhere the table is printed once, without the end of its last line
        console.print()
    return kept


def percent(interval: Interval) -> str:
    return f"{100 * interval.value:5.1f} %  ({100 * interval.lo:.1f} to {100 * interval.hi:.1f})"


def summary_lines(s: Summary) -> Sequence[tuple[str, str]]:
    """Figures for a person, label and value."""
    realised = s.shot_realised
    low, high = s.plan_ms.low, s.plan_ms.high
    return [
        ("strokes", f"{s.episodes} ({s.feasible} feasible for this robot)"),
        ("hit", percent(s.hit_rate)),
        ("returned", percent(s.return_rate)),
        ("returned, of the feasible", percent(s.return_rate_feasible)),
        ("returned within 1 m of target", percent(s.within_1m_rate)),
        ("landing error", f"{number(s.landing_error_m.median)} m median, {number(s.landing_error_m.p90)} m p90"),
        (
            "shot realised as commanded",
            f"{number(100 * realised.value, 0)} % over {len(realised.commanded)} types; "
            f"the classifier itself: {number(100 * realised.classifier_accuracy, 0)} %",
        ),
        (
            "racket speed, effort",
            f"{number(s.racket_speed_m_s.median, 1)} m/s, {number(s.effort_j.median, 0)} J median",
        ),
        ("placement entropy", f"{number(s.placement_entropy.value)} bits; humans {number(s.placement_entropy.humans)}"),
        ("per low-level decision", f"{s.candidates:.0f} candidates, {number(s.mflop, 1)} Mflop"),
        ("low-level plan", f"{number(low.p50, 1)} ms median, {number(low.p99, 1)} ms p99"),
        ("high-level decision", f"{number(high.p50, 1)} ms median, {number(high.p99, 1)} ms p99"),
        ("clock", f"{s.clock}, {s.deadline_misses} deadlines missed, {s.wall_s:.0f} s wall time"),
    ]


def print_summary(console: Console, s: Summary, charged_ms: tuple[int, int]) -> None:
    """The figures, and a warning where a level took longer than the clock was charged for (low, high; ms)."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim")
    grid.add_column()
    for label, value in summary_lines(s):
        grid.add_row(label, value)
    console.print()
    console.print(grid)
    for name, took, charged in zip(("low", "high"), (s.plan_ms.low, s.plan_ms.high), charged_ms, strict=True):
        if took.p99 > charged:
            late = f"{name}.latency_ms is {charged}, but the slowest decisions took {took.p99:.0f} ms on this machine"
            console.print(f"[yellow]warning:[/yellow] {late}")
