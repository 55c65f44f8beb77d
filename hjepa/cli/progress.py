"""A progress bar with figures for library functions that report (done, total, figures)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int, Mapping[str, float]], None]


@contextmanager
def reporter(console: Console, label: str) -> Iterator[Report]:
    """A function (done, total, figures) -> None that moves a bar and shows the figures beside it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", style="dim"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=None, figures="")

        def report(done: int, total: int, figures: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.update(task, completed=done, total=total, figures=shown)

        yield report
