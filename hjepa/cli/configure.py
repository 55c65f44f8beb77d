"""hjepa config: print, explain, check and compare configurations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hjepa import config as room
from hjepa import explaining
from hjepa.cli import files, options
from hjepa.composition import part_draft, peek
from hjepa.errors import ConfigError, HjepaError, closest, nearest
from hjepa.tasks import catalog
from hjepa.typed_yaml import Read, Section, settle, where
from hjepa.yaml_file import shown


class Group(typer.core.TyperGroup):
    """`hjepa config badminton` prints that configuration: a first word that is no command is one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's."""
        return super().parse_args(ctx, self.spelt(args))

    def spelt(self, args: Sequence[str]) -> list[str]:
        """The words with the command that they mean."""
        known = args and (args[0] in self.commands or args[0] == "--help")
        return [*args] if known else ["show", *args]


app = typer.Typer(
    cls=Group,
    help="Print a configuration (`hjepa config badminton`); explain, check and compare configurations.",
    rich_markup_mode="markdown",
)
Configs = Annotated[str, typer.Argument(metavar="CONFIG", help="Configuration by name, or a .yaml file.")]


@app.command("show")
def show(config: options.Config = "badminton", set_files: options.SetFiles = None, sets: options.Sets = None) -> None:
    """Print a configuration with every key, its value and its meaning; a file to start one's own from.

    Example: `hjepa config badminton --set low.iterations=4 > mine.yaml`
    """
    typer.echo(explaining.commented(_read(config, [*(set_files or []), *(sets or [])]).value), nl=False)


@app.command("explain")
def explain(
    config: options.Config = "badminton",
    key: Annotated[str, typer.Argument(metavar="KEY", help="Only this section or key, such as low.weights.")] = "",
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Say of every key its value, unit, range, meaning and origin: a line of a file, --set, or its default.

    Example: `hjepa config explain badminton low --set use.planner=cem`
    """
    read = _read(config, [*(set_files or []), *(sets or [])])
    typer.echo(explaining.explained(read.value, read.lines, key), nl=False)


@app.command("schema")
def schema(
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="Task whose configurations it describes.")] = (
        catalog.OWN
    ),
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Print the JSON Schema of a task's configurations, by which editors complete and check them.

    Example: `hjepa config schema --out hjepa.schema.json`, and as the first line of a configuration
    `# yaml-language-server: $schema=hjepa.schema.json`
    """
    text = json.dumps(explaining.schema(_model(task), room.parts()), indent=1) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    files.check_file(out)
    files.write_text(out, text)
    typer.echo(f"written: {out}")


@app.command("check")
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configurations, or parts of them.")],
) -> None:
    """Say everything that is wrong with files, as `file:line: key: what`; exit code 2 if anything is.

    A file in a folder named task, robot, levels, planner or run is a part, and may hold only that group's sections.

    Example: `hjepa config check mine.yaml parts/planner/*.yaml`
    """
    mistakes: list[str] = []
    for path in paths:
        try:
            check_file(path)
        except HjepaError as error:
            mistakes += str(error).splitlines()
        else:
            typer.echo(f"{shown(path)}: right")
    if mistakes:
        raise ConfigError("\n".join(mistakes))


@app.command("list")
def listing() -> None:
    """List configurations, and the parts that they are put together from, with what each says of itself.

    Example: `hjepa config list`
    """
    for name in room.names():
        typer.echo(f"{name:24}{_first_comment(room.find(name))}")
    for group in room.GROUPS:
        typer.echo(f"\nuse.{group}: sets {', '.join(room.GROUPS[group])}")
        for name in room.parts().names(group):
            typer.echo(f"  {name:22}{_first_comment(room.parts().folder / group / f'{name}.yaml')}")


@app.command("diff")
def diff(one: Configs, other: Configs) -> None:
    """Print the keys in which two configurations differ, with both values.

    Example: `hjepa config diff badminton runs/demo/config.yaml`
    """
    for name, first, second in explaining.difference(_read(one, []).value, _read(other, []).value):
        typer.echo(f"{name:36}{_shown(first):24}{_shown(second)}".rstrip())


def check_file(path: Path) -> None:
    """ConfigError with every mistake of a configuration, or of a part if the file lies in a folder of parts."""
    parts = room.parts()
    group = parts.group_of(path)
    name = peek(path, "task.name", [], parts) if group in (None, "task") else None
    known = isinstance(name, str) and name in catalog.names()
    model = _model(str(name)) if known else room.Config
    try:
        if group is None:
            read = room.trace(model, path)
        else:
            read = settle(model, part_draft(path, group, parts), shown(path))
    except ConfigError as error:
        if isinstance(name, str) and not known:  # of which task the other keys are, nobody knows
            lines = [line for line in str(error).splitlines() if ": task.name: must be" in line]
            raise ConfigError(f"{lines[0]}; {nearest(name, catalog.names())}" if lines else str(error)) from error
        raise
    _check_robot(read, path)


def _check_robot(read: Read, path: Path) -> None:
    """The robot must exist: its name is not a matter of the schema."""
    at = ("robot", "name")
    if at not in read.lines:
        return
    from robots.spec import load_spec

    try:
        load_spec(read.value.robot.name)
    except HjepaError as error:
        place = where(at, shown(path), read.lines)
        raise ConfigError(f"{place}: robot.name: {str(error).splitlines()[0]}") from error


def _read(config: str, changes: Sequence[str | Path]) -> Read:
    """Any task's configuration."""
    try:
        path = room.find(config)
    except ConfigError as error:
        command = closest(config, [str(one.name) for one in app.registered_commands])
        raise ConfigError(f"{error}; or the command `hjepa config {command}`?" if command else str(error)) from error
    return room.trace(_model(room.task_name(config, changes)), path, changes)


def _model(task: str) -> type[Section]:
    model: type[Section] = room.Config if task == catalog.OWN else catalog.find(task).schema
    return model


def _first_comment(path: Path) -> str:
    """The first sentence or line of a file's opening comment."""
    text = path.read_text(encoding="utf-8")
    opening = " ".join(line.lstrip("# ") for line in text.split("\n\n")[0].splitlines() if line.startswith("#"))
    return opening.partition(". ")[0].rstrip(".")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
