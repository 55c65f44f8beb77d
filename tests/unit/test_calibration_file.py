"""Points in, calibration.yaml out, live capture between. Run: pytest tests/unit/test_calibration_file.py"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hjepa.cli.app import main
from hjepa.cli.calibrate import PLACES
from hjepa.errors import ConfigError, DataError
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import NS, Array
from robots.calibration import apply, inverse
from robots.calibration_file import PointsFile, read_calibration, read_points, solve, write_points
from robots.capture import CaptureConfig, capture
from robots.catalog import make_tracker
from robots.ideal import IdealRobot
from robots.moves import armed, go_to, rest_to_rest
from robots.sensors import WINDOW
from robots.spec import load_spec
from robots.trackers import Calibrated, Window, slots_ns

PANDA = load_spec("panda")
T_WORLD_TRACKER = np.array(
    [[0.0, -1.0, 0.0, 0.4], [1.0, 0.0, 0.0, -2.0], [0.0, 0.0, 1.0, 1.1], [0.0, 0.0, 0.0, 1.0]]
)  # a quarter turn about z


def tool_m(q_rad: Array) -> Array:
    return joint_frames(PANDA, q_rad)[..., -1, :3, 3]


def csv_of(q: Array, seen: Array) -> str:
    rows = [",".join(str(v) for v in (f"p{k}", *seen[k], *q[k])) for k in range(len(q))]
    return "name,x,y,z," + ",".join(f"q{j + 1}" for j in range(q.shape[1])) + "\n" + "\n".join(rows) + "\n"


def poses(n: int, seed: int = 0) -> Array:
    return PANDA.q_home_rad + np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 7))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):  # noqa: ANN201
    def ran(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", *map(str, words)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return ran


def test_points_of_a_csv_become_a_file_that_a_tracker_loads(tmp_path: Path, run) -> None:  # noqa: ANN001
    q = poses(10)
    seen = apply(inverse(T_WORLD_TRACKER), tool_m(q)) + 1e-4 * np.random.default_rng(1).normal(size=(10, 3))
    (tmp_path / "points.csv").write_text(csv_of(q, seen))
    out = tmp_path / "calibration.yaml"
    code, said, err = run(tmp_path / "points.csv", "--robot", "panda", "--out", out)
    assert code == 0, err
    assert "10 of 10 points, residual 0.1" in said
    np.testing.assert_allclose(read_calibration(out).T_world_tracker, T_WORLD_TRACKER, atol=1e-3)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert isinstance(make_tracker("udp", calibration=out), Calibrated)


def test_a_calibrated_tracker_moves_what_was_seen_and_leaves_masked_slots_empty() -> None:
    class Eye:
        def connect(self) -> None: ...

        def close(self) -> None: ...

        def window(self, stamp_ns: int) -> Window:
            mask = np.arange(WINDOW) % 2 == 0
            return np.where(mask[:, None], [1.0, 2.0, 3.0], 0.0), mask, slots_ns(stamp_ns)

    xyz, mask, stamps = Calibrated(Eye(), T_WORLD_TRACKER).window(5 * NS)
    np.testing.assert_allclose(xyz[mask], np.tile([-1.6, -1.0, 4.1], (mask.sum(), 1)))
    assert not xyz[~mask].any()
    np.testing.assert_array_equal(stamps, slots_ns(5 * NS))


def test_corners_of_the_court_and_the_robot_tell_where_the_robot_stands(tmp_path: Path) -> None:
    """The tracker sees the robot's tool and four corners: T_court_world follows."""
    T_court_world = np.array([[1.0, 0, 0, -3.4], [0, 1, 0, 0.2], [0, 0, 1, 0.6], [0, 0, 0, 1]])
    T_tracker_world = inverse(T_WORLD_TRACKER)
    q = poses(6)
    corners = ["near-left", "near-right", "net-left", "net-right"]
    points = [{"tracker": apply(T_tracker_world, tool_m(row)).tolist(), "q": row.tolist()} for row in q]
    points += [
        {"tracker": apply(T_tracker_world @ inverse(T_court_world), np.array(PLACES[c])).tolist(), "at": c}
        for c in corners
    ]
    made = solve(PointsFile.model_validate({"robot": "panda", "points": points}), PANDA, PLACES)
    np.testing.assert_allclose(made.court_world, T_court_world, atol=1e-9)


def test_a_marker_beside_the_tool_is_counted(tmp_path: Path) -> None:
    marker = np.array([0.03, -0.01, 0.05])
    q = poses(8)
    at = np.stack([apply(T, marker) for T in joint_frames(PANDA, q)[:, -1]])
    points = [{"tracker": at[k].tolist(), "q": q[k].tolist()} for k in range(8)]
    there = PointsFile.model_validate({"marker_m": marker.tolist(), "points": points})
    np.testing.assert_allclose(solve(there, PANDA).T_world_tracker, np.eye(4), atol=1e-9)
    with pytest.raises(DataError, match="tool points: .*do not fit|tool points: .*miss"):
        solve(PointsFile.model_validate({"points": points}), PANDA, worst_m=0.005)


def test_points_survive_their_file(tmp_path: Path) -> None:
    points = [{"name": "a", "tracker": [1, 2, 3], "q": [0.1, 0.2]}, {"tracker": [1, 2, 4], "at": [0, 0, 1]}]
    made = PointsFile.model_validate({"robot": "x", "points": points})
    write_points(tmp_path / "p.yaml", made)
    assert read_points(tmp_path / "p.yaml") == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,x,y,z,q1\na,1,2,,0\n", ":2: z is ''; allowed: a number"),
        ("name,x,y,z,q1\na,1,2,nan,0\n", ":2: z is nan; allowed: a finite number"),
        ("name,x,y,zz,q1\na,1,2,3,0\n", ":2: unknown column 'zz'; did you mean 'z'?"),
        ("x,y,z\n1,2,3\n", ":2: tells neither or both of q and at"),
        ("x,y,z,q1,at\n1,2,3,0,near-left\n", ":2: tells neither or both of q and at"),
        ("x,y,z,sigma_m,at\n1,2,3,-1,near-left\n", ":2: sigma_m is -1.0; allowed: more than 0"),
        ("x,y,z\n", "no points; expected the header"),
    ],
)
def test_csv_mistakes_are_named_with_file_and_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(DataError) as told:
        read_points(path)
    assert str(told.value).startswith(str(path))
    assert says in str(told.value)


def test_yaml_mistakes_are_named_with_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "points.yaml"
    path.write_text("points:\n  - {tracker: [1, 2, 3], sigm_m: 1, q: [0]}\n  - {tracker: [1, 2], q: [0]}\n")
    with pytest.raises(ConfigError) as told:
        read_points(path)
    assert ":2: points.0.sigm_m: unknown key; did you mean 'sigma_m'?" in str(told.value)
    assert ":3: points.1.tracker" in str(told.value)


@pytest.mark.parametrize(
    ("words", "text", "says"),
    [
        ([], "x,y,z,at\n" + "0,0,0,near-left\n" * 3, "touched points: 3 points; allowed: at least 4"),
        ([], "x,y,z,at\n" + "0,0,0,nere-left\n" * 4, "did you mean 'near-left'"),
        ([], "x,y,z,q1\n" + "0,0,0,0\n" * 4, "no robot is named"),
        (["--robot", "panda"], "x,y,z,q1\n" + "0,0,0,0\n" * 4, "has 1 joints; allowed: 7 for panda"),
        (["--driver", "fake"], "x,y,z\n", "either a FILE of points or --driver"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line_and_writes_nothing(
    words: list[str], text: str, says: str, tmp_path: Path, run  # noqa: ANN001
) -> None:  # fmt: skip
    (tmp_path / "p.csv").write_text(text)
    code, _, err = run(tmp_path / "p.csv", "--out", tmp_path / "calibration.yaml", *words)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "calibration.yaml").exists()


def test_a_machine_is_not_moved_without_a_person(run) -> None:  # noqa: ANN001
    code, _, err = run("--driver", "ur")
    assert code == 2
    assert "--yes-a-person-is-present" in err


def test_a_damaged_transform_is_refused(tmp_path: Path) -> None:
    q = poses(6)
    points = [{"tracker": tool_m(row).tolist(), "q": row.tolist()} for row in q]
    made = solve(PointsFile.model_validate({"points": points}), PANDA)
    frame = made.model_dump(mode="json")["world_tracker"]
    frame["T"][0][0] = 1.1
    path = tmp_path / "calibration.yaml"
    import yaml

    path.write_text(yaml.safe_dump({"made": "today", "world_tracker": frame}))
    with pytest.raises(ConfigError, match="world_tracker.T: is no rigid transform"):
        read_calibration(path)


# live


class MarkerTracker:
    """Sees the tool of a driver from a frame of its own, with 1 mm of noise."""

    def __init__(self, driver: IdealRobot, blind: bool = False) -> None:
        self.driver, self.blind, self.rng = driver, blind, np.random.default_rng(0)

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def window(self, stamp_ns: int) -> Window:
        at = apply(inverse(T_WORLD_TRACKER), tool_m(self.driver.observe().q_rad))
        mask = np.full(WINDOW, not self.blind)
        return at + 1e-3 * self.rng.normal(size=(WINDOW, 3)) * mask[:, None], mask, slots_ns(stamp_ns)


def test_points_measured_live_give_the_frame_and_the_arm_ends_at_home() -> None:
    robot = IdealRobot(PANDA)
    config = CaptureConfig(points=5, settle_s=0.05, look_s=0.2)
    with closing(robot):
        points = tuple(capture(armed(robot), config, MarkerTracker(robot)))
        home = robot.observe().q_rad
    made = solve(PointsFile(points=points), PANDA)
    np.testing.assert_allclose(made.T_world_tracker, T_WORLD_TRACKER, atol=3e-3)
    np.testing.assert_allclose(home, PANDA.q_home_rad, atol=1e-3)
    assert made.world_tracker is not None
    assert made.world_tracker.rms_mm < 1.0


def test_a_tracker_that_sees_nothing_ends_in_words() -> None:
    robot = IdealRobot(PANDA)
    config = CaptureConfig(points=1, furthest_rad=0.05, settle_s=0.02, look_s=0.1)
    with closing(robot), pytest.raises(DataError, match="saw the marker at 0 of 3 poses; wanted: 1"):
        list(capture(armed(robot), config, MarkerTracker(robot, blind=True)))


def test_a_rest_to_rest_motion_keeps_the_share_of_the_limits_that_it_is_given() -> None:
    to = PANDA.q_home_rad + [0.8, -0.3, 0.5, 0.2, -0.7, 0.1, 0.4]
    motion = rest_to_rest(PANDA, PANDA.q_home_rad, to, use=0.3)
    assert (np.abs(motion.dq_rad_s).max(0) <= 0.3 * PANDA.dq_max_rad_s + 1e-9).all()
    ddq = np.diff(motion.dq_rad_s, axis=0) / motion.dt_s
    assert (np.abs(ddq).max(0) <= 0.3 * PANDA.ddq_max_rad_s2 * 1.001).all()
    np.testing.assert_allclose(motion.q_rad[-1], to)
    assert not motion.dq_rad_s[0].any()
    np.testing.assert_allclose(motion.dq_rad_s[-1], 0.0, atol=1e-12)


def test_a_motion_ends_where_it_should_in_a_world_as_well() -> None:
    from robots.fake import FakeDriver

    bench = armed(FakeDriver(PANDA))
    to = PANDA.q_home_rad + 0.1
    seen = go_to(bench, to)
    stamps = [o.stamp_ns for o in seen]
    assert stamps == sorted(set(stamps))
    np.testing.assert_allclose(seen[-1].q_rad, to, atol=2e-3)
