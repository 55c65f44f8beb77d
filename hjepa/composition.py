"""Configurations put together from parts: `use: {planner: cem}` takes configs/planner/cem.yaml, a diff of sections.

Later wins: the parts in the order of `use`, then the file's own keys, then further files (`--set-file`) and overrides
(`--set`) in the order given. A part that a later place names replaces the earlier one of its group altogether.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hjepa.errors import ConfigError, nearest
from hjepa.yaml_file import Draft, parse, plain, shown

Change = str | Path
"""`section.key=value`, or a file that holds only what differs."""
USE = "use"


class Parts(NamedTuple):
    """Where parts lie: FOLDER/GROUP/NAME.yaml; and which sections a part of each group may hold."""

    folder: Path
    groups: Mapping[str, tuple[str, ...]]

    def names(self, group: str) -> list[str]:
        """Parts of a group that ship."""
        return sorted(path.stem for path in (self.folder / group).glob("*.yaml"))

    def group_of(self, path: Path) -> str | None:
        """The group whose folder a file lies in, or None."""
        return path.absolute().parent.name if path.absolute().parent.name in self.groups else None


class Composed(NamedTuple):
    """What all files and overrides say together, and each file alone."""

    draft: Draft
    layers: list[tuple[str, Draft]]
    parts: dict[str, Path]  # in use, by group


class _Step(NamedTuple):
    """A file, or an override, and the parts that it names: group -> (as written, where, folder that paths are in)."""

    own: Draft | str
    file: str
    named: dict[str, tuple[Any, str, Path]]


def compose(path: Path, changes: Sequence[Change], parts: Parts) -> Composed:
    """Lay everything in order; ConfigError for a file that cannot be read. Other mistakes are noted in the drafts."""
    draft = Draft()
    steps = [_file(path, parts, draft), *(_step(one, parts, draft) for one in _parts_first(changes))]
    owner = {group: step for step in steps for group in step.named}
    composed = Composed(draft, [], {})
    for step in steps:
        for group, (value, where, folder) in step.named.items():
            if owner[group] is step:
                _lay_part(composed, parts, group, value, where, folder)
        if isinstance(step.own, str):
            draft.set(step.own)
        else:
            composed.layers.append((step.file, step.own))
            draft.lay(step.own)
    return composed


def part_draft(path: Path, group: str, parts: Parts) -> Draft:
    """A part by itself, with what it may not hold noted and left out."""
    sections = parts.groups[group]
    layer = parse(path, sections)
    for name in [name for name in layer.data if name not in sections]:
        said = f"a part of group '{group}' holds only {', '.join(sections)}; {nearest(str(name), sections)}"
        layer.problems.append(f"{layer.lines[(str(name),)]}: {name}: {said}")
        del layer.data[name]
    return layer


def peek(path: Path, dotted: str, changes: Sequence[Change], parts: Parts) -> Any:
    """What is said of one key, before it is known which model the configuration is of; None: nothing.

    Files that cannot be read say nothing here: `compose` tells what is wrong with them.
    """
    try:
        found: Any = compose(path, changes, parts).draft.data
    except ConfigError:
        return None
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _parts_first(changes: Sequence[Change]) -> Iterator[Change]:
    """Overrides that name parts before those beside them, which change what a part says."""
    waiting: list[str] = []
    for change in changes:
        if isinstance(change, Path):
            yield from waiting
            waiting = []
            yield change
        elif _names_parts(change):
            yield change
        else:
            waiting.append(change)
    yield from waiting


def _names_parts(text: str) -> bool:
    return text.partition("=")[0].strip().split(".")[0] == USE and "=" in text


def _step(change: Change, parts: Parts, draft: Draft) -> _Step:
    if isinstance(change, Path):
        return _file(change, parts, draft, difference=True)
    if not _names_parts(change):
        return _Step(change, "", {})
    name, _, value = change.partition("=")
    where = f"--set {change}"
    try:
        found: Any = plain(value)
    except yaml.YAMLError as error:
        draft.problems.append(f"{where}: not a YAML value: {getattr(error, 'problem', error)}")
        return _Step(Draft(), where, {})
    for group in reversed(name.strip().split(".")[1:]):
        found = {group: found}
    return _Step(Draft(), where, _named(found, {}, where, Path(), parts, draft))


def _file(path: Path, parts: Parts, draft: Draft, *, difference: bool = False) -> _Step:
    sections = tuple(dict.fromkeys(name for group in parts.groups.values() for name in group))
    own = parse(path, (USE, *sections), difference=difference)
    if USE not in own.data:
        return _Step(own, shown(path), {})
    where = own.lines[(USE,)]
    return _Step(own, shown(path), _named(own.data.pop(USE), own.lines, where, path.parent, parts, draft))


def _named(
    found: Any, lines: Mapping[tuple[str, ...], str], where: str, folder: Path, parts: Parts, draft: Draft
) -> dict[str, tuple[Any, str, Path]]:
    """The parts that a `use` names, by group."""
    if not isinstance(found, dict):
        allowed = ", ".join(parts.groups)
        draft.problems.append(
            f"{where}: {USE}: must name a part for each group, as {{planner: cem}}; groups: {allowed}"
        )
        return {}
    named = {}
    for group, value in found.items():
        place = lines.get((USE, str(group)), where)
        if group not in parts.groups:
            draft.problems.append(f"{place}: {USE}.{group}: unknown group; {nearest(str(group), parts.groups)}")
        else:
            named[group] = (value, place, folder)
    return named


def _lay_part(composed: Composed, parts: Parts, group: str, value: Any, where: str, folder: Path) -> None:
    known = parts.names(group)
    is_file = isinstance(value, str) and value.endswith((".yaml", ".yml"))
    path = folder / value if is_file else parts.folder / group / f"{value}.yaml"
    if not path.is_file() if is_file else value not in known:
        said = f"no such file: {path}" if is_file else f"no part '{value}'; {nearest(str(value), known)}"
        composed.draft.problems.append(f"{where}: {USE}.{group}: {said}; or a path to a .yaml file")
        return
    layer = part_draft(path, group, parts)
    composed.layers.append((shown(path), layer))
    composed.parts[group] = path
    composed.draft.lay(layer)
