"""Where the base waits: how far it comes, and that it goes where replies are returned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hjepa.covering import BASE, Covered, CoverTraining, home_at, lessons, train_cover
from hjepa.models.cover import load_cover
from hjepa.planning.anticipation import Anticipation, AnticipationConfig, Replies, on_the_way
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.badminton.strokes import UNKNOWN
from robots.spec import load_spec

SPEED, ACCELERATION = 4.0, 10.0


def test_a_base_speeds_up_cruises_brakes_and_rests() -> None:
    start, goal = np.array([0.0, 0.0]), np.array([6.0, -0.4])
    t = np.linspace(0.0, 3.0, 3001)
    x, v = on_the_way(start, goal, t, SPEED, ACCELERATION)
    np.testing.assert_allclose(x[0], start)
    np.testing.assert_allclose(x[-1], goal)
    np.testing.assert_allclose(v[-1], 0.0)
    assert np.abs(v).max() == pytest.approx(SPEED)
    rate = np.diff(v, axis=0) / np.diff(t)[:, None]
    assert np.abs(rate).max() < ACCELERATION * 1.001
    np.testing.assert_allclose(np.diff(x, axis=0) / np.diff(t)[:, None], 0.5 * (v[1:] + v[:-1]), atol=2e-3)
    arrived = t[np.argmax(np.abs(x[:, 0] - goal[0]) < 1e-9)]
    assert arrived == pytest.approx(6.0 / SPEED + SPEED / ACCELERATION, abs=2e-3)  # the quickest there is


def test_who_is_there_already_stays() -> None:
    x, v = on_the_way(np.ones(2), np.ones(2), 0.5, SPEED, ACCELERATION)
    np.testing.assert_array_equal(x, np.ones(2))
    np.testing.assert_array_equal(v, np.zeros(2))


def near(
    base: torch.Tensor, speed: torch.Tensor, kind: torch.Tensor, land: torch.Tensor, tempo: torch.Tensor
) -> torch.Tensor:
    """Replies within a metre and a half of where the base would stop are returned."""
    return 8.0 * (1.5 - (land - base - 0.1 * speed).norm(dim=-1))


def replies(points: list[tuple[float, float]]) -> Replies:
    n = len(points)
    return Replies(torch.zeros(n, dtype=torch.long), torch.tensor(points), torch.full((n,), 0.9))


def test_it_waits_where_most_replies_come() -> None:
    planner = Anticipation(near, AnticipationConfig())
    place = planner.place(np.array([-3.0, 0.0]), 2.0, replies([(-1.5, 1.8)] * 9 + [(-6.0, -2.0)]))
    assert np.linalg.norm(place - [-1.5, 1.8]) < 1.2
    both = planner.place(np.array([-3.0, 0.0]), 2.0, replies([(-3.0, 1.2), (-3.0, -1.2)]))
    assert abs(both[1]) < 0.5  # between the two


def test_it_knows_how_far_it_comes() -> None:
    planner = Anticipation(near, AnticipationConfig())
    start = np.array([-6.0, -2.0])
    late = planner.chances(start, 0.1, replies([(-1.5, 1.8)]))
    assert late.max() < 0.01  # a tenth of a second is too short to get there
    assert planner.chances(start, 2.5, replies([(-1.5, 1.8)])).max() > 0.9


def test_a_base_in_motion_counts_as_one() -> None:
    planner = Anticipation(near, AnticipationConfig())
    one = planner.places[:1] * 0.0 + [-3.0, 0.0]
    still, away = np.zeros((1, 2)), np.array([[-4.0, 0.0]])
    ahead = replies([(-1.7, 0.0)])
    assert planner.returned((one, still), ahead)[0, 0] > 0.8
    assert planner.returned((one, away), ahead)[0, 0] < 0.4


def test_lessons_come_from_training_matches_and_stay_on_the_court() -> None:
    feed, c = load_feed("train"), CoverTraining(strokes=200)
    some = lessons(c, feed)
    assert len(set(some.rows.tolist())) == 200 and (feed.type[some.rows] >= 0).all()
    base = some.base_m
    assert (base[:, 0] <= -0.9).all() and (base[:, 0] >= -6.2).all() and (np.abs(base[:, 1]) <= 2.4).all()
    moving = np.abs(some.speed_m_s).max(axis=1) > 0.1
    assert 0.1 < moving.mean() < 0.9 and np.abs(some.speed_m_s).max() <= BASE.speed_m_s + 1e-9
    more = lessons(CoverTraining(strokes=300), feed)
    np.testing.assert_array_equal(some.rows, more.rows[:200])
    np.testing.assert_array_equal(some.base_m, more.base_m[:200])


def test_cover_learns_who_returns_and_what_goes_wrong_and_says_how_well(tmp_path) -> None:
    rng = np.random.default_rng(0)
    n = 2000
    base = np.stack([rng.uniform(-6, -1, n), rng.uniform(-2, 2, n)], axis=-1)
    land = np.stack([rng.uniform(-6, -1, n), rng.uniform(-2, 2, n)], axis=-1)
    tempo = rng.uniform(0.4, 1.4, n)
    returned = np.linalg.norm(land - base, axis=-1) < 2.5 * tempo
    reach = np.where(returned, 1.0, 300.0) * rng.uniform(0.5, 2.0, n)  # the low level knew
    zero, blank = np.zeros(n, dtype=np.int8), np.full(n, UNKNOWN, dtype=np.int8)
    shot = np.where(rng.random(n) < 0.1, blank, zero)
    played = Covered(
        base, 0.0 * base, zero, land, tempo, returned, zero, shot, -land, np.where(shot < 0, np.nan, reach)
    )
    spec = load_spec("courtbot")
    path = train_cover(played, tmp_path, CoverTraining(steps=400), spec.identity)
    model, risk, header = load_cover(path)
    assert header["figures"]["auc"] > 0.97 and header["figures"]["risk_auc"] > 0.97
    assert header["figures"]["log_loss"] < 0.5 * header["figures"]["log_loss_of_mean"]
    assert header["robot"] == "courtbot"
    one, still = torch.tensor([0]), torch.zeros(1, 2)
    close = model(torch.tensor([[-3.0, 0.0]]), still, one, torch.tensor([[-3.2, 0.1]]), torch.tensor([0.9]))
    far = model(torch.tensor([[-6.0, 2.0]]), still, one, torch.tensor([[-1.0, -2.0]]), torch.tensor([0.5]))
    assert close > 2.0 and far < -2.0
    target = torch.tensor([[3.0, 0.0]])
    assert risk(one, target, torch.tensor([1.0])) < -1.5 < 1.5 < risk(one, target, torch.tensor([300.0]))


def test_a_moving_start_moves_only_the_base() -> None:
    spec = load_spec("courtbot")
    state = home_at(spec, np.array([-3.0, 1.0]), np.array([2.0, -1.0]))
    np.testing.assert_allclose(state.q_rad[:2], [-3.0, 1.0])
    np.testing.assert_array_equal(state.q_rad[2:], spec.q_home_rad[2:])
    np.testing.assert_array_equal(state.dq_rad_s[:2], [2.0, -1.0])
    assert not state.dq_rad_s[2:].any()
