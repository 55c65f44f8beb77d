"""hjepa bus: a running graph is found, listened to, recorded and played again from the command line."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import zmq

from hjepa.bus import wire
from hjepa.bus.link import Subscriber
from hjepa.bus.listen import Place
from hjepa.bus.logfile import About, Log, LogWriter, sha256
from hjepa.bus.playback import play
from hjepa.bus.processes import NodeSpec, ProcessGraph
from hjepa.bus.topics import TOPICS, address
from hjepa.cli import main, running
from hjepa.config import Config
from hjepa.errors import ConfigError, LinkError, WeightsError, extra
from hjepa.launching.graph import load
from hjepa.launching.runtime import registered
from hjepa.launching.supervisor import _described
from hjepa.provenance import about_entry, rebuild, versions
from hjepa.types import Launch, RobotState

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
PARTS = {"driver": "PointWorld", "high": "PointHigh", "low": "PointLow"}
SPECS = {
    name: NodeSpec(f"hjepa.bus.fake:{part}", {"ticks": 300} if name == "driver" else {}) for name, part in PARTS.items()
}
ABOUT = {
    "config": "",
    "specs": {name: {"factory": spec.factory, "args": spec.args} for name, spec in SPECS.items()},
    "bus": {"clock": "realtime", "low_period_ticks": 2, "high_period_ticks": 4},
}


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    return tmp_path / "runtime"


@pytest.fixture(scope="module")
def toy():
    """A graph of three processes; `play()` lets an episode of 3 s pass in a thread."""
    with ProcessGraph(SPECS, journal=True, **ABOUT["bus"]) as graph:
        yield graph


@pytest.fixture
def graph(toy):
    with registered("toy", {"base": toy.config.base} | ABOUT):
        thread = threading.Thread(target=toy.play, args=(START, LAUNCH, 3))
        thread.start()
        yield toy
        thread.join()


def run(capsys, *words, code=0):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    assert stopped.value.code == code, said
    return said.err if code == 2 else said.out


def test_list_tells_owners_and_rates(graph, capsys):
    lines = {line.split()[0]: line.split() for line in run(capsys, "bus", "list", "--seconds", "1").splitlines()[1:]}
    assert set(lines) == set(TOPICS)
    assert lines["observation"][1:3] == ["driver", "yes"] and 80 < float(lines["observation"][3]) < 120
    assert lines["low-control"][1:3] == ["low", "yes"]


def test_echo_shows_lines_or_json(graph, capsys):
    lines = run(capsys, "bus", "echo", "observation", "--count", "3").splitlines()
    assert len(lines) == 3 and all(line.startswith("observation ") for line in lines)
    assert "tracker_xyz_m=64x3[" in lines[0] and "q_rad=[" in lines[0]
    (text,) = run(capsys, "bus", "echo", "command", "-n", "1", "--json", "--at", "toy").splitlines()
    said = json.loads(text)
    assert said["kind"] in ("command", "pass") and np.shape(said["value"]["q_rad"]) == (20, 2)


def test_hz_measures_the_rate(graph, capsys):
    said = run(capsys, "bus", "hz", "observation", "--seconds", "1", "--at", graph.config.base)
    assert said.startswith("observation: ") and 80 < float(said.split()[1]) < 120


def test_stats_listens_to_ledgers(graph, capsys):
    said = run(capsys, "bus", "stats", "--seconds", "1.5")
    assert "observed -> actuated" in said and "of 10,000; guilty:" in said


def test_a_recording_from_the_command_line_is_replayed_byte_for_byte(tmp_path, capsys):
    out = tmp_path / "run.mcap"
    with (
        ProcessGraph(SPECS, journal=True, **ABOUT["bus"]) as fresh,
        registered("fresh", {"base": fresh.config.base} | ABOUT),
    ):
        thread = threading.Thread(target=fresh.play, args=(START, LAUNCH, 4))
        starter = threading.Timer(1.0, thread.start)  # while the recorder listens
        starter.start()
        said = run(capsys, "bus", "record", str(out), "--seconds", "5")
        starter.join()
        thread.join()
    about = Log(out).about
    assert "lost: none" in said and about.nodes == ABOUT["specs"] and about.bus == ABOUT["bus"]
    for node in ("low", "high"):
        found = run(capsys, "bus", "replay", str(out), "--node", node, "--diff")
        assert "messages equal byte for byte" in found and "divergence" not in found
    changed = tmp_path / "changed.mcap"
    other = {**about.nodes, "low": {"factory": "hjepa.bus.fake:PointLow", "args": {"horizon": 21}}}
    with LogWriter(changed, About(nodes=other, bus=about.bus)) as writer:
        for entry in Log(out):
            writer.write(entry.topic, entry.frame, entry.received_ns)
    said = run(capsys, "bus", "replay", str(changed), "--node", "low", "--diff", code=1)
    assert "first divergence: command 0" in said
    assert "q_rad: float64 (20, 2)" in said and "| float64 (21, 2)" in said


def test_mistakes_are_one_line(tmp_path, capsys):
    (tmp_path / "no.mcap").write_text("no")
    for words, expected in [
        (["bus", "list"], "running graphs: none"),
        (["bus", "echo", "observations", "--at", "ipc:///nowhere"], "did you mean 'observation'?"),
        (["bus", "list", "--at", "toyy"], "no running graph 'toyy'; none runs here"),
        (["bus", "hz", "plan", "--seconds", "0.2", "--at", f"ipc://{tmp_path}"], "0 messages of 'plan' in 0.2 s"),
        (["bus", "list", "--at", f"ipc://{tmp_path}", "--seconds", "0.1"], "no node answers"),
        (["bus", "replay", str(tmp_path / "no.mcap"), "--node", "low"], "no MCAP file"),
        (["bus", "replay", str(tmp_path / "no.mcap")], "either --node high|low"),
        (["bus", "export", str(tmp_path / "no.mcap"), str(tmp_path / "o"), "--to", "rosbag"], "allowed: lerobot"),
        (["bus", "stats", str(tmp_path / "none.mcap")], "No such file"),
        (["bus", "record", str(tmp_path)], "this is a folder"),
    ]:
        said = run(capsys, *words, code=2)
        assert expected in said and len(said.splitlines()) == 1, said


def test_keygen_makes_keys_once(tmp_path, capsys):
    folder = tmp_path / "keys"
    assert "files" in run(capsys, "bus", "keygen", str(folder))
    assert "holds keys already" in run(capsys, "bus", "keygen", str(folder), code=2)


# finding graphs


def test_a_graph_is_found_alone_by_name_or_by_address():
    with registered("one", {"base": "ipc:///one", "hosts": {"low": "10.0.0.2"}}):
        assert running.find().place.base == running.find("one").place.base == "ipc:///one"
        assert running.find("ipc:///one").place.hosts == {"low": "10.0.0.2"}
        assert running.find("ipc:///other") == running.Running(Place("ipc:///other"), {})
        with registered("two", {"base": "ipc:///two"}), pytest.raises(LinkError, match="running graphs: one, two"):
            running.find()
        with pytest.raises(LinkError, match="did you mean 'one'"):
            running.find("ones")
    with pytest.raises(LinkError, match="running graphs: none"):
        running.find()


def test_listeners_look_for_a_node_on_its_own_machine():
    place = Place("tcp://10.0.0.1:7700", hosts={"low": "10.0.0.2"})
    assert place.at("plan").startswith("tcp://10.0.0.2:") and place.at("goal").startswith("tcp://10.0.0.1:")


def test_a_launched_graph_tells_what_its_recordings_keep():
    plan = load("badminton_sim", ["low.iterations=2", "graph.bus.journal=true"])
    about = about_entry({"base": "ipc:///x", **_described(plan)})
    assert config_of(about).low.iterations == 2 and about.bus["clock"] == "realtime"
    assert about.nodes["low"]["factory"] == "hjepa.factories:make_low"
    assert not {"keys", "base", "hosts", "journal"} & set(about.bus)
    assert about_entry({"base": "ipc:///x"}).nodes == {}


def config_of(about):
    return Config.model_validate_json(about.nodes["low"]["args"]["config"])


# playing, rebuilding


def test_played_streams_come_in_order_and_as_fast_as_asked(tmp_path):
    from hjepa.bus.fake import PointHigh, PointLow, PointWorld
    from hjepa.bus.inproc import InprocGraph
    from hjepa.bus.record import recording

    path = tmp_path / "run.mcap"
    with (
        InprocGraph(PointWorld(), PointHigh(), PointLow()) as graph,
        recording(Place(graph.config.base, graph.context), path),
    ):
        graph.play(START, LAUNCH, 3)
    log = Log(path)
    wanted = [bytes(e.frame) for e in log if e.topic == "observation"]
    with zmq.Context() as context:
        heard: list[bytes] = []
        base = "inproc://playback"

        def listen() -> None:
            where = address(base, "observation")
            with Subscriber(where, ("observation",), context=context, conflate=False, queue=0) as subscriber:
                while len(heard) < len(wanted) and subscriber.socket.poll(30_000):
                    heard.append(subscriber.socket.recv())

        listener = threading.Thread(target=listen)
        listener.start()
        only = tmp_path / "only.mcap"
        _keep(log, only, "observation")
        count = play(Log(only), base, speed=1000.0, listeners=1, context=context)
        listener.join()
    assert heard == wanted and count == len(wanted) > 50
    assert [wire.decode(frame).header.sequence for frame in heard] == list(range(len(heard)))


def _keep(log: Log, path: Path, topic: str) -> None:
    with LogWriter(path) as writer:
        for entry in log:
            if entry.topic == topic:
                writer.write(entry.topic, entry.frame, entry.received_ns)


def test_a_level_is_rebuilt_with_the_recorded_weights_alone(weights, tmp_path):
    from hjepa import config
    from hjepa.bus.node import BusConfig
    from hjepa.planning.stroke_planner import StrokePlanner
    from hjepa.provenance import about_of

    chosen = config.load("badminton", [f"agent.weights={weights}"])
    about = about_of(chosen, BusConfig(base="ipc:///x", keys="/secret", journal=True))
    assert about.weights == {name: sha256(weights / f"{name}.safetensors") for name in ("low", "high")}
    assert not {"keys", "base", "journal"} & set(about.bus) and about.versions == versions()
    LogWriter(tmp_path / "a.mcap", about).close()
    assert isinstance(rebuild(Log(tmp_path / "a.mcap"), "low"), StrokePlanner)
    changed = About(weights={**about.weights, "low": "0" * 64}, nodes=about.nodes)
    LogWriter(tmp_path / "b.mcap", changed).close()
    with pytest.raises(WeightsError, match="low.safetensors' is .* was recorded with 000000000000"):
        rebuild(Log(tmp_path / "b.mcap"), "low")


def test_a_missing_package_is_named_with_its_line():
    with (
        pytest.raises(ConfigError, match=r"needs the package 'mcap_nowhere': pip install 'hjepa\[log\]'"),
        extra("log"),
    ):
        __import__("mcap_nowhere")
