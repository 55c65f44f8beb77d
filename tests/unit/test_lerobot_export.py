"""A recording turned into a LeRobotDataset holds what was seen and commanded, on the format's own grid of times."""

import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from hjepa.bus.logfile import About, Log, LogWriter
from hjepa.bus.messages import pack
from hjepa.errors import DataError
from hjepa.export.lerobot import VIDEO_KEY, episode, export, sessions, statistics
from hjepa.types import Goal, JointTrajectory, Observation

TICK_NS = 10_000_000
J = 2
SHIFT_NS = 123 * 10**9  # a driver's clock does not begin at 0


def observation(tick, jitter_ns=0):
    mask = np.zeros(8, dtype=bool)
    mask[:6] = tick > 3
    xyz = np.zeros((8, 3))
    xyz[5] = [tick, 0.5, 2.0]
    stamps = SHIFT_NS + (np.arange(8) - 7 + tick) * TICK_NS
    stamp_ns = SHIFT_NS + tick * TICK_NS + jitter_ns
    return Observation(stamp_ns, np.array([tick, -tick], float), np.array([0.1, 0.2]), xyz, mask, stamps)


def command(start_tick, length=11):
    q = 100.0 * start_tick + np.arange(length)[:, None] * np.array([1.0, 2.0])
    return JointTrajectory(SHIFT_NS + start_tick * TICK_NS, 0.01, q, np.zeros((length, 2)), 10**9)


def goal(kind):
    none = np.zeros((0, 2))
    return Goal(1, 0, 0, np.zeros(2), np.eye(2), np.zeros(2), kind, none, np.zeros(0))


def write(path, ticks=(41, 21), jitter=0):
    rng = np.random.default_rng(0)
    with LogWriter(path, About(versions={"hjepa": "0"})) as writer:
        for number, count in enumerate(ticks):
            stamps = {"session": 7 + number}

            def say(topic, kind, value, sequence, stamp_ns, stamps=stamps):
                data = bytes(pack(kind, value, sequence=sequence, stamp_ns=stamp_ns, **stamps))
                writer.write(topic, data, stamp_ns)

            say("goal", "goal", goal(("clear", "drop")[number % 2]), 0, SHIFT_NS)
            for tick in range(count):
                seen = observation(tick, int(rng.integers(0, jitter + 1)))
                kind = "last_observation" if tick == count - 1 else "observation"
                say("observation", kind, seen, tick, seen.stamp_ns)
                if tick % 10 == 2:
                    say("command", "command", command(tick + 2), tick, seen.stamp_ns + TICK_NS)
    return Log(path)


@pytest.fixture
def made(tmp_path):
    log = write(tmp_path / "run.mcap")
    report = export(log, tmp_path / "set", fps=50, robot="point")
    return tmp_path / "set", report, log


def rows(folder):
    return pq.read_table(folder / "data/chunk-000/file-000.parquet")


def column(table, name):
    return np.array(table[name].to_pylist())


def test_rows_hold_what_was_seen_and_commanded(made):
    folder, report, _ = made
    table = rows(folder)
    assert report == (2, 32, 0) and table.num_rows == 32
    first = np.arange(21) * 2  # ticks of the first episode's frames, 50 of 100 Hz
    state = column(table, "observation.state")[:21]
    assert state.tolist() == np.float32([[t, -t, 0.1, 0.2] for t in first]).tolist()
    action, commanded = column(table, "action"), column(table, "action.commanded")
    assert commanded[:21].tolist() == [bool(t >= 4) for t in first]
    assert action[0].tolist() == [0.0, 0.0], "without a command, where the joints were"
    assert action[3].tolist() == [402.0, 404.0], "two samples into the command of tick 4"
    assert action[7].tolist() == [1400.0, 1400.0], "the next command, from its own start on"
    shuttle, seen = column(table, "observation.shuttle"), column(table, "observation.shuttle_seen")
    assert np.isnan(shuttle[:2]).all() and not seen[:2].any() and seen[2:21].all()
    assert shuttle[5].tolist() == [10.0, 0.5, 2.0]


def test_indices_and_stamps_are_the_formats_and_the_true_stamps_are_kept(made):
    folder, _, _ = made
    table = rows(folder)
    assert column(table, "index").tolist() == list(range(32))
    assert column(table, "frame_index").tolist() == [*range(21), *range(11)]
    assert column(table, "episode_index").tolist() == [0] * 21 + [1] * 11
    assert column(table, "task_index").tolist() == [0] * 21 + [1] * 11
    assert np.array_equal(column(table, "timestamp"), np.float32(column(table, "frame_index") / 50))
    assert column(table, "observation.stamp_ns")[:21].tolist() == [SHIFT_NS + 2 * k * TICK_NS for k in range(21)]
    file = pq.ParquetFile(folder / "data/chunk-000/file-000.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [21, 11]


def test_the_description_fits_the_rows(made):
    folder, _, _ = made
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 50, "point")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 32, 2)
    assert info["splits"] == {"train": "0:2"} and info["video_path"] is None
    table = rows(folder)
    assert set(info["features"]) == set(table.column_names)
    for name, feature in info["features"].items():
        kind = table.schema.field(name).type
        assert feature["shape"] == ([kind.list_size] if hasattr(kind, "list_size") else [1]), name
        assert feature["dtype"] == str(getattr(kind, "value_type", kind)).replace("double", "float64").replace(
            "float", "float32"
        ), name
        assert "/" not in name
    assert info["features"]["observation.state"]["names"] == ["q_0", "q_1", "dq_0", "dq_1"]
    path = info["data_path"].format(chunk_index=0, file_index=0)
    assert (folder / path).exists()
    for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        assert info["features"][name]["shape"] == [1] and info["features"][name]["names"] is None


def test_episodes_and_tasks_say_where_each_stroke_lies(made):
    folder, _, _ = made
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [e["length"] for e in episodes] == [21, 11]
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes] == [(0, 21), (21, 32)]
    assert [e["tasks"] for e in episodes] == [["return the shuttle with a clear"], ["return the shuttle with a drop"]]
    assert episodes[0]["stats/observation.state/max"] == pytest.approx([40.0, 0.0, 0.1, 0.2])
    assert episodes[0]["data/chunk_index"] == episodes[0]["meta/episodes/file_index"] == 0
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == [e["tasks"][0] for e in episodes]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_leave_out_what_is_not_there_and_are_valid_json(made):
    folder, _, _ = made
    stats = json.loads((folder / "meta/stats.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert stats["observation.shuttle"]["mean"][1:] == [0.5, 2.0] and stats["observation.shuttle"]["count"] == [32]
    assert stats["timestamp"]["min"] == [0.0]
    assert statistics(np.full((3, 1), np.nan))["mean"] == [0.0]
    assert statistics(np.array([True, False]))["mean"] == [0.5]


def test_resampling_is_reported_and_never_takes_from_the_future(tmp_path):
    log = write(tmp_path / "run.mcap", ticks=(101,), jitter=6_000_000)
    (session,) = sessions(log)
    made = episode(session, 80)
    stamps, first = made.columns["observation.stamp_ns"], session.observations[0].stamp_ns
    at_ns = first + made.columns["frame_index"] * 1_000_000_000 // 80
    assert (stamps <= at_ns).all() and (at_ns - stamps).max() < 2 * TICK_NS
    report = made.resampling
    assert report["observations"] == 101 and report["frames"] == len(stamps)
    assert report["age_ms_max"] == (at_ns - stamps).max() / 1e6 > 1.0
    assert report["observations_unused"] == 101 - len(np.unique(stamps)) > 0
    assert report["observed_hz"] == pytest.approx(100.0, rel=0.01)
    export(log, tmp_path / "set", fps=200)
    (kept,) = json.loads((tmp_path / "set/meta/resampling.json").read_text())["episodes"]
    assert kept["frames_repeated"] > 80


def test_an_expired_command_is_no_command_any_more(tmp_path):
    log = write(tmp_path / "run.mcap", ticks=(60,))
    (session,) = sessions(log)
    early = session._replace(commands=session.commands[:1])
    made = episode(early, 100)
    assert np.flatnonzero(made.columns["action.commanded"]).tolist() == list(range(4, 15))


def test_drawn_frames_become_a_film_with_a_picture_for_each_row(tmp_path):
    def render(times_s, q_rad, shuttle_m):
        for k in range(len(times_s)):
            yield np.full((32, 48, 3), min(255, int(5 * q_rad[k, 0])), dtype=np.uint8)

    log = write(tmp_path / "run.mcap")
    export(log, tmp_path / "set", fps=50, render=render)
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["features"][VIDEO_KEY]["shape"] == [32, 48, 3] and info["features"][VIDEO_KEY]["dtype"] == "video"
    path = tmp_path / "set" / info["video_path"].format(video_key=VIDEO_KEY, chunk_index=0, file_index=0)
    with av.open(str(path)) as film:
        pictures = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in film.decode(video=0)]
    assert len(pictures) == 32
    assert [time for time, _ in pictures] == pytest.approx(np.arange(32) / 50, abs=1e-6)
    assert pictures[20][1] == pytest.approx(200, abs=6) and pictures[21][1] == pytest.approx(0, abs=6)
    episodes = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert episodes[1][f"videos/{VIDEO_KEY}/from_timestamp"] == pytest.approx(21 / 50)


def test_what_cannot_be_exported_is_refused_in_words(tmp_path):
    LogWriter(tmp_path / "empty.mcap").close()
    with pytest.raises(DataError, match="no stroke with observations"):
        export(Log(tmp_path / "empty.mcap"), tmp_path / "set")
    log = write(tmp_path / "run.mcap")
    with pytest.raises(DataError, match="1 frames were drawn for an episode of 21"):
        export(log, tmp_path / "short", render=lambda *_: [np.zeros((32, 48, 3), dtype=np.uint8)])
