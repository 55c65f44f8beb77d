"""The forecasting benchmark's metric, files, policies and counting forecasters."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.evaluation import forecasts
from hjepa.tasks.badminton import forecast as f
from hjepa.tasks.badminton.chains import Chain
from hjepa.tasks.badminton.rallies import Rallies, Truth, load_rallies, told


@pytest.fixture(scope="module")
def val() -> tuple[Rallies, Truth]:
    return told(load_rallies().of("val"))


@pytest.fixture(scope="module")
def train() -> Rallies:
    return load_rallies().of("train")


def few(val: tuple[Rallies, Truth], count: int = 30) -> tuple[Rallies, Truth]:
    given, truth = val
    some = given.rows_of(np.arange(len(given.name)) < count)
    keep = np.isin(truth.name, some.name)
    return some, Truth(*(column[keep] for column in truth))


def test_counts_score_what_the_official_evaluator_gave_them(val, train) -> None:
    """Figures of the official evaluator on the same counts (CoachAI-Projects, track 2): 2.3812 and 2.2240."""
    markov = Chain(train, 1)
    once = f.score(f.forecast(markov, f.Once(), *val[:1], draws=1), *val).means()
    assert once == pytest.approx((2.3812, 1.6515, 0.7297), abs=2e-3)
    fixed = f.score(f.forecast(markov, f.Fixed(), *val[:1], draws=1), *val).means()
    assert fixed == pytest.approx((2.2240, 1.6515, 0.5725), abs=2e-3)


def test_the_best_sample_of_a_rally_counts_with_both_its_parts() -> None:
    given, truth = few(told(load_rallies().of("val")), 1)
    many = len(truth.type)
    types = np.full((f.SAMPLES, many, f.T), 0.1)
    landing = np.tile(truth.landing, (f.SAMPLES, 1, 1)) + 1.0
    types[3] = np.eye(f.T)[truth.type] * 0.91 + 0.009  # nearly sure of the right types, but
    landing[3] += 9.0  # far off
    landing[5] -= 0.5  # and this one is the best of both
    found = f.score([f.Forecast(types, landing)], given, truth)
    assert found.cross_entropy[0] == pytest.approx(np.log(10.0))
    assert found.error[0] == pytest.approx(0.5)
    assert found.total[0] == pytest.approx(np.log(10.0) + 0.5)


def test_a_type_of_probability_zero_costs_a_thousand() -> None:
    given, truth = few(told(load_rallies().of("val")), 1)
    types = np.zeros((f.SAMPLES, len(truth.type), f.T))
    types[..., (truth.type[0] + 1) % f.T] = 1.0
    found = f.score([f.Forecast(types, np.tile(truth.landing, (f.SAMPLES, 1, 1)))], given, truth)
    assert found.cross_entropy[0] == pytest.approx(f.WORST * np.mean(truth.type != (truth.type[0] + 1) % f.T))


def test_a_forecast_of_other_strokes_is_refused(val, train) -> None:
    given, truth = few(val, 2)
    forecasts_ = f.forecast(Chain(train, 1), f.Once(), given, 1)
    cut = [forecasts_[0], f.Forecast(forecasts_[1].types[:, :-1], forecasts_[1].landing[:, :-1])]
    with pytest.raises(DataError, match=f"rally_id {given.name[1]}"):
        f.score(cut, given, truth)


def test_quantised_samples_score_better_if_what_was_drawn_comes_true() -> None:
    """Three futures, equally likely: six samples can name each of them, one sample can only mix them."""
    rng = np.random.default_rng(0)
    futures = [(np.array([k, 2 * k]), np.array([[-2.0 - k, k], [-3.0 + k, -k]])) for k in range(3)]
    drawn = rng.integers(3, size=300)
    types = np.mean([np.eye(f.T)[kinds] for kinds, _ in futures], axis=0)
    usual = np.median([land for _, land in futures], axis=0)
    kinds_drawn = np.array([futures[k][0] for k in drawn], dtype=np.int8)
    belief = f.Belief(types, usual, kinds_drawn, np.array([futures[k][1] for k in drawn]))
    names, land = f.Quantised(prior=1.0).samples(belief, 0)
    assert names.shape == (f.SAMPLES, 2, f.T)
    np.testing.assert_allclose(names.sum(axis=-1), 1.0)
    for kinds, points in futures:
        loss = -np.log(names[:, [0, 1], kinds]).mean(axis=1) + np.abs(land - points).mean(axis=(1, 2))
        assert loss.min() < 0.1
        assert -np.log(types[[0, 1], kinds]).mean() > 1.0


def test_tuned_places_serve_better_than_the_untuned(val, train) -> None:
    markov = Chain(train, 1)
    tuned = f.tuned(markov, train)
    assert tuned.offsets.shape == (f.SAMPLES, 2)
    given, truth = val
    better = f.score(f.forecast(markov, tuned, given, 1), given, truth).means()
    assert better[2] < f.score(f.forecast(markov, f.Fixed(), given, 1), given, truth).means()[2]


def test_a_file_is_read_back_to_the_same_score(tmp_path: Path, val, train) -> None:
    given, truth = few(val)
    found = f.forecast(Chain(train, 2, places=True), f.Quantised(), given, 50)
    f.write_forecast(tmp_path / "prediction.csv", given, found)
    again = f.read_forecast(tmp_path / "prediction.csv", given)
    assert f.score(again, given, truth).means() == pytest.approx(f.score(found, given, truth).means(), abs=1e-4)
    with (tmp_path / "prediction.csv").open(encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    assert rows[0][:5] == ["rally_id", "sample_id", "ball_round", "landing_x", "landing_y"]
    assert set(rows[0][5:]) == set(f.TYPES)
    assert len(rows) == 1 + f.SAMPLES * len(truth.type)
    assert {row[1] for row in rows[1:]} == {"0", "1", "2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], "lacks rally_id"),
        (lambda rows: [rows[0].replace("lob", "lift"), *rows[1:]], "no column 'lob'"),
        (lambda rows: [rows[0], rows[1].replace(",5,", ",five,", 1), *rows[2:]], "line 2: not numbers"),
        (lambda rows: [rows[0], ",".join([*rows[1].split(",")[:-1], "0.9"]), *rows[2:]], "sum to 1"),
    ],
)
def test_a_bad_forecast_file_is_told_by_line(tmp_path: Path, val, train, change, said: str) -> None:
    given, _ = few(val, 3)
    path = tmp_path / "prediction.csv"
    f.write_forecast(path, given, f.forecast(Chain(train, 1), f.Once(), given, 1))
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        f.read_forecast(path, given)
    assert said in str(caught.value)


def test_a_chain_carries_all_histories_forward(train) -> None:
    """The marginals of counts are those of very many drawn futures."""
    chain = Chain(train, 2)
    kinds, land = np.array([0, 2, 7, 3]), np.zeros((4, 2))
    types = chain.marginals(kinds, land, 4)
    drawn, _ = chain._draw(kinds, land, 4, 20000, np.random.default_rng(0))
    shares = np.array([np.bincount(drawn[:, t], minlength=f.T) for t in range(4)]) / 20000
    np.testing.assert_allclose(types, shares, atol=0.012)


def test_the_next_stroke_is_told_from_the_true_ones_before(train) -> None:
    some = load_rallies().of("val").rows_of(np.arange(350) < 5)
    losses = forecasts.next_log_loss(Chain(train, 1), some)
    assert len(losses) == (some.shot > 0).sum()
    row = int(np.flatnonzero(some.shot == 1)[0])
    p = Chain(train, 1).next(some.type[row - 1 : row].astype(np.int64))
    assert losses[0] == pytest.approx(-np.log(p[some.type[row]]))
