"""YAML files into typed, frozen values; all mistakes of a file at once, as `file:line: section.key: what is wrong`.

Unknown keys are refused with the nearest valid one; overrides have the form `section.key=value` (the value is YAML).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from hjepa.errors import ConfigError, closest, nearest
from hjepa.units import SHARE, unit_hint
from hjepa.yaml_file import Draft, Lines, parse, shown

S = TypeVar("S", bound="Section")
Problems = Iterable[tuple[tuple[str, ...], str]]  # the key, and what is wrong with it


def key(default: Any, meaning: str, *, unit: str = "", **bounds: Any) -> Any:
    """One key: default, meaning (`hjepa config` shows it), unit of its numbers, pydantic bounds (gt, ge, lt, le...)."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit} if unit else None, **bounds)


def unit_of(field: FieldInfo) -> str:
    """The unit of a key's numbers; empty: none."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


class Section(BaseModel):
    """Frozen; refuses unknown keys, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Read(NamedTuple):
    """A value, and where each of its keys was set; a key that stands nowhere has its default."""

    value: Any
    lines: Lines


def read(model: type[S], path: Path, overrides: Sequence[str] = (), check: Callable[[S], Problems] = lambda _: ()) -> S:
    """The file's value, with overrides such as `low.iterations=4`; ConfigError with a line for each mistake.

    check: what is wrong with a value whose every key is right by itself.
    """
    draft = parse(path, tuple(model.model_fields))
    for text in overrides:
        draft.set(text)
    value: S = settle(model, draft, shown(path), check).value
    return value


def settle(
    model: type[S],
    draft: Draft,
    file: str,
    check: Callable[[S], Problems] = lambda _: (),
    layers: Sequence[tuple[str, Draft]] = (),
) -> Read:
    """The value of a draft; ConfigError with a line for each mistake, in the order in which they stand in the files.

    layers: files that the draft was laid from. Each must be right by itself, so that none hides another's mistake.
    """
    problems = list(draft.problems)
    for name, layer in layers:
        problems += [said for said, kind in _mistakes(model, layer, name) if kind != "missing"]
    value, mistakes = _validated(model, draft, file)
    problems += [said for said, _ in mistakes]
    if value is not None:
        problems += [f"{where(at, file, draft.lines)}: {'.'.join(at)}: {said}" for at, said in check(value)]
    if value is None or problems:
        drafts = [layer for _, layer in layers] + [draft]
        order = {place: index for index, place in enumerate(p for one in drafts for p in one.lines.values())}
        unique = dict.fromkeys(" ".join(said.splitlines()) for said in problems)  # a name may hold a line break
        raise ConfigError("\n".join(sorted(unique, key=lambda text: order.get(text.split(": ")[0], len(order)))))
    return Read(value, dict(draft.lines))


def leaves(section: Section, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    """Every key that is no section: where it is, what it is, its value."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), field, value


def where(location: tuple[str, ...], file: str, lines: Lines) -> str:
    """Where the key stands: itself, the nearest section above it, or an override below it."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    below = [place for path, place in lines.items() if path[: len(location)] == location]
    return below[0] if below else file


def _mistakes(model: type[S], draft: Draft, file: str) -> list[tuple[str, str]]:
    return _validated(model, draft, file)[1]


def _validated(model: type[S], draft: Draft, file: str) -> tuple[S | None, list[tuple[str, str]]]:
    """The value, or None with every mistake and its kind."""
    empty = {name: {} if value is None and _holds_keys(model, name) else value for name, value in draft.data.items()}
    try:
        # JSON mode is strict about types ("3" is no number, 1 no flag) and still reads a list as a tuple
        return model.model_validate_json(json.dumps(empty), strict=True), []
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            return None, [(f"{file}:1: {error}", "")]
        items = [dict(item) for item in error.errors(include_url=False)]
        return None, [(_sentence(model, item, file, draft.lines), str(item["type"])) for item in items]


def _holds_keys(model: type[Section], name: str) -> bool:
    """Whether a key stands for a section or for named sections: left empty, it means the defaults."""
    field = model.model_fields.get(name)
    kind = None if field is None else field.annotation
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Section))


def _sentence(model: type[Section], item: dict[str, Any], file: str, lines: Lines) -> str:
    location = tuple(str(part) for part in item["loc"])
    dotted = ".".join(location)
    place = where(location, file, lines)
    if item["type"] == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        like = closest(location[-1], fields)
        unit = f" (in {unit_of(fields[like])})" if like and unit_of(fields[like]) not in ("", SHARE) else ""
        said = nearest(location[-1], fields).replace(f"'{like}'? ", f"'{like}'?{unit} ", 1)
        return f"{place}: {dotted}: unknown key; {said}"
    got = json.dumps(item["input"])
    shown_value = got if len(got) <= 60 else got[:57] + "..."
    field = _field(model, location)
    unit = unit_of(field) if field is not None else ""
    hint = unit_hint(item["input"], unit) if unit else ""
    if hint:
        number = "a share, a number" if unit == SHARE else f"a number of {unit}"
        return f"{place}: {dotted}: must be {number}, got {shown_value}; {hint}"
    said = plainly(item["msg"])
    after = f" ({unit})" if unit not in ("", SHARE) else ""
    if item["type"] == "literal_error":
        like = closest(str(item["input"]), re.findall("'([^']+)'", str(item["ctx"]["expected"])))
        after = f"; did you mean '{like}'?" if like else ""
    return f"{place}: {dotted}: {said}, got {shown_value}{after}"


def plainly(message: object) -> str:
    """What pydantic says against a value, as our sentences go."""
    return str(message).replace("Input should be", "must be").replace("Input should", "must")


def _fields_at(model: type[Section], location: tuple[str, ...]) -> dict[str, FieldInfo]:
    """Keys of the section there."""
    kind: Any = model
    for part in location:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif get_origin(kind) is tuple:  # of sections
            kind = get_args(kind)[0]
        else:
            kind = kind.model_fields[part].annotation
        kind = next((one for one in get_args(kind) if hasattr(one, "model_fields")), kind) if _optional(kind) else kind
    return dict(kind.model_fields)


def _field(model: type[Section], location: tuple[str, ...]) -> FieldInfo | None:
    """The key that a location is in, if it is one of a section."""
    for length in range(len(location), 0, -1):
        try:
            return _fields_at(model, location[: length - 1]).get(location[length - 1])
        except (AttributeError, KeyError):
            continue
    return None


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)
