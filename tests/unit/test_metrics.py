"""pytest tests/unit/test_metrics.py"""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hjepa.errors import DataError
from hjepa.evaluation import metrics as m
from hjepa.evaluation.results import StrokeResult, read_csv, write_csv


def stroke(index: int, **changes: object) -> StrokeResult:
    base = StrokeResult(id=f"s{index}", match=f"m{index % 3}", hit=True, returned=True, target_xy_m=(3.0, 0.0))
    return dataclasses.replace(base, landing_xy_m=(3.0, 0.0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 7), (95, 100), (20, 20), (1, 1000)])
def test_wilson_agrees_with_scipy(successes: int, trials: int) -> None:
    reference = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    got = m.wilson(successes, trials)
    assert got.value == successes / trials
    assert (got.lo, got.hi) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize("count", [0, 1, 10, 400])
def test_the_interval_of_a_rate_is_the_exact_one_of_scipy(count: int) -> None:
    lo = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0  # Garwood (1936)
    hi = stats.chi2.ppf(0.975, 2 * count + 2) / 2
    got = m.poisson(count, 0.25)
    assert (got.value, got.lo, got.hi) == pytest.approx((4 * count, 4 * lo, 4 * hi), rel=1e-9)


@pytest.mark.parametrize(("count", "exposure"), [(-1, 1.0), (1, 0.0)])
def test_a_rate_of_nothing_is_refused(count: int, exposure: float) -> None:
    with pytest.raises(DataError, match="events in an exposure of"):
        m.poisson(count, exposure)


def test_wilson_without_trials_knows_nothing() -> None:
    got = m.wilson(0, 0)
    assert math.isnan(got.value)
    assert (got.lo, got.hi) == (0.0, 1.0)


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(DataError, match="allowed: 0 to 2"):
        m.wilson(3, 2)


def test_landing_error_needs_a_hit_and_a_target() -> None:
    assert dataclasses.replace(stroke(0), landing_xy_m=(3.3, 0.4)).landing_error_m == pytest.approx(0.5)
    assert math.isnan(stroke(0, hit=False).landing_error_m)
    assert math.isnan(stroke(0, target_xy_m=(math.nan, math.nan)).landing_error_m)


def test_spread_leaves_out_what_is_not_a_number() -> None:
    assert m.spread([1.0, math.nan, 3.0]) == m.Spread(2.0, pytest.approx(2.8))  # type: ignore[arg-type]
    assert math.isnan(m.spread([]).median)


def test_within_1m_needs_a_return() -> None:
    assert m.within(stroke(0))
    assert not m.within(stroke(0, returned=False))
    assert not m.within(dataclasses.replace(stroke(0), landing_xy_m=(4.1, 0.0)))


def test_shot_realised_is_a_macro_average_over_commanded_types() -> None:
    results = [stroke(i, commanded_type="clear", realised_type="clear") for i in range(8)]
    results += [stroke(8, commanded_type="drop", realised_type="drop")]
    results += [stroke(9, commanded_type="drop", realised_type="net shot")]
    results += [stroke(10, commanded_type="drop", hit=False), stroke(11)]  # neither counts
    got = m.shot_realised(results, 0.8)
    assert got.value == pytest.approx(0.75)
    assert got.per_type == {"clear": 1.0, "drop": 0.5}
    assert got.commanded == {"clear": 8, "drop": 2}


def test_placement_entropy_grows_with_the_number_of_cells_used() -> None:
    one = [(3.5, 0.5)] * 64
    four = [(x + 0.5, y + 0.5) for x in (2, 5) for y in (-2, 1)] * 1000
    assert m.placement_entropy(one) == 0.0
    assert m.placement_entropy(four) == pytest.approx(2.0, abs=1e-3)
    assert math.isnan(m.placement_entropy([(math.nan, 0.0)]))


def test_bootstrap_finds_no_difference_of_an_agent_to_itself() -> None:
    results = [stroke(i, returned=i % 4 > 0) for i in range(60)]
    got = m.paired_bootstrap(results, results, lambda r: r.returned, np.random.default_rng(0), 200)
    assert got == m.Interval(0.0, 0.0, 0.0)


def test_bootstrap_is_wider_when_the_difference_sits_in_one_match() -> None:
    """30 of 90 strokes differ: spread over all matches, or all in one of three matches."""
    others = [stroke(i, returned=False) for i in range(90)]
    spread = [stroke(i, returned=i // 3 % 3 == 0) for i in range(90)]
    lumped = [stroke(i, returned=i % 3 == 0) for i in range(90)]
    rng = np.random.default_rng(0)
    even = m.paired_bootstrap(spread, others, lambda r: r.returned, rng, 500)
    uneven = m.paired_bootstrap(lumped, others, lambda r: r.returned, rng, 500)
    assert even.value == uneven.value == pytest.approx(1 / 3)
    assert even.hi - even.lo < 0.05
    assert uneven.hi - uneven.lo > 0.5


def test_bootstrap_takes_runs_of_one_seed_as_dependent() -> None:
    strokes = [stroke(i, seed=s, returned=s == 0) for i in range(30) for s in range(3)]
    others = [stroke(i, seed=s, returned=False) for i in range(30) for s in range(3)]
    got = m.paired_bootstrap(strokes, others, lambda r: r.returned, np.random.default_rng(1), 500)
    assert got.hi - got.lo > 0.5


def test_bootstrap_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        shift = rng.normal(0.3, 0.5, 25)  # of each match
        ours = [
            StrokeResult(id=f"{i}", match=f"{i % 25}", effort_j=float(shift[i % 25] + rng.normal())) for i in range(100)
        ]
        others = [StrokeResult(id=f"{i}", effort_j=0.0) for i in range(100)]
        got = m.paired_bootstrap(ours, others, lambda r: r.effort_j, rng, 400)
        covered += got.lo <= 0.3 <= got.hi
    assert 176 <= covered <= 200


def test_bootstrap_without_common_strokes_says_so() -> None:
    with pytest.raises(DataError, match="no stroke in common"):
        m.paired_bootstrap([stroke(0)], [stroke(1)], lambda r: 1.0, np.random.default_rng(0))


def test_summary_has_the_keys_of_the_contract_and_valid_json() -> None:
    results = [
        stroke(i, feasible=i > 0, returned=i > 1, plan_ms_low=(2.0, 4.0), plan_ms_high=(20.0,)) for i in range(10)
    ]
    results.append(StrokeResult(id="miss", feasible=False))
    text = m.summarise(results, clock="lockstep", wall_s=3.0, classifier_accuracy=0.8).to_json()
    assert "NaN" not in text
    got = json.loads(text)
    assert set(got) >= {
        "episodes", "feasible", "hit_rate", "return_rate", "return_rate_feasible", "landing_error_m", "shot_realised",
        "racket_speed_m_s", "effort_j", "candidates", "mflop", "placement_entropy", "clock", "plan_ms", "wall_s",
        "deadline_misses",
    }  # fmt: skip
    assert got["episodes"] == 11
    assert got["feasible"] == 9
    assert got["return_rate"]["value"] == pytest.approx(8 / 11)
    assert got["return_rate_feasible"]["value"] == pytest.approx(8 / 9)
    assert set(got["hit_rate"]) == {"value", "lo", "hi"}
    assert got["plan_ms"] == {"low": {"p50": 3.0, "p99": 4.0}, "high": {"p50": 20.0, "p99": 20.0}}
    assert got["effort_j"] == {"median": None, "p90": None}


def test_csv_has_a_row_per_stroke_and_empty_cells_for_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "strokes.csv"
    write_csv(path, [stroke(0, plan_ms_low=(1.0, 5.0)), StrokeResult(id="miss")])
    rows = list(csv.DictReader(path.open()))
    assert [row["id"] for row in rows] == ["s0", "miss"]
    assert (rows[0]["landing_x_m"], rows[0]["landing_error_m"], rows[0]["plan_ms_low_max"]) == ("3", "0", "5")
    assert (rows[1]["landing_x_m"], rows[1]["hit"]) == ("", "0")


def test_a_table_of_strokes_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "strokes.csv"
    played = [stroke(0, plan_ms_low=(5.0,), deadline_misses=2, seed=3), StrokeResult(id="7", feasible=False)]
    write_csv(path, played)
    assert repr(read_csv(path)) == repr(played)  # repr: not-a-numbers are not equal to themselves
    path.write_text("id,match\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no column candidates"):
        read_csv(path)
