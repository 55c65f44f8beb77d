"""hjepa train: train one level from collected swings and real strokes, or the baseline that copies an agent."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hjepa.cli import babble, files, options, quick
from hjepa.cli.collect import DATA
from hjepa.cli.progress import reporter
from hjepa.config import load
from hjepa.errors import ConfigError, DataError
from hjepa.tasks.catalog import Asked

if TYPE_CHECKING:
    from hjepa.tasks.badminton.rallies import Rallies


class LevelName(StrEnum):
    low = "low"
    high = "high"
    rally = "rally"
    cover = "cover"
    observer = "observer"
    bc = "bc"


SPREAD = (LevelName.low, LevelName.high)  # may train in several processes, or on CUDA


def train(
    level: Annotated[
        LevelName,
        typer.Argument(
            help="high: the shot, from real strokes. rally: how play goes on, from real rallies. "
            "cover: what the robot returns from where, from strokes that it plays. "
            "observer: who watches it and guesses its shots, for feints. "
            "low: the swing, from data. bc: a baseline, copied from strokes that the classical agent plays."
        ),
    ],
    config: options.Config = "badminton",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help=f"low: swings that `hjepa collect` wrote ({DATA}). bc: where the strokes played go (OUT/clone).",
        ),
    ] = None,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="rally: also strokes.csv of `hjepa match`. Other tasks' low: recordings (.mcap) of `hjepa collect "
            "--driver`, or their folder.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Weights, checkpoints and logs.")] = Path(
        "runs/train"
    ),
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="FILE",
            help="low: settle these weights (low.safetensors) again, on swings collected with --codec FILE; a third of "
            "the time.",
        ),
    ] = None,
    workers: options.Workers = 2,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="high, low: auto (CUDA where it is), cpu, cuda."),
    ] = None,
    small: quick.Quick = False,
    seed: options.Seed = None,
    robot: options.RobotOrFile = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Train a level, or `bc`; shows loss, k-step error against copy-last and embedding rank, and logs to TensorBoard.

    Started again it goes on from the last checkpoint. Train `high` first: its embeddings are the low level's goals.
    `torchrun --nproc-per-node 2 -m hjepa.cli train low` trains `low`, or `high`, in two processes: a step is the same.
    """
    console = Console(quiet=not options.first_of_ranks())
    if options.ranks() > 1 and level not in SPREAD:
        raise ConfigError(f"{level.value} trains in one process, not in {options.ranks()}; allowed: low, high")
    if device and level not in SPREAD:
        raise ConfigError(f"--device: {level.value} trains on the CPU; allowed: leave it out, or low, high")
    if start and level is not LevelName.low:
        raise ConfigError(f"--start: {level.value} is trained from nothing; allowed: leave it out, or low")
    if small:
        sets, out, workers = quick.sets(config, sets, quick.TRAINED), quick.apart(out), 1
        data = quick.data(data, config, sets) if data or level is LevelName.low else None
    keys = {"task__seed": seed, "robot__name": robot}
    other = options.other_task(config, sets, {"device": device, "start": start}, set_files, **keys)
    if other is not None:
        if recordings:
            data = babble.shards(recordings, babble.robot_in(other.config, robot), out)
        other.task.train(other.config, Asked(level=level.value, data=data, out=out, workers=workers))
        return
    if recordings and level is not LevelName.rally:
        raise DataError(
            "--from: badminton's low level learns from swings of the simulator; allowed: rally, or reach, or your task"
        )
    files.check_folder(out)
    settings = load(config, options.changes(sets, **keys), set_files or [])
    folder = data or (out / "clone" if level is LevelName.bc else DATA)
    if level is LevelName.low and not folder.is_dir():
        raise DataError(f"--data {folder}: no such folder; fill it with `{quick.filling(folder, small)}`")
    if level in (LevelName.cover, LevelName.observer):
        folder = data or out / level.value
    if level in (LevelName.bc, LevelName.cover, LevelName.observer):
        files.check_folder(folder, "--data")
    played = _played(recordings or [])
    from hjepa import api

    with reporter(console, f"train {level.value}") as report:
        weights = api.train(
            level.value, settings, folder, out, workers=workers, on_progress=report, played=played,
            device=device or "auto", quick=small, start=start,
        )  # fmt: skip
    if options.first_of_ranks():
        files.write_config(out, settings)
    console.print(f"weights: {weights}\ncurves: tensorboard --logdir {out / 'curves'}")


def _played(tables: list[Path]) -> Rallies | None:
    """Rallies of the named tables."""
    from hjepa.tasks.badminton.rallies import joined, read_strokes_csv

    return joined([read_strokes_csv(path) for path in tables]) if tables else None
