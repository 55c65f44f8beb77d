"""Searched motions: what is added to the training data is what the own body would do and the shuttle would meet."""

import numpy as np
import pytest
import torch

from hjepa.models.motor import ContactEvent
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.objectives import LowWeights
from hjepa.tasks.badminton.feeds import random_feed
from hjepa.tasks.kinematics import racket_motion
from hjepa.training import searched as s
from hjepa.training.body import RacketKinematics
from hjepa.training.collect import BEFORE, RACKET_MS
from hjepa.training.low import LowData
from hjepa.training.pairs import Pairs, make_flights
from tests import tiny

torch.set_num_threads(1)
SPEC = tiny.SPEC
N = 6


def way(to_go: float = 0.7) -> tuple[s.Way, ContactEvent]:
    """From home to small steps away from it."""
    g = torch.Generator().manual_seed(2)
    home = torch.tensor(SPEC.q_home_rad, dtype=torch.float32).expand(N, -1)
    event = ContactEvent(
        home + 0.2 * torch.randn(N, 8, generator=g), torch.randn(N, 8, generator=g), torch.full((N, 1), 0.3)
    )
    return s.Way.solve(SPEC, home, torch.zeros(N, 8), event, np.full((N, 1), to_go)), event


def test_a_motion_starts_at_the_start_meets_its_event_and_comes_to_rest() -> None:
    motion, event = way()
    q, dq = motion.at(np.array([-5.0, -0.7, 0.0, 1e-9, 5.0]))
    assert np.allclose(q[:, :2], SPEC.q_home_rad)  # before its beginning it stands
    for now in (2, 3):
        assert np.allclose(q[:, now], event.q_rad.numpy(), atol=1e-5)
        assert np.allclose(dq[:, now], event.dq_rad_s.numpy(), atol=1e-4)
    assert np.allclose(dq[:, 4], 0.0, atol=1e-9)


def test_the_recorded_racket_is_the_one_the_joints_carry() -> None:
    motion, event = way()
    swings = s.as_swings(SPEC, motion, np.zeros((N, 15)))
    real = racket_motion(SPEC, event.q_rad.double().numpy(), event.dq_rad_s.double().numpy())
    assert np.allclose(swings.centre_m[:, RACKET_MS], real.centre_m, atol=1e-5)
    assert np.allclose(swings.v_m_s[:, RACKET_MS], real.v_m_s, atol=1e-4)
    moved = (swings.centre_m[:, RACKET_MS + 2] - swings.centre_m[:, RACKET_MS - 2]) / 0.004
    assert np.allclose(moved, real.v_m_s, atol=0.05)
    assert np.allclose(swings.q_rad[:, BEFORE], event.q_rad, atol=1e-5)
    assert (swings.samples == 70).all()


@pytest.fixture(scope="module")
def data() -> LowData:
    feed = random_feed(40, seed=5)
    flights = make_flights(feed.x0_m, feed.v0_m_s, seed=1)
    swings = s.as_swings(SPEC, way()[0], np.zeros((N, 15)))
    n = 24
    rng = np.random.default_rng(3)
    flight = np.flatnonzero(np.isfinite(flights.x_m[:, 90, 0]))[:n].astype(np.int32)
    blank = {name: np.zeros((len(flight), *shape)) for name, shape in SHAPES.items()}
    pairs = Pairs(swing=rng.integers(N, size=len(flight)).astype(np.int32), flight=flight, **blank)
    pairs = pairs._replace(event_s=np.full(len(flight), 0.8))
    return LowData(swings, flights, pairs, np.zeros((len(flight), 16)), tiny.codec(), RacketKinematics(SPEC))


SHAPES = {
    "event_s": (), "late_s": (), "shift_m": (2,), "hit": (), "offset_m": (2,), "landing_m": (2,), "floor_s": (),
    "net_m": (), "after_m": (40, 3),
}  # fmt: skip


def rows_of(pairs: Pairs, index: np.ndarray) -> Pairs:
    return Pairs(*(column[index] for column in pairs))


def searched(data: LowData, c: s.SearchedConfig, to_go: float = 0.6) -> s.Searched:
    bundle, rows = tiny.low(), np.arange(len(data))
    wanted = s.Wanted(
        rows, np.full(len(rows), to_go), torch.zeros(len(rows), 16), torch.eye(16).repeat(len(rows), 1, 1)
    )
    rng = np.random.default_rng(0)
    return s.search(bundle.level, bundle.proposal, data, wanted, SPEC, LowWeights(), rng, c)


def test_a_motion_meets_the_shuttle_it_was_searched_for_when_it_was_meant_to(
    data: LowData, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def meet(spec, swings, flights, swing, flight, t, shift):
        asked.append((swings, swing, flight, t, shift))
        return rows_of(data.pairs, np.arange(len(t)) * 0)

    monkeypatch.setattr(s, "meet", meet)
    found = searched(data, s.SearchedConfig(shifts_m=(0.0, 0.05), latent_noise=0.0))
    (swings, swing, flight, t, shift), (_, _, again, _, moved) = asked
    assert len(found.pairs.swing) == 2 * len(swing)
    assert set(flight) <= set(data.pairs.flight)
    assert np.array_equal(flight, again)
    # the search began 0.2 s after the launch: the event comes as late as the motion is long
    assert np.abs(t - 0.2 - swings.samples[swing] / 100.0).max() < 0.011 + 1e-6
    assert np.abs(shift).max() < 1e-6
    assert 0.01 < np.abs(moved).mean() < 0.1


def test_motions_that_ask_too_much_are_left_out(data: LowData, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    real = s.as_swings
    monkeypatch.setattr(s, "as_swings", lambda spec, way, latent: (kept.append(way.use), real(spec, way, latent))[1])
    searched(data, s.SearchedConfig(shifts_m=(0.0,), latent_noise=1.0), to_go=0.25)
    use = np.concatenate(kept)
    assert 0 < len(use) < len(data)
    assert (use < 1.15).all()


def test_each_situation_is_searched_for_itself() -> None:
    class Bowls:
        low, high = torch.full((3,), -9.0), torch.full((3,), 9.0)

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            n = len(x) // 4
            return x - torch.arange(4.0).repeat_interleave(n)[:, None]

    x, energy, *_, count = GaussNewton(trust=9.0).descend(Bowls(), torch.zeros(4, 3), 4)
    assert torch.allclose(x, torch.arange(4.0)[:, None].expand(4, 3), atol=0.05)
    assert (energy < 0.01).all()
    assert count == 4 * 4 * 4 + 4


def test_searched_swings_stand_behind_the_recorded_ones(data: LowData) -> None:
    found = s.Searched(s.as_swings(SPEC, way()[0], np.ones((N, 15))), rows_of(data.pairs, np.arange(5)))
    swings, pairs = s.add(data.swings, data.pairs, found)
    first = len(data.swings.latent)
    new = pairs.swing[len(data) :]
    assert (new >= first).all()
    assert np.array_equal(swings.latent[new], found.swings.latent[found.pairs.swing])


def test_moments_lie_between_the_launch_and_the_event(data: LowData) -> None:
    c = s.SearchedConfig()
    to_go = s.moments(data, np.zeros(400, dtype=int), np.random.default_rng(0), c)
    since = 0.8 - to_go
    assert (since > 0).all()
    assert (to_go > 0.1).all()
    early = (since >= c.earliest_s) & (since <= c.latest_s)
    assert 0.5 < early.mean() < 0.95
