"""hjepa demo: the robot returns real strokes before your eyes, and a film of it is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hjepa.cli import files, options, play, quick, surprised
from hjepa.errors import ConfigError
from hjepa.evaluation.metrics import summarise
from hjepa.evaluation.results import Played, write_csv
from hjepa.tasks.catalog import Asked


def demo(
    config: options.Config = "badminton",
    strokes: Annotated[int | None, typer.Option("--strokes", "-n", min=1, help="How many strokes.")] = None,
    seed: options.Seed = None,
    feed: options.Feed = None,
    agent: options.Agent = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where film and figures go.")] = Path(
        "runs/demo"
    ),
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write demo.mp4.")] = True,
    processes: Annotated[bool, typer.Option("--processes", help="Robot, low and high as processes over ZMQ.")] = False,
    gui: Annotated[bool, typer.Option("--gui", help="Open PyBullet's window (needs a display).")] = False,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Record all messages (.mcap); see `hjepa bus`.")
    ] = None,
    surprise: Annotated[
        bool, typer.Option("--surprise", help="In every other stroke the shuttle jumps: see the robot react.")
    ] = False,
    small: quick.Quick = False,
    clock: options.Clock = None,
    robot: options.RobotOrFile = None,
    seconds: options.Seconds = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Return strokes that real players hit; writes demo.mp4, summary.json, strokes.csv, landings.png and config.yaml.

    Every shot is chosen by the high-level JEPA and executed by the low-level one; robot and levels talk over ZMQ. No
    display and no GPU needed. Another task is chosen by its configuration: `hjepa demo reach --robot iiwa`.
    """
    sets = quick.sets(config, sets, quick.PLAYED) if small else sets
    other = options.other_task(
        config,
        sets,
        {"strokes": strokes, "feed": feed},
        set_files,
        task__seed=seed,
        task__seconds=seconds,
        agent__name=agent,
        robot__name=robot,
        run__clock=clock,
    )
    if other is not None:
        other.task.demo(other.config, Asked(out=out, video=video, processes=processes, gui=gui))
        return
    options.badminton_only(seconds=seconds)
    if surprise and processes:
        raise ConfigError("demo --surprise: plays in one process; allowed: without --processes")
    strokes = strokes or (surprised.STROKES if surprise and not small else None)
    changes = options.changes(
        sets,
        robot__name=robot,
        task__strokes=strokes,
        task__seed=seed,
        agent__name=options.check_agent(agent),
        run__clock=options.check_clock(clock),
        **options.feed_changes(feed),
    )
    files.check_folder(out)
    if log is not None:
        files.check_file(log)
    settings = options.settings(config, changes, set_files)
    from hjepa import api

    system = api.load(settings)
    console = Console()
    console.print(_opening(system))
    with play.judging(console) as judging:
        system.starts(judging=judging)
    begun = time.monotonic()
    over_bus = processes or log is not None or surprise or system.two_levels
    tricks = surprised.tricks(system.config.task.strokes, system.config.task.seed) if surprise else []
    changed: dict[str, Any] = {"disturbances": tricks} if tricks else {}
    source = (
        api.play_bus(system, processes=processes, gui=gui, log=log, **changed)
        if over_bus
        else api.play(system, record=True, gui=gui)
    )
    kept = play.show(console, source)
    reference = api.reference()
    summary = summarise(
        [p.result for p in kept],
        clock=system.config.run.clock,
        wall_s=time.monotonic() - begun,
        classifier_accuracy=reference.classifier_accuracy,
        humans_entropy=reference.humans_entropy,
    )
    if surprise:
        surprised.show(console, tricks, kept)
    play.print_summary(console, summary, (system.config.low.latency_ms, system.config.high.latency_ms))
    with files.whole(out) as folder:
        (folder / "summary.json").write_text(summary.to_json(), encoding="utf-8")
        write_csv(folder / "strokes.csv", [p.result for p in kept])
        files.write_config(folder, settings)
        _draw(console, folder, system, kept, video)
    console.print(f"\nwritten to {out}/: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _opening(system: Any) -> str:
    c = system.config
    feed = c.task.feed_csv or {"random": "random strokes"}.get(c.task.feed, f"real strokes of {c.task.feed} matches")
    return f"[bold]{c.robot.name}[/bold] returns {c.task.strokes} {feed}; agent {c.agent.name}, seed {c.task.seed}\n"


def _draw(console: Console, folder: Path, system: Any, kept: Sequence[Played], video: bool) -> None:
    """Pictures and film; the drawing libraries are loaded here alone."""
    from hjepa.viewer.plots import landings

    landings(folder / "landings.png", [p.result for p in kept])
    recorded = [p for p in kept if p.recording is not None]
    if video and recorded:
        from hjepa.viewer.scene import scene_of
        from hjepa.viewer.video import write_video

        with console.status("drawing the film"):
            scenes = [scene_of(system.spec, p.result, p.recording) for p in recorded if p.recording is not None]
            write_video(folder / "demo.mp4", scenes)
