"""A pair is a contact that would really happen: the simulator agrees with it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hjepa import stroke
from hjepa.errors import DataError
from hjepa.tasks.badminton.feeds import random_feed
from hjepa.tasks.badminton.flight import fly_to
from hjepa.training import collect
from hjepa.training.collect import Swings
from hjepa.training.pairs import Flights, PairConfig, Pairs, make_flights, pair
from hjepa.types import Launch, RobotState
from tests import tiny

pytest.importorskip("pybullet")
SPEC = tiny.SPEC
TIME_S = 0.6
SWINGS = 6


class Recorded:
    """Swings as collect._execute records them, with where they began."""

    def __init__(self) -> None:
        from robots.sim.court import CourtWorld

        codec = tiny.codec()
        rng = np.random.default_rng(4)
        self.starts, rows = [], []
        self.events = []
        with CourtWorld(SPEC) as world:
            for _ in range(SWINGS):
                q = SPEC.q_home_rad + np.append([0.0, 0.0], rng.normal(0.0, 0.1, 6))
                now = stroke.JointState(q, np.zeros(8), np.zeros(8))
                latent = 0.5 * rng.normal(size=codec.config.latent)
                latent[12:14] = (q[:2] + [0.5, 0.1] - codec.xy_mean.numpy()) / codec.xy_std.numpy()
                latent[-1] = -0.5
                row, _ = collect._execute(world, codec, SPEC, now, latent, None, TIME_S, rng)
                self.starts.append(now)
                self.events.append(collect.decode_event(codec, latent, TIME_S))
                rows.append(row)
        self.swings = Swings(*(np.stack(column) for column in zip(*rows)))


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(scope="module")
def feed() -> SimpleNamespace:
    drawn = random_feed(200, seed=3)
    return SimpleNamespace(x0=drawn.x0_m, v0=drawn.v0_m_s)


@pytest.fixture(scope="module")
def flights(feed: SimpleNamespace) -> Flights:
    return make_flights(feed.x0, feed.v0)


@pytest.fixture(scope="module")
def pairs(recorded: Recorded, flights: Flights) -> Pairs:
    return pair(SPEC, recorded.swings, flights, PairConfig(pairs=400, seed=2))


def simulated(recorded: Recorded, feed: SimpleNamespace, flights: Flights, pairs: Pairs, i: int):
    """Carry pair i out in its flight's world: the swing moved by its shift, the flight where it is at its start."""
    from robots.sim.court import CourtWorld, WorldConfig

    swing, flight, shift = pairs.swing[i], pairs.flight[i], pairs.shift_m[i].astype(np.float64)
    ahead = np.array([pairs.event_s[i] - TIME_S])
    drag, restitution = float(flights.drag_m[flight]), float(flights.restitution[flight])
    x, v = fly_to(feed.x0[flight][None], feed.v0[flight][None], ahead, drag)
    now, event = recorded.starts[swing], recorded.events[swing]
    moved = np.append(shift, np.zeros(6))
    now = now._replace(q_rad=now.q_rad + moved)
    event = event._replace(q_rad=event.q_rad + moved)
    with CourtWorld(SPEC, WorldConfig(drag_length_m=drag, restitution=restitution)) as world:
        world.reset(RobotState(now.q_rad, now.dq_rad_s), Launch(x[0], v[0]), 0)
        world.send(
            stroke.trajectory(now, event, SPEC.q_home_rad, SPEC.ddq_max_rad_s2, start_ns=0, valid_ns=4_000_000_000)
        )
        while not world.done:
            world.tick()
        return world.outcome()


def test_the_simulator_agrees_with_hits_and_where_they_go(recorded, feed, flights, pairs) -> None:
    free = ~(np.abs(pairs.net_m) < 0.15) & (pairs.floor_s > 0.2)  # no near miss of the tape
    early = pairs.event_s > TIME_S + 0.05  # the flight must have begun when the swing does
    reach = np.array([s.q_rad[:2] for s in recorded.starts])[pairs.swing] + pairs.shift_m
    room = ((reach > SPEC.q_min_rad[:2] + 0.6) & (reach < SPEC.q_max_rad[:2] - 0.6)).all(1)
    centred = np.abs(pairs.offset_m).max(1) < 0.08
    chosen = np.flatnonzero(pairs.hit & free & early & room & centred)[:4]
    assert len(chosen) >= 3
    for i in chosen:
        out = simulated(recorded, feed, flights, pairs, i)
        assert out.hit
        assert out.offset_m == pytest.approx(pairs.offset_m[i], abs=0.004)
        assert out.contact_s == pytest.approx(TIME_S + pairs.late_s[i], abs=0.0015)
        assert out.landing_m == pytest.approx(pairs.landing_m[i], abs=0.12)


def test_what_is_seen_after_the_event_starts_at_the_contact_and_ends_in_the_landing(pairs: Pairs) -> None:
    hits = np.flatnonzero(pairs.hit & (pairs.floor_s > 0.45) & ~(pairs.net_m < 0.1))
    assert len(hits)
    after = pairs.after_m[hits]
    assert np.isfinite(after).all()
    step = np.linalg.norm(np.diff(after, axis=1), axis=-1)
    assert step.max() < 0.8  # at most 80 m/s
    missed = pairs.after_m[~pairs.hit]
    assert np.isfinite(missed[:, 0]).all()


def test_pairs_are_deterministic_for_a_seed_and_keep_the_rails(recorded, flights, pairs) -> None:
    again = pair(SPEC, recorded.swings, flights, PairConfig(pairs=400, seed=2))
    for ours, theirs in zip(pairs, again):
        assert np.array_equal(ours, theirs, equal_nan=True)
    other = pair(SPEC, recorded.swings, flights, replace(PairConfig(), pairs=400, seed=3))
    assert not np.array_equal(other.event_s, pairs.event_s)
    base = recorded.swings.q_rad[pairs.swing][..., :2] + pairs.shift_m[:, None]
    assert (base > SPEC.q_min_rad[:2] - 0.06).all()
    assert (base < SPEC.q_max_rad[:2] + 0.06).all()
    assert 0.3 < pairs.hit.mean() < 0.95  # hits and misses


def test_swings_that_never_meet_a_flight_end_in_an_error_not_in_a_loop(recorded: Recorded) -> None:
    away = make_flights(np.tile([4.0, 0.0, 1.0], (20, 1)), np.tile([1.0, 0.0, 1.0], (20, 1)))
    with pytest.raises(DataError, match="hardly ever meet a flight"):
        pair(SPEC, recorded.swings, away, PairConfig(pairs=10))
