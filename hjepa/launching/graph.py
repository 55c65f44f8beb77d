"""A process graph as typed YAML: which nodes there are, who needs whom, what happens when one ends.

`load("badminton_sim")` reads a graph that ships with the package, `load("my/graph.yaml")` a file. Overrides change the
configuration (`task.strokes=3`) or, after `graph.`, the graph itself (`graph.nodes.low.restart=always`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hjepa import config as configuration
from hjepa.bus.link import check_address
from hjepa.bus.node import BusConfig
from hjepa.bus.topics import TOPICS, address
from hjepa.config import Config
from hjepa.errors import ConfigError, nearest
from hjepa.typed_yaml import Problems, Section, key, read

Role = Literal["driver", "high", "low", "conductor", "recorder", "command"]
ON_BUS = ("driver", "high", "low")  # they answer `get_status`
LEVELS = ("high", "low")
FACTORIES = {role: f"hjepa.factories:make_{'world' if role == 'driver' else role}" for role in ON_BUS}
OWN = "graph."  # overrides that change the graph
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")  # names files and sockets, whose paths are short


class BackoffSection(Section):
    """Pauses between a node's restarts: first_s, then factor times longer each time, up to max_s."""

    first_s: float = key(0.5, "pause (s) before the first restart", ge=0)
    factor: float = key(2.0, "how much longer each further pause is", ge=1)
    max_s: float = key(10.0, "the longest pause (s)", ge=0)
    give_up_after: int = key(5, "restarts in a row, after which the node has failed", ge=0)
    steady_s: float = key(30.0, "a node that ran for so long (s) starts counting its restarts afresh", ge=0)

    def pause_s(self, restarts: int) -> float:
        """Before the next restart, after so many in a row."""
        return float(min(self.first_s * self.factor ** min(restarts, 60), self.max_s))


class NodeSection(Section):
    """One process."""

    role: Role = key(..., "driver, high, low: nodes of the bus; conductor: plays the strokes; recorder, command: argv")
    command: tuple[str, ...] = key(
        (), "argv of a recorder or command; {base}, {name}, {folder} and {logs} are filled in"
    )
    factory: str = key("", "module:function that makes the driver or level; empty: what the configuration names")
    args: dict[str, Any] = key({}, "arguments of that factory")
    prefix: tuple[str, ...] = key((), "words before its command line, such as [chrt, --fifo, '50']")
    out: str = key("", "conductor: folder of its results; empty: that of the logs")
    needs: tuple[str, ...] = key((), "nodes that must answer before this one starts; it is stopped before them")
    critical: bool = key(True, "when this node has ended for good, the graph ends")
    restart: Literal["never", "on-failure", "always"] = key("never", "what happens when it ends by itself")
    backoff: BackoffSection = BackoffSection()
    start_s: float = key(
        120.0, "a node of the bus that does not answer in this time (s) is killed and has failed", gt=0
    )
    hang_s: float = key(
        0.0, "a node of the bus that is silent for so long (s) is killed and has failed; 0: never", ge=0
    )
    stop_s: float = key(5.0, "how long (s) it may take to end when told to, before it is killed", ge=0)
    host: Literal["here", "remote"] = key("here", "remote: started on another machine, with --only")
    address: str = key("", "tcp: machine (address) where its sockets are bound; empty: that of bus.base")
    environment: dict[str, str] = key({}, "further environment variables")
    nice: int = key(0, "priority; below 0 needs permission", ge=-20, le=19)
    cpus: tuple[int, ...] = key((), "processors it may run on; empty: all")


class BusSection(Section):
    """Where the nodes meet."""

    base: str = key(
        "ipc", "ipc: sockets in a private folder of this machine; or tcp://HOST:PORT, the first of its ports"
    )
    keys: str = key("", "folder of keys, from `hjepa bus keygen`; needed beyond this machine")
    latch: bool = key(False, "when the last command has expired, hold until armed again")
    goal_valid_ms: float = key(0.0, "a goal in force for longer (ms) is planned for no more; 0: until the next", ge=0)
    arm_commands: int = key(5, "so many fresh commands in a row before a robot may be armed", ge=1)
    journal: bool = key(False, "levels publish what they handled, for recordings that can be replayed")


class GraphSection(Section):
    """A whole graph."""

    name: str = key(..., "names the run's folder and the entry under which other tools find it")
    config: str = key("badminton", "configuration by name, or a .yaml file")
    set: tuple[str, ...] = key((), "overrides of the configuration, such as task.strokes=3")
    clock: Literal["lockstep", "realtime"] = key("realtime", "realtime: nobody waits; lockstep: simulated time")
    expiry_ms: float = key(0.0, "a command older than this (ms) is out of force; 0: when its validity ends", ge=0)
    shadow: bool = key(False, "plans are made and logged, but the driver does not move")
    speed: float = key(1.0, "share of the robot's speed and acceleration limits that may be used", gt=0, le=1)
    bus: BusSection = BusSection()
    nodes: dict[str, NodeSection] = key({}, "the processes, in the order in which they start")


class Plan(NamedTuple):
    """A graph that has been checked, with its configuration."""

    graph: GraphSection
    config: Config
    file: Path

    def order(self) -> list[str]:
        """Nodes, each after those that it needs, otherwise as in the file."""
        return list(_ordered(self.graph))


def names() -> list[str]:
    """Graphs that ship with the package."""
    return sorted(path.stem for path in configuration.resource("launch").glob("*.yaml"))


def load(name_or_file: str | Path, overrides: Sequence[str] = (), files: Sequence[Path] = ()) -> Plan:
    """Graph by name or file; ConfigError with file and line of every mistake.

    files: what differs from the configuration; over what the graph sets itself, under the overrides.
    """
    file = _find(name_or_file)
    own = [text.removeprefix(OWN) for text in overrides if text.startswith(OWN)]
    graph = read(GraphSection, file, own, _check)
    changes: list[str | Path] = [*graph.set, *files, f"run.clock={graph.clock}"]
    changes += [text for text in overrides if not text.startswith(OWN)]
    chosen = configuration.trace(Config, configuration.find(graph.config), changes).value
    if chosen.levels.count != 2 and any(node.role in LEVELS for node in graph.nodes.values()):
        raise ConfigError(f"levels.count is {chosen.levels.count}: nodes high and low are two levels; allowed: 2")
    return Plan(graph, chosen, file)


def bus_config(plan: Plan, base: str, keys: str = "") -> BusConfig:
    """What all nodes of the graph agree on, at an address and with keys from a folder.

    LinkError for an address that may not be used: one that others can reach, without keys.
    """
    graph, bus, period = plan.graph, plan.graph.bus, plan.config.low.replan_period_ms // 10
    made = BusConfig(
        base=base,
        clock=graph.clock,
        low_period_ticks=period,
        high_period_ticks=period,
        latch=bus.latch,
        expiry_ms=graph.expiry_ms,
        goal_valid_ms=bus.goal_valid_ms,
        arm_commands=bus.arm_commands,
        shadow=graph.shadow,
        hosts={node.role: node.address for node in graph.nodes.values() if node.address},
        keys=keys,
        journal=bus.journal,
    )
    for topic in TOPICS:
        check_address(address(base, topic, made.hosts), bool(keys))
    return made


def _find(name_or_file: str | Path) -> Path:
    text = str(name_or_file)
    is_file = isinstance(name_or_file, Path) or text.endswith((".yaml", ".yml")) or os.sep in text
    path = Path(text) if is_file else configuration.resource("launch", f"{text}.yaml")
    if not path.is_file():
        hint = "give an existing .yaml file" if is_file else f"{nearest(text, names())}; or a path to a .yaml file"
        raise ConfigError(f"no graph '{text}': {hint}")
    return path


# mistakes that no single key can have


def _check(graph: GraphSection) -> Problems:
    if not _NAME.fullmatch(graph.name):
        yield ("name",), f"is '{graph.name}'; allowed: at most 32 of a-z, 0-9, - and _, such as badminton-sim"
    if not graph.nodes:
        yield ("nodes",), "a graph needs at least one node"
    yield from _check_bus(graph)
    roles: dict[str, str] = {}
    for name, node in graph.nodes.items():
        at = ("nodes", name)
        if not _NAME.fullmatch(name):
            yield at, f"is no name; allowed: at most 32 of a-z, 0-9, - and _, such as {node.role}"
        if node.role in (*ON_BUS, "conductor") and roles.setdefault(node.role, name) != name:
            yield (*at, "role"), f"is {node.role}, as is node {roles[node.role]}; allowed: one of each"
        yield from (((*at, part), said) for part, said in _check_node(graph, name, node))
    cycle = _cycle(graph)
    if cycle:
        yield ("nodes", cycle[0], "needs"), f"goes in a circle: {' needs '.join(cycle)}"


def _check_bus(graph: GraphSection) -> Problems:
    base = graph.bus.base
    if base != "ipc" and not re.fullmatch(r"tcp://[^:/\s]+:\d+", base):
        yield ("bus", "base"), f"is '{base}'; allowed: ipc, tcp://HOST:PORT"


def _check_node(graph: GraphSection, name: str, node: NodeSection) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it)."""
    runs = node.role in ("recorder", "command")
    if runs != bool(node.command):
        yield "command" if node.command else "role", f"a {node.role} {'needs' if runs else 'takes no'} `command`"
    if (node.factory or node.args) and node.role not in ON_BUS:
        yield "factory" if node.factory else "args", f"are for {', '.join(ON_BUS)}; node {name} is {node.role}"
    if node.out and node.role != "conductor":
        yield "out", f"is for the conductor; node {name} is {node.role}"
    if node.factory and node.role == "driver" and graph.speed < 1.0 and "speed_share" not in node.args:
        yield "factory", "is your own: give it the share of the speed limits as args: {speed_share: ...}"
    if node.factory and node.factory.count(":") != 1:
        yield "factory", f"is '{node.factory}'; allowed: module:function"
    if graph.bus.base == "ipc" and (node.host == "remote" or node.address):
        yield (
            "host" if node.host == "remote" else "address",
            "needs a bus that other machines reach: bus.base tcp://...",
        )
    for other in node.needs:
        if other not in graph.nodes:
            yield "needs", f"no node '{other}'; {nearest(other, graph.nodes)}"


def _cycle(graph: GraphSection) -> list[str]:
    """Nodes that need each other in a circle, the first one again at the end; or nothing."""

    def walk(name: str, trail: tuple[str, ...]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        needed = graph.nodes[name].needs if name in graph.nodes else ()
        return next((found for other in needed if (found := walk(other, (*trail, name)))), [])

    return next((found for name in graph.nodes if (found := walk(name, ()))), [])


def _ordered(graph: GraphSection) -> Iterator[str]:
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name not in done:
            done.add(name)
            for other in graph.nodes[name].needs:
                yield from visit(other)
            yield name

    for name in graph.nodes:
        yield from visit(name)
