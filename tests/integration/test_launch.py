"""`hjepa launch` starts in order, restarts, gives up, names the culprit, and leaves nothing behind."""

import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hjepa import config
from hjepa.bus.node import BusConfig
from hjepa.bus.topics import Reset
from hjepa.launching import supervisor
from hjepa.launching.graph import load
from hjepa.launching.running import RunningGraph
from hjepa.types import Launch, RobotState
from tests.launched import Launched, exists, wait_until

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
POINT = """\
name: point
nodes:
  driver: {role: driver, factory: "hjepa.bus.fake:PointWorld", args: {ticks: %d}}
  high: {role: high, needs: [driver], factory: "hjepa.bus.fake:PointHigh", restart: on-failure}
  low:
    role: low
    needs: [driver]
    factory: hjepa.bus.fake:PointLow
    restart: on-failure
    backoff: {first_s: 0.05}
"""


def command(name: str, script: str, **keys: object) -> str:
    """A node of a graph: a shell script."""
    rest = "".join(f", {key}: {json.dumps(value)}" for key, value in keys.items())
    return f"  {name}: {{role: command, command: [sh, -c, {json.dumps(script)}]{rest}}}\n"


def graph(*nodes: str) -> str:
    return "name: test\nnodes:\n" + "".join(nodes)


def run(folder: Path, text: str, *words: str) -> Launched:
    """Until it ends; the exit code is in `.process.returncode`."""
    with Launched(folder, text, *words) as launched:
        launched.ends()
    return launched


# order


def test_nodes_start_after_what_they_need_and_stop_before_it(tmp_path: Path) -> None:
    text = graph(
        command("last", "exit 0", needs=["middle"]),
        command("middle", "exec sleep 60", needs=["first"]),
        command("first", "exec sleep 60"),
    )
    launched = run(tmp_path, text)
    assert launched.process.returncode == 0
    starts = [line for line in launched.events() if line.endswith(": started")]
    assert starts == ["first: started", "middle: started", "last: started"]
    assert launched.events()[-3:] == ["last: has ended", "middle: stopped", "first: stopped"]
    assert launched.leaves_nothing()


def test_a_driver_is_asked_before_others_start_and_stops_last(tmp_path: Path) -> None:
    text = POINT % 80 + command("camera", "exec sleep 60") + command("end", "exit 0", needs=["high", "low"])
    launched = run(tmp_path, text)
    assert launched.process.returncode == 0, launched.complained
    said = launched.events()
    assert said.index("driver: ready") < min(said.index("high: started"), said.index("low: started"))
    assert max(said.index("high: ready"), said.index("low: ready")) < said.index("end: started")
    assert said[-1] == "driver: stopped" and {"camera: stopped", "high: stopped", "low: stopped"} <= set(said)


# ends and exit codes


def test_the_exit_code_is_the_culprits_and_its_last_words_are_shown(tmp_path: Path) -> None:
    text = graph(command("good", "exec sleep 60"), command("bad", "echo the tail; exit 7", needs=["good"]))
    launched = run(tmp_path, text)
    assert launched.process.returncode == 7
    assert launched.complained.splitlines() == [
        "  | the tail",
        "hjepa: node bad ended with exit code 7; logs: runs/launch/test/latest",
    ]
    assert launched.leaves_nothing()


def test_a_killed_node_gives_128_and_its_signal(tmp_path: Path) -> None:
    launched = run(tmp_path, graph(command("bad", "kill -SEGV $$")))
    assert launched.process.returncode == 128 + signal.SIGSEGV
    assert "node bad was killed by SIGSEGV" in launched.complained


def test_a_node_that_is_not_critical_may_fail(tmp_path: Path) -> None:
    bad = command("bad", "exit 3", critical=False)
    launched = run(tmp_path, graph(bad, command("good", "sleep 0.3")))
    assert launched.process.returncode == 0
    assert {"bad: ended with exit code 3", "good: has ended"} <= set(launched.events())


def test_who_needs_a_failed_node_fails_without_starting(tmp_path: Path) -> None:
    nodes = command("bad", "exit 3", critical=False), command("child", "exit 0", needs=["bad"])
    launched = run(tmp_path, graph(*nodes))
    assert launched.process.returncode == 1
    assert "node child needs bad, which has failed" in launched.complained
    assert launched.pids("child") == []


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    launched = run(tmp_path, "name: test\nnodes:\n  a: {role: command, command: [no-such-program]}\n")
    assert launched.process.returncode == 127
    assert "cannot be started" in launched.complained and "no-such-program" in launched.complained


def test_a_node_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    text = "name: test\nnodes:\n  a: {role: low, prefix: [sh, -c, 'exec sleep 60'], start_s: 0.3}\n"
    launched = run(tmp_path, text)
    assert launched.process.returncode == 128 + signal.SIGKILL
    assert "node a did not answer within 0.3 s" in launched.complained


# restarts


def test_a_node_is_restarted_with_growing_pauses_and_then_given_up(tmp_path: Path) -> None:
    backoff = {"first_s": 0.2, "factor": 2.0, "give_up_after": 2}
    text = graph(command("bad", "date +%s%N >> times; exit 4", restart="on-failure", backoff=backoff))
    launched = run(tmp_path, text)
    assert launched.process.returncode == 4
    assert "node bad ended with exit code 4, after 2 restarts in a row" in launched.complained
    times_s = np.array([int(line) for line in (tmp_path / "times").read_text().split()]) / 1e9
    gaps_s = np.diff(times_s)
    assert len(gaps_s) == 2 and gaps_s[0] >= 0.2 and gaps_s[1] >= 0.4
    assert len(launched.pids("bad")) == 3


def test_on_failure_leaves_a_good_end_alone_and_always_does_not(tmp_path: Path) -> None:
    once = "echo >> count; test $(wc -l < count) -ge 2"  # fails the first time
    launched = run(tmp_path, graph(command("a", once, restart="on-failure", backoff={"first_s": 0.0})))
    assert launched.process.returncode == 0
    assert (tmp_path / "count").read_text().count("\n") == 2
    with Launched(tmp_path, graph(command("a", "exit 0", restart="always", backoff={"first_s": 0.0}))) as launched:
        launched.hears("a: started", times=3)


def test_a_mistake_is_not_tried_again(tmp_path: Path) -> None:
    text = "name: test\nnodes:\n  a: {role: low, factory: 'no.such:thing', restart: always}\n"
    launched = run(tmp_path, text)
    assert launched.process.returncode == 2
    assert len(launched.pids("a")) == 1
    assert "factory 'no.such:thing' cannot be found" in launched.complained


def test_a_restarted_level_is_followed_again_in_the_same_session(tmp_path: Path) -> None:
    with Launched(tmp_path, POINT % 100_000) as launched:
        for name in ("driver", "high", "low"):
            launched.hears(f"{name}: ready")
        entry = json.loads((launched.runtime / "point.json").read_text())
        bus = BusConfig(base=entry["base"], keys=entry["keys"], clock="realtime")
        with RunningGraph(bus) as graph:
            session = graph._begin(Reset(START, LAUNCH, 3))
            graph.request("driver", "start")
            wait_until(lambda: applied(graph) > 5, "commands of the first life")
            os.kill(launched.pids("low")[0], signal.SIGKILL)
            launched.hears("low: was killed by SIGKILL; starts again in 0.05 s")
            before = applied(graph)
            launched.hears("low: ready", times=2)
            wait_until(lambda: applied(graph) > before + 5, "commands of the second life")
            driver = graph.status("driver")
            assert driver.session == graph.status("low").session == session
            assert driver.state == "running" and driver.counts.get("dropped.command.reordered", 0) == 0


def test_a_level_that_hangs_is_restarted(tmp_path: Path) -> None:
    with Launched(tmp_path, (POINT % 100_000) + "    hang_s: 0.5\n") as launched:
        launched.hears("low: ready")
        os.kill(launched.pids("low")[0], signal.SIGSTOP)
        launched.hears("low: was silent for 0.5 s; starts again")
        launched.hears("low: ready", times=2)
    assert launched.pids("high") == launched.pids("high")[:1]


def applied(graph: RunningGraph) -> int:
    return graph.status("driver").counts.get("command.applied", 0)


# nothing stays behind

STUBBORN = "trap '' TERM INT HUP; (trap '' TERM INT HUP; echo $$ > grandchild; sleep 60) & sleep 60; sleep 60"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_ends_everything(tmp_path: Path, number: signal.Signals, code: int) -> None:
    text = POINT % 100_000 + command("stubborn", STUBBORN, needs=["low"], stop_s=0.3)
    with Launched(tmp_path, text) as launched:
        launched.hears("stubborn: started")
        assert not launched.leaves_nothing()
        group = launched.pids("stubborn")[0]
        launched.process.send_signal(number)
        assert launched.ends() == code
    assert launched.leaves_nothing() and not members(group)
    assert launched.events()[-1] == "driver: stopped"
    assert f"interrupted by {number.name}" in launched.complained


def test_a_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    with Launched(tmp_path, graph(command("stubborn", STUBBORN, stop_s=60))) as launched:
        launched.hears("stubborn: started")
        launched.process.send_signal(signal.SIGINT)
        launched.hears("interrupted by SIGINT: stopping")
        launched.process.send_signal(signal.SIGINT)
        assert launched.ends() == 130
    assert launched.leaves_nothing()


def test_a_killed_supervisor_takes_everything_with_it(tmp_path: Path) -> None:
    text = POINT % 100_000 + command("stubborn", STUBBORN, needs=["low"], stop_s=0.3)
    with Launched(tmp_path, text) as launched:
        launched.hears("stubborn: started")
        group = launched.pids("stubborn")[0]
        launched.process.kill()
        launched.process.wait()
        wait_until(lambda: launched.leaves_nothing() and not members(group), "the end of all children")


def members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in found.splitlines())
    return [int(pid) for pid, pgid in pairs if int(pgid) == group and exists(int(pid))]


def test_an_error_in_the_supervisor_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "graph.yaml").write_text(graph(command("a", "exec sleep 60", stop_s=5)))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    said: list[str] = []

    def fail(event: str) -> None:
        said.append(event)
        if "started" in event:
            raise RuntimeError("terminal is gone")

    with pytest.raises(RuntimeError, match="terminal is gone"):
        supervisor.run(load(tmp_path / "graph.yaml"), tmp_path / "logs", view=supervisor.View(fail))
    assert not exists(int(said[-1].rpartition(" ")[2]))
    assert not list((tmp_path / "hjepa").iterdir())


# what others find


def test_a_running_graph_has_a_private_entry_and_runs_once(tmp_path: Path) -> None:
    text = graph(command("a", "exec sleep 60"))
    with Launched(tmp_path, text) as launched:
        launched.hears("a: started")
        entry = json.loads((launched.runtime / "test.json").read_text())
        recorded = {"config", "specs", "bus", "hosts"}  # what recordings keep
        watched = {"roles", "folder"}  # what monitors need
        assert entry.keys() == {"base", "pid", "started", "nodes", "keys"} | recorded | watched
        assert entry["roles"] == [] and entry["folder"] == str(launched.runtime / "test")
        assert entry["pid"] == launched.process.pid and entry["nodes"] == ["a"]
        assert entry["base"] == f"ipc://{launched.runtime / 'test'}"
        assert stat.S_IMODE(launched.runtime.stat().st_mode) == stat.S_IMODE((launched.runtime / "test").stat().st_mode)
        assert stat.S_IMODE(launched.runtime.stat().st_mode) == 0o700
        second = run(tmp_path, text)
        assert second.process.returncode == 2 and "graph 'test' runs already" in second.complained
        with Launched(tmp_path, text, "--list") as lister:
            lister.ends()
        assert f"running: test, pid {launched.process.pid}" in lister.said
        assert exists(launched.pids("a")[0])


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "hjepa").mkdir(parents=True)
    (tmp_path / "run" / "hjepa").chmod(0o777)
    launched = run(tmp_path, graph(command("a", "exit 0")))
    assert launched.process.returncode == 2 and "is not a folder of yours alone" in launched.complained


def test_logs_hold_every_line_with_its_time(tmp_path: Path) -> None:
    text = graph(command("a", "echo out; echo err >&2; printf 'no end'"))
    assert run(tmp_path, text).process.returncode == 0
    assert run(tmp_path, text).process.returncode == 0
    runs = tmp_path / "runs" / "launch" / "test"
    folders = sorted(path for path in runs.iterdir() if path.name != "latest")
    assert len(folders) == 2 and (runs / "latest").resolve() == folders[1]
    for folder in folders:
        lines = (folder / "a.log").read_text().splitlines()
        assert [line.partition(" ")[2] for line in lines] == ["out", "err", "no end"]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.partition(" ")[0]) for line in lines)
        assert "a: has ended" in (folder / "graph.log").read_text()
        assert config.load(folder / "config.yaml").run.clock == "realtime"


def test_a_bus_that_others_reach_needs_keys(tmp_path: Path) -> None:
    launched = run(tmp_path, POINT % 80 + "bus: {base: 'tcp://10.0.0.1:7700'}\n")
    assert launched.process.returncode == 2 and "which needs keys (CURVE)" in launched.complained
    assert not (tmp_path / "runs").exists()


def test_only_starts_those_named(tmp_path: Path) -> None:
    text = graph(command("a", "exit 0"), command("b", "exit 0", needs=["a"]))
    launched = run(tmp_path, text, "--only", "b")
    assert launched.process.returncode == 0
    assert launched.pids("a") == [] and len(launched.pids("b")) == 1
    wrong = run(tmp_path, text, "--only", "bb")
    assert wrong.process.returncode == 2 and "--only bb: no such node" in wrong.complained


def test_words_of_a_command_are_filled_in_and_its_environment_is_set(tmp_path: Path) -> None:
    node = command("a", "echo {base} {name} $WHERE", environment={"WHERE": "here"})
    launched = run(tmp_path, graph(node))
    said = (tmp_path / "runs/launch/test/latest/a.log").read_text()
    assert f"ipc://{launched.runtime}/test test here" in said


def test_check_says_what_a_graph_holds_and_starts_nothing(tmp_path: Path) -> None:
    text = graph(command("a", "touch started"))
    launched = run(tmp_path, text, "--check")
    assert launched.process.returncode == 0 and "graph test is valid" in launched.said
    assert not (tmp_path / "started").exists() and not (tmp_path / "runs").exists()
    wrong = run(tmp_path, text.replace("role", "rol"), "--check")
    assert wrong.process.returncode == 2
    assert "hjepa: graph.yaml:3: nodes.a.rol: unknown key; did you mean 'role'?" in wrong.complained


# the whole


@pytest.mark.slow
@pytest.mark.sim
def test_the_simulated_graph_plays_a_stroke(tmp_path: Path) -> None:
    pytest.importorskip("pybullet")
    launched = run(tmp_path, "badminton_sim", "--set", "task.strokes=1", "graph.nodes.conductor.out=out")
    assert launched.process.returncode == 0, launched.complained
    assert len((tmp_path / "out" / "strokes.csv").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["clock"] == "realtime"
    assert launched.leaves_nothing()
