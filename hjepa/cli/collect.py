"""hjepa collect: fill a data set of swings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hjepa.cli import babble, files, options, quick
from hjepa.cli.progress import reporter
from hjepa.config import load
from hjepa.errors import ConfigError
from hjepa.tasks.catalog import Asked

DATA = Path("data/swings")
SWINGS = 10_000


def collect(
    config: options.Config = "badminton",
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help=f"Where the shards go ({DATA}).")] = None,
    swings: Annotated[int | None, typer.Option("--swings", min=1, help="How many swings in all (10000).")] = None,
    workers: options.Workers = 2,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Collect on a Ray cluster: local, auto, HOST:PORT, ray://..."),
    ] = None,
    codec: Annotated[
        Path | None,
        typer.Option(
            "--codec",
            metavar="FILE",
            help="The motor codec of these low.safetensors, to settle them again; else a new one.",
        ),
    ] = None,
    small: quick.Quick = False,
    seed: options.Seed = None,
    robot: options.RobotOrFile = None,
    driver: Annotated[
        str | None, typer.Option("--driver", metavar="NAME", help="Record motion of this driver instead, as MCAP.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.05, help="--driver: how long to record.")] = 10.0,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=1.0, help="--driver: share of the robot's limits.")
    ] = 0.3,
    motion: Annotated[
        Path | None,
        typer.Option("--motion", metavar="FILE", help="--driver: this recorded motion (.mcap, .npz), not babbling."),
    ] = None,
    tracker: options.Tracker = None,
    tracker_sets: options.TrackerSets = None,
    present: options.Present = False,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Fill a data set of swings in parallel processes; with --driver, record how any robot moves.

    Started again it goes on where it was; a killed run loses at most the shard each process was making. With --ray the
    workers of a cluster make them (`local`: --workers on this machine), and they are written here. With --driver
    the robot babbles around home, or follows a recorded motion, within a share of its limits; CONFIG plays no part, and
    --set is for the driver. Example: `hjepa collect --driver ideal --robot panda --minutes 2 --out data/panda`
    """
    if driver is not None:
        if ray is not None:
            raise ConfigError("--ray: a driver moves its robot from this machine; allowed: leave it out")
        babble.collect_motion(
            driver, robot, out, minutes=quick.MINUTES if small else minutes, speed=speed, motion=motion,
            tracker=tracker, tracker_sets=tracker_sets, sets=sets, seed=seed or 0, present=present,
        )  # fmt: skip
        return
    if small:
        sets, out, workers = quick.sets(config, sets, quick.COLLECTED), quick.data(out, config, sets), 1
    keys = {"task__seed": seed, "robot__name": robot}
    other = options.other_task(config, sets, {"swings": swings, "ray": ray, "codec": codec}, set_files, **keys)
    if other is not None:
        other.task.collect(other.config, Asked(data=out, workers=workers))
        return
    out = out or DATA
    files.check_folder(out)
    settings = load(config, options.changes(sets, **keys), set_files or [])
    from hjepa import api

    console = Console()
    with reporter(console, "swings") as report:
        kept = api.collect(
            settings,
            out,
            swings=swings or SWINGS,
            workers=workers,
            ray=ray,
            on_progress=report,
            quick=small,
            codec=codec,
        )
    files.write_config(out, settings)
    console.print(f"{kept} swings in {out}")
