"""Tasks by name. `badminton` is played by hjepa itself; every other task is a plug-in, in this package or in another.

A plug-in is a `Task` value named by an entry point of the group `hjepa.tasks` ("my_task = my_package.verbs:TASK"); its
configurations say `task: {name: my_task}`. Its module is imported only when such a configuration is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from hjepa.errors import ConfigError, nearest

GROUP = "hjepa.tasks"
OWN = "badminton"
TASKS = {"reach": "hjepa.cli.reach:TASK"}


@dataclass(frozen=True)
class Asked:
    """What the command line was asked for, beside the configuration. A verb reads what concerns it."""

    out: Path = Path("runs")
    json: Path | None = None
    data: Path | None = None
    level: str = "low"
    video: bool = True
    processes: bool = False
    gui: bool = False
    workers: int = 1


class Task(Protocol):
    """What a task brings. `schema` is the typed form of its configurations: a hjepa.typed_yaml.Section.

    The verbs get a value of the schema; they print, and raise an HjepaError for a user's mistake.
    """

    schema: Any

    def demo(self, config: Any, asked: Asked) -> None: ...

    def evaluate(self, config: Any, asked: Asked) -> None: ...

    def collect(self, config: Any, asked: Asked) -> None: ...

    def train(self, config: Any, asked: Asked) -> None: ...


def names() -> list[str]:
    """Tasks that are installed."""
    return sorted({OWN, *TASKS, *_plugged()})


def find(name: str) -> Task:
    """The plug-in of a task; ConfigError lists the known names, or says what its module lacks."""
    path = TASKS.get(name) or _plugged().get(name, "")
    if not path:
        raise ConfigError(f"task.name: unknown task '{name}'; {nearest(name, names())}")
    module, _, attribute = path.partition(":")
    try:
        found: Task = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"task '{name}' is said to be '{path}', which cannot be imported: {error}") from error
    return found


def _plugged() -> dict[str, str]:
    points: tuple[EntryPoint, ...] = tuple(entry_points(group=GROUP))
    return {point.name: point.value for point in points}
