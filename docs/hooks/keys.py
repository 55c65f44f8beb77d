"""The reference of every configuration key, from the typed schema; a part of the hook pages.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hjepa.config import Config
from hjepa.tasks import catalog
from hjepa.typed_yaml import Section

HEAD = """# Every configuration key

Generated from the schema of this version when the site was built. On the command line: `hjepa config badminton`
prints all keys with the values they would have, `--set low.iterations=4` changes one. A key that does not exist, a
value of another type or out of its range is refused with file, line and the nearest name.
"""
COLUMNS = "| key | default | unit | allowed | meaning |\n|---|---|---|---|---|"
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of", "min_length": "length ≥"}


def page() -> str:
    """The whole page: badminton's schema, then those of the other tasks of this package."""
    schemas = {catalog.OWN: Config, **{name: catalog.find(name).schema for name in catalog.TASKS}}
    out = [HEAD]
    for name, schema in schemas.items():
        out += [f"## Task {name} {{#{name}}}\n", *tables(schema, "", name)]
    return "\n".join(out)


def tables(section: type[Section], dotted: str, task: str) -> Iterator[str]:
    """A heading and a table for a section, then those of the sections in it."""
    rows, inner = [], []
    for name, field in section.model_fields.items():
        at = f"{dotted}.{name}" if dotted else name
        held, suffix = holds(field.annotation)
        if held is None:
            rows.append(row(at, field))
        else:
            inner.append((at + suffix, held))
    if dotted:
        yield f"### {dotted} {{#{task}-{dotted}}}\n"
        about = (section.__doc__ or "").strip().split("\n")[0]
        yield f"{about}\n" if about and section.__doc__ != Section.__doc__ else ""
    if rows:
        yield "\n".join([COLUMNS, *rows]) + "\n"
    for at, held in inner:
        yield from tables(held, at, task)


def holds(kind: Any) -> tuple[type[Section] | None, str]:
    """The section that a key holds, if any, and how its keys are then named: one, of a list, by name."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind, ""
    for part in get_args(kind):
        if isinstance(part, type) and issubclass(part, Section):
            return part, {dict: ".NAME", tuple: ".0", list: ".0"}.get(get_origin(kind), "")
    return None, ""


def row(at: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = "required" if field.is_required() else code(json.dumps(field.get_default(call_default_factory=True)))
    allowed = ", ".join(filter(None, [kind_of(field.annotation), bounds(field)]))
    cells = (code(at), default, str(extra.get("unit", "")), allowed, field.description)
    return "| " + " | ".join(cell(text or "") for text in cells) + " |"


def kind_of(kind: Any) -> str:
    """A type in words: its choices where it has some."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " \\| ".join(code(str(choice) or '""') for choice in parts)
    if origin in (Union, UnionType):
        return " or ".join(kind_of(part) for part in parts if part is not NoneType) + ", or empty"
    if origin is tuple and parts[-1] is Ellipsis:
        return f"list of {kind_of(parts[0])}"
    if origin is tuple:
        return f"{len(parts)} x {kind_of(parts[0])}"
    if origin in (list, dict):
        return f"{origin.__name__} of {kind_of(parts[-1])}"
    plain = getattr(kind, "__name__", str(kind))
    return {"str": "text", "bool": "true, false", "float": "number", "int": "whole number"}.get(plain, plain)


def bounds(field: FieldInfo) -> str:
    """The range that a value must lie in."""
    said = []
    for bound in field.metadata:
        found = {name: getattr(bound, name, None) for name in SIGNS}
        said += [f"{SIGNS[name]} {value:g}" for name, value in found.items() if value is not None]
    return ", ".join(said)


def code(text: str) -> str:
    return f"`{text}`"


def cell(text: str) -> str:
    """Text that ends no cell and starts no markup; what is code stays code."""
    parts = " ".join(text.split()).replace("\\|", "|").split("`")
    parts = [part if k % 2 else escape(part, quote=False).replace("*", "\\*") for k, part in enumerate(parts)]
    return "`".join(parts).replace("|", "\\|")
