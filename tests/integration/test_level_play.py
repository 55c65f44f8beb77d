"""pytest tests/integration/test_level_play.py: what is kept of the strokes that levels are asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")

from hjepa import api
from hjepa.config import load
from hjepa.insight.sense import levels_actions, levels_played
from hjepa.insight.sense.levels_played import Side, play, truths
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.kinematics import racket_motion
from robots.spec import load_spec

pytestmark = pytest.mark.sim
STROKES = 2


def nothing(done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("played")


@pytest.fixture(scope="module")
def side(folder: Path) -> Side:
    return play(load("badminton"), "test", STROKES, folder, nothing, twice=True)


def test_a_stroke_that_is_played_twice_is_hit_at_another_time_by_another_draw_alone(side: Side) -> None:
    first, second = side.contact_s.T
    known = np.isfinite(first + second)
    assert known.any() and (first[known] != second[known]).all()
    for stroke in np.unique(side.played.stroke):  # the moments are those of the first
        longest = side.played.to_go_s[side.played.stroke == stroke].max()
        assert any(0.0 < contact - longest < contact for contact in first[np.isfinite(first)])


def test_moments_are_20_ms_apart_and_end_at_the_contact(side: Side) -> None:
    p = side.played
    assert side.asked == STROKES and len(np.unique(p.stroke)) == side.hit > 0
    for stroke in np.unique(p.stroke):
        to_go = p.to_go_s[p.stroke == stroke]
        assert np.diff(to_go) == pytest.approx(-0.02, abs=1e-6)
        assert 0.0 <= to_go[-1] < 0.02


def test_truths_are_those_of_the_flight_and_of_the_body(side: Side) -> None:
    p, spec, feed = side.played, load_spec("courtbot"), load_feed("test")
    told = truths(p)
    at = np.searchsorted(feed.id, p.stroke)
    assert told["landing point"] == pytest.approx(feed.floor_m[at], abs=0.02)
    assert told["opponent's hit"] == pytest.approx(feed.x0_m[at])
    same = np.diff(p.stroke) == 0
    moved = np.diff(p.shuttle_m, axis=0)[same] / 0.02
    mean = (p.shuttle_m_s[1:] + p.shuttle_m_s[:-1])[same] / 2
    assert moved == pytest.approx(mean, abs=0.05)
    racket = racket_motion(spec, p.true_q_rad[-1], p.true_dq_rad_s[-1])
    assert told["racket position"][-1] == pytest.approx(racket[0], abs=2e-3)
    assert told["racket face"][-1] == pytest.approx(racket[1][:, 2], abs=2e-3)
    assert told["racket velocity"][-1] == pytest.approx(racket[2], abs=0.05)


def test_the_levels_get_what_the_tracker_saw_and_not_the_truth(side: Side) -> None:
    p = side.played
    assert not p.mask[:, -2:].any()  # still on their way
    assert (p.mask.sum(axis=1) >= levels_played.FEWEST).all()
    assert not p.window_m[~p.mask].any()
    # a sample that arrived 40 ms late lies near where the shuttle truly was two moments before, but not on it
    later = np.flatnonzero(p.stroke[2:] == p.stroke[:-2]) + 2
    later = later[p.mask[later, -5]]
    gap = p.window_m[later, -5] - p.shuttle_m[later - 2]
    assert 0.005 < gap.std() < 0.02
    first = p.mask[0].argmax()
    assert p.flight_m[0, 0] == pytest.approx(p.window_m[0, first])


def test_what_was_played_is_not_played_again(side: Side, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("played again")

    monkeypatch.setattr(api.System, "world", refuse)
    again = play(load("badminton"), "test", STROKES, folder, nothing, twice=True)
    assert all((a == b).all() for a, b in zip(again.played, side.played, strict=True))


def test_another_world_or_seed_is_another_run_and_other_weights_are_not() -> None:
    base = ["agent.name=oracle", "task.strokes=2"]
    keys = [
        levels_played.key_of(api.load(load("badminton", [*base, *changed])))
        for changed in ([], ["world.drag_length_m=5"], ["task.seed=1"], ["task.strokes=3"], ["robot.driver=mujoco"])
    ]
    assert len(set(keys)) == len(keys)
    other = api.load(load("badminton", [*base, "agent.weights=elsewhere"]))
    assert levels_played.key_of(other) == keys[0]


def test_two_actions_part_from_the_same_state_and_only_they_differ(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, plain = [], levels_actions._carry_out

    def noted(world: Any, sent: Any) -> Any:
        part, states_here = max(sent), []
        tick = world.tick

        def ticked() -> Any:
            states_here.append(world.joints().q_rad)
            return tick()

        with monkeypatch.context() as patched:
            patched.setattr(world, "tick", ticked)
            out = plain(world, sent)
        states.append((part, np.array(states_here)))
        return out

    monkeypatch.setattr(levels_actions, "_carry_out", noted)
    pairs = levels_actions.pairs(load("badminton"), STROKES, folder, nothing)
    assert len(states) == 2 * len(pairs.stroke) > 0
    for (part, first), (other, second) in zip(states[::2], states[1::2], strict=True):
        assert part == other and part > 10
        assert (first[: part + 1] == second[: part + 1]).all()
        both = min(len(first), len(second))
        assert np.abs(first[part:both] - second[part:both]).max() > 1e-3
    hit = pairs.hit[:, 0]
    assert hit.any()
    assert np.abs(pairs.predicted[hit, 0, 3:] - pairs.simulated[hit, 0, 3:]).max() < 0.1
    assert np.abs(pairs.predicted[hit, 0, :2] - pairs.simulated[hit, 0, :2]).max() < 1.5
    assert np.abs(pairs.predicted[hit, 0, 2] - pairs.simulated[hit, 0, 2]).max() < 1.0  # both count from the tape
