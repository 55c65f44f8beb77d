"""YAML files into typed, frozen values; all mistakes of a file at once, as `file:line: section.key: what is wrong`.

Unknown keys are refused with the nearest valid one; overrides have the form `section.key=value` (the value is YAML).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hjepa.errors import ConfigError, nearest

S = TypeVar("S", bound="Section")
Lines = dict[tuple[str, ...], str]  # where each key stands
Problems = Iterable[tuple[tuple[str, ...], str]]  # the key, and what is wrong with it


def key(default: Any, meaning: str, **bounds: Any) -> Any:
    """One key: default, meaning (shown by `hjepa config`), and pydantic bounds (gt, ge, lt, le...)."""
    return Field(default, description=meaning, **bounds)


class Section(BaseModel):
    """Frozen; refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read(model: type[S], path: Path, overrides: Sequence[str] = (), check: Callable[[S], Problems] = lambda _: ()) -> S:
    """The file's value, with overrides such as `low.iterations=4`; ConfigError with a line for each mistake.

    check: what is wrong with a value whose every key is right by itself.
    """
    lines: Lines = {}
    problems: list[str] = []
    data = _read(model, path, lines, problems)
    for text in overrides:
        _override(data, text, lines, problems)
    file = shown(path)
    value = _validate(model, data, file, lines, problems)
    if value is not None:
        problems += [f"{_where(at, file, lines)}: {'.'.join(at)}: {said}" for at, said in check(value)]
    if value is None or problems:
        order = {where: index for index, where in enumerate(lines.values())}
        raise ConfigError("\n".join(sorted(problems, key=lambda text: order.get(text.split(": ")[0], len(order)))))
    return value


def peek(path: Path, dotted: str, overrides: Sequence[str] = ()) -> Any:
    """What a file or an override says of one key, before it is known which model the file is of; None: nothing.

    A file that cannot be read says nothing here: `read` tells what is wrong with it.
    """
    for text in reversed(overrides):
        name, _, value = text.partition("=")
        if name.strip() == dotted:
            return value
    try:
        found: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `on` as true, 1e-3 as text and 2026-01-01 as a date; configurations want neither."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|false|False)$"), list("tTfF"))


def shown(path: Path) -> str:
    """The path relative to the working folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _read(model: type[S], path: Path, lines: Lines, problems: list[str]) -> dict[str, Any]:
    """YAML file -> nested dict; fills where each key stands, notes repeated keys."""
    where = shown(path)
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{where}:1: expected sections, such as {', '.join(model.model_fields)}")
        _walk(root, (), where, lines, problems)
        data: dict[str, Any] = loader.construct_document(root)
        return data
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{where}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error


def _walk(node: yaml.MappingNode, at: tuple[str, ...], file: str, lines: Lines, problems: list[str]) -> None:
    for name, value in node.value:
        here = (*at, str(name.value))
        where = f"{file}:{name.start_mark.line + 1}"
        if here in lines:
            problems.append(f"{where}: {'.'.join(here)}: key given twice (first at {lines[here]})")
        lines[here] = where
        _descend(value, here, file, lines, problems)


def _descend(value: yaml.Node, here: tuple[str, ...], file: str, lines: Lines, problems: list[str]) -> None:
    """Into a mapping, and into the mappings of a list, which count from 0."""
    if isinstance(value, yaml.MappingNode):
        _walk(value, here, file, lines, problems)
    elif isinstance(value, yaml.SequenceNode):
        for index, item in enumerate(value.value):
            if isinstance(item, yaml.MappingNode):
                lines[(*here, str(index))] = f"{file}:{item.start_mark.line + 1}"
                _walk(item, (*here, str(index)), file, lines, problems)


def _override(data: dict[str, Any], text: str, lines: Lines, problems: list[str]) -> None:
    """Put `a.b=c` into the nested dict `data` (ours, freshly read)."""
    where = f"--set {text}"
    name, equals, value = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        problems.append(f"{where}: expected section.key=value, such as low.iterations=4")
        return
    for part in path[:-1]:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    try:
        data[path[-1]] = yaml.load(value, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        problems.append(f"{where}: not a YAML value: {getattr(error, 'problem', error)}")
    lines[path] = where


def _validate(model: type[S], data: dict[str, Any], file: str, lines: Lines, problems: list[str]) -> S | None:
    """The value, or None with every mistake appended to `problems`."""
    empty = {name: {} if value is None and _holds_keys(model, name) else value for name, value in data.items()}
    try:
        # JSON mode is strict about types ("3" is no number, 1 no flag) and still reads a list as a tuple
        return model.model_validate_json(json.dumps(empty), strict=True)
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            problems.append(f"{file}: {error}")
            return None
        problems += [_sentence(model, dict(item), file, lines) for item in error.errors(include_url=False)]
        return None


def _holds_keys(model: type[Section], name: str) -> bool:
    """Whether a key stands for a section or for named sections: left empty, it means the defaults."""
    field = model.model_fields.get(name)
    kind = None if field is None else field.annotation
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Section))


def _sentence(model: type[Section], item: dict[str, Any], file: str, lines: Lines) -> str:
    location = tuple(str(part) for part in item["loc"])
    dotted = ".".join(location)
    where = _where(location, file, lines)
    if item["type"] == "extra_forbidden":
        return f"{where}: {dotted}: unknown key; {nearest(location[-1], _keys_at(model, location[:-1]))}"
    said = str(item["msg"]).replace("Input should be", "must be").replace("Input should", "must")
    got = json.dumps(item["input"])
    return f"{where}: {dotted}: {said}, got {got if len(got) <= 60 else got[:57] + '...'}"


def _where(location: tuple[str, ...], file: str, lines: Lines) -> str:
    """Where the key stands: itself, the nearest section above it, or an override below it."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    below = [where for path, where in lines.items() if path[: len(location)] == location]
    return below[0] if below else file


def _keys_at(model: type[Section], location: tuple[str, ...]) -> list[str]:
    kind: Any = model
    for part in location:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif get_origin(kind) is tuple:  # of sections
            kind = get_args(kind)[0]
        else:
            kind = kind.model_fields[part].annotation
        kind = next((one for one in get_args(kind) if hasattr(one, "model_fields")), kind) if _optional(kind) else kind
    return list(kind.model_fields)


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)
