"""Motion of any driver into MCAP, and out of it into training. Run: pytest tests/integration/test_babbling.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.babbling import MotionConfig, motion_of, read_recording, record_motion, retimed, shards_of
from hjepa.cli.app import main
from hjepa.errors import DataError
from hjepa.training.babble import load_babble
from hjepa.types import Observation, RobotSpec
from robots.catalog import make_driver
from robots.replay import of_observations, save_recording
from robots.sensors import SensorConfig
from robots.sim.arm import ArmWorld
from robots.spec import load_spec, slowed
from robots.trackers import SimTracker, nothing_seen

pytest.importorskip("mcap", reason="recordings need the extra log")
pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")
pytestmark = pytest.mark.sim
PANDA = load_spec("panda")
SEES = SensorConfig(0.001, 0.0, 0.02, 0.0, 0.0)
SHORT = MotionConfig(recordings=2, seconds=4.0)


def arm(spec: RobotSpec) -> ArmWorld:
    """A simulated arm; its tracker sees something that moves."""
    return ArmWorld(spec, tracker=SimTracker(lambda t: np.stack([np.sin(t), np.cos(t), t], axis=-1), SEES))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of a simulated Panda that babbles at half its limits."""
    out = tmp_path_factory.mktemp("motion")
    assert record_motion(arm(slowed(PANDA, 0.5)), PANDA, out, SHORT) == 2
    return out


def test_a_recording_holds_the_motion_and_its_commands_within_the_share_of_the_limits(recordings: Path) -> None:
    recorded = read_recording(recordings / "motion_0000.mcap")
    q = np.array([o.q_rad for o in recorded.observations])
    dq = np.array([o.dq_rad_s for o in recorded.observations])
    assert len(q) >= 400
    assert len(recorded.commands) >= 40
    assert (np.ptp(q, axis=0) > 0.05).all()
    assert (q >= PANDA.q_min_rad).all()
    assert (q <= PANDA.q_max_rad).all()
    assert (np.abs(dq) <= 0.5 * PANDA.dq_max_rad_s * 1.02).all()
    assert all(c.valid_ns <= 400_000_000 for c in recorded.commands)  # a stalled sender lets the driver brake


def test_recordings_differ_and_a_second_call_goes_on_behind_the_last_whole_one(recordings: Path) -> None:
    first, second = (p.read_bytes() for p in sorted(recordings.glob("*.mcap")))
    assert first != second
    (recordings / "motion_0001.mcap").unlink()
    (recordings / ".motion_0001.mcap.part").write_bytes(b"cut off")
    said: list[int] = []
    record_motion(arm(slowed(PANDA, 0.5)), PANDA, recordings, SHORT, said=lambda done, n: said.append(done))
    assert said == [1, 2]
    assert (recordings / "motion_0000.mcap").read_bytes() == first
    assert sorted(p.name for p in recordings.iterdir()) == ["motion_0000.mcap", "motion_0001.mcap"]


def test_a_folder_of_another_robot_is_refused(recordings: Path) -> None:
    with pytest.raises(DataError, match="is a recording of panda .* than iiwa has now"):
        record_motion(arm(load_spec("iiwa")), load_spec("iiwa"), recordings, SHORT)


def test_a_recorded_motion_is_followed_again_by_another_driver(recordings: Path, tmp_path: Path) -> None:
    file = recordings / "motion_0000.mcap"
    motion = motion_of(file, PANDA)
    record_motion(arm(PANDA), PANDA, tmp_path, MotionConfig(recordings=1), motion)
    before, after = (
        np.array([o.q_rad for o in read_recording(path).observations]) for path in (file, tmp_path / "motion_0000.mcap")
    )
    assert np.abs(after[-1] - before[-1]).max() < 0.02
    assert np.abs(np.ptp(after, axis=0) - np.ptp(before, axis=0)).max() < 0.05


def test_a_fast_motion_is_slowed_until_it_keeps_the_limits() -> None:
    t = np.linspace(0, 1, 200)
    q = PANDA.q_home_rad + 0.3 * np.sin(20 * t)[:, None]
    made = retimed(PANDA, t, q, use=0.5)
    assert (np.abs(made.dq_rad_s).max(axis=0) <= 0.5 * PANDA.dq_max_rad_s * 1.02).all()
    ddq = np.gradient(made.dq_rad_s, made.dt_s, axis=0)
    assert (np.abs(ddq).max(axis=0) <= 0.5 * PANDA.ddq_max_rad_s2 * 1.1).all()
    assert np.ptp(made.q_rad, axis=0) == pytest.approx(np.ptp(q, axis=0), rel=0.25)  # smoothing takes some


def test_a_motion_that_the_robot_cannot_make_is_refused(tmp_path: Path) -> None:
    seen = [Observation(k * 10_000_000, PANDA.q_home_rad + 9.0 * k, np.zeros(7), *nothing_seen(0)) for k in range(2)]
    save_recording(tmp_path / "wild.npz", of_observations(seen))
    with pytest.raises(DataError, match="joint 'a1' leaves its range"):
        motion_of(tmp_path / "wild.npz", PANDA)
    with pytest.raises(DataError, match="of 7 joints; allowed: 6 for ur5e"):
        motion_of(tmp_path / "wild.npz", load_spec("ur5e"))


def test_a_real_time_driver_is_recorded_through_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "motion"
    words = [
        "collect",
        "--driver",
        "ideal",
        "--robot",
        "panda",
        "--minutes",
        "0.06",
        "--speed",
        "0.5",
        "--out",
        str(out),
    ]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code, capsys.readouterr().err
    stamps = [o.stamp_ns for o in read_recording(out / "motion_0000.mcap").observations]
    assert len(stamps) > 100
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["collect", "--driver", "ur", "--out", "x"], "--yes-a-person-is-present"),
        (["collect", "--driver", "idel", "--out", "x"], "did you mean 'ideal'"),
        (["train", "low", "--from", "no_such.mcap"], "badminton's low level learns from swings"),
        (["train", "low", "reach", "--from", "no_such.mcap"], "no_such.mcap: No such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_recordings_without_a_tracker_teach_nothing(tmp_path: Path) -> None:
    out = tmp_path / "blind"
    driver = make_driver("ideal", "panda")
    record_motion(driver, PANDA, out, MotionConfig(recordings=1, seconds=3.5))
    with pytest.raises(DataError, match="the tracker saw nothing"):
        shards_of([out / "motion_0000.mcap"], PANDA, tmp_path / "shards")


def test_recordings_become_shards_that_the_training_reads(recordings: Path, tmp_path: Path) -> None:
    ticks = shards_of(sorted(recordings.glob("*.mcap")), PANDA, tmp_path)
    babble = load_babble(tmp_path, PANDA)
    assert len(babble.mask) == ticks
    assert np.isfinite(babble.knots_rad_s).all(axis=1).sum() >= 78  # of 80 chunks
