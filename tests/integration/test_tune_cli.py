"""pytest tests/integration/test_tune_cli.py: a tiny study through the command line, on real strokes."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from hjepa.cli.app import main
from hjepa.config import load
from hjepa.evaluation.results import StrokeResult
from hjepa.tuning import space as spaces
from hjepa.tuning.blocks import Block

pytest.importorskip("optuna", reason="the extra `tune` is not installed")
pytest.importorskip("pybullet", reason="the extra `sim` is not installed")
pytestmark = pytest.mark.sim

from hjepa.tuning import strokes, study  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
SPACE = """
objectives: [return_rate, mflop]
strokes: 4
block: 2
pruner: none
search:
  low.iterations: {low: 1, high: 6}
  low.first_iterations: {low: 1, high: 6}
"""
FILES = {"best.yaml", "trials.csv", "ranked.md", "report.json", "config.yaml", "study.db"}


def hjepa(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trials."""
    out = tmp_path_factory.mktemp("tune")
    (out / "space.yaml").write_text(SPACE, encoding="utf-8")
    assert hjepa("tune", out / "space.yaml", "badminton", "--trials", "3", "--fresh", "4", "--out", out / "study") == 0
    return out


def test_a_study_leaves_its_files_and_a_difference_that_the_configuration_takes(folder: Path) -> None:
    there = {path.name for path in (folder / "study").iterdir()}
    assert FILES | {"history.png", "history.svg", "pareto.png", "pareto.svg"} <= there
    changes = yaml.safe_load((folder / "study" / "best.yaml").read_text(encoding="utf-8"))
    report = json.loads((folder / "study" / "report.json").read_text(encoding="utf-8"))
    assert changes == report["winner"]["changes"]
    assert set(changes) <= {"low"}
    sets = [f"low.{name}={value}" for name, value in changes.get("low", {}).items()]
    best = load("badminton", sets)
    assert {key: spaces.value_at(best, key) for key in report["winner"]["params"]} == report["winner"]["params"]
    assert (folder / "study" / "best.yaml").read_text(encoding="utf-8").startswith("# What `hjepa tune ")


def test_tuned_and_fresh_strokes_are_feasible_disjoint_and_the_same_each_time() -> None:
    ground = strokes.choose(load("badminton"), "val", 0, 4, 4)
    ids = [set(part.feed.id.tolist()) for part in ground]
    assert [len(each) for each in ids] == [4, 4]
    assert not ids[0] & ids[1]
    assert all(part.starts.feasible.all() for part in ground)
    assert ground.tuned.seed != ground.fresh.seed
    again = strokes.choose(load("badminton"), "val", 0, 4, 4)
    assert again.fresh.feed.id.tolist() == ground.fresh.feed.id.tolist()


def test_a_block_is_the_same_whoever_plays_it_and_whatever_was_played_before() -> None:
    ground = strokes.choose(load("badminton"), "val", 0, 4, 4)
    alone = strokes.play(ground, Block(load("badminton"), False, (2, 3)))
    strokes.play(ground, Block(load("badminton", ["low.iterations=1"]), False, (0, 1)))
    again = strokes.play(ground, Block(load("badminton"), False, (2, 3)))
    assert [_figures(r) for r in alone] == [_figures(r) for r in again]
    assert len({_figures(r) for r in alone}) == 2


def _figures(r: StrokeResult) -> tuple[object, ...]:
    return (r.id, r.returned, r.landing_xy_m, r.effort_j, r.mflop, r.contact_s)


def test_every_trial_has_a_row_and_the_first_is_the_configuration(folder: Path) -> None:
    with (folder / "study" / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["state"], row["strokes"]) for row in rows] == [
        (str(k), "complete", "4") for k in range(3)
    ]
    assert (rows[0]["low.iterations"], rows[0]["low.first_iterations"]) == ("3", "3")


def test_show_prints_the_table_and_plays_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hjepa("tune", "--show", folder / "study") == 0
    said = capsys.readouterr().out
    assert "0 (default)" in said
    assert json.loads((folder / "study" / "report.json").read_text(encoding="utf-8"))["said"] in said


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(folder: Path) -> None:
    _, before = study.read(folder / "study")
    words = ["tune", str(folder / "space.yaml"), "--trials", "400", "--fresh", "4", "--out", str(folder / "study")]
    command = [sys.executable, "-m", "hjepa.cli", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where whoever runs the tests ignores it
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=heard, **pipes) as process:
        assert process.stdout is not None
        assert any(re.match(r"trials \d+/400", line) for line in process.stdout)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"stopped; the same command goes on from {folder / 'study'}/" in said
    assert study.read(folder / "study")[1][: len(before)] == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "which search space? hjepa tune SPACE CONFIG; allowed: high_weights, low_planner, quick"),
        (["tune", "quik"], "did you mean 'quick'"),
        (["tune", "quick", "badmington"], "did you mean 'badminton'"),
        (["tune", "quick", "reach"], "'reach' is another task"),
        (["tune", "quick", "--set", "run.clock=realtime"], "trials would not repeat; allowed: lockstep"),
        (["tune", "quick", "--set", "low.iterations=9"], "search.low.iterations: the configuration's own value 9"),
        (["tune", "--show", "nowhere"], "no study there"),
        (["tune", "quick", "--ray", "cluster"], "no address; allowed: local, auto"),
        (["tune", "quick", "--trials", "1"], "'--trials'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_played(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hjepa(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.iterdir())


def test_another_space_in_the_same_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.yaml").write_text(SPACE.replace("high: 6", "high: 7", 1), encoding="utf-8")
    assert hjepa("tune", folder / "other.yaml", "--fresh", "4", "--out", folder / "study") == 2
    assert "space.search.low.iterations.high was 6, is 7 now" in capsys.readouterr().err
