"""Court lines and net height by the laws."""

from __future__ import annotations

import numpy as np
import pytest

from hjepa.tasks.badminton import court


def test_lines_are_in_and_a_millimetre_beyond_is_out() -> None:
    inside = [(6.70, 0.0), (6.70, 2.59), (0.01, -2.59), (3.0, 0.0)]
    outside = [(6.701, 0.0), (3.0, 2.591), (3.0, -2.591), (-3.0, 0.0), (0.0, 0.0)]
    assert court.in_singles(inside, 1).all()
    assert not court.in_singles(outside, 1).any()


def test_the_two_halves_mirror_each_other() -> None:
    points = np.random.default_rng(0).uniform(-8, 8, size=(200, 2))
    np.testing.assert_array_equal(court.in_singles(points, 1), court.in_singles(-points, -1))


def test_nan_is_not_in() -> None:
    assert not court.in_singles([np.nan, 0.0], 1)


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed"):
        court.in_singles([1.0, 0.0], 0)


def test_the_net_sags_between_the_posts() -> None:
    np.testing.assert_allclose(court.net_height_at([0.0, 3.05, -3.05, 5.0]), [1.524, 1.55, 1.55, 1.55])
    y = np.linspace(0, 3.05, 20)
    assert (np.diff(court.net_height_at(y)) > 0).all()


def test_dimensions_of_the_laws_fit_together() -> None:
    tramline, baseline_gap = court.HALF_DOUBLES_M - court.HALF_SINGLES_M, court.HALF_LENGTH_M - 0.76
    assert tramline == pytest.approx(0.46)
    assert baseline_gap == pytest.approx(court.LONG_SERVICE_DOUBLES_M)
