"""Shuttle flight against a reference table, conservation in the limit without drag, and the launch solver."""

from __future__ import annotations

import numpy as np
import pytest

from hjepa.tasks.badminton import flight

# RK45 at rtol 1e-10, g 9.81, L 4.5759 m, no wind, landing at z = 0 (an independent integrator):
# launch speed m/s, angle deg, height m -> range m, time s, landing speed m/s, landing angle deg, apex m
REFERENCE = [
    (10, 45, 0, 4.186, 1.0829, 4.972, -63.55, 1.462),
    (20, 45, 0, 7.063, 1.5494, 5.836, -73.50, 3.050),
    (30, 45, 0, 8.710, 1.8079, 6.154, -77.76, 4.186),
    (50, 45, 0, 10.682, 2.1121, 6.404, -81.61, 5.729),
    (70, 45, 0, 11.925, 2.3013, 6.505, -83.45, 6.783),
    (20, 30, 0, 7.410, 1.1815, 5.409, -60.11, 1.805),
    (50, 30, 0, 11.815, 1.6347, 6.035, -72.62, 3.612),
    (48, 25, 2.5, 12.395, 1.8636, 6.344, -78.19, 5.316),
    (35, 18, 2.4, 10.886, 1.5118, 6.107, -71.38, 3.861),
    (30, 50, 0.5, 8.293, 2.0076, 6.336, -81.20, 5.195),
    (30, 60, 1.0, 6.939, 2.2898, 6.499, -84.78, 6.611),
    (25, -3, 2.6, 7.773, 0.8512, 6.187, -50.52, 2.600),
    (70, -10, 2.7, 10.152, 0.5658, 8.048, -31.49, 2.700),
    (95, -12, 2.8, 10.442, 0.4532, 9.695, -26.04, 2.800),
    (30, 3, 1.6, 8.425, 0.8253, 6.067, -44.17, 1.680),
    (10, 18, 1.1, 4.591, 0.8546, 5.309, -54.26, 1.451),
    (5, 60, 1.3, 1.930, 1.0866, 5.238, -77.54, 2.068),
]


def _launches() -> tuple[np.ndarray, np.ndarray]:
    speed, angle, height = (np.array(column, dtype=float) for column in list(zip(*REFERENCE, strict=True))[:3])
    x = np.stack([np.full_like(height, 5.0), np.zeros_like(height), height], axis=-1)
    v = speed[:, None] * np.stack(
        [-np.cos(np.radians(angle)), np.zeros_like(angle), np.sin(np.radians(angle))], axis=-1
    )
    return x, v


@pytest.mark.parametrize("dt_s", [0.01, 0.001])
def test_every_row_and_column_of_the_reference_table_within_half_a_percent(dt_s: float) -> None:
    x, v = _launches()
    got = flight.land(x, v, 4.5759, dt_s=dt_s)
    speed = np.linalg.norm(got.v_m_s, axis=-1)
    angle = np.degrees(np.arctan2(got.v_m_s[:, 2], np.abs(got.v_m_s[:, 0])))
    table = np.stack([x[:, 0] - got.xy_m[:, 0], got.time_s, speed, angle, got.apex_m], axis=-1)
    want = np.array([row[3:] for row in REFERENCE])
    np.testing.assert_allclose(table, want, rtol=0.005)


def test_without_drag_flight_is_the_parabola() -> None:
    x, v = np.array([[5.0, 1.0, 1.0]]), np.array([[-6.0, 0.5, 4.0]])
    xs, vs = flight.fly(x, v, dt_s=0.01, steps=50, L=1e12)
    t = 0.01 * np.arange(51)[:, None]
    np.testing.assert_allclose(xs[0], x[0] + v[0] * t + 0.5 * flight.G * t**2, atol=1e-9)
    np.testing.assert_allclose(vs[0], v[0] + flight.G * t, atol=1e-9)


def test_a_falling_shuttle_reaches_the_terminal_speed_where_drag_balances_gravity() -> None:
    _, vs = flight.fly(np.zeros((1, 3)), np.zeros((1, 3)), dt_s=0.01, steps=600, L=4.5759)
    assert -vs[0, -1, 2] == pytest.approx(np.sqrt(9.81 * 4.5759), rel=1e-6)


def test_net_crossing_agrees_with_the_sampled_path() -> None:
    x, v = _launches()
    got = flight.land(x, v)
    xs, _ = flight.fly(x, v, dt_s=1e-4, steps=20000)
    for i in range(len(x)):
        hit = np.flatnonzero(xs[i, :, 0] <= 0.0)
        if np.isnan(got.net_time_s[i]):
            assert not hit.size or xs[i, hit[0], 2] <= 1e-3
        else:
            assert got.net_time_s[i] == pytest.approx(1e-4 * hit[0], abs=2e-4)
            assert got.net_height_m[i] == pytest.approx(xs[i, hit[0], 2], abs=2e-3)


def test_a_shuttle_that_never_crosses_or_never_lands_gets_nan() -> None:
    got = flight.land(np.array([[5.0, 0, 1.0], [1.0, 0, 1.0]]), np.array([[1.0, 0, 0], [-1.0, 0, 60.0]]), max_s=0.8)
    assert np.isnan(got.net_height_m[0]) and np.isfinite(got.time_s[0])
    assert np.isnan(got.time_s[1]) and np.isnan(got.xy_m[1]).all()


def test_a_batch_gives_the_same_numbers_as_one_by_one() -> None:
    x, v = _launches()
    drag = np.linspace(4.1, 5.4, len(x))
    whole = flight.land(x, v, drag)
    for i in range(len(x)):
        one = flight.land(x[i : i + 1], v[i : i + 1], drag[i])
        for a, b in zip(whole, one, strict=True):
            np.testing.assert_array_equal(a[i], b[0])


def test_inputs_are_left_alone() -> None:
    x, v = _launches()
    x.setflags(write=False)
    v.setflags(write=False)
    flight.land(x, v)
    flight.fly(x, v, dt_s=0.01, steps=3)
    flight.solve_launch(x, x + np.array([-8.0, 0.5, 0.0]), np.full(len(x), 0.9))


def test_the_solved_launch_passes_the_target_at_the_time_asked_for() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    x0 = np.stack([rng.uniform(0.3, 6.5, n), rng.uniform(-2.5, 2.5, n), rng.uniform(0.2, 2.8, n)], axis=-1)
    target = np.stack([rng.uniform(-6.7, -0.3, n), rng.uniform(-2.5, 2.5, n), rng.uniform(0.0, 2.6, n)], axis=-1)
    t = rng.uniform(0.35, 2.3, n)
    v0, miss = flight.solve_launch(x0, target, t, 4.576)
    assert miss.max() < 1e-5
    for i in range(0, n, 97):  # an independent integration with another step
        xs, _ = flight.fly(x0[i : i + 1], v0[i : i + 1], dt_s=t[i] / 1000, steps=1000, L=4.576)
        np.testing.assert_allclose(xs[0, -1], target[i], atol=2e-3)
