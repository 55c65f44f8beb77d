"""Tasks by name. `badminton` is played by hjepa itself; every other task is a plug-in, in this package or in another.

A plug-in is a `Task` value named by an entry point of the group `hjepa.tasks` ("my_task = my_package.verbs:TASK"); its
configurations say `task: {name: my_task}`. Its module is imported only when such a configuration is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hjepa.errors import ConfigError, PluginError, nearest
from hjepa.plugins import found

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


VERBS = ("demo", "evaluate", "collect", "train")


def names() -> list[str]:
    """Tasks that are installed."""
    return sorted({OWN, *TASKS, *found(GROUP, {OWN, *TASKS}).plugins})


def find(name: str) -> Task:
    """A task's plug-in; ConfigError lists the known names, PluginError says what is wrong with a package's."""
    if name in TASKS:
        module, _, attribute = TASKS[name].partition(":")
        ours: Task = getattr(import_module(module), attribute)
        return ours
    plugin = found(GROUP, {OWN, *TASKS}).get(name)
    if plugin is None:
        raise ConfigError(f"task.name: unknown task '{name}'; {nearest(name, names())}")
    made: Task = plugin.load()
    lacking = [verb for verb in VERBS if not callable(getattr(made, verb, None))]
    if lacking or not hasattr(made, "schema"):
        what = ", ".join([*lacking, *([] if hasattr(made, "schema") else ["schema"])])
        raise PluginError(f"{plugin.title} ({plugin.value}) lacks {what}; allowed: as hjepa.tasks.catalog.Task has it")
    return made
