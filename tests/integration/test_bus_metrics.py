"""hjepa bus metrics: a launched graph's metrics and health, also when a node is killed; this machine alone."""

import json
import os
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from hjepa.bus.fake import PointLow
from hjepa.bus.listen import Place
from hjepa.bus.metrics import MetricsServer, parse_listen
from hjepa.bus.node import KEPT_DECISIONS, BusConfig
from hjepa.bus.nodes import LowNode
from hjepa.bus.topics import Reset
from hjepa.bus.watch import KEEP_S, Watch
from hjepa.cli import main
from hjepa.errors import ConfigError, LinkError
from hjepa.launching.running import RunningGraph
from hjepa.types import Launch, RobotState
from tests.launched import HJEPA, Launched, wait_until

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
POINT = """\
name: point
nodes:
  driver: {role: driver, factory: "hjepa.bus.fake:PointWorld", args: {ticks: 100000}}
  high: {role: high, needs: [driver], factory: "hjepa.bus.fake:PointHigh"}
  low:
    role: low
    needs: [driver]
    factory: hjepa.bus.fake:PointLow
    restart: on-failure
    backoff: {first_s: 2.0}
  metrics:
    role: command
    command: [python, -c, from hjepa.cli import main; main(), bus, metrics, --base, "{base}", --listen, "127.0.0.1:0"]
    needs: [driver]
    critical: false
"""
URL = re.compile(r"http://[^/]+")


def fetch(url: str) -> tuple[int, str]:
    """Status code and body."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name, node, and the values of further labels."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, s.labels.pop("node"), *s.labels.values()): s.value for s in found}


def healthy(url: str, ok: bool) -> bool:
    code, body = fetch(f"{url}/health")
    assert code == (200 if json.loads(body)["ok"] else 503)
    return json.loads(body)["ok"] == ok


@contextmanager
def metrics_of(launched: Launched, *words: str):
    """`hjepa bus metrics` beside a launched graph; where it serves."""
    env = {**os.environ, "XDG_RUNTIME_DIR": str(launched.runtime.parent), "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [*HJEPA, "bus", "metrics", *words, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(argv, env=env | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield URL.search(process.stdout.readline())[0]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def test_a_launched_graph_is_measured_and_a_killed_node_is_noticed(tmp_path: Path) -> None:
    with Launched(tmp_path, POINT) as launched:
        for name in ("driver: ready", "high: ready", "low: ready", "metrics: ready"):
            launched.hears(name)
        log = tmp_path / "runs/launch/point/latest/metrics.log"
        wait_until(lambda: bool(URL.search(log.read_text())), "metrics of the graph's own node")
        url = URL.search(log.read_text())[0]
        code, body = fetch(f"{url}/health")
        assert code == 503 and json.loads(body)["nodes"]["driver"] == {"ok": False, "up": True, "state": "idle"}

        entry = json.loads((launched.runtime / "point.json").read_text())
        bus = BusConfig(base=entry["base"], keys=entry["keys"], clock="realtime")
        with RunningGraph(bus) as graph:
            session = graph._begin(Reset(START, LAUNCH, 3))
            graph.request("driver", "start")
            with metrics_of(launched, "point") as other:
                for each in (url, other):
                    wait_until(lambda each=each: healthy(each, True), "all nodes run")
                wait_until(
                    lambda: samples(fetch(f"{url}/metrics")[1]).get(("hjepa_decision_seconds_count", "low"), 0) > 5,
                    "plans",
                )
                found = samples(fetch(f"{url}/metrics")[1])
                assert all(found["hjepa_node_up", node] == 1 for node in ("driver", "high", "low"))
                assert found["hjepa_node_state", "driver", "running"] == 1
                assert found["hjepa_node_state", "driver", "holding"] == 0
                assert found["hjepa_node_session", "low"] == session % 2**53
                assert found["hjepa_count_total", "driver", "command.applied"] > 0
                assert found["hjepa_subscribers", "driver", "observation"] >= 3
                assert found["hjepa_restarts_total", "low"] == 0
                p50, p99 = (found["hjepa_decision_seconds", "low", q] for q in ("0.5", "0.99"))
                assert 0 < p50 <= p99 <= found["hjepa_decision_max_seconds", "low"] < 1
                assert ("hjepa_tick_late_max_seconds", "driver") in found

                os.kill(launched.pids("low")[0], signal.SIGKILL)
                for each in (url, other):
                    wait_until(lambda each=each: healthy(each, False), "the killed node")
                assert json.loads(fetch(f"{url}/health")[1])["nodes"]["low"] == {
                    "ok": False,
                    "up": False,
                    "state": None,
                }
                gone = samples(fetch(f"{url}/metrics")[1])
                assert gone["hjepa_node_up", "low"] == 0 and gone["hjepa_node_up", "high"] == 1
                assert ("hjepa_node_sequence", "low") not in gone
                launched.hears("low: ready", times=2)
                wait_until(lambda: healthy(url, True), "the node that was started again")
                assert samples(fetch(f"{url}/metrics")[1])["hjepa_restarts_total", "low"] == 1
    assert launched.leaves_nothing()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9464", "192.168.1.2:9464", "robot:9464", "127.0.0.1", "[::]:1", "127.0.0.1:70000"]
)
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: 127\.0\.0\.1:PORT"):
        parse_listen(address)


def test_addresses_of_this_machine_are_allowed() -> None:
    assert parse_listen("localhost:0") == ("127.0.0.1", 0)
    assert parse_listen("[::1]:9464") == ("::1", 9464)


def test_a_session_of_hours_stays_cheap_to_ask_about(tmp_path: Path) -> None:
    with LowNode(PointLow(), BusConfig(base=f"ipc://{tmp_path}", clock="realtime")) as node:
        for _ in range(KEPT_DECISIONS + 5):
            node._timed(0)
        status = node.status()
    assert len(status.wall_ms) == KEPT_DECISIONS and status.counts["decided"] == KEPT_DECISIONS + 5


def test_looks_within_half_a_second_share_an_answer() -> None:
    asked, now_s = [], [100.0]
    watch = Watch(Place("inproc://none"), (), lambda: asked.append(now_s[0]) or {}, lambda: now_s[0])
    assert watch.look() is watch.look() and len(asked) == 1
    now_s[0] += KEEP_S + 0.01
    watch.look()
    assert len(asked) == 2


def test_a_port_in_use_and_a_wrong_path_are_told() -> None:
    watch = Watch(Place("inproc://none"), ())
    with MetricsServer(watch, "127.0.0.1", 0) as server:
        with pytest.raises(LinkError, match="give another port"):
            MetricsServer(watch, "127.0.0.1", server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert fetch(f"{server.url}/") == (404, "here: /metrics, /health\n")
        server.shutdown()
        thread.join()


def test_mistakes_of_the_command_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["a", "--at", "ipc:///b"], "allowed: one of them"),
        (["--listen", "0.0.0.0:9464"], "allowed: 127.0.0.1:PORT"),
        (["--at", "ipc:///b", "--nodes", "lwo"], "did you mean 'low'?"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["bus", "metrics", *words])
        told = capsys.readouterr().err
        assert stopped.value.code == 2 and said in told and told.count("\n") == 1
