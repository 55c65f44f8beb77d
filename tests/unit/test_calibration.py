"""Frames from points. Run: pytest tests/unit/test_calibration.py"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjepa.errors import DataError
from hjepa.types import Array
from robots.calibration import apply, fit, inverse


def transform(seed: int) -> Array:
    """Any rigid transform."""
    rng = np.random.default_rng(seed)
    Q, R = np.linalg.qr(rng.normal(size=(3, 3)))
    Q = Q * np.sign(np.diag(R))
    if np.linalg.det(Q) < 0:
        Q[:, 0] = -Q[:, 0]
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Q, rng.uniform(-5, 5, 3)
    return T


def cloud(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform([-0.5, -0.5, 0.2], [0.5, 0.5, 0.9], (n, 3))


def angle_rad(R: Array) -> float:
    return float(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))


def test_a_quarter_turn_and_a_shift_by_hand() -> None:
    source = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    target = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 3.0], [0.0, 2.0, 3.0], [1.0, 2.0, 4.0]])
    T = fit(source, target).T_target_source
    np.testing.assert_allclose(T, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)


@given(seed=st.integers(0, 10_000), n=st.integers(4, 12))
@settings(max_examples=30, deadline=None)
def test_exact_points_give_the_exact_frame_and_the_way_back_its_inverse(seed: int, n: int) -> None:
    T, source = transform(seed), cloud(n, seed)
    there, back = fit(source, apply(T, source)), fit(apply(T, source), source)
    np.testing.assert_allclose(there.T_target_source, T, atol=1e-9)
    np.testing.assert_allclose(back.T_target_source, inverse(T), atol=1e-9)
    assert there.used.all()
    assert np.linalg.det(there.T_target_source[:3, :3]) == pytest.approx(1.0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_moving_the_target_moves_the_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    T, extra, source = transform(seed), transform(seed + 1), cloud(8, seed)
    target = apply(T, source) + 0.001 * rng.normal(size=(8, 3))
    one, two = fit(source, target), fit(source, apply(extra, target))
    np.testing.assert_allclose(two.T_target_source, extra @ one.T_target_source, atol=1e-7)
    np.testing.assert_allclose(two.residual_m, one.residual_m, atol=1e-9)


def test_points_in_a_plane_are_not_mirrored() -> None:
    source = cloud(6) * [1.0, 1.0, 0.0]
    T = transform(3)
    np.testing.assert_allclose(fit(source, apply(T, source)).T_target_source, T, atol=1e-9)


def test_order_of_the_points_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    source = cloud(10)
    target = apply(transform(1), source) + 0.002 * rng.normal(size=(10, 3))
    order = rng.permutation(10)
    np.testing.assert_allclose(
        fit(source, target).T_target_source, fit(source[order], target[order]).T_target_source, atol=1e-9
    )


def test_noise_is_averaged_and_the_stated_doubt_is_the_real_one() -> None:
    """Over 200 sets the error at the middle of the points has the standard deviation that the fit states."""
    source, T = cloud(20), transform(2)
    errors, stated = [], []
    for seed in range(200):
        noisy = source + 0.002 * np.random.default_rng(seed).normal(size=source.shape)
        got = fit(noisy, apply(T, source))
        errors.append(apply(got.T_target_source, source.mean(0)) - apply(T, source.mean(0)))
        stated.append(got.sigma_m)
    assert np.std(errors, axis=0) == pytest.approx(np.mean(stated, axis=0), rel=0.2)
    assert np.mean(stated) == pytest.approx(0.002 / np.sqrt(20), rel=0.2)


def test_covariances_weigh_each_point_along_each_axis() -> None:
    """A camera that sees depth badly: weighing beats treating every axis alike, in the mean of 100 sets."""
    T, source = transform(4), cloud(12)
    sigma = np.array([0.001, 0.001, 0.02])
    covariance = np.tile(np.diag(sigma**2), (12, 1, 1))
    weighed, alike = [], []
    for seed in range(100):
        noisy = source + sigma * np.random.default_rng(seed).normal(size=source.shape)
        for kept, given_covariance in ((weighed, covariance), (alike, np.tile(0.012**2 * np.eye(3), (12, 1, 1)))):
            got = fit(noisy, apply(T, source), given_covariance, worst_m=0.1).T_target_source
            kept.append(np.linalg.norm(apply(got, source) - apply(T, source), axis=1).mean())
    assert np.mean(weighed) < 0.6 * np.mean(alike)


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_gross_errors_are_set_aside_and_change_nothing(bad: int) -> None:
    T, source = transform(5), cloud(10)
    rng = np.random.default_rng(bad)
    target = apply(T, source)
    seen = source + 0.001 * rng.normal(size=(10, 3))
    wrong = rng.choice(10, bad, replace=False)
    seen[wrong] += rng.uniform(0.1, 1.0, (bad, 1)) * np.array([1.0, -1.0, 0.5])
    got = fit(seen, target)
    assert set(np.flatnonzero(~got.used)) == set(wrong)
    clean = np.setdiff1d(np.arange(10), wrong)
    np.testing.assert_allclose(got.T_target_source, fit(seen[clean], target[clean]).T_target_source, atol=1e-9)
    assert angle_rad(got.T_target_source[:3, :3] @ T[:3, :3].T) < 0.01


LINE = np.outer(np.linspace(0, 1, 6), [0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (cloud(3), cloud(3), "3 points; allowed: at least 4"),
        (LINE, LINE, "source points lie on one line .* so that every turn is seen"),
        (cloud(6) * 0.01, cloud(6) * 0.01, "source points lie in one place"),
        (cloud(6), cloud(6)[:5], "shapes"),
        (cloud(6), cloud(6) * np.nan, "not finite"),
        (cloud(8), cloud(8, seed=9), "miss each other by"),
        (cloud(10), np.concatenate([cloud(10)[:6], cloud(4, seed=9)]), "too many of the 10 points .*Measure again"),
    ],
)
def test_sets_that_fix_no_frame_are_refused_in_words(source: Array, target: Array, says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit(source, target)


def test_a_frame_that_fits_badly_is_refused_and_the_farthest_point_named() -> None:
    source = cloud(8)
    target = source + 0.05 * np.random.default_rng(3).normal(size=(8, 3))
    covariance = np.tile(0.05**2 * np.eye(3), (8, 1, 1))
    with pytest.raises(DataError, match=r"miss each other by \d+\.\d mm .*allowed: 20.0 mm. Farthest: '[a-h]'"):
        fit(source, target, covariance, names="abcdefgh")
    assert fit(source, target, covariance, worst_m=0.2).rms_m > 0.02


def test_a_scale_error_is_no_frame() -> None:
    """Centimetres for metres, or a camera whose scale is off by a tenth."""
    with pytest.raises(DataError):
        fit(100 * cloud(8), cloud(8))
    with pytest.raises(DataError):
        fit(1.1 * cloud(8), cloud(8))


def test_covariance_must_be_positive() -> None:
    with pytest.raises(DataError, match="covariance of point 1 is not positive"):
        fit(cloud(5), cloud(5), np.zeros((5, 3, 3)))
