"""hjepa collect: fill a data set of swings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hjepa.cli import files, options
from hjepa.cli.progress import reporter
from hjepa.config import load

DATA = Path("data/swings")


def collect(
    config: options.Config = "badminton",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the shards go.")] = DATA,
    swings: Annotated[int, typer.Option("--swings", min=1, help="How many swings in all.")] = 10_000,
    workers: options.Workers = 2,
    seed: options.Seed = None,
    sets: options.Sets = None,
) -> None:
    """Fill a data set of swings in parallel processes.

    Started again it goes on where it was; a killed run loses at most the shard each process was writing.
    """
    files.check_folder(out)
    settings = load(config, options.changes(sets, task__seed=seed))
    from hjepa import api

    console = Console()
    with reporter(console, "swings") as report:
        kept = api.collect(settings, out, swings=swings, workers=workers, on_progress=report)
    console.print(f"{kept} swings in {out}")
