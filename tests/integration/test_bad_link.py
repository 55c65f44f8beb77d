"""Driver in one network namespace, planners in another, CURVE between them, and the link in between bad on purpose.

Skips with its reason where network namespaces are not permitted (see conftest.hosts).
"""

import json
import os
import signal
import textwrap
from pathlib import Path

from hjepa.bus.security import keygen
from tests.launched import Launched, wait_until

NEAR, FAR, BEHIND = "tcp://10.77.0.1:7700", "tcp://10.77.0.1:8700", "tcp://10.77.0.2:8700"
CUT_S = 1.2
BAD = f"--delay-ms 5 --jitter-ms 3 --loss 0.01 --again-ms 60 --cut-s {CUT_S} --every-s 0".split()
EXPIRY_MS = 250
MANY = 40  # commands

CONDUCTOR = f"""
import json, sys, time
import numpy as np
from hjepa.bus.topics import Reset
from hjepa.errors import LinkError
from hjepa.launching.graph import bus_config, load
from hjepa.launching.running import RunningGraph
from hjepa.types import Launch, RobotState

base, keys = sys.argv[1:]
start = RobotState(np.array([0.5, -0.5]), np.zeros(2))
launch = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")

def until(true):
    while not true(told := graph.status("driver")):
        time.sleep(0.01)
    return told

def say(what, told):
    print(json.dumps({{"what": what, "state": told.state}} | told.counts), flush=True)

def applied(told):
    return told.counts.get("command.applied", 0)

with RunningGraph(bus_config(load("graph.yaml"), base, keys), 60.0) as graph:
    graph._begin(Reset(start, launch, 0))
    graph.request("driver", "start")
    say("moving", until(lambda told: applied(told) >= {MANY}))
    say("held", until(lambda told: told.state == "holding"))
    refused = 0
    while True:
        try:
            graph.request("driver", "arm")
            break
        except LinkError as error:
            refused += "fresh commands" in str(error)
            time.sleep(0.02)
    dq = graph.request("driver", "get_record").arrays["dq_rad_s"]
    print(json.dumps({{"what": "still", "speed": float(abs(dq[-2:]).max()), "refused": refused}}), flush=True)
    before = applied(graph.status("driver"))
    say("resumed", until(lambda told: applied(told) >= before + {MANY}))
"""

LEVELS = textwrap.dedent("""\
    name: link
    expiry_ms: {expiry}
    bus: {{base: '{base}', keys: keys, latch: true}}
    nodes:
      driver: {{role: driver, factory: "hjepa.bus.fake:PointWorld", args: {{ticks: 100000}}}}
      high: {{role: high, needs: [driver], factory: "hjepa.bus.fake:PointHigh", host: remote, address: {levels}}}
      low:
        {{role: low, needs: [driver], factory: "hjepa.bus.fake:PointLow", host: remote, address: {levels},
         args: {{horizon: 60, latency_ns: 100000000}}}}
    """)


def proxy(listen: str, target: str, *words: str) -> str:
    return json.dumps({"role": "command", "command": ["hjepa", "bus", "proxy", listen, target, *BAD, *words]})


def said(folder: Path) -> dict[str, dict[str, float]]:
    """What the conductor has told so far, by name."""
    path = folder / "runs/launch/link/latest/conductor.log"
    if not path.exists():
        return {}
    lines = (line[line.index("{") :] for line in path.read_text().splitlines() if line.endswith("}") and "{" in line)
    return {told["what"]: told for told in map(json.loads, lines)}


def test_a_robot_behind_a_bad_link_follows_brakes_when_it_is_cut_and_resumes_when_armed(
    tmp_path: Path, hosts: tuple[str, str]
) -> None:
    keygen(tmp_path / "keys")
    there = tmp_path / "there"
    there.mkdir()
    (there / "keys").symlink_to(tmp_path / "keys")
    (there / "graph.yaml").write_text(LEVELS.format(base=FAR, levels="10.77.0.2", expiry=EXPIRY_MS), encoding="utf-8")
    (tmp_path / "conductor.py").write_text(CONDUCTOR, encoding="utf-8")
    (tmp_path / "graph.yaml").write_text(
        LEVELS.format(base=NEAR, levels="127.0.0.1", expiry=EXPIRY_MS)
        + f"  to-driver: {proxy(FAR, NEAR, '--allow-remote', '10.77.0.2')}\n"
        + f"  to-levels: {proxy('tcp://127.0.0.1:7700', BEHIND)}\n"
        + "  conductor: {role: command, needs: [driver, high, low], command: [python, conductor.py, '{base}', keys]}\n",
        encoding="utf-8",
    )
    inside = [("ip", "netns", "exec", name) for name in hosts]
    with (
        Launched(there, "graph.yaml", "--only", "high,low", prefix=inside[1]),
        Launched(tmp_path, "graph.yaml", prefix=inside[0]) as robot,
    ):
        robot.hears("conductor: started")
        wait_until(lambda: "moving" in said(tmp_path), "commands")
        for name in ("to-driver", "to-levels"):
            os.kill(robot.pids(name)[-1], signal.SIGUSR1)
        assert robot.ends() == 0, robot.complained + robot.said
    moving, held, still, resumed = (said(tmp_path)[what] for what in ("moving", "held", "still", "resumed"))
    assert moving["state"] == "running" and moving["command.applied"] >= MANY
    assert held["expired.in_force"] == 1, "the cut, and nothing before it, left the robot without a command"
    assert still["refused"] >= 1 and still["speed"] == 0.0, "it braked, and was not to be armed while the link was cut"
    assert resumed["state"] == "running" and resumed["armed"] == 1
    assert resumed["command.started_late"] == 0, resumed
    assert resumed.get("dropped.command.unauthenticated", 0) == 0
    assert robot.leaves_nothing()
