"""A study loses and doubles no trial; race and verdict go by paired differences on the same strokes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hjepa.config import Config, load
from hjepa.errors import ConfigError, DataError
from hjepa.evaluation.results import StrokeResult
from hjepa.tuning.blocks import Block, blocks
from hjepa.tuning.objective import FIGURES, figure_of, per_stroke, surely_worse
from hjepa.tuning.space import Space
from hjepa.tuning.verdict import judge, play_both
from hjepa.tuning.workers import TRIES, Failure, Workers, processes
from tests import tuned

optuna = pytest.importorskip("optuna", reason="the extra `tune` is not installed")

from hjepa.tuning import study  # noqa: E402
from hjepa.tuning.outcome import Outcome, best_yaml, difference, trials_csv  # noqa: E402
from hjepa.tuning.pictures import draw  # noqa: E402
from hjepa.tuning.ranking import front, ranked, winner  # noqa: E402
from hjepa.tuning.study import Ledger, Trial  # noqa: E402
from hjepa.tuning.tuner import Tuner  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
CONFIG = load("badminton")
TOLD: list[Any] = []


class Here:
    """Workers that play in this process, one job at a time."""

    slots = 1

    def __init__(self, shared: str = "") -> None:
        self.shared, self.played, self._result = shared, 0, None

    def submit(self, tag: int, job: Block) -> None:
        self.played += len(job.rows)
        try:
            self._result = tag, tuned.work(self.shared, job)
        except ConfigError as error:
            self._result = tag, Failure(str(error))

    def done(self) -> Any:
        return self._result


@contextmanager
def opened(out: Path, space: Space, asked: dict[str, Any] | None = None) -> Iterator[Ledger]:
    figures = figure_of(space.objectives, space.score)
    with study.opened(out, space, figures, tuned.start(CONFIG, space), asked or {"space": 1}) as ledger:
        yield ledger


def played(out: Path, space: Space, trials: int, workers: Workers | None = None) -> list[Trial]:
    with opened(out, space) as ledger:
        return Tuner(CONFIG, space, ledger, workers or Here()).run(trials, TOLD.append)


def trial(number: int, values: dict[str, list[float]], objectives: tuple[str, ...]) -> Trial:
    means = tuple(float(np.mean(values[name])) for name in objectives)
    return Trial(number, "complete", {"low.iterations": number}, values, means, 1.0, "")


# what is dealt


@pytest.mark.parametrize(("count", "size"), [(40, 10), (24, 10), (26, 10), (4, 10), (9, 4)])
def test_blocks_hold_every_stroke_once_and_none_is_tiny(count: int, size: int) -> None:
    made = blocks(count, size)
    assert [row for block in made for row in block] == list(range(count))
    assert all(len(block) >= min(size, count) / 2 for block in made)


# the ledger


def test_trial_0_is_the_configuration_and_every_trial_has_its_own_number(tmp_path: Path) -> None:
    trials = played(tmp_path, tuned.space(), 5)
    assert [t.number for t in trials] == list(range(5))
    assert trials[0].params == tuned.start(CONFIG, tuned.space())
    assert all(len(t.values["landing_error_m"]) == 24 for t in trials)


def test_the_search_finds_what_is_better_than_the_configuration(tmp_path: Path) -> None:
    trials = played(tmp_path, tuned.space(), 22)
    figures = figure_of(("landing_error_m",), {})
    assert winner(trials, figures).objectives[0] < trials[0].objectives[0] - 0.1


def test_a_study_goes_on_where_it_was_and_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole = played(tmp_path / "whole", tuned.space(), 11)
    for most in (1, 5, 9, 11, 11):
        parts = played(tmp_path / "parts", tuned.space(), most)
    assert [t.params for t in parts] == [t.params for t in whole]
    assert [t.objectives for t in parts] == [t.objectives for t in whole]


def test_a_trial_left_under_way_keeps_its_number_and_its_values(tmp_path: Path) -> None:
    space = tuned.space()
    played(tmp_path, space, 10)
    with opened(tmp_path, space) as ledger:
        left = [ledger.next(13) for _ in range(3)]  # and then nothing: as if killed
    with opened(tmp_path, space) as ledger:
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
    with opened(tmp_path, tuned.space(), {"space": {"seed": 0}, "config": {"low": {"most": 3}}}):
        pass
    wanted = r"config\.low\.most was 3, is 4 now; give another --out"
    with (
        pytest.raises(DataError, match=wanted),
        opened(tmp_path, tuned.space(), {"space": {"seed": 0}, "config": {"low": {"most": 4}}}),
    ):
        pass


def test_two_processes_may_not_write_one_study(tmp_path: Path) -> None:
    with (
        opened(tmp_path, tuned.space()),
        pytest.raises(DataError, match="another process tunes there"),
        opened(tmp_path, tuned.space()),
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
    trials = played(tmp_path, tuned.space(), 6, Here(shared="cem"))
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
    trials = played(tmp_path, tuned.space(), 10)
    assert {t.state for t in trials if int(t.params["low.iterations"]) > 3} == {"fail"}
    assert {t.state for t in trials if int(t.params["low.iterations"]) <= 3} == {"complete"}


def test_a_configuration_that_cannot_be_played_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the configuration itself cannot be played: planner gradient"):
        played(tmp_path, tuned.space(), 5, Here(shared="gradient"))


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
    workers, space = Here(), tuned.space(**keys)
    trials = played(tmp_path, space, 14, workers)
    figures = figure_of(space.objectives, space.score)
    stopped = [t for t in trials if t.state == "pruned"]
    assert stopped
    assert workers.played < 14 * 24
    assert winner(trials, figures).state == "complete"
    assert trials[0].state == "complete"
    for t in stopped:  # and rightly so: its whole value would not have won
        rows = [tuned.stroke(_changed(t), row) for row in range(24)]
        whole = [float(np.mean(v)) for v in per_stroke(figures, rows).values()]
        best = ranked(trials, figures)[0].objectives
        assert not all((w > b) == f.maximise for f, w, b in zip(figures, whole, best, strict=True))


def _changed(t: Trial) -> Config:
    from hjepa.tuning.space import changed

    return changed(CONFIG, t.params)


def test_a_trial_that_repeats_another_is_not_played_again(tmp_path: Path) -> None:
    workers = Here()
    search = {"low.planner": {"choices": ["gradient", "cem"]}}
    trials = played(tmp_path, tuned.space(search=search), 12, workers)
    assert workers.played == 2 * 24
    assert sum(t.reason.startswith("repeats trial") for t in trials) == 10


def test_a_paired_test_sees_what_luck_would_hide() -> None:
    luck = np.random.default_rng(0).normal(0, 1, 30)
    slightly = luck + 0.1 + 0.01 * np.random.default_rng(1).normal(0, 1, 30)
    error = FIGURES["landing_error_m"]
    assert surely_worse(error, list(slightly), list(luck))
    assert not surely_worse(error, list(luck), list(slightly))
    assert not surely_worse(error, list(luck), list(luck))


def test_a_race_stops_one_of_two_equals_in_a_hundred_at_most() -> None:
    rng = np.random.default_rng(2)
    draws = [rng.normal(0, 1, (2, 8)) for _ in range(2000)]
    wrong = sum(surely_worse(FIGURES["landing_error_m"], list(a), list(b)) for a, b in draws)
    assert 0 < wrong / len(draws) < 0.01


# who won


def test_a_tie_goes_to_the_configuration() -> None:
    figures = figure_of(("return_rate",), {})
    same = {"return_rate": [1.0, 0.0, 1.0]}
    assert winner([trial(0, same, ("return_rate",)), trial(1, same, ("return_rate",))], figures).number == 0


def test_of_the_front_the_winner_is_as_good_in_the_first_objective_and_best_in_the_second() -> None:
    names = ("return_rate", "effort_j")
    figures = figure_of(names, {})
    most = [1.0] * 19 + [0.0]
    trials = [
        trial(0, {"return_rate": [1.0] * 20, "effort_j": [900.0] * 20}, names),
        trial(1, {"return_rate": most, "effort_j": [500.0] * 20}, names),  # within one standard error
        trial(2, {"return_rate": [1.0] * 10 + [0.0] * 10, "effort_j": [100.0] * 20}, names),  # cheap, misses
        trial(3, {"return_rate": most, "effort_j": [600.0] * 20}, names),  # dominated
    ]
    assert [t.number for t in front(trials, figures)] == [0, 1, 2]
    assert winner(trials, figures).number == 1
    assert [t.number for t in ranked(trials, figures)] == [0, 1, 2, 3]


def test_a_stroke_that_misses_is_never_cheaper_to_land() -> None:
    far = StrokeResult("1", hit=True, landing_xy_m=(9.0, 0.0), target_xy_m=(1.0, 0.0))
    value = FIGURES["landing_error_m"].value
    assert value(far) == value(StrokeResult("2")) == 3.0


def test_a_score_is_the_weighted_sum_of_its_figures() -> None:
    (score,) = figure_of((), {"return_rate": 2.0, "effort_j": -0.001})
    assert score.value(StrokeResult("1", returned=True, effort_j=500.0)) == pytest.approx(1.5)
    assert score.maximise


# what is left


def outcome(out: Path, space: Space, trials: int) -> Outcome:
    figures = figure_of(space.objectives, space.score)
    with opened(out, space) as ledger:
        ended = Tuner(CONFIG, space, ledger, Here()).run(trials, TOLD.append)
        importance = {figure.name: ledger.importance(k) for k, figure in enumerate(figures)}
    best = winner(ended, figures)
    both = play_both(_changed(best), CONFIG, 80, 10, Here())
    return Outcome(space, figures, ended, best, importance, judge(*both, figures, 0))


def test_a_study_ends_in_a_difference_that_says_what_fresh_strokes_showed_and_in_pictures(tmp_path: Path) -> None:
    found = outcome(tmp_path, tuned.space(), 22)
    assert found.said.startswith(
        f"trial {found.winner.number} beats the default on 80 fresh strokes: landing_error_m -0."
    )
    text = best_yaml(found, difference(_changed(found.winner), CONFIG), "mine.yaml", "badminton")
    assert f"# {found.said}.\n" in text
    nested = yaml.safe_load(text)
    assert nested["low"]["iterations"] == found.winner.params["low.iterations"]
    keys = found.importance["landing_error_m"]
    assert max(keys, key=lambda name: keys[name]) in ("low.iterations", "low.weights.effort")  # planner decides nothing
    draw(tmp_path, found)
    assert {path.name for path in tmp_path.glob("*.png")} == {"history.png", "importance.png"}


def test_where_nothing_beats_the_default_the_difference_is_empty_and_says_so() -> None:
    names = ("return_rate",)
    zero = trial(0, {"return_rate": [1.0] * 4}, names)
    found = Outcome(tuned.space(objectives=names), figure_of(names, {}), [zero], zero, {}, None)
    text = best_yaml(found, {}, "quick", "badminton")
    assert "no trial beat the default on the strokes of the study: keep it" in text
    assert yaml.safe_load(text) == {}


def test_the_table_of_trials_tells_why_one_failed() -> None:
    names = ("return_rate", "effort_j")
    failed = Trial(1, "fail", {"low.iterations": 2}, {}, (), 0.5, "planner cem cannot be played")
    zero = trial(0, {"return_rate": [1.0, 0.0], "effort_j": [3.0, 5.0]}, names)
    lines = trials_csv([zero, failed], figure_of(names, {}), ["low.iterations"]).splitlines()
    assert lines[0].startswith("trial,state,low.iterations,return_rate,effort_j,")
    assert lines[1].startswith("0,complete,0,0.5,4,")
    assert lines[2] == "1,fail,2,,,,,,,0,0.5,planner cem cannot be played"


# the verdict


def both(gain_j: float, strokes: int = 120, noise_j: float = 50.0) -> tuple[list[StrokeResult], list[StrokeResult]]:
    rng = np.random.default_rng(3)
    effort = rng.normal(900, 300, strokes)
    less = gain_j + rng.normal(0, noise_j, strokes)
    return tuple(
        [StrokeResult(str(k), match=str(k % 10), returned=True, effort_j=float(e)) for k, e in enumerate(values)]
        for values in (effort - less, effort)
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("gain_j", "said", "gained"),
    [
        (40.0, "beats the default on 120 fresh strokes: effort_j -4", True),
        (0.0, "is no better than the default on 120 fresh strokes .* cannot be told from tuning noise", False),
        (-40.0, "is worse than the default on 120 fresh strokes: effort_j .*; keep the default", False),
    ],
)
def test_the_verdict_says_what_fresh_strokes_show(gain_j: float, said: str, gained: bool) -> None:
    verdict = judge(*both(gain_j), figure_of(("effort_j",), {}), 0)
    assert pytest.approx(-gain_j, abs=15) == verdict.compared[0].difference.value
    import re

    assert re.search(said, verdict.said)
    assert verdict.gained == gained


def test_a_gain_paid_for_elsewhere_is_called_a_trade() -> None:
    ours, theirs = both(40.0)
    from dataclasses import replace

    missed = [replace(r, returned=k % 4 > 0) for k, r in enumerate(ours)]
    verdict = judge(missed, theirs, figure_of(("return_rate", "effort_j"), {}), 0)
    assert verdict.said.startswith("trades on 120 fresh strokes: better effort_j")
    assert not verdict.gained


def test_few_fresh_strokes_give_no_verdict() -> None:
    verdict = judge(*both(40.0, strokes=8), figure_of(("effort_j",), {}), 0)
    assert "too few to tell" in verdict.said
    assert not verdict.gained


def test_winner_and_default_play_the_same_fresh_strokes() -> None:
    from hjepa.tuning.space import changed

    ours, theirs = play_both(changed(CONFIG, {"low.iterations": 5}), CONFIG, 24, 10, Here())
    assert [r.id for r in ours] == [r.id for r in theirs] == [str(k) for k in range(24)]
    assert all(a.landing_error_m < b.landing_error_m for a, b in zip(ours, theirs, strict=True))
    assert ours[0] == tuned.stroke(changed(CONFIG, {"low.iterations": 5}), 0, fresh=True)


# who plays


def act(shared: str, job: int) -> int:
    """Fails where the job is 1, kills its worker once where it is 2, always where it is 3."""
    once = Path(shared) / str(job)
    if job == 1:
        raise DataError("job 1 is wrong\nand more")
    if job == 3 or (job == 2 and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def collected(workers: Workers, jobs: list[int]) -> dict[int, Any]:
    waiting, out, busy = list(jobs), {}, 0
    while waiting or busy:
        while waiting and busy < workers.slots:
            job = waiting.pop()
            workers.submit(job, job)
            busy += 1
        tag, result = workers.done()
        busy -= 1
        out[tag] = result
    return out


def test_a_lost_worker_is_replaced_and_a_failure_harms_no_other_job(tmp_path: Path) -> None:
    with processes(act, str(tmp_path), 2) as workers:
        got = collected(workers, [0, 1, 2, 3, 4, 5])
    assert got.pop(1) == Failure("DataError: job 1 is wrong")
    assert got.pop(3) == Failure(f"its worker ended {TRIES} times (exit code -9)")
    assert got == {0: 0, 2: 2, 4: 4, 5: 5}


def test_a_ray_cluster_plays_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from hjepa.tuning.workers import on_ray

    with on_ray(act, str(tmp_path), "local", 2) as workers:
        got = collected(workers, [0, 1, 2, 4])
    assert got == {0: 0, 1: Failure("DataError: job 1 is wrong"), 2: 2, 4: 4}
