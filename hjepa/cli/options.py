"""Options that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import typer

from hjepa.composition import Change
from hjepa.config import AGENTS, TaskSection, find, load, task_name, trace
from hjepa.config import Config as Settings
from hjepa.errors import ConfigError, DataError, nearest
from hjepa.tasks import catalog
from hjepa.typed_yaml import Section

FEEDS = get_args(TaskSection.model_fields["feed"].annotation)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="Configuration by name, or a .yaml file.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change a key: --set low.iterations=4 task.seed=3. May be repeated."),
]
SetFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--set-file",
        metavar="FILE",
        help="A .yaml file of what differs, laid over CONFIG before --set. May be repeated: later wins.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of strokes, world and agent.")]
RobotOrFile = Annotated[
    str | None, typer.Option("--robot", metavar="NAME", help="A robot by name, or its description (.yaml).")
]
Present = Annotated[
    bool, typer.Option("--yes-a-person-is-present", help="Somebody watches, an emergency stop within reach.")
]
Tracker = Annotated[
    str | None, typer.Option("--tracker", metavar="NAME", help="A tracker, where the driver has none of its own: udp.")
]
TrackerSets = Annotated[
    list[str] | None,
    typer.Option("--tracker-set", metavar="A=B", help="Its option: port=7000, calibration=calibration.yaml."),
]
DriverSets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A=B", help="An option of the driver: --set port=/dev/ttyACM0. May be repeated."),
]
Seconds = Annotated[float | None, typer.Option("--seconds", help="How long, for tasks that have no strokes.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Parallel processes that collect.")]
Feed = Annotated[
    str | None,
    typer.Option(
        "--feed",
        metavar="FILE.csv",
        help="Own strokes, columns id,type,x0,y0,z0,vx,vy,vz[,rx,ry]; or one of: test, val, train, random.",
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", help=f"Who plays: {', '.join(AGENTS)}.")]
Clock = Annotated[
    str | None, typer.Option("--clock", help="lockstep: deterministic simulated time; realtime: nobody waits.")
]


def ranks() -> int:
    """How many processes torchrun started; 1: this one, by hand."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def first_of_ranks() -> bool:
    """Whether this process is the one that speaks for all that torchrun started."""
    return ranks() == 1 or os.environ["RANK"] == "0"


def changes(sets: Sequence[str] | None, **keys: object) -> list[str]:
    """Overrides for hjepa.config.load: named options first (`task__seed=3`), then what --set says."""
    named = [f"{key.replace('__', '.')}={value}" for key, value in keys.items() if value is not None]
    return [*named, *(sets or [])]


class Chosen(NamedTuple):
    """A task other than badminton, and its configuration."""

    task: catalog.Task
    config: Section


def other_task(
    config: str,
    sets: Sequence[str] | None,
    strokes: Mapping[str, object],
    files: Sequence[Path] | None = None,
    **keys: object,
) -> Chosen | None:
    """The plug-in that a configuration asks for, with it read; None: badminton, whose verbs these are.

    strokes: options that only badminton has; ConfigError where one is given. files: of --set-file. keys: as for
    `changes`.
    """
    name = task_name(config, [*(files or []), *(sets or [])])
    if name == catalog.OWN:
        return None
    task = catalog.find(name)
    for option, value in strokes.items():
        if value is not None:
            raise ConfigError(f"--{option}: task '{name}' has no such option; allowed: leave it out")
    return Chosen(task, trace(task.schema, find(config), [*(files or []), *changes(sets, **keys)]).value)


def badminton_only(**given: Any) -> None:
    """ConfigError where an option is given that badminton does not have."""
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"--{option}: task 'badminton' counts strokes; allowed: leave it out")


def feed_changes(feed: str | None) -> dict[str, str]:
    """Overrides that choose the feed: a name, or a file."""
    if feed is None:
        return {}
    if feed in FEEDS:
        return {"task__feed": feed, "task__feed_csv": "''"}
    if not Path(feed).is_file():
        raise DataError(f"no feed '{feed}': give an existing .csv file, or one of: {', '.join(FEEDS)}")
    return {"task__feed_csv": "'" + feed.replace("'", "''") + "'"}


def check_agent(name: str | None) -> str | None:
    """The name of a known agent."""
    if name is not None and name not in AGENTS:
        raise ConfigError(f"--agent {name}: unknown agent; {nearest(name, AGENTS)}")
    return name


def check_clock(name: str | None) -> str | None:
    if name not in (None, "lockstep", "realtime"):
        raise ConfigError(f"--clock {name}: allowed: lockstep, realtime")
    return name


def settings(config: str, overrides: Sequence[str], files: Sequence[Change] | None = None) -> Settings:
    """The configuration, and its feed file read once: mistakes are answered before anything heavy is imported.

    files: what is laid over CONFIG before the overrides.
    """
    loaded = load(config, overrides, files or [])
    if loaded.task.feed_csv:
        from hjepa.tasks.badminton.feeds import read_feed_csv

        read_feed_csv(loaded.task.feed_csv)
    return loaded
