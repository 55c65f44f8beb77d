"""A study loses and doubles no trial; what is behind is stopped, what cannot be played is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra `tune` is not installed")

from hjepa.config import Config, load  # noqa: E402
from hjepa.errors import ConfigError, DataError  # noqa: E402
from hjepa.tuning import study  # noqa: E402
from hjepa.tuning.blocks import blocks  # noqa: E402
from hjepa.tuning.objective import figure_of, per_stroke  # noqa: E402
from hjepa.tuning.ranking import ranked, winner  # noqa: E402
from tests import tuned  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
CONFIG = load("badminton")


# what is dealt


@pytest.mark.parametrize(("count", "size"), [(40, 10), (24, 10), (26, 10), (4, 10), (9, 4)])
def test_blocks_hold_every_stroke_once_and_none_is_tiny(count: int, size: int) -> None:
    made = blocks(count, size)
    assert [row for block in made for row in block] == list(range(count))
    assert all(len(block) >= min(size, count) / 2 for block in made)


# the ledger


def test_trial_0_is_the_configuration_and_every_trial_has_its_own_number(tmp_path: Path) -> None:
    trials = tuned.played(tmp_path, tuned.space(), 5)
    assert [t.number for t in trials] == list(range(5))
    assert trials[0].params == tuned.start(CONFIG, tuned.space())
    assert all(len(t.values["landing_error_m"]) == 24 for t in trials)


def test_the_search_finds_what_is_better_than_the_configuration(tmp_path: Path) -> None:
    trials = tuned.played(tmp_path, tuned.space(), 22)
    figures = figure_of(("landing_error_m",), {})
    assert winner(trials, figures).objectives[0] < trials[0].objectives[0] - 0.1


def test_a_study_goes_on_where_it_was_and_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole = tuned.played(tmp_path / "whole", tuned.space(), 11)
    for most in (1, 5, 9, 11, 11):
        parts = tuned.played(tmp_path / "parts", tuned.space(), most)
    assert [t.params for t in parts] == [t.params for t in whole]
    assert [t.objectives for t in parts] == [t.objectives for t in whole]


def test_a_trial_left_under_way_keeps_its_number_and_its_values(tmp_path: Path) -> None:
    space = tuned.space()
    tuned.played(tmp_path, space, 10)
    with tuned.opened(tmp_path, space) as ledger:
        left = [ledger.next(13) for _ in range(3)]  # and then nothing: as if killed
    with tuned.opened(tmp_path, space) as ledger:
        again = [ledger.next(13) for _ in range(4)]
    assert again == [*left, None]
    assert [number for number, _ in left] == [10, 11, 12]


def test_a_study_killed_at_many_instants_has_every_trial_once(tmp_path: Path) -> None:
    rng, most = np.random.default_rng(4), 30
    words = [sys.executable, "-m", "tests.tuned", str(tmp_path / "out"), str(most)]
    kills = 0
    for lines in (0, 1, *rng.integers(1, 9, size=3)):
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout is not None
            for _ in range(int(lines)):
                process.stdout.readline()
            kills += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    _, trials = study.read(tmp_path / "out")
    assert kills >= 3
    assert [t.number for t in trials] == list(range(most))
    assert {t.state for t in trials} == {"complete"}
    assert all(len(t.values["landing_error_m"]) == 24 for t in trials)
    tried = [tuple(t.params.values()) for t in trials if not t.reason]
    assert len(set(tried)) == len(tried)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.tuned", str(tmp_path / "out"), "1000"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        _, said = process.communicate(timeout=60)  # the workers hold stderr open until they end
    assert said == ""


def test_another_study_in_the_same_folder_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    with tuned.opened(tmp_path, tuned.space(), {"space": {"seed": 0}, "config": {"low": {"most": 3}}}):
        pass
    wanted = r"config\.low\.most was 3, is 4 now; give another --out"
    with (
        pytest.raises(DataError, match=wanted),
        tuned.opened(tmp_path, tuned.space(), {"space": {"seed": 0}, "config": {"low": {"most": 4}}}),
    ):
        pass


def test_two_processes_may_not_write_one_study(tmp_path: Path) -> None:
    with (
        tuned.opened(tmp_path, tuned.space()),
        pytest.raises(DataError, match="another process tunes there"),
        tuned.opened(tmp_path, tuned.space()),
    ):
        pass


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no study there"):
        study.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_a_file_that_is_no_study_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / study.FILE).write_bytes(content)
    with pytest.raises(DataError, match="no study of `hjepa tune`"):
        study.read(tmp_path)


# trials that do not run to their end


def test_a_combination_that_cannot_be_played_is_recorded_and_ends_nothing(tmp_path: Path) -> None:
    trials = tuned.played(tmp_path, tuned.space(), 6, tuned.Here(shared="cem"))
    failed = [t for t in trials if t.state == "fail"]
    assert failed
    assert {t.params["low.planner"] for t in failed} == {"cem"}
    assert failed[0].reason == "planner cem cannot be played"
    assert {t.state for t in trials if t.params["low.planner"] != "cem"} == {"complete"}


def test_values_that_the_schema_refuses_together_are_a_failed_trial(tmp_path: Path, monkeypatch: Any) -> None:
    from hjepa.tuning import tuner

    def refuse(config: Config, params: dict[str, Any]) -> Config:
        if params["low.iterations"] > 3:
            raise ConfigError("too many")
        return config

    monkeypatch.setattr(tuner, "changed", refuse)
    trials = tuned.played(tmp_path, tuned.space(), 10)
    assert {t.state for t in trials if int(t.params["low.iterations"]) > 3} == {"fail"}
    assert {t.state for t in trials if int(t.params["low.iterations"]) <= 3} == {"complete"}


def test_a_configuration_that_cannot_be_played_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the configuration itself cannot be played: planner gradient"):
        tuned.played(tmp_path, tuned.space(), 5, tuned.Here(shared="gradient"))


@pytest.mark.parametrize(
    "keys",
    [
        {"pruner": "race"},
        {"pruner": "median"},
        {"pruner": "race", "objectives": ("landing_error_m", "mflop")},
        {"pruner": "race", "objectives": (), "score": {"landing_error_m": -1.0, "effort_j": -0.0001}},
    ],
)
def test_trials_that_are_behind_are_stopped_early_and_never_the_winner(tmp_path: Path, keys: dict[str, Any]) -> None:
    workers, space = tuned.Here(), tuned.space(**keys)
    trials = tuned.played(tmp_path, space, 14, workers)
    figures = figure_of(space.objectives, space.score)
    stopped = [t for t in trials if t.state == "pruned"]
    assert stopped
    assert workers.played < 14 * 24
    assert winner(trials, figures).state == "complete"
    assert trials[0].state == "complete"
    for t in stopped:  # and rightly so: its whole value would not have won
        rows = [tuned.stroke(tuned.with_values(t), row) for row in range(24)]
        whole = [float(np.mean(v)) for v in per_stroke(figures, rows).values()]
        best = ranked(trials, figures)[0].objectives
        assert not all((w > b) == f.maximise for f, w, b in zip(figures, whole, best, strict=True))


def test_a_trial_that_repeats_another_is_not_played_again(tmp_path: Path) -> None:
    workers = tuned.Here()
    search = {"low.planner": {"choices": ["gradient", "cem"]}}
    trials = tuned.played(tmp_path, tuned.space(search=search), 12, workers)
    assert workers.played == 2 * 24
    assert sum(t.reason.startswith("repeats trial") for t in trials) == 10
