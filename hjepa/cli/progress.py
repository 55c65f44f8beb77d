"""A progress bar with figures for library functions that report (done, total, figures)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 20.0  # in a log file
Report = Callable[[int, int, Mapping[str, float]], None]


@contextmanager
def reporter(console: Console, label: str) -> Iterator[Report]:
    """A function (done, total, figures) -> None that moves a bar and shows the figures beside it.

    Where nobody looks (a log file), it writes a line now and then instead.
    """
    if not console.is_terminal:
        yield _lines(console, label)
        return
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
            bar.update(task, completed=done, total=total, figures=_shown(figures))

        yield report


def _lines(console: Console, label: str) -> Report:
    last_s = -LINE_EVERY_S

    def report(done: int, total: int, figures: Mapping[str, float]) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= LINE_EVERY_S or done == total:
            last_s = time.monotonic()
            console.print(f"{label} {done}/{total}  {_shown(figures)}", soft_wrap=True, highlight=False)

    return report


def _shown(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
