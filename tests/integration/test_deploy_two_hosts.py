"""A bundle on the controller drives the robot on another machine: network namespaces, CURVE, a link with a delay.

Skips with its reason where network namespaces are not permitted (see conftest.hosts).
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hjepa.bus.security import keygen
from tests.bundled import flip
from tests.launched import Launched

pytest.importorskip("cryptography")
pytestmark = pytest.mark.sim
ROOT = Path(__file__).parent.parent.parent
NEAR, FAR, BEHIND = "tcp://10.77.0.1:7700", "tcp://10.77.0.1:8700", "tcp://10.77.0.2:8700"
DELAY = ("--delay-ms", "3", "--jitter-ms", "1")
STROKES = 2

ASK = """
import json, sys
from hjepa.bus.node import BusConfig, Party
from hjepa.launching.node import ask_status
bus = BusConfig(base=sys.argv[1], keys="keys", clock="realtime")
told = ask_status(Party("tools", bus, None, guarded=True), "driver", 5.0)
print(json.dumps({"state": told.state} | told.counts))
"""


def proxy(listen: str, target: str, *words: str) -> str:
    return json.dumps({"role": "command", "command": ["hjepa", "bus", "proxy", listen, target, *DELAY, *words]})


def robot_s_graph() -> str:
    """The shipped graph, with levels behind one proxy, and another one for them to reach the driver by."""
    text = (ROOT / "launch" / "badminton_hosts.yaml").read_text(encoding="utf-8")
    text = text.replace("tcp://10.0.0.1:7700", NEAR).replace("10.0.0.2", "127.0.0.1")
    to_driver = proxy(FAR, NEAR, "--allow-remote", "10.77.0.2")
    return f"{text}  to-driver: {to_driver}\n  to-levels: {proxy('tcp://127.0.0.1:7700', BEHIND)}\n"


def driver(folder: Path, inside: tuple[str, ...]) -> dict[str, float]:
    """How the driver is, asked on its own machine."""
    words = [*inside, sys.executable, "-c", ASK, NEAR]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_bundle_drives_the_robot_of_another_machine_and_a_tampered_one_does_not(
    tmp_path: Path, hosts: tuple[str, str], bundle: Path
) -> None:
    pytest.importorskip("pybullet")
    robot_s, controller_s = tmp_path / "robot", tmp_path / "controller"
    keygen(tmp_path / "keys")
    for folder in (robot_s, controller_s):
        folder.mkdir()
        (folder / "keys").symlink_to(tmp_path / "keys")
    (robot_s / "graph.yaml").write_text(robot_s_graph(), encoding="utf-8")
    here, there = (("ip", "netns", "exec", name) for name in hosts)
    words = ["--trust", str(tmp_path / "builder.pub"), "--set", f"graph.bus.base={FAR}"]
    words += [f"graph.nodes.{level}.address=10.77.0.2" for level in ("high", "low")]

    def controller() -> Launched:
        return Launched(controller_s, bundle, *words, verb=("deploy", "run"), prefix=there)

    with Launched(robot_s, "graph.yaml", "--set", f"task.strokes={STROKES}", prefix=here) as robot:
        robot.hears("driver: ready")
        flip(bundle / "weights" / "low.safetensors")
        with controller() as tampered:
            assert tampered.ends() == 2
        assert "weights/low.safetensors was changed after the bundle was signed" in tampered.complained
        assert "started" not in tampered.said
        still = driver(robot_s, here)
        assert still["state"] == "idle" and still.get("command.applied", 0) == still.get("accepted.command", 0) == 0
        flip(bundle / "weights" / "low.safetensors")
        with controller() as levels:
            assert robot.ends() == 0, robot.complained + robot.said
            levels.hears("low: ready")
    logs = robot_s / "runs/launch/badminton-hosts/latest"
    with (logs / "strokes.csv").open() as file:
        strokes = list(csv.DictReader(file))
    assert len(strokes) == STROKES
    assert all(stroke["commanded_type"] for stroke in strokes), "every stroke was decided about"
    assert any(stroke["hit"] == "1" for stroke in strokes), strokes
    late = sum(int(stroke["deadline_misses"]) for stroke in strokes)
    assert late <= 10 * STROKES, "commands started late"  # of some 20 a stroke; a busy machine has a few
    assert "bundle checked" in (controller_s / "runs/launch/badminton-hosts/latest/low.log").read_text()
    assert robot.leaves_nothing() and levels.leaves_nothing()
