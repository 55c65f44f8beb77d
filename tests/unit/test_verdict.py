"""Who won, by paired differences on the same strokes, and whether fresh strokes say so too."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("optuna", reason="the extra `tune` is not installed")

from hjepa.config import load  # noqa: E402
from hjepa.evaluation.results import StrokeResult  # noqa: E402
from hjepa.tuning.objective import FIGURES, figure_of, surely_worse  # noqa: E402
from hjepa.tuning.outcome import Outcome, best_yaml, difference, trials_csv  # noqa: E402
from hjepa.tuning.pictures import draw  # noqa: E402
from hjepa.tuning.ranking import front, ranked, winner  # noqa: E402
from hjepa.tuning.space import Space, changed  # noqa: E402
from hjepa.tuning.study import Trial  # noqa: E402
from hjepa.tuning.tuner import Tuner  # noqa: E402
from hjepa.tuning.verdict import judge, play_both  # noqa: E402
from tests import tuned  # noqa: E402

CONFIG = load("badminton")


# who won


def test_a_tie_goes_to_the_configuration() -> None:
    figures = figure_of(("return_rate",), {})
    same = {"return_rate": [1.0, 0.0, 1.0]}
    assert winner([tuned.trial(0, same, ("return_rate",)), tuned.trial(1, same, ("return_rate",))], figures).number == 0


def test_of_the_front_the_winner_is_as_good_in_the_first_objective_and_best_in_the_second() -> None:
    names = ("return_rate", "effort_j")
    figures = figure_of(names, {})
    most = [1.0] * 19 + [0.0]
    trials = [
        tuned.trial(0, {"return_rate": [1.0] * 20, "effort_j": [900.0] * 20}, names),
        tuned.trial(1, {"return_rate": most, "effort_j": [500.0] * 20}, names),  # within one standard error
        tuned.trial(2, {"return_rate": [1.0] * 10 + [0.0] * 10, "effort_j": [100.0] * 20}, names),  # cheap, misses
        tuned.trial(3, {"return_rate": most, "effort_j": [600.0] * 20}, names),  # dominated
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
    with tuned.opened(out, space) as ledger:
        ended = Tuner(CONFIG, space, ledger, tuned.Here()).run(trials, lambda trials: None)
        importance = {figure.name: ledger.importance(k) for k, figure in enumerate(figures)}
    best = winner(ended, figures)
    both = play_both(tuned.with_values(best), CONFIG, 80, 10, tuned.Here())
    return Outcome(space, figures, ended, best, importance, judge(*both, figures, 0))


def test_a_study_ends_in_a_difference_that_says_what_fresh_strokes_showed_and_in_pictures(tmp_path: Path) -> None:
    found = outcome(tmp_path, tuned.space(), 22)
    assert found.said.startswith(
        f"trial {found.winner.number} beats the default on 80 fresh strokes: landing_error_m -0."
    )
    text = best_yaml(found, difference(tuned.with_values(found.winner), CONFIG), "mine.yaml", "badminton")
    assert f"# {found.said}.\n" in text
    nested = yaml.safe_load(text)
    assert nested["low"]["iterations"] == found.winner.params["low.iterations"]
    keys = found.importance["landing_error_m"]
    assert max(keys, key=lambda name: keys[name]) in ("low.iterations", "low.weights.effort")  # planner decides nothing
    draw(tmp_path, found)
    assert {path.name for path in tmp_path.glob("*.png")} == {"history.png", "importance.png"}


def test_where_nothing_beats_the_default_the_difference_is_empty_and_says_so() -> None:
    names = ("return_rate",)
    zero = tuned.trial(0, {"return_rate": [1.0] * 4}, names)
    found = Outcome(tuned.space(objectives=names), figure_of(names, {}), [zero], zero, {}, None)
    text = best_yaml(found, {}, "quick", "badminton")
    assert "no trial beat the default on the strokes of the study: keep it" in text
    assert yaml.safe_load(text) == {}


def test_the_table_of_trials_tells_why_one_failed() -> None:
    names = ("return_rate", "effort_j")
    failed = Trial(1, "fail", {"low.iterations": 2}, {}, (), 0.5, "planner cem cannot be played")
    zero = tuned.trial(0, {"return_rate": [1.0, 0.0], "effort_j": [3.0, 5.0]}, names)
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
    assert re.search(said, verdict.said)
    assert verdict.gained == gained


def test_a_gain_paid_for_elsewhere_is_called_a_trade() -> None:
    ours, theirs = both(40.0)
    missed = [replace(r, returned=k % 4 > 0) for k, r in enumerate(ours)]
    verdict = judge(missed, theirs, figure_of(("return_rate", "effort_j"), {}), 0)
    assert verdict.said.startswith("trades on 120 fresh strokes: better effort_j")
    assert not verdict.gained


def test_few_fresh_strokes_give_no_verdict() -> None:
    verdict = judge(*both(40.0, strokes=8), figure_of(("effort_j",), {}), 0)
    assert "too few to tell" in verdict.said
    assert not verdict.gained


def test_winner_and_default_play_the_same_fresh_strokes() -> None:
    ours, theirs = play_both(changed(CONFIG, {"low.iterations": 5}), CONFIG, 24, 10, tuned.Here())
    assert [r.id for r in ours] == [r.id for r in theirs] == [str(k) for k in range(24)]
    assert all(a.landing_error_m < b.landing_error_m for a, b in zip(ours, theirs, strict=True))
    assert ours[0] == tuned.stroke(changed(CONFIG, {"low.iterations": 5}), 0, fresh=True)


# the race


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
