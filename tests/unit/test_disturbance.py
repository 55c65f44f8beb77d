"""What cannot happen in a simulated court, and faults of its tracker. Run: pytest tests/unit/test_disturbance.py"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from hjepa.config import Disturbed, load
from hjepa.errors import ConfigError, RobotError
from hjepa.tasks.badminton.impact import Pose
from hjepa.tasks.badminton.shuttle import State
from hjepa.types import Launch
from robots.sensors import SensorConfig, Sensors
from robots.sim.disturbance import FAULTS, IMPOSSIBLE, UNITS, Disturbance
from robots.sim.disturbed import DisturbedReferee
from robots.sim.referee import Referee
from robots.sim.world import WorldConfig
from robots.spec import load_spec

LAUNCH: State = (5.0, 0.3, 2.5, -22.0, 0.5, 9.0)
LOW: State = (3.0, 0.0, 1.2, -12.0, 0.0, 0.0)  # meets the net
PHYSICS = (4.5759, 0.55, (0.14, 0.11), 0.15)
AT_S = 0.4
FACE_X = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)


def plain(launch: State = LAUNCH) -> Referee:
    return Referee(launch, *PHYSICS)


def disturbed(kind: str, size: float = 1.0, at_s: float = AT_S, launch: State = LAUNCH, seed: int = 0) -> Referee:
    return DisturbedReferee(launch, *PHYSICS, Disturbance(kind, at_s, size, seed), 5)


def at(referee: Referee, time_s: float) -> np.ndarray:
    referee.fly(time_s)
    return np.array(referee.state)


def struck_by(referee: Referee) -> Referee:
    """Flown through a racket that stands in the way."""
    state = at(plain(), 0.5)
    pose = Pose(tuple(state[:3].tolist()), FACE_X, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for tick in range(60):
        referee.fly(0.01 * (tick + 1), [pose] * 11)
    return referee


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_until_it_happens_the_flight_is_the_possible_one_bit_for_bit(kind: str) -> None:
    one, other = plain(), disturbed(kind, 10.0)
    for tick in range(1, 40):
        assert one.state == other.state
        one.fly(0.01 * tick)
        other.fly(0.01 * tick)


@pytest.mark.parametrize("size", [1.0, 3.0, 10.0])
def test_a_teleport_jumps_by_its_size_in_a_direction_of_its_own(size: float) -> None:
    after, was = at(disturbed("teleport", size), AT_S + 1e-6), at(plain(), AT_S + 1e-6)
    assert np.linalg.norm(after[:3] - was[:3]) == pytest.approx(0.03 * size, rel=1e-3)
    other = at(disturbed("teleport", size, seed=1), AT_S + 1e-6)
    assert np.linalg.norm(other[:3] - after[:3]) > 0.003 * size


def test_a_teleport_does_not_end_below_the_floor() -> None:
    low: State = (-3.0, 0.0, 0.2, -4.0, 0.0, 0.0)
    heights = [at(disturbed("teleport", 10.0, 0.05, low, seed), 0.0501)[2] for seed in range(20)]
    assert min(heights) > 0.0


def test_gravity_of_three_units_is_turned_round() -> None:
    r = disturbed("gravity", 3.0, 0.0, (5.0, 0.0, 2.0, 0.0, 0.0, 0.0))
    assert at(r, 0.01)[5] == pytest.approx(9.81 * 0.01, rel=1e-3)


def test_drag_is_halved_and_halved_until_none_is_left() -> None:
    speed: State = (5.0, 0.0, 2.0, -20.0, 0.0, 0.0)
    brakes = [-20.0 - at(disturbed("drag_off", size, 0.0, speed), 0.001)[3] for size in (1.0, 3.0, 10.0)]
    full = -20.0 - at(plain(speed), 0.001)[3]
    np.testing.assert_allclose(np.array(brakes) / full, [1 / 2, 1 / 8, 1 / 1024], rtol=0.02)


def test_mass_grows_for_even_seeds_and_shrinks_as_much_for_odd_ones() -> None:
    grown, shrunk = (Disturbance("mass", 0.0, 3.0, seed).drag_length_m(4.0) for seed in (0, 1))
    assert grown == pytest.approx(4.0 + 3 * 0.75)
    assert grown * shrunk == pytest.approx(4.0**2)


def test_a_frozen_shuttle_stands_and_then_goes_on_as_if_no_time_had_passed() -> None:
    r, length = disturbed("frozen", 3.0), 0.15
    here = at(plain(), AT_S)
    np.testing.assert_array_equal(at(r, AT_S + length - 0.01)[:3], here[:3])
    np.testing.assert_allclose(at(r, 0.8 + length), at(plain(), 0.8), atol=1e-6)


@pytest.mark.parametrize("back_s", [0.05, 0.1, 0.149])
def test_a_reversed_flight_is_its_own_path_backwards(back_s: float) -> None:
    np.testing.assert_allclose(
        at(disturbed("reversal", 3.0), AT_S + back_s)[:3], at(plain(), AT_S - back_s)[:3], atol=1e-4
    )
    np.testing.assert_allclose(at(disturbed("reversal", 3.0), AT_S + 2 * 0.15), at(plain(), AT_S), atol=1e-3)


def test_a_flight_is_never_reversed_beyond_its_launch() -> None:
    r = disturbed("reversal", 10.0, 0.2)  # 0.5 s, with 0.2 s of past
    np.testing.assert_allclose(at(r, 0.4)[:3], LAUNCH[:3], atol=1e-3)
    np.testing.assert_allclose(at(r, 0.6), at(plain(), 0.2), atol=2e-2)


def test_the_net_lets_the_shuttle_through() -> None:
    stopped, through = plain(LOW), disturbed("net", 1.0, 0.0, LOW)
    for r in (stopped, through):
        r.fly(3.0)
    assert stopped.netted and stopped.landing[0] > 0
    assert not through.netted and through.landing[0] < 0


def test_the_shuttle_passes_through_the_racket_that_meets_it_and_this_is_noted() -> None:
    hit, passed = struck_by(plain()), struck_by(disturbed("racket", 1.0, 0.0))
    assert hit.hit and not passed.hit
    assert passed.contact_s == pytest.approx(hit.contact_s, abs=2e-3)
    np.testing.assert_allclose(passed.outcome(0.0).offset_m, hit.outcome(0.0).offset_m, atol=1e-3)
    np.testing.assert_allclose(passed.state, at(plain(), 0.6), atol=1e-9)


def test_a_racket_sets_a_frozen_shuttle_free() -> None:
    r = disturbed("frozen", 10.0, 0.5)
    state = at(r, 0.55)
    swings = [
        Pose(
            (float(state[0]) - 0.05 + 0.01 * ms, float(state[1]), float(state[2])), FACE_X, (10.0, 0.0, 0.0), (0.0,) * 3
        )
        for ms in range(11)
    ]
    r.fly(0.56, swings)
    assert r.hit
    free = at(r, 0.7)
    assert free[0] > state[0] + 0.5
    assert at(r, 1.5)[0] > free[0]  # and is not frozen again, nor thawed into what it was


def observed(kind: str | None, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """What a tracker measures of a shuttle that moves 0.1 m a slot."""
    what = None if kind is None else Disturbance(kind, 0.2, size)
    sensors = Sensors(SensorConfig(0.01, 0.0, 0.1, 0.0, 0.0), 2, 59, np.random.default_rng(3), what and what.fault(7))
    for slot in range(60):
        sensors.observe(slot, (0.1 * slot, 0.0, 1.0), np.zeros(2), np.zeros(2))
    return sensors.measured(60)


def test_a_vanished_shuttle_is_not_seen_for_as_long_as_the_size_says_and_all_else_is_the_same() -> None:
    (xyz, mask), (other, seen) = observed(None), observed("vanish", 0.5)
    gone = slice(20, 40)
    assert not seen[gone].any() and mask[gone].any()
    seen[gone], other[gone] = mask[gone], xyz[gone]
    np.testing.assert_array_equal(seen, mask)
    np.testing.assert_array_equal(other, xyz)


def test_a_stuck_tracker_repeats_the_last_sample_it_had() -> None:
    (xyz, mask), (other, seen) = observed(None), observed("stuck", 2.0)
    last = int(np.flatnonzero(mask[:20])[-1])
    np.testing.assert_array_equal(seen, mask)
    np.testing.assert_array_equal(other[20:30][mask[20:30]], np.broadcast_to(xyz[last], (mask[20:30].sum(), 3)))
    np.testing.assert_array_equal(other[30:], xyz[30:])


def test_a_biased_tracker_is_off_by_its_size_for_good() -> None:
    (xyz, mask), (other, _) = observed(None), observed("bias", 3.0)
    off = (other - xyz)[mask]
    np.testing.assert_allclose(np.linalg.norm(off[-10:], axis=1), 0.09)
    assert np.ptp(off[-10:], axis=0).max() < 1e-9
    np.testing.assert_array_equal(other[:20], xyz[:20])


def test_a_burst_of_noise_ends() -> None:
    (xyz, mask), (other, _) = observed(None), observed("burst", 10.0)
    off = (other - xyz)[mask]
    during, rest = (other - xyz)[20:40][mask[20:40]], np.delete(other - xyz, slice(20, 40), axis=0)
    assert 0.15 < during.std() < 0.45 and not rest.any() and len(off)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "teleprt"}, "did you mean 'teleport'"),
        ({"size": 0.0}, "a size above 0"),
        ({"at_s": -1.0}, "0 or later"),
    ],
)
def test_a_wrong_disturbance_is_refused_with_what_is_allowed(change: dict[str, object], said: str) -> None:
    with pytest.raises(RobotError, match=said):
        replace(Disturbance("teleport", 0.1), **change)  # type: ignore[arg-type]


def test_every_kind_has_a_unit_and_can_be_configured() -> None:
    assert set(get_args(Disturbed)) == set(UNITS) == {*IMPOSSIBLE, *FAULTS}


def test_a_configured_disturbance_is_that_of_the_world() -> None:
    from hjepa.factories import world_settings

    config = load("badminton", ["world.disturbance={kind: mass, at_ms: 250, size: 3}"])
    assert world_settings(config).disturbance == Disturbance("mass", 0.25, 3.0)
    assert world_settings(load("badminton")) == WorldConfig()


def test_a_disturbance_counts_from_the_next_reset_and_until_it_is_taken_away() -> None:
    pytest.importorskip("pybullet")
    from robots.sim.court import CourtWorld, home

    launch, spec = Launch(np.array(LAUNCH[:3]), np.array(LAUNCH[3:])), load_spec("courtbot")
    odd = WorldConfig(disturbance=Disturbance("vanish", 0.2, 1.0))

    def seen(world: CourtWorld, config: WorldConfig) -> int:
        """Samples between 0.2 and 0.3 s."""
        before = world.config
        world.config = config
        observation = world.reset(home(spec), launch, 1)
        for _ in range(40):
            observation = world.tick()
        world.config = before
        late = observation.stamp_ns - observation.tracker_stamp_ns
        return int(observation.tracker_mask[(late >= 100_000_000) & (late < 200_000_000)].sum())

    with CourtWorld(spec, WorldConfig(dropout=0.0)) as world:
        plain = WorldConfig(dropout=0.0)
        assert [seen(world, config) for config in (plain, odd, plain)] == [10, 0, 10]


def test_a_misspelt_kind_of_disturbance_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'gravity'"):
        load("badminton", ["world.disturbance={kind: gravty}"])
