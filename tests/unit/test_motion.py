"""The two-phase motion meets its boundaries exactly and does not change when it is asked again on the way."""

import numpy as np
import pytest
import torch

from hjepa import motion

J = 8


def draw(seed: int, rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    q0, q1 = rng.normal(size=(2, rows, J))
    v0, v1 = 2.0 * rng.normal(size=(2, rows, J))
    a0 = 10.0 * rng.normal(size=(rows, J))
    T = rng.uniform(0.15, 1.2, (rows, 1))
    return {"q0": q0, "v0": v0, "a0": a0, "q1": q1, "v1": v1, "duration_s": T, "before_s": T * rng.uniform(0.2, 0.7)}


def test_start_and_end_are_met_exactly() -> None:
    asked = draw(0)
    way = motion.solve(**asked)
    q, v, a = motion.evaluate(way, np.zeros(1))
    for got, wanted in ((q, "q0"), (v, "v0"), (a, "a0")):
        assert got == pytest.approx(asked[wanted], abs=1e-12)
    q, v, _ = motion.evaluate(way, way.duration_s)
    assert q == pytest.approx(asked["q1"], abs=1e-9)
    assert v == pytest.approx(asked["v1"], abs=1e-9)


def test_velocity_and_acceleration_are_derivatives() -> None:
    way = motion.solve(**draw(1))
    h = 1e-6
    for share in (0.05, 0.3, 0.6, 0.95):
        t = share * way.duration_s
        q, v, a = zip(*(motion.evaluate(way, t + s * h) for s in (-1, 0, 1)))
        assert (q[2] - q[0]) / (2 * h) == pytest.approx(v[1], abs=1e-4)
        assert (v[2] - v[0]) / (2 * h) == pytest.approx(a[1], abs=1e-2)


def test_acceleration_is_continuous_at_the_switch() -> None:
    way = motion.solve(**draw(2))
    before, after = (motion.evaluate(way, way.switch_s + e)[2] for e in (-1e-9, 1e-9))
    assert before == pytest.approx(after, abs=1e-3)


def again(share: float) -> tuple[motion.TwoPhase, motion.TwoPhase]:
    """A motion of 1 s that switches half-way, and the one asked for from where it is after `share` s."""
    asked = draw(3)
    asked["duration_s"] = np.full_like(asked["duration_s"], 1.0)
    asked["before_s"] = np.full_like(asked["before_s"], 0.5)
    way = motion.solve(**asked)
    t = np.array([share])
    state = motion.evaluate(way, t)
    return way, motion.solve(*state, asked["q1"], asked["v1"], asked["duration_s"] - t, asked["before_s"])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.8])
def test_asking_again_on_the_way_gives_the_same_motion(share: float) -> None:
    way, second = again(share)
    for later in (0.05, 0.1, 1.0 - share):
        for ours, theirs in zip(
            motion.evaluate(second, np.array([later])), motion.evaluate(way, np.array([share + later]))
        ):
            assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("share", [0.38, 0.44, 0.5])
def test_just_before_the_switch_the_way_may_change_but_not_the_end(share: float) -> None:
    way, second = again(share)
    end, wanted = (motion.evaluate(m, m.duration_s) for m in (second, way))
    assert end[0] == pytest.approx(wanted[0], abs=1e-9)
    assert end[1] == pytest.approx(wanted[1], abs=1e-9)


def test_rest_to_rest_needs_little_more_than_the_least_peak_acceleration() -> None:
    one = np.ones((1, 1))
    T = np.array([[1.0]])
    way = motion.solve(0 * one, 0 * one, 0 * one, one, 0 * one, T, 0.5 * T)
    peak = max(abs(float(way.A1[0, 0])), abs(float(way.A2[0, 0])))
    assert 4.0 < peak < 4.5  # 4 D / T^2 plus the ramps; a quintic needs 5.77
    assert float(motion.peak_speed(way)[0, 0]) == pytest.approx(2.0, rel=0.05)


def test_peak_speed_bounds_the_speed_on_the_way() -> None:
    way = motion.solve(**draw(4))
    start = np.abs(motion.evaluate(way, np.zeros(1))[1])
    on_the_way = [np.abs(motion.evaluate(way, s * way.duration_s)[1]) for s in np.linspace(0, 1, 60)]
    bound = np.maximum(motion.peak_speed(way), start)
    assert (np.max(on_the_way, axis=0) <= bound * 1.15 + 0.5).all()


def test_tensors_give_what_arrays_give() -> None:
    asked = draw(5)
    way = motion.solve(**asked)
    same = motion.solve(**{k: torch.from_numpy(v) for k, v in asked.items()})
    t = 0.7 * asked["duration_s"]
    for ours, theirs in zip(motion.evaluate(way, t), motion.evaluate(same, torch.from_numpy(t))):
        assert ours == pytest.approx(theirs.numpy(), abs=1e-12)


def test_the_recovery_ends_where_limits_allow() -> None:
    q, v, home = np.array([0.0, 0.0, 1.0]), np.array([0.0, 3.0, -2.0]), np.array([0.1, 5.0, 1.1])
    a_max = np.full(3, 12.0)
    end = motion.recovery_target(q, v, home, a_max, 0.8)
    assert end[0] == pytest.approx(0.1)  # near: all the way home
    way = motion.solve(q, v, 0 * q, end, 0 * q, np.array([0.8]), np.array([0.4]))
    use = np.maximum(np.abs(way.A1), np.abs(way.A2)) / a_max
    assert (use < 1.0).all()
    assert 0.0 < end[1] < 5.0  # far: a part of the way, towards home


def test_the_quickest_motion_reaches_rest_within_its_limits_and_not_later_than_any_two_phase_one() -> None:
    rng = np.random.default_rng(0)
    q0, q1 = rng.uniform(-3.0, 3.0, (2, 200))
    v0 = rng.uniform(-4.3, 4.3, 200)
    t = np.linspace(0.0, 6.0, 6001)[:, None]
    q, v, need_s = motion.quickest(q0, v0, q1, 4.3, 11.0, t)
    np.testing.assert_allclose(q[0], q0)
    np.testing.assert_allclose(v[0], v0)
    np.testing.assert_allclose(q[-1], q1, atol=1e-9)
    np.testing.assert_allclose(v[-1], 0.0, atol=1e-9)
    assert np.abs(v).max() <= 4.3 + 1e-9 and np.abs(np.diff(v, axis=0)).max() <= 0.011 + 1e-9
    np.testing.assert_allclose(np.diff(q, axis=0) / 1e-3, 0.5 * (v[1:] + v[:-1]), atol=6e-3)
    for share in (0.5, 0.9):
        sooner = motion.solve(q0, v0, 0.0 * q0, q1, 0.0 * q0, share * need_s, 0.5 * share * need_s)
        within = np.maximum(np.abs(sooner.A1), np.abs(sooner.A2)) <= 11.0
        assert not (within & (motion.peak_speed(sooner) <= 4.3)).any()
