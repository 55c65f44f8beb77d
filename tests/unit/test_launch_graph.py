"""pytest tests/unit/test_launch_graph.py: a process graph's YAML is typed; every mistake is named with its line."""

from pathlib import Path

import pytest

from hjepa.errors import ConfigError, LinkError
from hjepa.launching import graph as g

GOOD = """\
name: two
set: [task.strokes=3]
nodes:
  low:
    role: low
    needs: [driver]
    restart: on-failure
    backoff: {first_s: 0.1}
  driver:
    role: driver
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "graph.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        g.load(write(folder, text), overrides)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_a_node_comes_after_those_that_it_needs_and_keeps_its_defaults(tmp_path: Path) -> None:
    plan = g.load(write(tmp_path, GOOD))
    assert plan.order() == ["driver", "low"]
    low = plan.graph.nodes["low"]
    assert low.restart == "on-failure" and low.critical and low.backoff == g.BackoffSection(first_s=0.1)
    assert plan.config.task.strokes == 3
    assert plan.config.run.clock == plan.graph.clock == "realtime"


@pytest.mark.parametrize("name", g.names())
def test_shipped_graphs_are_valid(name: str) -> None:
    assert g.load(name).order()


def test_overrides_reach_configuration_and_graph(tmp_path: Path) -> None:
    sets = ["task.strokes=5", "graph.clock=lockstep", "graph.nodes.low.critical=false", "graph.expiry_ms=120"]
    plan = g.load(write(tmp_path, GOOD), sets)
    assert plan.config.task.strokes == 5  # the command line wins over the file
    assert plan.config.run.clock == "lockstep"
    assert not plan.graph.nodes["low"].critical
    bus = g.bus_config(plan, "ipc:///tmp/x", "keys")
    assert (bus.base, bus.clock, bus.expiry_ms, bus.keys) == ("ipc:///tmp/x", "lockstep", 120.0, "keys")
    assert bus.low_period_ticks == plan.config.low.replan_period_ms // 10


def test_commissioning_aids_and_hosts_reach_the_bus(tmp_path: Path) -> None:
    text = (
        GOOD.replace("role: low", "role: low\n    address: 10.0.0.2")
        + "bus: {base: 'tcp://10.0.0.1:7700', latch: true}\n"
    )
    plan = g.load(write(tmp_path, text), ["graph.shadow=true", "graph.speed=0.1"])
    with pytest.raises(LinkError, match="needs keys"):
        g.bus_config(plan, plan.graph.bus.base)
    bus = g.bus_config(plan, plan.graph.bus.base, "keys")
    assert bus.shadow and bus.latch
    assert plan.graph.speed == 0.1
    assert bus.hosts == {"low": "10.0.0.2"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rol: driver", ":4: nodes.a.rol: unknown key; did you mean 'role'?"),
        ("role: drivr", ":4: nodes.a.role: must be 'driver', 'high', 'low', 'conductor', 'recorder' or 'command'"),
        ("{role: command}", ":3: nodes.a.role: a command needs `command`"),
        ("{role: low, command: [x]}", ":3: nodes.a.command: a low takes no `command`"),
        ("{role: conductor, factory: 'a:b'}", ":3: nodes.a.factory: are for driver, high, low"),
        ("{role: low, factory: nonsense}", ":3: nodes.a.factory: is 'nonsense'; allowed: module:function"),
        ("{role: low, needs: [lo]}", ":3: nodes.a.needs: no node 'lo'; allowed: a"),
        ("{role: low, needs: [a]}", ":3: nodes.a.needs: goes in a circle: a needs a"),
        ("{role: low, host: remote}", ":3: nodes.a.host: needs a bus that other machines reach"),
        ("{role: low, stop_s: -1}", ":3: nodes.a.stop_s: must be greater than or equal to 0, got -1"),
        ("{role: low, backoff: {facto: 2}}", ":3: nodes.a.backoff.facto: unknown key; did you mean 'factor'?"),
    ],
)
def test_a_mistake_in_a_node_names_its_line(tmp_path: Path, text: str, line: str) -> None:
    node = f"  a: {text}\n" if text.startswith("{") else f"  a:\n    {text}\n"
    said = problems(tmp_path, f"name: x\nnodes:\n{node}")
    assert any(line in found for found in said), said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nodes: {a: {role: low}}\n", "graph.yaml: name: Field required"),
        ("name: Bad Name\nnodes: {a: {role: low}}\n", "graph.yaml:1: name: is 'Bad Name'; allowed: at most 32"),
        ("name: x\nnodes:\n", "graph.yaml:2: nodes: a graph needs at least one node"),
        (
            "name: x\nbus: {base: 'udp://a'}\nnodes: {a: {role: low}}\n",
            "graph.yaml:2: bus.base: is 'udp://a'; allowed: ipc",
        ),
        ("name: x\nspeed: 2\nnodes: {a: {role: low}}\n", "graph.yaml:2: speed: must be less than or equal to 1, got 2"),
        ("name: x\nnodes:\n  a: {role: low}\n  b: {role: low}\n", "graph.yaml:4: nodes.b.role: is low, as is node a"),
        ("name: x\nnodes:\n  A b: {role: low}\n", "graph.yaml:3: nodes.A b: is no name"),
        ("name: x\nspeed: 1\nspeed: 0.1\nnodes: {a: {role: low}}\n", "graph.yaml:3: speed: key given twice"),
    ],
)
def test_a_mistake_in_a_graph_names_its_line(tmp_path: Path, text: str, line: str) -> None:
    (said,) = problems(tmp_path, text)
    assert line in said


def test_all_mistakes_are_reported_at_once_in_order(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n  a: {role: low, needs: [b]}\n  c: {role: high, needs: [a, d]}\n"
    assert [line.split(": ")[0] for line in problems(tmp_path, text)] == ["graph.yaml:3", "graph.yaml:4"]


def test_overrides_are_named_where_they_are_wrong(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, GOOD, "graph.nodes.low.restrt=never")
    assert said.startswith("--set nodes.low.restrt=never: nodes.low.restrt: unknown key; did you mean 'restart'?")
    (said,) = problems(tmp_path, GOOD, "task.stroke=1")
    assert said.startswith("--set task.stroke=1: task.stroke: unknown key; did you mean 'strokes'?")


def test_a_circle_of_nodes_is_refused(tmp_path: Path) -> None:
    nodes = "".join(f"  {n}: {{role: command, command: [x], needs: [{m}]}}\n" for n, m in ("ab", "bc", "ca"))
    (said,) = problems(tmp_path, f"name: x\nnodes:\n{nodes}")
    assert said.endswith("goes in a circle: a needs b needs c needs a")


def test_an_unknown_graph_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no graph 'badminton_sin': did you mean 'badminton_sim'"):
        g.load("badminton_sin")
    with pytest.raises(ConfigError, match="no graph 'no/x.yaml': give an existing .yaml file"):
        g.load("no/x.yaml")


def test_pauses_grow_up_to_their_bound() -> None:
    backoff = g.BackoffSection(first_s=0.5, factor=2.0, max_s=3.0)
    assert [backoff.pause_s(n) for n in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert g.BackoffSection().pause_s(10_000) == 10.0
