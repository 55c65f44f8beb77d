"""The half of `hjepa collect` and `hjepa train` that works with recordings of any driver."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hjepa.cli import files
from hjepa.cli.progress import reporter
from hjepa.cli.robots import check_present, driver_options
from hjepa.errors import ConfigError, DataError, extra
from robots.catalog import make_driver, make_tracker, robot_of
from robots.spec import load_spec

DATA = Path("data/motion")


def collect_motion(
    driver: str,
    robot: str | None,
    out: Path | None,
    *,
    minutes: float,
    speed: float,
    motion: Path | None,
    tracker: str | None,
    tracker_sets: list[str] | None,
    sets: list[str] | None,
    seed: int,
    present: bool,
) -> None:
    """Babble, or follow a recorded motion, and record it."""
    folder = out or DATA
    files.check_folder(folder)
    check_present(driver, present, "collect")
    with extra("log"):
        from hjepa.babbling import MotionConfig, motion_of, record_motion
    name = robot or robot_of(driver)
    eye = {"tracker": make_tracker(tracker, **driver_options(tracker_sets))} if tracker else {}
    made = make_driver(driver, name, speed_share=speed, **eye, **driver_options(sets))
    seconds = min(60.0, 60.0 * minutes)
    config = MotionConfig(recordings=max(1, round(60.0 * minutes / seconds)), seconds=seconds, seed=seed)
    followed = motion_of(motion, made.spec) if motion is not None else None
    console = Console()
    with reporter(console, "recordings") as report:
        kept = record_motion(made, load_spec(name), folder, config, followed, lambda k, n: report(k, n, {}))
    console.print(f"{kept} recordings of {name} at {100 * speed:.3g} % of its limits in {folder}")


def robot_in(config: object, robot: str | None) -> str:
    """The robot that a task's configuration names, where it has such a key; else the one asked for."""
    named = robot or getattr(getattr(config, "robot", None), "name", "")
    if not named:
        raise ConfigError("the task's configuration names no robot; allowed: --robot NAME")
    return str(named)


def shards(recordings: list[Path], robot: str, out: Path) -> Path:
    """Recordings as the data of `hjepa train low`, in a folder under `out`; a folder: every recording in it."""
    found = [path for given in recordings for path in (sorted(given.glob("*.mcap")) if given.is_dir() else [given])]
    if not found:
        raise DataError(
            f"--from {recordings[0]}: no recordings (.mcap) there; allowed: files of `hjepa collect --driver`"
        )
    with extra("log"):
        from hjepa.babbling import shards_of
    folder = out / "recorded"
    ticks = shards_of(found, load_spec(robot), folder)
    Console().print(f"{ticks} ticks out of {len(found)} recordings in {folder}")
    return folder
