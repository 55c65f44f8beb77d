"""Opponents with human limits: what they reach, what they answer, how often they err."""

from __future__ import annotations

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import in_singles, net_height_at
from hjepa.tasks.badminton.opponents import OPPONENTS, HumanLimits, Opponent, Shot, real_strokes, service
from hjepa.tasks.badminton.returns import LaunchTable
from hjepa.tasks.badminton.strokes import TYPES

LOB = TYPES.index("lob")


TABLE = LaunchTable()


def shot_to(target: tuple[float, float], elevation_deg: float = 50.0) -> Shot:
    """From the robot's front court to a floor point of the other half."""
    start = np.array([[-1.5, 0.0, 0.8]])
    v = TABLE.launch(start, np.array([target]), np.radians([elevation_deg]))
    return Shot(start[0], v[0], LOB)


@pytest.fixture(params=sorted(OPPONENTS))
def opponent(request) -> Opponent:
    return Opponent(request.param, "val")


def test_answers_are_flights_that_pass_the_net_into_the_robots_half(opponent: Opponent) -> None:
    rng, there = np.random.default_rng(0), []
    for k in range(60):
        answer = opponent.answer(shot_to((4.0 + 0.02 * k, 0.5)), np.array([3.2, 0.0]), np.array([-3.0, 0.0]), rng)
        assert 0.2 < answer.time_s < 2.5
        if answer.shot is None:
            assert answer.why == "error"
            continue
        fall = flight.land(answer.shot.x_m[None], answer.shot.v_m_s[None])
        assert fall.net_height_m[0] > net_height_at(fall.net_y_m)[0]
        assert fall.xy_m[0, 0] < 0.0
        assert answer.shot.type >= 2
        there.append(bool(in_singles(fall.xy_m[0], -1)))
    assert len(there) > 40 and np.mean(there) > 0.9


def test_nobody_runs_faster_or_reaches_further_than_people_do() -> None:
    limits, opponent = HumanLimits(), Opponent("human", "val")
    rng = np.random.default_rng(1)
    for target in ((6.0, 2.0), (1.2, -2.0), (5.8, -2.3), (2.0, 2.3)):
        feet = np.array([3.2, 0.0])
        answer = opponent.answer(shot_to(target), feet, np.array([-3.0, 0.0]), rng)
        if answer.shot is None:
            continue
        run = np.linalg.norm(answer.shot.x_m[:2] - feet) - limits.reach_m
        assert run <= limits.speed_m_s * max(answer.time_s - limits.reaction_s, 0.0) + 1e-9
        assert limits.lowest_m < answer.shot.x_m[2] < limits.highest_m


def test_what_is_too_far_away_is_not_reached() -> None:
    slow = Opponent("human", "val", HumanLimits(speed_m_s=0.5, reach_m=0.3))
    here, robot = np.array([1.0, 2.3]), np.array([-3.0, 0.0])
    answer = slow.answer(shot_to((5.5, -2.0)), here, robot, np.random.default_rng(0))
    assert answer.shot is None and answer.why == "not reached" and np.isnan(answer.time_s)


def test_a_shuttle_that_falls_well_out_is_left() -> None:
    answer = Opponent("human", "val").answer(
        shot_to((5.0, 3.4)), np.array([3.2, 0.0]), np.array([-3.0, 0.0]), np.random.default_rng(0)
    )
    assert answer.why == "left"


def test_errors_come_as_often_as_real_players_make_them() -> None:
    opponent, rng = Opponent("markov", "val"), np.random.default_rng(0)
    answers = [
        opponent.answer(shot_to((4.5, 0.2)), np.array([4.0, 0.0]), np.array([-3.0, 0.0]), rng) for _ in range(250)
    ]
    assert 0.02 < np.mean([a.why == "error" for a in answers]) < 0.14  # 5 to 10 % by type in the data


def test_a_human_answers_smashes_from_high_and_lobs_from_low() -> None:
    real = real_strokes("val")
    high, low = real.hit_m[:, 2] > 2.2, real.hit_m[:, 2] < 0.9
    assert np.mean(real.type[high] == TYPES.index("smash")) > 0.3
    assert np.mean(real.type[low] == TYPES.index("smash")) < 0.02
    assert not np.isin(real.type, (0, 1)).any()


def test_services_are_real_ones() -> None:
    served = service("val", np.random.default_rng(0))
    assert served.shot.type in (0, 1)
    assert served.server_m[0] > 0 > served.receiver_m[0]
    assert served.shot.v_m_s[0] < 0


def test_an_unknown_opponent_is_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match="'humna'.*human"):
        Opponent("humna")
