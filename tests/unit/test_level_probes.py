"""pytest tests/unit/test_level_probes.py: probes of what levels know, steps ahead, what actions change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.insight.sense.levels_actions import Pairs, agreement
from hjepa.insight.sense.levels_embedded import drawn
from hjepa.insight.sense.levels_played import Played, Side, joined
from hjepa.insight.sense.levels_probes import Known, linear, mlp, score
from hjepa.insight.sense.levels_steps import TICKS, Errors, starts


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def some(strokes: int, first: int, moments: int = 10, columns: int = 4) -> Known:
    """Embeddings without a quantity."""
    z = np.random.default_rng([first, 1]).normal(size=(strokes * moments, columns))
    return Known(z, np.zeros((len(z), 1)), np.repeat(np.arange(first, first + strokes), moments))


def with_law(known: Known, law: Any) -> Known:
    return known._replace(y=law(known.z))


def test_an_mlp_reads_what_is_bent_and_a_ridge_does_not() -> None:
    fit, held = (with_law(some(120, k), lambda z: z[:, :1] * z[:, 1:2]) for k in (0, 1000))
    assert score(mlp(fit), held, rng()).r2.value > 0.9
    assert score(linear(fit), held, rng()).r2.value < 0.1


def test_an_mlp_is_no_worse_than_a_ridge_where_the_law_is_straight() -> None:
    weights = rng().normal(size=(40, 2))
    fit, held = (with_law(some(60, k, columns=40), lambda z: z @ weights) for k in (0, 1000))
    assert score(mlp(fit), held, rng()).r2.value > 0.999


def test_a_probe_tells_the_quantity_in_its_own_unit() -> None:
    fit, held = (with_law(some(40, k), lambda z: 1000.0 + 5.0 * z[:, :2]) for k in (0, 1000))
    for probe in (linear(fit), mlp(fit)):
        assert probe(held.z) == pytest.approx(held.y, abs=0.2)
    wrong = score(lambda z: 1000.3 + 5.0 * z[:, :2], held, rng())
    assert wrong.rmse.value == pytest.approx(0.3 * np.sqrt(2))


def test_an_mlp_is_the_same_whatever_was_drawn_before() -> None:
    import torch

    fit = with_law(some(30, 0), lambda z: np.sin(z[:, :1]))
    first = mlp(fit, seed=3, epochs=5)(fit.z)
    torch.rand(7)
    assert (mlp(fit, seed=3, epochs=5)(fit.z) == first).all()


def test_intervals_resample_strokes_and_not_moments() -> None:
    """Saying every moment ten times makes nothing surer."""
    once = with_law(some(30, 0, moments=1), lambda z: z[:, :1])
    often = Known(*(np.repeat(column, 10, axis=0) for column in once))

    def guess(z: np.ndarray) -> np.ndarray:
        return z[:, :1] + 0.3 * z[:, 1:2]

    few, many = (score(guess, known, rng()) for known in (once, often))
    assert (few.r2.lo, few.r2.hi) == pytest.approx((many.r2.lo, many.r2.hi))
    assert few.r2.lo < few.r2.value < few.r2.hi < 1.0
    assert (few.strokes, few.moments, many.moments) == (30, 30, 300)


def test_what_is_not_known_is_left_out_and_what_never_differs_has_no_r2() -> None:
    held = with_law(some(20, 0), lambda z: z[:, :1])
    hole = held.y.copy()
    hole[:50] = np.nan
    found = score(lambda z: z[:, :1], held._replace(y=hole), rng())
    assert found.r2.value == 1.0 and (found.strokes, found.moments) == (15, 150)
    flat = score(lambda z: 0.1 + 0 * z[:, :1], held._replace(y=np.ones_like(held.y)), rng())
    assert np.isnan(flat.r2.value) and flat.rmse.value == pytest.approx(0.9)


def test_errors_ahead_are_a_share_of_those_of_copy_last_where_there_is_a_next_stroke() -> None:
    copied = np.tile([2.0, 4.0], (40, 1))
    predicted = copied * np.array([0.25, 1.5])
    predicted[30:, 1] = np.nan
    found = Errors(predicted, copied, np.repeat(np.arange(10), 4)).ahead("x", "a stroke", rng())
    assert [one.value for one in found.over_copy] == pytest.approx([0.25, 1.5])
    assert found.places == (40, 30) and found.groups == (10, 8)
    assert found.over_copy[0].lo <= 0.25 <= found.over_copy[0].hi


def test_a_part_without_a_hit_is_counted_and_adds_no_moments() -> None:
    blank = {name: np.zeros(0) for name in Played._fields} | {"contact_s": np.full((1, 2), np.nan)}
    shape = {"window_m": (2, 64, 3), "shuttle_m": (2, 3)}
    full = {name: np.ones(shape.get(name, 2)) for name in Played._fields} | {"contact_s": np.ones((1, 2))}
    side = joined("test", [blank, full, blank])
    assert (side.asked, side.hit) == (3, 1) and side.played.window_m.shape == (2, 64, 3)
    with pytest.raises(DataError, match="hit none of 2 train strokes"):
        joined("train", [blank, blank])


def test_steps_ahead_begin_where_the_same_stroke_goes_on_without_a_gap() -> None:
    whole, torn = np.arange(TICKS + 2, -1, -1) * 0.02, np.r_[0.4, np.arange(TICKS - 1, -1, -1) * 0.02]
    late = 0.9 - 0.02 * np.arange(TICKS + 1)  # begins too long before the contact
    to_go = np.concatenate([whole, torn, late])
    stroke = np.repeat([5, 6, 7], [len(whole), len(torn), len(late)])
    blank: list[Any] = [np.zeros(len(to_go))] * (len(Played._fields) - 2)
    assert starts(Played(stroke, to_go, *blank)).tolist() == [0, 1, 2]


def test_predicted_differences_that_are_twice_too_large_have_a_slope_of_a_half() -> None:
    simulated = rng().normal(size=200)
    right, large = (agreement(share * simulated, simulated, rng()) for share in (1.0, 2.0))
    assert (right.r2.value, right.slope.value, right.correlation.value) == pytest.approx((1.0, 1.0, 1.0))
    assert large.slope.value == pytest.approx(0.5) and large.correlation.value == pytest.approx(1.0)
    assert large.r2.value == pytest.approx(0.0, abs=0.01)
    unrelated = agreement(rng().permutation(simulated), simulated, rng())
    assert unrelated.correlation.lo < 0 < unrelated.correlation.hi
    assert np.isnan(agreement(simulated[:2], simulated[:2], rng()).r2.value)


def test_who_knows_all_but_the_draw_errs_by_half_the_square_of_the_gap_between_two_draws() -> None:
    to_go = np.linspace(0.2, 0.8, 601)
    blank: list[Any] = [np.zeros(601)] * (len(Played._fields) - 2)
    contacts = np.array([[1.0, 1.06], [1.2, 1.14], [1.1, np.nan]])
    found = drawn(Side("test", Played(np.zeros(601, dtype=np.int64), to_go, *blank), contacts), rng())
    assert found.strokes == 2 and found.rmse.value == pytest.approx(0.06 / np.sqrt(2))
    assert found.r2.value == pytest.approx(1.0 - 0.06**2 / 2 / to_go.var())


def test_a_change_counts_where_both_actions_hit() -> None:
    outcome = np.arange(20.0).reshape(2, 2, 5)
    pairs = Pairs(np.arange(2), outcome, 3.0 * outcome, np.array([[True, True], [True, False]]), 2)
    predicted, simulated, both = pairs.change()
    assert (predicted == 5.0).all() and (simulated == 15.0).all()
    assert both.tolist() == [True, False]
