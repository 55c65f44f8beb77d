"""Robots, tasks and trackers that other installed packages bring: entry points by group and name.

    [project.entry-points."hjepa.robots"]        # of the user's own package
    twolink = "my_robots.twolink:TwoLink"        # its name here, and where it is

Reading the names imports nothing of those packages; `load` imports the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hjepa.errors import PluginError

GROUPS = {
    "hjepa.robots": "driver",
    "hjepa.descriptions": "robot",
    "hjepa.emulators": "emulator",
    "hjepa.trackers": "tracker",
    "hjepa.tasks": "task",
}
"""What the names of each group stand for."""


class Plugin(NamedTuple):
    """One entry point."""

    group: str
    name: str
    value: str  # 'module:object', or a package that holds files
    package: str  # the distribution that brings it, and its version

    @property
    def title(self) -> str:
        """What it is and whose, for messages."""
        return f"{GROUPS[self.group]} '{self.name}' of package {self.package}"

    def load(self) -> Any:
        """The object; PluginError, one line with the plug-in's name, for whatever its package does wrong."""
        module, _, path = self.value.partition(":")
        try:
            found: Any = import_module(module)
            for attribute in filter(None, path.split(".")):
                found = getattr(found, attribute)
        except Exception as error:  # noqa: BLE001  a package of somebody else: whatever it raises is the finding
            raise PluginError(f"{self.title} ({self.value}) cannot be loaded: {_one_line(error)}") from error
        return found

    def folder(self) -> Path:
        """Folder of the package that `value` names; of a dotted name the packages above it are imported."""
        try:
            spec = find_spec(self.value)
        except Exception as error:  # noqa: BLE001  as above
            raise PluginError(f"{self.title} ({self.value}) cannot be found: {_one_line(error)}") from error
        if spec is None or not spec.submodule_search_locations:
            raise PluginError(f"{self.title} ({self.value}) cannot be found: no such package; allowed: its import name")
        return Path(next(iter(spec.submodule_search_locations)))

    def beside(self, file: str) -> Path:
        """A file in the package of the module that `value` names."""
        module = self.value.partition(":")[0]
        return self._replace(value=module.rpartition(".")[0] or module).folder() / file


class Found(NamedTuple):
    """The plug-ins of a group."""

    plugins: Mapping[str, Plugin]  # by name
    clashes: Mapping[str, str]  # names that cannot be used, and why

    def get(self, name: str) -> Plugin | None:
        """The plug-in of that name, or None; PluginError where two packages bring it."""
        if name not in self.plugins and name in self.clashes:
            raise PluginError(self.clashes[name])
        return self.plugins.get(name)


def found(group: str, own: Collection[str] = ()) -> Found:
    """What installed packages bring to a group. own: names of ours, which no package can take."""
    by_name: dict[str, list[Plugin]] = {}
    for point in entry_points(group=group):
        by_name.setdefault(point.name, []).append(Plugin(group, point.name, point.value, _package(point)))
    plugins, clashes = {}, {}
    for name, same in sorted(by_name.items()):
        if name in own:
            clashes[name] = f"{same[0].title}: the name is hjepa's own; allowed: another name"
        elif len(same) > 1:
            others = " and ".join(sorted(plugin.package for plugin in same))
            clashes[name] = f"{GROUPS[group]} '{name}' is brought by {others}; allowed: one of them installed"
        else:
            plugins[name] = same[0]
    return Found(plugins, clashes)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"


def _one_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
