"""Net, floor, lines, faults and contact, without a simulator. Run: pytest tests/unit/test_referee.py"""

from __future__ import annotations

import numpy as np
import pytest

from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.impact import Pose
from hjepa.tasks.badminton.shuttle import State
from robots.sim.referee import Referee

AXES = (0.14, 0.11)
FACE_X = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)  # normal along world x, shaft up
NO_SPIN = (0.0, 0.0, 0.0)


def referee(state: State) -> Referee:
    return Referee(state, 4.5759, 0.55, AXES, 0.15)


def racket(x: float, y: float, z: float, speed: float = 0.0) -> Pose:
    return Pose((x, y, z), FACE_X, (speed, 0.0, 0.0), NO_SPIN)


def struck(
    target: tuple[float, float], elevation_time_s: float = 1.3, start: tuple[float, float] = (-3.0, 0.0)
) -> Referee:
    """A shuttle as if just struck at 1.5 m height and sent to a floor point."""
    r = referee((start[0] + 0.05, start[1], 1.5, -15.0, 0.0, 0.0))
    pose = racket(start[0], start[1], 1.5)
    while not r.hit:
        r.fly(r.time_s + 0.01, [pose] * 11)
    x = np.array([r.state[:3]])
    v, miss = flight.solve_launch(x, np.array([[*target, 0.0]]), np.array([elevation_time_s]))
    assert miss[0] < 1e-3
    r.state = (*r.state[:3], *v[0].tolist())  # type: ignore[assignment]
    r.fly(5.0)
    return r


def test_flight_to_the_floor_agrees_with_the_vectorised_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, v = rng.uniform([1, -2, 1.6], [6, 2, 3]), rng.uniform([-60, -5, 2], [-20, 5, 15])
        r = referee((*x.tolist(), *v.tolist()))
        r.fly(6.0)
        want = flight.land(x[None], v[None], dt_s=0.001)
        assert r.down
        np.testing.assert_allclose(r.landing, want.xy_m[0], atol=1e-3)
        assert r.landing_s == pytest.approx(want.time_s[0], abs=1e-4)


def test_result_does_not_depend_on_the_tick_it_is_flown_in() -> None:
    one, many = referee((5.0, 0.0, 2.5, -30.0, 1.0, 8.0)), referee((5.0, 0.0, 2.5, -30.0, 1.0, 8.0))
    one.fly(4.0)
    for k in range(1, 401):
        many.fly(0.01 * k)
    assert many.landing == pytest.approx(one.landing, abs=1e-9)


@pytest.mark.parametrize(
    ("target", "fault"),
    [((4.0, 0.0), ""), ((6.69, 2.58), ""), ((6.71, 0.0), "out"), ((5.0, -2.60), "out"), ((-1.0, 0.5), "own side")],
)
def test_lines_decide(target: tuple[float, float], fault: str) -> None:
    outcome = struck(target).outcome(1.0)
    assert outcome.fault == fault
    assert outcome.returned is (fault == "")
    np.testing.assert_allclose(outcome.landing_m, target, atol=2e-3)


def test_a_flat_shot_ends_in_the_net_and_falls_down_there() -> None:
    r = struck((3.0, 0.0), elevation_time_s=0.6)
    outcome = r.outcome(0.0)
    assert outcome.fault == "net"
    assert not outcome.returned
    assert 0 < outcome.net_height_m < 1.524
    assert -1.5 < outcome.landing_m[0] < 0
    assert [e.kind for e in r.events] == ["contact", "net", "floor"]


def test_height_over_the_net_is_measured_on_the_way_back() -> None:
    outcome = struck((4.0, 0.0)).outcome(0.0)
    assert 1.6 < outcome.net_height_m < 6.0


def test_around_the_post_is_no_net() -> None:
    r = referee((-0.5, 3.1, 1.0, 10.0, 0.5, 2.0))
    r.hit = True
    r.fly(4.0)
    assert not r.netted
    assert r.net_height_m < 1.524


def test_an_incoming_shuttle_that_meets_the_net_stays_on_the_other_side() -> None:
    r = referee((2.0, 0.0, 1.0, -20.0, 0.0, 1.0))
    r.fly(4.0)
    outcome = r.outcome(0.0)
    assert outcome.fault == "miss"
    assert outcome.landing_m[0] > 0
    assert np.isnan(outcome.net_height_m)


@pytest.mark.parametrize("speed", [20.0, 95.0, 150.0])
@pytest.mark.parametrize("thousandth", range(0, 10, 3))
def test_no_tunnelling_whatever_the_phase(speed: float, thousandth: int) -> None:
    r = referee((-2.0 + 1e-4 * thousandth * speed, 0.02, 1.5, -speed, 0.0, 0.0))
    pose = racket(-2.3, 0.0, 1.5, 5.0)
    for k in range(1, 20):
        r.fly(0.01 * k, [pose] * 11 if not r.hit else None)
    outcome = r.outcome(0.0)
    assert outcome.hit
    assert outcome.contact_m[0] == pytest.approx(-2.3, abs=1e-3)
    assert outcome.offset_m[1] == pytest.approx(0.02, abs=1e-3)
    assert outcome.u_out_m_s[0] == pytest.approx(-0.55 * outcome.u_in_m_s[0] + 1.55 * 5.0)
    assert outcome.racket_speed_m_s == pytest.approx(5.0)


def test_contact_time_is_between_the_milliseconds() -> None:
    r = referee((-2.0, 0.0, 1.5, -20.0, 0.0, 0.0))
    path, _ = flight.fly(np.array([[-2.0, 0.0, 1.5]]), np.array([[-20.0, 0.0, 0.0]]), dt_s=1e-4, steps=200)
    exact = np.interp(2.1, -path[0, :, 0], np.arange(201) * 1e-4)
    r.fly(0.01, [racket(-2.1, 0.0, 1.5)] * 11)
    assert r.contact_s == pytest.approx(exact, abs=1e-5)


def test_a_miss_notes_the_signed_offset_nearest_to_the_centre() -> None:
    r = referee((-2.0, 0.0, 1.5, -20.0, 0.0, 0.0))
    for k in range(1, 10):
        r.fly(0.01 * k, [racket(-2.3, 0.2, 1.4)] * 11)
    r.fly(4.0)
    outcome = r.outcome(0.0)
    assert (outcome.hit, outcome.fault) == (False, "miss")
    assert outcome.offset_m == pytest.approx([0.1, -0.2], abs=0.005)
    assert outcome.contact_s == pytest.approx(0.0155, abs=1e-3)
    assert np.isnan(outcome.u_out_m_s).all()


def test_a_crossing_out_of_reach_is_no_attempt() -> None:
    r = referee((-2.0, 0.0, 1.5, -20.0, 0.0, 0.0))
    for k in range(1, 10):
        r.fly(0.01 * k, [racket(-2.3, 1.5, 1.5)] * 11)
    assert np.isnan(r.outcome(0.0).contact_s)


def test_only_the_first_contact_counts() -> None:
    r = referee((-2.0, 0.0, 1.5, -20.0, 0.0, 0.0))
    for k in range(1, 30):
        r.fly(0.01 * k, [racket(-2.3 + 0.02 * k, 0.0, 1.5)] * 11)
    assert [e.kind for e in r.events] == ["contact"]


@pytest.mark.parametrize(
    ("x", "z", "touched"), [(0.05, 1.2, True), (0.05, 1.8, False), (-0.05, 1.2, False), (-0.05, 1.39, False)]
)
def test_racket_beyond_the_net_below_the_tape_is_a_fault(x: float, z: float, touched: bool) -> None:
    r = referee((5.0, 0.0, 2.5, -20.0, 0.0, 5.0))
    r.watch_racket(racket(x, 0.0, z))
    assert (r.outcome(0.0).fault == "touched net") is touched


def test_hitting_over_the_net_is_a_fault() -> None:
    r = referee((0.5, 0.0, 2.0, -20.0, 0.0, 0.0))
    for k in range(1, 6):
        r.fly(0.01 * k, [racket(0.2, 0.0, 2.0, 5.0)] * 11)
    r.fly(5.0)
    assert r.outcome(0.0).fault == "touched net"
    assert r.outcome(0.0).hit


def test_finish_flies_on_to_the_floor() -> None:
    r = referee((5.0, 0.0, 2.5, -20.0, 0.0, 20.0))
    r.fly(0.5)
    assert not r.down
    r.finish()
    assert r.down
    assert r.landing_s > 0.5
