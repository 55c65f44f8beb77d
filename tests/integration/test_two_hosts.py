"""Driver here, planners there: network namespaces joined by a veth pair, and clocks that share no zero.

Each needs rights that a container may lack (unshare, ip netns); a test without them skips with the reason.
"""

import textwrap
from pathlib import Path

import pytest

from hjepa.bus.security import keygen
from tests.launched import Launched, permitted

SHIFT_S = 1000  # by which the planners' monotonic clock is ahead
SHIFTED = ("unshare", "--time", "--monotonic", str(SHIFT_S), "--fork", "--kill-child")
EPISODES = 2

CONDUCTOR = f"""
import sys
import numpy as np
from hjepa.bus.node import BusConfig
from hjepa.launching.graph import bus_config, load
from hjepa.launching.running import RunningGraph
from hjepa.types import Launch, RobotState

file, base, keys = sys.argv[1:]
plan = load(file)
start = RobotState(np.array([0.5, -0.5]), np.zeros(2))
launch = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
with RunningGraph(bus_config(plan, base, keys), 60.0) as graph:
    for seed in range({EPISODES}):
        episode = graph.play(start, launch, seed)
        counts = episode.status["driver"].counts
        print("applied", counts.get("command.applied", 0), "of", len(episode.commands))
        print("clocks", episode.status["low"].stamp_ns - episode.status["driver"].stamp_ns)
        print(counts)
        assert counts.get("dropped.command.expired", 0) == 0, counts
"""


def nodes(conductor: Path, keys: str, prefix: tuple[str, ...] = (), there: str = "") -> str:
    return textwrap.dedent(f"""\
        expiry_ms: 200
        nodes:
          driver: {{role: driver, factory: "hjepa.bus.fake:PointWorld", args: {{ticks: 150}}}}
          high: {{role: high, needs: [driver], factory: "hjepa.bus.fake:PointHigh", prefix: {list(prefix)}{there}}}
          low: {{role: low, needs: [driver], factory: "hjepa.bus.fake:PointLow", prefix: {list(prefix)}{there}}}
          conductor:
            role: command
            needs: [driver, high, low]
            command: [python, {conductor}, graph.yaml, "{{base}}", "{keys}"]
        """)


def figures(folder: Path, name: str, word: str) -> list[int]:
    """Numbers after a word in the conductor's log."""
    lines = (folder / "runs/launch" / name / "latest/conductor.log").read_text().splitlines()
    return [int(line.split()[2]) for line in lines if line.split()[1:2] == [word]]


@pytest.fixture
def conductor(tmp_path: Path) -> Path:
    path = tmp_path / "conductor.py"
    path.write_text(CONDUCTOR, encoding="utf-8")
    return path


@pytest.fixture
def shifted() -> tuple[str, ...]:
    reason = permitted(*SHIFTED, "true")
    if reason:
        pytest.skip(f"needs time namespaces: {reason}")
    return SHIFTED


def test_planners_whose_clock_is_ahead_are_followed(tmp_path: Path, conductor: Path, shifted: tuple[str, ...]) -> None:
    text = "name: clocks\n" + nodes(conductor, "{folder}", shifted)
    with Launched(tmp_path, text) as launched:
        assert launched.ends() == 0, launched.complained + launched.said
    assert all(ns > 0.9e9 * SHIFT_S for ns in figures(tmp_path, "clocks", "clocks")), "the clocks were not shifted"
    applied = figures(tmp_path, "clocks", "applied")
    assert len(applied) == EPISODES and min(applied) > 5
    assert launched.leaves_nothing()


def test_two_hosts_over_tcp_with_keys_and_clocks_apart(
    tmp_path: Path, conductor: Path, shifted: tuple[str, ...], hosts: tuple[str, str]
) -> None:
    keygen(tmp_path / "keys")
    text = "name: hosts\nbus: {base: 'tcp://10.77.0.1:7700', keys: keys}\n"
    text += nodes(conductor, "keys", there=", host: remote, address: 10.77.0.2, restart: on-failure")
    (tmp_path / "graph.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "there").mkdir()
    for name in ("graph.yaml", "keys"):
        (tmp_path / "there" / name).symlink_to(tmp_path / name)
    inside = [("ip", "netns", "exec", name) for name in hosts]
    with (
        Launched(tmp_path / "there", "graph.yaml", "--only", "high,low", prefix=(*inside[1], *shifted)) as planners,
        Launched(tmp_path, "graph.yaml", prefix=inside[0]) as robot,
    ):
        assert robot.ends() == 0, robot.complained + robot.said
        planners.hears("low: ready")
        assert figures(tmp_path, "hosts", "clocks")[0] > 0.9e9 * SHIFT_S
        applied = figures(tmp_path, "hosts", "applied")
        assert len(applied) == EPISODES and min(applied) > 5
    assert robot.leaves_nothing()
