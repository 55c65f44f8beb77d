"""Configurations with one mistake each, made from those that ship; for the test of refusals and its benchmark."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hjepa import config as c
from hjepa import explaining
from hjepa.tasks.reach.settings import ReachSettings
from hjepa.typed_yaml import Section

KINDS = (
    *("misspelt key", "misspelt value", "wrong type", "out of range", "wrong unit", "duplicate key", "empty", "binary"),
    *("broken YAML", "hidden value", "misplaced"),
)
_KEY = re.compile(r"^( *)([a-z_]+): *([^#]*?)( *#.*)?$")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Source(NamedTuple):
    """A configuration or part without a mistake."""

    name: str  # file below the folder in which mutants are written
    text: str
    model: type[Section]


class Mutant(NamedTuple):
    """The same with one mistake."""

    source: str
    kind: str
    data: bytes
    says: str  # what the refusal must name: the key, or the problem


class Key(NamedTuple):
    """A line that holds a key."""

    line: int
    at: tuple[str, ...]
    value: str  # as written; empty for a section


def sources() -> list[Source]:
    """What ships, and both tasks' configurations with every key written out."""
    folder = c.resource("configs")
    files = [path for path in sorted(folder.rglob("*.yaml")) if path.parent.name != "spaces"]  # of another schema
    found = [(path.relative_to(folder).as_posix(), path) for path in files]
    reach = {"reach.yaml", "task/reach.yaml"}
    shipped = [Source(name, p.read_text("utf-8"), ReachSettings if name in reach else c.Config) for name, p in found]
    whole = [
        Source("whole_badminton.yaml", explaining.commented(c.load("badminton")), c.Config),
        Source("whole_reach.yaml", explaining.commented(c.trace(ReachSettings, c.find("reach")).value), ReachSettings),
    ]
    return [*shipped, *whole * 6]  # those with every key in them come up as often as all others


def mutants(count: int, seed: int = 0) -> Iterator[Mutant]:
    """So many different ones, kind after kind; the same for a seed."""
    rng, made, pool = random.Random(seed), set(), sources()
    while len(made) < count:
        kind = KINDS[len(made) % len(KINDS)]
        mutant = _MAKERS[kind](rng.choice(pool), rng)
        if mutant is not None and mutant[0] not in made:
            made.add(mutant[0])
            data, says, source = mutant
            yield Mutant(source, kind, data, says)


def write(mutant: Mutant, folder: Path) -> Path:
    """The mutant's file; a part lies in a folder of its group."""
    path = folder / mutant.source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mutant.data)
    return path


def keys(text: str) -> list[Key]:
    """Lines of a configuration's text that hold a key of block style."""
    found: list[Key] = []
    above: list[str] = []
    for number, line in enumerate(text.splitlines()):
        match = _KEY.match(line)
        if match:
            depth = len(match.group(1)) // 2
            above = [*above[:depth], match.group(2)]
            found.append(Key(number, tuple(above), match.group(3).strip()))
    return found


@cache
def _prop(model: type[Section], at: tuple[str, ...]) -> dict[str, Any]:
    """JSON Schema of a key; empty for a section."""
    for name in at[:-1]:
        model = model.model_fields[name].annotation  # type: ignore[assignment]
    found: dict[str, Any] = model.model_json_schema()["properties"][at[-1]]
    return next((one for one in found.get("anyOf", []) if one.get("type") != "null"), {}) | found


_Made = tuple[bytes, str, str] | None  # bytes, what must be said, the source's name


def _put(source: Source, key: Key, line: str, says: str) -> _Made:
    """The text with a line replaced."""
    lines = source.text.splitlines()
    lines[key.line] = "  " * (len(key.at) - 1) + line
    return ("\n".join(lines) + "\n").encode(), says, source.name


def _leaf(
    source: Source, rng: random.Random, fits: Callable[[Key, dict[str, Any]], bool]
) -> tuple[Key, dict[str, Any]] | None:
    found = [(key, _prop(source.model, key.at)) for key in keys(source.text) if key.value and key.at[0] != "use"]
    found = [(key, prop) for key, prop in found if fits(key, prop)]
    return rng.choice(found) if found else None


def misspelt(word: str, rng: random.Random) -> str:
    """A letter too many, too few, wrong, or two in the wrong order."""
    i = rng.randrange(len(word))
    ways = (
        word[:i] + rng.choice(_LETTERS) + word[i:],
        word[:i] + word[i + 1 :],
        word[:i] + rng.choice(_LETTERS) + word[i + 1 :],
        word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :],
    )
    return rng.choice(ways)


def _misspelt_key(source: Source, rng: random.Random) -> _Made:
    key = rng.choice(keys(source.text))
    wrong = misspelt(key.at[-1], rng)
    known = {other.at[-1] for other in keys(source.text)} | {"", "use", *source.model.model_fields}
    return None if wrong in known else _put(source, key, f"{wrong}: {key.value}", wrong)


def _misspelt_value(source: Source, rng: random.Random) -> _Made:
    if source.text.count("use: {") and rng.random() < 0.5:
        group, name = rng.choice(re.findall(r"(\w+): (\w+)", source.text.split("use: {")[1].split("}")[0]))
        wrong = misspelt(name, rng)
        said = source.text.replace(f"{group}: {name}", f"{group}: {wrong}", 1).encode()
        known = {*c.parts().names(group), ""}
        return None if wrong in known else (said, f"use.{group}: no part '{wrong}'", source.name)
    found = _leaf(source, rng, lambda key, prop: "enum" in prop or "const" in prop or key.at == ("robot", "name"))
    if found is None or not found[0].value.strip('"'):
        return None
    key, prop = found
    wrong = misspelt(key.value.strip('"'), rng)
    allowed = {*prop.get("enum", []), prop.get("const"), key.value.strip('"'), ""}
    return None if wrong in allowed else _put(source, key, f'{key.at[-1]}: "{wrong}"', ".".join(key.at))


def _wrong_type(source: Source, rng: random.Random) -> _Made:
    found = _leaf(source, rng, lambda key, prop: True)
    if found is None:
        return None
    key, prop = found
    others = {
        "integer": ("three", "3.5", "[1]", "true", "{a: 1}"),
        "number": ("much", "[1.0]", "true", "0x10", "1:30", "1e999", ".nan"),
        "string": ("3", "true", "[a]", "{a: b}"),
        "boolean": ("yes", "1", "'true'", "on"),
        "array": ("3", "text", "[a, b, c, d]", "{a: 1}"),
    }
    return _put(source, key, f"{key.at[-1]}: {rng.choice(others[prop['type']])}", ".".join(key.at))


def _out_of_range(source: Source, rng: random.Random) -> _Made:
    found = _leaf(source, rng, lambda key, prop: bool(_beyond(prop)))
    if found is None:
        return None
    key, prop = found
    return _put(source, key, f"{key.at[-1]}: {rng.choice(_beyond(prop))}", ".".join(key.at))


def _beyond(prop: dict[str, Any]) -> list[str]:
    """Values just beyond a key's bounds."""
    if prop.get("type") == "array":
        first = prop.get("prefixItems", [{}])[0]
        rest = len(prop.get("prefixItems", [])) - 1
        return [f"[{', '.join([value] + ['1.0'] * rest)}]" for value in _beyond(first)]
    step = 1 if prop.get("type") == "integer" else 0.01
    out = [f"{prop['minimum'] - step:.12g}"] if "minimum" in prop else []
    out += [f"{prop['maximum'] + step:.12g}"] if "maximum" in prop else []
    out += [f"{prop['exclusiveMinimum']:.12g}"] if "exclusiveMinimum" in prop else []
    return out + ([f"{prop['exclusiveMaximum']:.12g}"] if "exclusiveMaximum" in prop else [])


def _wrong_unit(source: Source, rng: random.Random) -> _Made:
    found = _leaf(source, rng, lambda key, prop: bool(prop.get("unit")))
    if found is None:
        return None
    key, prop = found
    name, unit = key.at[-1], "%" if prop["unit"] == "1" else prop["unit"]
    if "[" in key.value:
        return _put(source, key, f"{name}: {key.value.replace(',', f' {unit},')}", ".".join(key.at))
    other = {"ms": "s", "s": "ms", "m": "mm", "rad": "deg"}.get(unit)
    if other and name.endswith(f"_{unit}") and rng.random() < 0.4:
        return _put(source, key, f"{name.removesuffix(unit)}{other}: {key.value}", f"{name.removesuffix(unit)}{other}")
    written = rng.choice([f"{key.value} {unit}", f"{key.value}{unit}", f"{key.value} {other or 'kg'}"])
    return _put(source, key, f"{name}: {written}", ".".join(key.at))


def _duplicate(source: Source, rng: random.Random) -> _Made:
    key = rng.choice(keys(source.text))
    lines = source.text.splitlines()
    name = f"{'  ' * (len(key.at) - 1)}{key.at[-1]}: {key.value or '{}'}"
    lines.insert(key.line + (0 if key.value else 0), name)
    return ("\n".join(lines) + "\n").encode(), ".".join(key.at), source.name


def _empty(source: Source, rng: random.Random) -> _Made:
    if rng.random() < 0.3:
        comments = [line for line in source.text.splitlines() if line.startswith("#")]
        text = rng.choice(
            ["", "\n" * rng.randrange(1, 9), "\n".join(comments), "---\n", "{}\n", " " * rng.randrange(1, 9)]
        )
        return text.encode(), "holds nothing", source.name
    found = _leaf(source, rng, lambda key, prop: "anyOf" not in prop)
    return None if found is None else _put(source, found[0], f"{found[0].at[-1]}:", ".".join(found[0].at))


def _binary(source: Source, rng: random.Random) -> _Made:
    whole = source.text.encode()
    i = rng.randrange(1, len(whole))
    ways = (
        (rng.randbytes(200) + b"\xff", "not UTF-8 text"),
        (gzip.compress(whole, mtime=0), "not UTF-8 text"),
        (source.text.encode("utf-16"), "not UTF-8 text"),
        (whole[:i] + b"\x00" + whole[i:], "control character"),
        (whole[:i] + b"\x1b[0m" + whole[i:], "control character"),
        (whole[:i] + b"\xe9" + whole[i:], "not UTF-8 text"),
    )
    data, says = rng.choice(ways)
    return data, says, source.name


def _broken(source: Source, rng: random.Random) -> _Made:
    key = rng.choice(keys(source.text))
    if not key.value:
        return None
    name = key.at[-1]
    ways = (
        f"{name}: [{key.value}",
        f"{name}: {{{name}: 1",
        f'{name}: "{key.value.strip(chr(34))}',
        f"\t{name}: {key.value}",
        f"{name}: : {key.value}",
        f"{name}: @{key.value}",
    )
    if rng.random() < 0.1:
        return f"- {name}\n- 3\n".encode(), "holds no sections", source.name
    return _put(source, key, rng.choice(ways), "not YAML")


def _hidden(source: Source, rng: random.Random) -> _Made:
    key = rng.choice(keys(source.text))
    if not key.value:
        return None
    name, value = key.at[-1], key.value
    ways = (
        (f"{name}: *other", "alias *other"),
        (f"{name}: !!python/name:os.system x", "tag tag:yaml.org,2002:python/name:os.system"),
        (f"{name}: !!str {value}", "tag tag:yaml.org,2002:str"),
        (f"<<: {{{name}: {value}}}", "<<"),
        (f"{name}: {'[' * 40}{']' * 40}", "nested more than"),
    )
    line, says = rng.choice(ways)
    return _put(source, key, line, says)


def _misplaced(source: Source, rng: random.Random) -> _Made:
    key = rng.choice(keys(source.text))
    sections = [
        other for other in ("task", "world", "robot", "low", "run", "agent") if f"\n{other}:" not in source.text
    ]
    if rng.random() < 0.5 and "/" in source.name and sections:
        section = rng.choice([*sections, "use"])
        group = source.name.split("/")[0]
        if section in c.GROUPS[group]:
            return None
        return f"{source.text}{section}: {{name: x}}\n".encode(), f"{section}: a part of group '{group}'", source.name
    if len(key.at) < 2 or not key.value:
        return None
    return f"{source.text}{key.at[-1]}: {key.value}\n".encode(), f" {key.at[-1]}: ", source.name


_MAKERS: dict[str, Callable[[Source, random.Random], _Made]] = dict(
    zip(
        KINDS,
        (
            *(_misspelt_key, _misspelt_value, _wrong_type, _out_of_range, _wrong_unit, _duplicate, _empty, _binary),
            *(_broken, _hidden, _misplaced),
        ),
        strict=True,
    )
)
