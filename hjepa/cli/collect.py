"""hjepa collect: fill a data set of swings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hjepa.cli import files, options
from hjepa.cli.progress import reporter
from hjepa.config import load
from hjepa.tasks.catalog import Asked

DATA = Path("data/swings")
SWINGS = 10_000


def collect(
    config: options.Config = "badminton",
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help=f"Where the shards go ({DATA}).")] = None,
    swings: Annotated[int | None, typer.Option("--swings", min=1, help="How many swings in all (10000).")] = None,
    workers: options.Workers = 2,
    seed: options.Seed = None,
    robot: options.RobotOrFile = None,
    sets: options.Sets = None,
) -> None:
    """Fill a data set of swings in parallel processes.

    Started again it goes on where it was; a killed run loses at most the shard each process was writing.
    """
    keys = {"task__seed": seed, "robot__name": robot}
    other = options.other_task(config, sets, {"swings": swings}, **keys)
    if other is not None:
        other.task.collect(other.config, Asked(data=out, workers=workers))
        return
    out = out or DATA
    files.check_folder(out)
    settings = load(config, options.changes(sets, **keys))
    from hjepa import api

    console = Console()
    with reporter(console, "swings") as report:
        kept = api.collect(settings, out, swings=swings or SWINGS, workers=workers, on_progress=report)
    console.print(f"{kept} swings in {out}")
