"""The reference of every command, from the command line itself; a part of the hook pages.py."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer
from keys import cell, code

from hjepa.cli.app import app

HEAD = """# Every command

Generated from the command line of this version when the site was built; `hjepa VERB --help` says the same.
Where a verb has `--quick`, it does the same work in seconds, to see that everything is in place; what it prints then
is no measurement.
"""


def page() -> str:
    return "\n".join([HEAD, *chapters(typer.main.get_command(app), "hjepa")])


def chapters(command: Any, name: str) -> Iterator[str]:
    """A heading, what the verb does and its parameters; then the verbs below it."""
    for verb, below in getattr(command, "commands", {}).items():
        full = f"{name} {verb}"
        depth = "#" * min(4, full.count(" ") + 1)
        yield f"{depth} {full} {{#{full.replace(' ', '-')}}}\n"
        yield inspect.cleandoc(below.help or "").replace("\f", "") + "\n"
        if hasattr(below, "commands"):
            yield from chapters(below, full)
        else:
            yield parameters(below, full)


def parameters(command: Any, name: str) -> str:
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    words = [_upper(p) if p.required else f"[{_upper(p)}]" for p in arguments]
    usage = f"```text\n{' '.join([name, *words, '[OPTIONS]'])}\n```\n"
    rows = [f"| {cell(_names(p))} | {cell(_help(p))} | {cell(_default(p))} |" for p in shown]
    return usage + ("\n| | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n" if rows else "")


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return code(_upper(parameter))
    names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
    return code(names) + ("" if parameter.is_flag else f" {_upper(parameter)}")


def _upper(parameter: Any) -> str:
    """What stands for a parameter's value."""
    return str(parameter.metavar or parameter.name.upper()).strip("[]")


def _help(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    choices = [code(str(one.value)) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
    allowed = f"One of: {', '.join(choices)}." if choices else ""
    return " ".join(filter(None, [parameter.help, allowed]))


def _default(parameter: Any) -> str:
    default = parameter.default
    default = default.value if isinstance(default, Enum) else default
    return "" if default in (None, "") or getattr(parameter, "is_flag", False) else code(str(default))
