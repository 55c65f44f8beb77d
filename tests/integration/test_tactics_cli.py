"""hjepa forecast, bench forecast and match, as a user runs them; the film of a rally."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hjepa import build, config, matches, sides
from hjepa.tasks.badminton.opponents import Opponent
from hjepa.tasks.badminton.rallies import landing_world, load_rallies, read_strokes_csv
from hjepa.types import Array
from hjepa.viewer import rally_film

COLUMNS = (
    "rally_id,rally_length,ball_round,type,landing_x,landing_y,frame_num,player_location_x,player_location_y,"
    "opponent_location_x,opponent_location_y"
)
GIVEN = f"""{COLUMNS}
7,7,1,short service,0.2,-0.4,100,180,620,170,300
7,7,2,lob,0.8,1.5,122,175,330,178,560
7,7,3,clear,-0.9,-1.4,160,250,780,180,350
7,7,4,drop,0.4,0.5,196,90,190,176,560
"""


def hjepa(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hjepa.cli import main; main()", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def test_a_forecast_is_written_in_the_challenges_form(tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text(GIVEN, encoding="utf-8")
    done = hjepa("forecast", "--given", "given.csv", "--out", "out/p.csv", "--draws", "50", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "p.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["sample_id"], r["ball_round"]) for r in rows] == [(str(k), str(b)) for k in range(6) for b in (5, 6, 7)]
    for row in rows:
        assert sum(float(v) for v in list(row.values())[5:]) == pytest.approx(1.0, abs=1e-5)
    landing = np.array([[float(r[f"landing_{c}"]) for c in "xy"] for r in rows])
    sides = np.sign(landing_world(*landing.T)[:, 0]).reshape(6, 3)
    np.testing.assert_array_equal(sides[:, 0], -sides[:, 1])  # play goes to and fro; the last stroke may end in the net


def test_a_bad_line_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text(GIVEN.replace("clear", "klear"), encoding="utf-8")
    done = hjepa("forecast", "--given", "given.csv", "--out", "p.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "given.csv, line 4, column 'type': 'klear'" in done.stderr and "clear" in done.stderr
    assert not (tmp_path / "p.csv").exists()


def test_the_benchmark_scores_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text(GIVEN, encoding="utf-8")
    truth = (
        "rally_id,ball_round,type,landing_x,landing_y\n7,5,net shot,0.1,-0.3\n7,6,lob,1.0,1.6\n7,7,smash,-0.3,-0.6\n"
    )
    (tmp_path / "gt.csv").write_text(truth, encoding="utf-8")
    words = ("bench", "forecast", "--given", "given.csv", "--truth", "gt.csv", "--quick", "--json", "f.json")
    done = hjepa(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert {row["name"] for row in found["rows"]} >= {"rally JEPA", "Markov-1", "second-order counts, places"}
    assert found["rallies"] == 1
    assert "rally JEPA" in found["next_stroke"]
    assert hjepa("bench", "forecast", "--given", "given.csv", cwd=tmp_path).returncode == 2


def test_the_shipped_level_knows_more_than_counts() -> None:
    """The benchmark's must: below second-order counts on the challenge's val, told the truth so far."""
    from hjepa.evaluation import forecasts
    from hjepa.tasks.badminton.chains import Chain
    from hjepa.training.tactics import next_log_loss

    val = load_rallies().of("val")
    model = build.load_rally_level(build.shipped("rally"))
    counts = Chain(load_rallies().of("train"), 2, places=True)
    ours, theirs = next_log_loss(model, val), forecasts.next_log_loss(counts, val)
    assert forecasts.interval(ours - theirs)[2] < -0.02


def test_a_match_against_a_human_leaves_all_its_files(tmp_path: Path) -> None:
    done = hjepa("match", "--opponent", "human", "--points", "1", "--no-video", "--out", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "m" / "match.json").read_text(encoding="utf-8"))
    strokes = read_strokes_csv(tmp_path / "m" / "strokes.csv")
    assert len(strokes.name) == figures["rallies"] >= 2  # two clear
    assert (tmp_path / "m" / "shots.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def rally() -> tuple[matches.Rally, sides.RobotSide]:
    build.use_one_thread()
    robot = matches.robot(config.load("badminton", []), "hjepa")
    try:
        found = matches.play_rally((robot, sides.HumanSide(Opponent("human"))), 1, "val", 11, longest=8)
        yield found, robot
    finally:
        robot.close()


def test_a_rally_is_played_in_one_piece(rally) -> None:
    """Joints do not jump where one stroke's episode ends and the next begins, and the base keeps to its limits."""
    found, robot = rally
    times, q = zip(*found.tracks[0], strict=True)
    times, q = np.array(times), np.stack(q)
    assert (np.diff(times) >= -1e-6).all()
    steps = np.abs(np.diff(q, axis=0)) / np.maximum(np.diff(times), 0.01)[:, None]
    assert (steps <= 1.3 * robot.spec.dq_max_rad_s + 1.0).all()
    for before, after in zip(found.strokes, found.strokes[1:], strict=False):
        assert after.at_s == pytest.approx(before.at_s + after.since_s)
        assert after.side == 1 - before.side


def test_a_rally_can_be_filmed(rally, tmp_path: Path) -> None:
    found, robot = rally
    scene = matches.scenes(found, robot.spec)
    first = next(rally_film.frames(scene, rate_hz=2))
    assert first.shape[2] == 3 and first.std() > 10
    way: Array = scene.near.shuttle_m
    assert np.isfinite(way).all() and (way[:, 2] > -0.1).all()
    assert np.abs(np.diff(way, axis=0)).max() < 1.0  # 100 m/s
    assert scene.captions[-1][1]
