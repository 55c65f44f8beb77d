"""`--quick`: the same work in seconds, to see that everything is in place. What a verb does less of stands here.

What a quick run makes lies apart from what is meant: folders of data and weights get another name, so that nothing that
was hardly trained is ever taken for the real thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hjepa.config import task_name
from hjepa.errors import ConfigError

Quick = Annotated[
    bool, typer.Option("--quick", help="A small run of seconds, to see that everything works; not for figures.")
]
Fewer = Mapping[str, Sequence[str]]

PLAYED: Fewer = {"badminton": ["task.strokes=2"], "reach": ["task.seconds=4"]}
LAUNCHED = ["task.strokes=1"]
COLLECTED: Fewer = {"badminton": [], "reach": ["babble.minutes=2"]}
TRAINED: Fewer = {
    "badminton": [],
    "reach": ["train.steps=2", "train.settle_steps=2", "train.watch_steps=2", "train.paths=4"],
}
MINUTES = 0.15  # recorded of a driver: enough to learn from, and to test on
POSES = 5  # that a tracker is calibrated with
DRAWS = 10  # futures drawn of a rally
RALLIES = 20  # forecast, and learned from by those that count
RALLY = 3  # strokes of the one rally of a match
SITUATIONS = 2  # that searches are compared in


def sets(config: str, given: Sequence[str] | None, fewer: Fewer) -> list[str]:
    """What --set says, then what a quick run of the configuration's task changes."""
    name = task_name(config, given or [])
    if name not in fewer:
        raise ConfigError(f"--quick: task '{name}' has no such option; allowed: leave it out")
    return [*(given or []), *fewer[name]]


def apart(folder: Path) -> Path:
    """Where a quick run keeps data or weights that would lie in `folder`."""
    return folder.with_name(f"{folder.name}-quick")


def data(folder: Path | None, config: str, given: Sequence[str] | None) -> Path:
    """The same for data, which have a place of their task's where none is named."""
    return Path("data") / f"quick-{task_name(config, given or [])}" if folder is None else apart(folder)


def filling(folder: Path, small: bool) -> str:
    """The command that fills a folder with swings; a quick run is told the name that the other one has."""
    if not small:
        return f"hjepa collect --out {folder}"
    if folder == data(None, "badminton", None):
        return "hjepa collect --quick"
    return f"hjepa collect --quick --out {folder.with_name(folder.name.removesuffix('-quick'))}"
