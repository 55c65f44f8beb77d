"""A configuration in words: every value with unit, range, meaning and origin; its JSON Schema; what two differ in."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from hjepa.composition import USE, Parts
from hjepa.errors import ConfigError, nearest
from hjepa.typed_yaml import Section, leaves, unit_of
from hjepa.units import spoken
from hjepa.yaml_file import Lines

DEFAULT = "default"
_VALUE_COLUMN = 44


def commented(config: Section) -> str:
    """The resolved configuration as YAML that can be loaded, each key's meaning behind it."""
    out: list[str] = []
    for at, field, value in _walk(config, out):
        unit = f" [{_unit(field)}]" if _unit(field) else ""
        out.append(f"{_line(at, value)}".ljust(40) + f"  # {field.description}{unit}")
    return "\n".join(out) + "\n"


def explained(config: Section, lines: Lines, only: str = "") -> str:
    """The same with unit, range and origin of each value; `only` a section or key, such as low.weights."""
    wanted = tuple(only.split(".")) if only else ()
    known = {at[:k] for at, _, _ in leaves(config) for k in range(len(at) + 1)}
    if wanted not in known:
        names = {".".join(at) for at in known if at}
        raise ConfigError(f"{only}: no such key or section; {nearest(only, names)}")
    out: list[str] = []
    for at, field, value in _walk(config, out, wanted, told=True):
        pad = "  " * (len(at) - 1)
        facts = [fact for fact in (_unit(field), range_of(_owner(config, at), at[-1])) if fact]
        out.append(f"{pad}# {field.description}" + (f" [{'; '.join(facts)}]" if facts else ""))
        out.append(f"{_line(at, value)}".ljust(_VALUE_COLUMN) + f"  # {origin(at, lines)}")
    return "\n".join(out) + "\n"


def _unit(field: FieldInfo) -> str:
    return spoken(unit_of(field))


def origin(at: tuple[str, ...], lines: Lines) -> str:
    """Where a key's value was set."""
    return lines.get(at, DEFAULT)


def range_of(section: type[Section], name: str) -> str:
    """What a key may be, in words; empty where any text may stand."""
    schema = section.model_json_schema()
    found: dict[str, Any] = schema["properties"][name]
    return _range(found)


def schema(model: type[Section], parts: Parts) -> dict[str, Any]:
    """JSON Schema of a task's configurations, for editors: units, ranges, meanings; `use` with the parts there are."""
    made: dict[str, Any] = model.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "hjepa configuration"
    groups = {
        group: {
            "description": f"a part that sets {', '.join(sections)}: its name, or a path to a .yaml file",
            "anyOf": [{"enum": parts.names(group)}, {"type": "string", "pattern": r"\.ya?ml$"}],
        }
        for group, sections in parts.groups.items()
        if any(name in model.model_fields for name in sections)
    }
    use = {"description": "parts, the first one lowest", "type": "object", "properties": groups}
    made["properties"] = {USE: use | {"additionalProperties": False}, **made["properties"]}
    for part in [made, *made.get("$defs", {}).values()]:
        for field in part.get("properties", {}).values():
            if field.get("unit"):
                field["description"] = f"{field['description']} [{spoken(field['unit'])}]"
    return made


def difference(one: Section, other: Section) -> Iterator[tuple[str, Any, Any]]:
    """Keys, with both values, in which two configurations differ; None where one has no such key."""
    first = {".".join(at): value for at, _, value in leaves(one)}
    second = {".".join(at): value for at, _, value in leaves(other)}
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            yield name, first.get(name), second.get(name)


def _walk(
    config: Section, out: list[str], wanted: Sequence[str] = (), told: bool = False
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Keys under `wanted`; a line for each section that is entered goes into `out` before them, and, if `told`, what it
    is about."""
    entered: tuple[str, ...] = ()
    for at, field, value in leaves(config):
        if at[: len(wanted)] != tuple(wanted):
            continue
        for depth in range(1, len(at)):
            if entered[:depth] != at[:depth]:
                about = inspect.cleandoc(_owner(config, at[: depth + 1]).__doc__ or "").replace("\n", " ")
                out += [f"{'  ' * (depth - 1)}# {about}"] if told and about else []
                out.append(f"{'  ' * (depth - 1)}{at[depth - 1]}:")
        entered = at[:-1]
        yield at, field, value


def _line(at: tuple[str, ...], value: Any) -> str:
    return f"{'  ' * (len(at) - 1)}{at[-1]}: {json.dumps(value, ensure_ascii=False)}"


def _owner(config: Section, at: tuple[str, ...]) -> type[Section]:
    for name in at[:-1]:
        config = getattr(config, name)
    return type(config)


def _range(found: dict[str, Any]) -> str:
    if "enum" in found:
        return ", ".join(str(one) or "''" for one in found["enum"])
    if "anyOf" in found:
        return " or ".join(said for one in found["anyOf"] if (said := _range(one)))
    kind = found.get("type")
    if kind == "array":
        items = found.get("prefixItems") or [found.get("items", {})]
        said = _range(items[0])
        return f"{'list of' if 'items' in found else f'{len(items)} values,'} {said}" if said else ""
    if kind == "null":
        return "null"
    if kind == "boolean":
        return "true, false"
    return _bounds(found) if kind in ("number", "integer") else ""


def _bounds(found: dict[str, Any]) -> str:
    least, most = found.get("minimum"), found.get("maximum")
    above, below = found.get("exclusiveMinimum"), found.get("exclusiveMaximum")
    kind = "whole numbers" if found["type"] == "integer" else "numbers"
    said = [f"from {least:.12g}"] if least is not None else [f"above {above:.12g}"] if above is not None else []
    under = f"{'to ' if said else ''}below {below:.12g}" if below is not None else ""
    said += [f"to {most:.12g}"] if most is not None else [under] if under else []
    steps = f", in steps of {found['multipleOf']:.12g}" if "multipleOf" in found else ""
    return f"{kind} {' '.join(said)}{steps}".rstrip()
