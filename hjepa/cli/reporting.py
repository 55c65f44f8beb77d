"""hjepa eval --report: the page of an evaluation."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from hjepa.cli import files, play
from hjepa.errors import DataError, extra
from hjepa.evaluation.metrics import Summary
from hjepa.evaluation.results import Played


def check(path: Path) -> None:
    """DataError unless a page can be written there."""
    if path.suffix != ".html":
        raise DataError(f"--report {path}: it is an HTML page; give a name that ends in .html")
    files.check_file(path)


def write(console: Console, path: Path, name: str, system: Any, kept: Sequence[Played], summary: Summary) -> None:
    """Draw, film and write; name: of the configuration, as it was given."""
    from hjepa.viewer.page import render

    with extra("view"):
        from hjepa.insight import report
    results = [stroke.result for stroke in kept]
    command = shlex.join(["hjepa", *sys.argv[1:]])
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    run = report.Run(system.config, name, results, summary, play.summary_lines(summary), command, date)
    with console.status("drawing the report"):
        shown = [k for k in report.filmed(results) if kept[k].recording is not None]
        film = (_film(system, [kept[k] for k in shown]), shown) if shown else None
        files.write_text(path, render(report.page(run, film)))
    console.print(f"written: {path}", soft_wrap=True)


def _film(system: Any, strokes: Sequence[Played]) -> bytes:
    """An MP4 of recorded strokes."""
    from hjepa.viewer.scene import scene_of
    from hjepa.viewer.video import write_video

    scenes = [scene_of(system.spec, p.result, p.recording) for p in strokes if p.recording is not None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, scenes)
        return path.read_bytes()
