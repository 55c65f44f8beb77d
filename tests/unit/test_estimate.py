"""pytest tests/unit/test_estimate.py: the classical agent's filter."""

import numpy as np
import pytest

from hjepa.tasks.badminton.estimate import Estimate, FilterConfig, ShuttleFilter
from hjepa.tasks.badminton.flight import fly, fly_to
from hjepa.types import NS, Array, Observation

X0, V0 = np.array([5.0, 0.5, 2.2]), np.array([-32.0, -1.0, 9.0])
SLOT_NS = NS // 100


def seen(path: Array, tick: int, late: int = 3, lost: tuple[int, ...] = ()) -> Observation:
    """The observation at `tick` of a shuttle measured on `path` (T, 3), one row each 10 ms."""
    slots = np.arange(tick - 63, tick + 1)
    mask = (slots >= 0) & (slots <= tick - late) & ~np.isin(slots, lost)
    window = np.where(mask[:, None], path[np.clip(slots, 0, None)], 0.0)
    return Observation(tick * SLOT_NS, np.zeros(8), np.zeros(8), window, mask, slots.astype(np.int64) * SLOT_NS)


def flight(drag_length_m: float = 4.5759, noise_m: float = 0.0, seed: int = 0) -> Array:
    path = fly(X0[None], V0[None], dt_s=0.01, steps=120, L=drag_length_m)[0][0]
    return path + noise_m * np.random.default_rng(seed).normal(size=path.shape)


def error_at(estimate: Estimate | None, time_s: float, drag_length_m: float = 4.5759) -> float:
    """Distance (m) of the expected shuttle from the true one at a time after the launch."""
    assert estimate is not None
    ahead = np.array([time_s - estimate.stamp_ns / NS])
    expected, _ = fly_to(estimate.x_m[None], estimate.v_m_s[None], ahead, estimate.drag_length_m)
    true, _ = fly_to(X0[None], V0[None], np.array([time_s]), drag_length_m)
    return float(np.linalg.norm(expected - true))


def test_it_waits_for_samples_enough() -> None:
    path, eye = flight(), ShuttleFilter()
    assert eye.update(seen(path, 7)) is None  # samples 0 to 4 have arrived
    estimate = eye.update(seen(path, 8))
    assert estimate is not None
    assert estimate.stamp_ns == 5 * SLOT_NS


def test_perfect_samples_give_the_true_flight() -> None:
    eye = ShuttleFilter()
    assert error_at(eye.update(seen(flight(), 12)), 0.8) < 1e-3
    assert error_at(eye.update(seen(flight(), 40)), 0.8) < 1e-4


def test_noisy_samples_are_averaged_over_the_whole_history() -> None:
    errors = []
    for seed in range(12):
        eye, path = ShuttleFilter(), flight(noise_m=0.010, seed=seed)
        errors.append([error_at(eye.update(seen(path, tick)), 0.8) for tick in (10, 20, 40, 60)])
    early, *_, late = np.median(errors, axis=0)
    assert early < 0.20
    assert late < 0.010  # below the noise of a single sample
    assert (np.diff(np.median(errors, axis=0)) < 0).all()


def test_an_unknown_drag_is_found() -> None:
    eye, path = ShuttleFilter(FilterConfig(drag_spread=0.1)), flight(drag_length_m=4.1, noise_m=0.005)
    first = eye.update(seen(path, 12))
    for tick in range(16, 64, 4):
        last = eye.update(seen(path, tick))
    assert first is not None
    assert last is not None
    assert last.drag_length_m == pytest.approx(4.1, abs=0.1)
    assert error_at(last, 0.8, 4.1) < 0.02


def test_how_often_it_is_asked_does_not_matter() -> None:
    path = flight(noise_m=0.010)
    often, seldom = ShuttleFilter(), ShuttleFilter()
    for tick in range(8, 41):
        a = often.update(seen(path, tick, lost=(12, 20)))
    seldom.update(seen(path, 8, lost=(12, 20)))
    b = seldom.update(seen(path, 40, lost=(12, 20)))
    assert a is not None
    assert b is not None
    np.testing.assert_allclose(a.x_m, b.x_m, atol=1e-12)
    np.testing.assert_allclose(a.v_m_s, b.v_m_s, atol=1e-10)


def test_it_knows_how_well_it_knows() -> None:
    """The error in units of the filter's own standard deviation is about one."""
    scores = []
    for seed in range(40):
        eye = ShuttleFilter()
        estimate = eye.update(seen(flight(noise_m=0.010, seed=seed), 25))
        assert estimate is not None
        true = np.concatenate(fly_to(X0[None], V0[None], np.array([estimate.stamp_ns / NS])), axis=-1)[0]
        gap = np.concatenate([estimate.x_m, estimate.v_m_s]) - true
        scores.append(gap @ np.linalg.solve(eye.covariance[:6, :6], gap) / 6)
    assert 0.6 < np.mean(scores) < 1.5


def test_reset_forgets() -> None:
    eye = ShuttleFilter()
    eye.update(seen(flight(), 30))
    eye.reset()
    assert eye.estimate() is None
    assert eye.update(seen(flight(), 6)) is None
