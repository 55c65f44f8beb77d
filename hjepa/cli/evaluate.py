"""hjepa eval: play strokes and print the figures with 95 % intervals."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from hjepa.cli import files, options, play, quick, reporting
from hjepa.evaluation.metrics import summarise
from hjepa.tasks.catalog import Asked

STROKES = 100


def evaluate(
    config: options.Config,
    episodes: Annotated[int | None, typer.Option("--episodes", min=1, help="How many strokes (100).")] = None,
    seed: options.Seed = None,
    feed: options.Feed = None,
    agent: options.Agent = None,
    small: quick.Quick = False,
    clock: options.Clock = None,
    robot: options.RobotOrFile = None,
    seconds: options.Seconds = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write the figures here.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="OUT.html", help="Also write a page: tables, plots, a film.")
    ] = None,
) -> None:
    """Measure an agent: hit and return rate with Wilson intervals, landing error, plan times, effort.

    Example: `hjepa eval badminton --episodes 300 --agent classical --json runs/classical.json`
    """
    sets = quick.sets(config, sets, quick.PLAYED) if small else sets
    other = options.other_task(
        config,
        sets,
        {"episodes": episodes, "feed": feed, "report": report},
        set_files,
        task__seed=seed,
        task__seconds=seconds,
        agent__name=agent,
        robot__name=robot,
        run__clock=clock,
    )
    if other is not None:
        other.task.evaluate(other.config, Asked(json=json))
        return
    options.badminton_only(seconds=seconds)
    changes = options.changes(
        sets,
        robot__name=robot,
        task__strokes=episodes or STROKES,
        task__seed=seed,
        agent__name=options.check_agent(agent),
        run__clock=options.check_clock(clock),
        **options.feed_changes(feed),
    )
    if json is not None:
        files.check_file(json)
    if report is not None:
        reporting.check(report)
    settings = options.settings(config, changes, set_files)
    from hjepa import api

    system = api.load(settings)
    console = Console()
    with play.judging(console) as judging:
        system.starts(judging=judging)
    begun = time.monotonic()
    strokes = api.play(system, record=report is not None)
    waiting = track(strokes, f"{system.config.agent.name} plays", system.config.task.strokes, console=console)
    kept = list(waiting)
    reference = api.reference()
    summary = summarise(
        [stroke.result for stroke in kept],
        clock=system.config.run.clock,
        wall_s=time.monotonic() - begun,
        classifier_accuracy=reference.classifier_accuracy,
        humans_entropy=reference.humans_entropy,
    )
    play.print_summary(console, summary, (system.config.low.latency_ms, system.config.high.latency_ms))
    if json is not None:
        files.write_text(json, files.with_config(summary.to_json(), settings))
        console.print(f"written: {json}")
    if report is not None:
        reporting.write(console, report, config, system, kept, summary)
