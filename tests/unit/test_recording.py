"""A recording holds the exact frames that were sent, however its writer ended."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from mcap.reader import make_reader

from hjepa.bus import wire
from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.link import Publisher
from hjepa.bus.listen import Place, chosen, streams
from hjepa.bus.logfile import About, Log, LogWriter, sha256
from hjepa.bus.messages import pack
from hjepa.bus.record import Gaps, Recorder, recording
from hjepa.bus.topics import address
from hjepa.errors import DataError, LinkError
from hjepa.types import Launch, MotorPlan, RobotState

ROOT = Path(__file__).parents[2]
START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
ABOUT = About("robot:\n  name: point\n", {"task": 3}, {"low": "ab" * 32}, {"hjepa": "0"}, {}, {"clock": "lockstep"})
PLAN = MotorPlan(1, np.arange(3.0), 0.5, 7, 1.25, np.array([4.0, -1.0]))


def frame(sequence, session=1):
    return bytes(pack("plan", PLAN, session=session, sequence=sequence, stamp_ns=10 * sequence))


def write(path, count, **options):
    frames = [frame(k) for k in range(count)]
    with LogWriter(path, ABOUT, **options) as writer:
        for k, data in enumerate(frames):
            writer.write("plan", data, 1000 + k)
            if k % 10 == 9:
                writer.flush()
    return frames


@pytest.fixture
def played(tmp_path):
    """An episode over the bus and the recording of it."""
    path = tmp_path / "run.mcap"
    with (
        InprocGraph(PointWorld(), PointHigh(), PointLow(), session=5) as graph,
        recording(Place(graph.config.base, graph.context), path, ABOUT) as recorder,
    ):
        episode = graph.play(START, LAUNCH, 3)
    return path, episode, recorder


def test_a_recording_holds_every_message_of_an_episode_in_order(played):
    path, episode, recorder = played
    log = Log(path)
    entries = list(log)
    assert log.cut == "" and log.lost == {} and not +recorder.gaps.lost
    for topic, messages in episode.messages.items():
        recorded = [wire.decode(e.frame).header.sequence for e in entries if e.topic == topic]
        assert recorded[-len(messages) :] == [m.header.sequence for m in messages], topic
        assert len(messages) > 1 or topic in ("surprise", "zones"), topic  # nobody here is surprised, or scans
    assert log.about == ABOUT


def test_the_frames_are_those_of_the_wire_byte_for_byte(tmp_path):
    path = tmp_path / "run.mcap"
    base = "inproc://record-test"
    with (
        zmq.Context() as context,
        Publisher(address(base, "plan"), context=context) as publisher,
        recording(Place(base, context), path, topics=["plan"]),
    ):
        publisher.wait_subscribers(1, 30.0)
        sent = [bytes(publisher.send("plan", PLAN, stamp_ns=k)) for k in range(5)]
        publisher.socket.send(b"no frame at all")
    assert [e.frame for e in Log(path)] == [*sent, b"no frame at all"]


def test_stamps_are_those_of_receiver_and_sender(tmp_path):
    write(tmp_path / "a.mcap", 3)
    with (tmp_path / "a.mcap").open("rb") as file:
        found = [(m.log_time, m.publish_time, m.sequence) for _, c, m in make_reader(file).iter_messages(["plan"])]
    assert found == [(1000, 0, 0), (1001, 10, 1), (1002, 20, 2)]


def test_the_file_opens_in_any_mcap_reader_with_figures_to_plot(played):
    path, episode, _ = played
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        channels = {c.topic: c for c in summary.channels.values()}
        assert channels["observation"].message_encoding == "hjepa"
        assert {"/joints", "/shuttle", "/goal", "/plan"} <= set(channels)
        values = [json.loads(m.data) for _, _, m in reader.iter_messages(["/joints"])]
        for schema, channel, message in reader.iter_messages(["/joints", "/shuttle", "/goal", "/plan"]):
            assert channel.message_encoding == "json" and schema.encoding == "jsonschema"
            assert set(json.loads(message.data)) <= set(json.loads(schema.data)["properties"])
    assert values[-1]["q_rad"] == episode.observations[-1].q_rad.tolist()


def test_what_is_not_finite_is_null_in_the_figures(tmp_path):
    lost = PLAN._replace(energy=float("nan"), predicted_xy_m=np.full(2, np.nan))
    with LogWriter(tmp_path / "a.mcap") as writer:
        writer.write("plan", bytes(pack("plan", lost, session=1, sequence=0, stamp_ns=0)), 1)
    with (tmp_path / "a.mcap").open("rb") as file:
        (found,) = [json.loads(m.data) for _, _, m in make_reader(file).iter_messages(["/plan"])]
    assert found == {"x_m": None, "y_m": None, "energy": None, "candidates": 7, "plan_ms": 1.25}


def test_a_file_cut_anywhere_gives_the_frames_before_the_cut(tmp_path):
    whole, cut = tmp_path / "whole.mcap", tmp_path / "cut.mcap"
    frames = write(whole, 100)
    data = whole.read_bytes()
    start = len(data) - len(data) // 2
    seen = set()
    for size in sorted(random.Random(0).sample(range(start, len(data)), 60)):
        cut.write_bytes(data[:size])
        log = Log(cut)
        found = [e.frame for e in log]
        assert found == frames[: len(found)] and len(found) % 10 == 0
        assert "cut at byte" in log.cut
        seen.add(len(found))
    assert len(seen) > 3 and max(seen) == 100, "later cuts keep more"


def test_a_damaged_chunk_ends_the_recording_there_and_is_named(tmp_path):
    path = tmp_path / "a.mcap"
    frames = write(path, 50)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    log = Log(path)
    found = [e.frame for e in log]
    assert found == frames[: len(found)] and 0 < len(found) < 50
    assert "damaged" in log.cut


RECORDER = """
    import sys, time
    from pathlib import Path
    from hjepa.bus.listen import Place
    from hjepa.bus.record import Recorder
    print("recording", flush=True)
    Recorder(Place(sys.argv[1]), Path(sys.argv[2]), topics=["plan"]).run(lambda: False)
"""


def start_recorder(base, path, before=""):
    code = textwrap.dedent(before) + textwrap.dedent(RECORDER)
    command = [sys.executable, "-c", code, base, str(path)]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)


def test_a_killed_recorder_loses_at_most_the_last_second(tmp_path):
    path, base = tmp_path / "run.mcap", f"ipc://{tmp_path}"
    with zmq.Context() as context, Publisher(address(base, "plan"), context=context) as publisher:
        process = start_recorder(base, path)
        publisher.wait_subscribers(1, 30.0)
        sent_s, began = [], time.monotonic()
        while time.monotonic() - began < 2.5:
            publisher.send("plan", PLAN, stamp_ns=len(sent_s))
            sent_s.append(time.monotonic())
            time.sleep(0.005)  # a stream's own pace
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert process.wait(10) == -signal.SIGKILL
        process.communicate()
    log = Log(path)
    found = [wire.decode(e.frame).header.sequence for e in log]
    assert found == list(range(len(found))) and "cut at byte" in log.cut
    assert killed - sent_s[len(found)] < 1.0 and len(found) > 100


def test_a_full_disk_ends_the_recording_with_a_reason_and_a_readable_file(tmp_path):
    path, base = tmp_path / "run.mcap", f"ipc://{tmp_path}"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))"
    with zmq.Context() as context, Publisher(address(base, "plan"), context=context) as publisher:
        process = start_recorder(base, path, limit)
        publisher.wait_subscribers(1, 30.0)
        noise = np.random.default_rng(0)
        for k in range(10_000):
            publisher.send("plan", PLAN._replace(m=noise.normal(size=40)), stamp_ns=k)
            if process.poll() is not None:
                break
            time.sleep(0.002)  # a stream's own pace
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "run.mcap: File too large" in said and "are readable" in said.splitlines()[-1]
    log = Log(path)
    found = [wire.decode(e.frame).header.sequence for e in log]
    assert found == list(range(len(found))) and len(found) > 20
    assert path.stat().st_size <= 200_000 and str(path.stat().st_size) in said


def test_gaps_in_the_sequence_are_counted_as_lost_by_topic():
    gaps = Gaps()
    for topic, session, sequence in [
        ("plan", 1, 7), ("plan", 1, 8), ("plan", 1, 11), ("plan", 2, 1), ("plan", 2, 2), ("goal", 9, 3)
    ]:  # fmt: skip
        gaps.see(topic, session, sequence)
    assert +gaps.lost == {"plan": 3}


def test_losses_are_told_and_kept_in_the_file(tmp_path):
    path = tmp_path / "a.mcap"
    with (
        zmq.Context() as context,
        Publisher(address("inproc://lossy", "plan"), context=context) as publisher,
        recording(Place("inproc://lossy", context), path, topics=["plan"]),
    ):
        publisher.wait_subscribers(1, 30.0)
        for sequence in (0, 1, 5):
            publisher.socket.send(frame(sequence))
    assert Log(path).lost == {"plan": 3}


def test_what_cannot_be_recorded_or_read_is_refused_in_words(tmp_path):
    with pytest.raises(LinkError, match="no stream 'plans'; did you mean 'plan'"):
        chosen(["plans"])
    with pytest.raises(LinkError, match="no stream 'reachability'"):
        chosen(["reachability"])
    assert "observation" in chosen(None) and len(chosen(None)) == len(streams())
    with pytest.raises(DataError, match="No such file"):
        LogWriter(tmp_path / "nowhere" / "a.mcap")
    with pytest.raises(DataError, match="No such file"):
        Log(tmp_path / "none.mcap")
    (tmp_path / "text.mcap").write_text("something else")
    with pytest.raises(DataError, match="no MCAP file"):
        Log(tmp_path / "text.mcap")


def test_an_error_of_the_recording_thread_reaches_its_caller(tmp_path):
    out = tmp_path / "nowhere" / "a.mcap"
    with (
        zmq.Context() as context,
        pytest.raises(DataError, match="No such file"),
        recording(Place("inproc://nobody", context), out),
    ):
        pass


def test_a_recorder_may_start_before_the_graph(tmp_path):
    with zmq.Context() as context:
        recorder = Recorder(Place("inproc://later", context), tmp_path / "a.mcap", topics=["plan"])
        assert recorder.run(lambda: True).frames == {}
    assert list(Log(tmp_path / "a.mcap")) == []


def test_hashes_are_those_of_sha256(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    assert sha256(tmp_path / "w") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_node_that_came_back_numbers_on_from_the_clock_and_has_lost_nothing() -> None:
    gaps = Gaps()
    for sequence in (0, 1, 1_795_583_510_414, 1_795_583_510_415, 1_795_583_510_418):
        gaps.see("low-journal", 1, sequence)
    assert gaps.lost["low-journal"] == 2
