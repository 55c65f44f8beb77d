"""YAML as configurations want it: plain values alone, each with its place, whatever bytes a file holds.

Left out of YAML 1.1: `on` as true, 1:30 as 90, 010 as 8, dates; aliases, tags and merge keys (`<<`), which hide where a
value comes from. A file that cannot be read at all raises ConfigError with `file:line: what is wrong`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hjepa.errors import ConfigError

Lines = dict[tuple[str, ...], str]  # where each key stands
MOST_BYTES = 1_000_000
DEEPEST = 20
_TAGS = (":timestamp", ":bool", ":float", ":int", ":merge")  # read differently here, or not at all
_INT = re.compile(r"^[-+]?(0|[1-9][0-9]{0,17})$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_BOOL = re.compile("^(true|True|false|False)$")


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses what has no place in a configuration."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; ComposerError names aliases, tags and what is nested too deeply."""
        event = self.peek_event()
        wrong = None
        if isinstance(event, yaml.AliasEvent):
            wrong = f"alias *{event.anchor}: write the value out"
        elif getattr(event, "tag", None) not in (None, "!"):
            wrong = f"tag {event.tag}: plain values need none"
        elif self.depth >= DEEPEST:
            wrong = f"nested more than {DEEPEST} deep"
        if wrong is not None:
            raise yaml.composer.ComposerError(None, None, wrong, event.start_mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_TAGS)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))


@dataclass
class Draft:
    """What files and overrides say so far: nested data, where each key stands, what is wrong already."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lay(self, other: Draft) -> None:
        """Put another draft's values over these; sections are merged, an empty one changes nothing."""
        self.data = _merged(self.data, other.data)
        self.lines.update(other.lines)
        self.problems += other.problems

    def set(self, text: str) -> None:
        """Put an override such as `low.iterations=4` over the values; its value is YAML."""
        where = f"--set {text}"
        name, equals, value = text.partition("=")
        path = tuple(name.strip().split("."))
        if not equals or not all(path):
            self.problems.append(f"{where}: expected section.key=value, such as low.iterations=4")
            return
        data = self.data
        for part in path[:-1]:
            if not isinstance(data.get(part), dict):
                data[part] = {}
            data = data[part]
        try:
            data[path[-1]] = plain(value)
        except yaml.YAMLError as error:
            self.problems.append(f"{where}: not a YAML value: {getattr(error, 'problem', error)}")
        _mark(self.lines, path, data.get(path[-1]), where)


def plain(text: str) -> Any:
    """The value that a text is; yaml.YAMLError where it is none."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)


def shown(path: Path) -> str:
    """The path relative to the working folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def parse(path: Path, sections: tuple[str, ...], *, difference: bool = False) -> Draft:
    """A file's draft; repeated keys are noted in it. sections: examples of what may stand there, for messages.

    difference: the file holds only what differs, and may say `{}`: nothing does.
    """
    where, example = shown(path), ", ".join(sections)
    try:
        loader = _Loader(_text(path, where))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            empty = root is None or root.tag == "tag:yaml.org,2002:null"
            got = "holds nothing" if empty else "holds no sections"
            raise ConfigError(f"{where}:1: {got}; expected sections, such as {example}")
        if not root.value and not difference:
            raise ConfigError(
                f"{where}:{root.start_mark.line + 1}: holds nothing; expected sections, such as {example}"
            )
        draft = Draft()
        _walk(root, (), where, draft)
        draft.data = loader.construct_document(root)
        return draft
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{where}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}:1: not YAML: nested too deeply") from error


def _text(path: Path, where: str) -> str:
    """A file's text; ConfigError unless it is short, and UTF-8 without control characters."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{where}:1: {len(data)} bytes are no configuration; allowed: {MOST_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{where}:{line}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is not None:
        line, code = text.count("\n", 0, found.start()) + 1, ord(found.group())
        raise ConfigError(f"{where}:{line}: not text: control character #x{code:02x}")
    return text


def _walk(node: yaml.MappingNode, at: tuple[str, ...], file: str, draft: Draft) -> None:
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise yaml.composer.ComposerError(None, None, "a key must be a word", name.start_mark)
        name.tag = "tag:yaml.org,2002:str"  # as it is written: `1:` or `null:` are words too
        here = (*at, str(name.value))
        where = f"{file}:{name.start_mark.line + 1}"
        if here in draft.lines:
            draft.problems.append(f"{where}: {'.'.join(here)}: key given twice (first at {draft.lines[here]})")
        draft.lines[here] = where
        _descend(value, here, file, draft)


def _descend(value: yaml.Node, here: tuple[str, ...], file: str, draft: Draft) -> None:
    """Into a mapping, and into the mappings of a list, which count from 0."""
    if isinstance(value, yaml.MappingNode):
        _walk(value, here, file, draft)
    elif isinstance(value, yaml.SequenceNode):
        for index, item in enumerate(value.value):
            if isinstance(item, yaml.MappingNode):
                draft.lines[(*here, str(index))] = f"{file}:{item.start_mark.line + 1}"
                _walk(item, (*here, str(index)), file, draft)


def _mark(lines: Lines, path: tuple[str, ...], value: Any, where: str) -> None:
    """Say that a value, and all in it, comes from there; what stood below it before is gone."""
    for old in [old for old in lines if old[: len(path)] == path]:
        del lines[old]
    lines[path] = where
    if isinstance(value, dict):
        for name, inner in value.items():
            _mark(lines, (*path, str(name)), inner, where)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for name, value in above.items():
        old = out.get(name)
        if isinstance(old, dict) and (isinstance(value, dict) or value is None):
            out[name] = _merged(old, value or {})
        else:
            out[name] = _copied(value)
    return out


def _copied(value: Any) -> Any:
    """A nested dict of its own, which overrides may fill."""
    return {name: _copied(inner) for name, inner in value.items()} if isinstance(value, dict) else value
