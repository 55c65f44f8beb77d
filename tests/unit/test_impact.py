"""Swept disc test and impact law. Run: pytest tests/unit/test_impact.py"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjepa.tasks.badminton import flight, impact, shuttle
from hjepa.tasks.badminton.impact import Crossing, Pose
from hjepa.types import Array

AXES = (0.14, 0.11)
ZERO = (0.0, 0.0, 0.0)


def face_x(centre: tuple[float, float, float] = ZERO, v: tuple[float, ...] = ZERO, w: tuple[float, ...] = ZERO) -> Pose:
    """Racket with its normal along world x, shaft along world z, in-plane axis along world y."""
    return Pose(centre, (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0), v, w)


def rotation(vector: Array) -> Array:
    """Rotation matrix of a rotation vector (3,)."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    k = vector / angle
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def swing(rng: np.random.Generator, n: int) -> tuple[Array, Array, Array, Array]:
    """A racket that turns and moves evenly for n ms: centre (n, 3), rotation (n, 3, 3), v, w (n, 3)."""
    w, v, start = rng.normal(0, 8, 3), rng.normal(0, 4, 3), rotation(rng.normal(0, 1, 3))
    t = np.arange(n) * 0.001
    R = np.stack([rotation(w * s) @ start for s in t])
    return v * (t - 0.02)[:, None] + rng.normal(0, 0.03, 3), R, np.tile(v, (n, 1)), np.tile(w, (n, 1))


def test_crossing_gives_time_and_offset_along_the_racket_axes() -> None:
    at = impact.crossing(face_x(), face_x(), (0.03, 0.05, 0.10), (-0.01, 0.05, 0.10))
    assert at is not None
    assert (at.fraction, at.x_m, at.y_m) == pytest.approx((0.75, 0.10, 0.05))


def test_no_crossing_when_the_shuttle_stays_on_one_side() -> None:
    assert impact.crossing(face_x(), face_x(), (0.03, 0.0, 0.0), (0.01, 0.0, 0.0)) is None


def test_a_moving_racket_meets_a_resting_shuttle() -> None:
    at = impact.crossing(face_x((-0.01, 0, 0)), face_x((0.03, 0, 0)), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert at is not None
    assert at.fraction == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("x", "y", "hit"), [(0.139, 0, True), (0.141, 0, False), (0, -0.109, True), (0, -0.111, False), (0.1, 0.1, False)]
)
def test_the_hitting_area_is_the_ellipse(x: float, y: float, hit: bool) -> None:
    assert impact.inside(Crossing(0.5, x, y), AXES) is hit


@pytest.mark.parametrize("speed", [10.0, 50.0, 95.0, 150.0])
def test_nothing_tunnels_at_one_millisecond(speed: float) -> None:
    for phase in np.linspace(0.0, 1.0, 50, endpoint=False):
        xs = speed * 0.001 * (phase + np.arange(8, -9, -1))
        found = [
            at
            for a, b in zip(xs[:-1], xs[1:], strict=True)
            if (at := impact.crossing(face_x(), face_x(), (a, 0.02, 0.0), (b, 0.02, 0.0))) is not None
        ]
        assert len(found) == 1
        assert impact.inside(found[0], AXES)


def test_impact_law_equals_the_one_dimensional_form() -> None:
    e, u, V = 0.55, -20.0, 9.0
    out = impact.rebound((u, 1.0, -2.0), (V, 0.0, 0.0), (1.0, 0.0, 0.0), e)
    assert out == pytest.approx((-e * u + (1 + e) * V, 1.0, -2.0))


vectors = st.tuples(*[st.floats(-30, 30) for _ in range(3)])


@settings(max_examples=60, deadline=None)
@given(u=vectors, V=vectors, n=vectors, e=st.floats(0.0, 1.0))
def test_impact_reverses_the_normal_part_by_e_and_keeps_the_tangential(
    u: tuple[float, ...], V: tuple[float, ...], n: tuple[float, ...], e: float
) -> None:
    normal = np.array(n)
    if np.linalg.norm(normal) < 1e-3:
        normal = np.array([0.0, 0.0, 1.0])
    normal /= np.linalg.norm(normal)
    out = np.array(impact.rebound(u, V, normal.tolist(), e))
    before, after = np.array(u) - V, out - np.array(V)
    assert after @ normal == pytest.approx(-e * (before @ normal), abs=1e-9)
    np.testing.assert_allclose(after - after @ normal * normal, before - before @ normal * normal, atol=1e-9)
    assert impact.rebound(u, V, (-normal).tolist(), e) == pytest.approx(out.tolist())
    np.testing.assert_allclose(impact.rebound_batch(np.array([u]), np.array([V]), normal[None], e)[0], out, atol=1e-12)


def test_struck_point_adds_the_rotation_about_the_centre() -> None:
    spinning = face_x(v=(1.0, 0.0, 0.0), w=(0.0, 10.0, 0.0))
    struck, n = impact.struck_velocity(spinning, spinning, Crossing(0.5, 0.1, 0.05))
    assert struck == pytest.approx((2.0, 0.0, 0.0))  # 10 rad/s about y at 0.1 m up the shaft: 1 m/s along x
    assert n == pytest.approx((1.0, 0.0, 0.0))


def test_batch_agrees_with_single_contacts() -> None:
    rng = np.random.default_rng(4)
    count, n = 200, 60
    rackets = [swing(rng, n) for _ in range(count)]
    centre, R, v, w = (np.stack([r[i] for r in rackets]) for i in range(4))
    u = rng.normal(0, 8, (count, 3)) + [-12, 0, 0]
    passes = rng.normal(0, 0.12, (count, 3)) - 0.03 * u
    xs, us = flight.fly(passes, u, dt_s=0.001, steps=n - 1, L=4.576)
    batch = impact.contacts(centre, R, v, w, xs, us, AXES, 0.6)
    for b in range(count):
        poses = [Pose(centre[b, i], R[b, i].ravel(), v[b, i], w[b, i]) for i in range(n)]
        found = [(i, impact.crossing(poses[i], poses[i + 1], xs[b, i], xs[b, i + 1])) for i in range(n - 1)]
        crossed = [(i, at) for i, at in found if at is not None]
        hits = [(i, at) for i, at in crossed if impact.inside(at, AXES)]
        assert batch.hit[b] == bool(hits)
        if not crossed:
            assert batch.instant[b] == -1
            assert np.isnan(batch.offset_m[b]).all()
            continue
        i, at = hits[0] if hits else min(crossed, key=lambda c: np.hypot(c[1].x_m, c[1].y_m))
        assert batch.instant[b] == i
        np.testing.assert_allclose(batch.offset_m[b], (at.x_m, at.y_m), atol=1e-12)
        V, normal = impact.struck_velocity(poses[i], poses[i + 1], at)
        np.testing.assert_allclose(batch.struck_m_s[b], V, atol=1e-9)
        np.testing.assert_allclose(
            batch.u_out_m_s[b], impact.rebound(batch.u_in_m_s[b].tolist(), V, normal, 0.6), atol=1e-9
        )
    assert 20 < batch.hit.sum() < 180


def test_batch_pairs_one_racket_with_many_flights() -> None:
    rng = np.random.default_rng(5)
    centre, R, v, w = swing(rng, 40)
    u = rng.normal(0, 5, (30, 3)) + [-15, 0, 0]
    xs, us = flight.fly(rng.normal(0, 0.1, (30, 3)) - 0.02 * u, u, dt_s=0.001, steps=39)
    one = impact.contacts(centre[None], R[None], v[None], w[None], xs, us, AXES)
    many = impact.contacts(*(np.repeat(a[None], 30, axis=0) for a in (centre, R, v, w)), xs, us, AXES)
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("drag", [4.1, 4.576, 5.4])
def test_fast_flight_agrees_with_the_vectorised_one(drag: float) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        state: shuttle.State = tuple(rng.uniform([-6, -2, 0, -90, -20, -40], [6, 2, 3, 90, 20, 40]).tolist())  # type: ignore[assignment]
        xs, vs = flight.fly(np.array([state[:3]]), np.array([state[3:]]), dt_s=0.005, steps=100, L=drag)
        for _ in range(100):
            state = shuttle.rk4(state, 0.005, drag)
        np.testing.assert_allclose(state, [*xs[0, -1], *vs[0, -1]], rtol=1e-12, atol=1e-11)


def test_hermite_follows_the_flight_between_steps() -> None:
    start: shuttle.State = (0.0, 0.0, 2.5, -95.0, 3.0, -10.0)
    end = shuttle.rk4(start, 0.005, 4.576)
    for share in (0.2, 0.5, 0.8):
        fine = start
        for _ in range(50):
            fine = shuttle.rk4(fine, 0.005 * share / 50, 4.576)
        np.testing.assert_allclose(shuttle.between(start, end, 0.005, share), fine[:3], atol=5e-5)


def test_zero_crossing_lies_on_the_plane() -> None:
    start: shuttle.State = (0.3, 0.1, 1.5, -70.0, 0.0, -5.0)
    end = shuttle.rk4(start, 0.005, 4.576)
    share = shuttle.share_at_zero(start, end, 0.005, 0)
    assert shuttle.between(start, end, 0.005, share)[0] == pytest.approx(0.0, abs=1e-9)
