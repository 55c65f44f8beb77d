"""Feints: late goals, the hinge, the command that is spliced there, and who watches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hjepa import config, feinting
from hjepa.diary import decision_of
from hjepa.evaluation.results import Recording
from hjepa.feinting import ObserverTraining, Watched
from hjepa.models.observer import load_observer, save_observer
from hjepa.planning.feint import FeintConfig, FeintPlanner, spliced
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.stroke import state_at
from hjepa.types import NS, Array, Goal, JointTrajectory, MotorPlan, Observation
from tests import tiny
from tests.unit.test_hierarchy import _planner

torch.set_num_threads(1)
TICK_NS = 10_000_000


class Blind:
    """Always expects the shot in the middle."""

    instants, every_s = 4, 0.03

    def __call__(self, q_rad: Array, dq_rad_s: Array) -> Array:
        assert q_rad.shape == dq_rad_s.shape == (4, 8)
        return np.array([3.0, 0.0])


def observation(tick: int) -> Observation:
    slots = np.arange(64)
    seen = np.stack([3.0 - 0.05 * slots, 0.01 * slots, 2.0 + 0.0 * slots], axis=-1)
    stamps = (slots - 63 + tick) * TICK_NS
    return Observation(tick * TICK_NS, tiny.SPEC.q_home_rad, np.zeros(8), seen, slots > 30, stamps)


def goal(late: int = 3) -> Goal:
    d, rng = tiny.LOW.goal, np.random.default_rng(4)
    places = np.array([[2.0, 1.0], [4.0, -1.0], [5.0, 0.5]])[:late]
    first = Goal(1, 0, 0, np.zeros(d), np.eye(d), np.array([3.0, 0.0]), "clear", np.zeros((0, d)), np.zeros(0))
    roots = np.tile(np.eye(d), (late, 1, 1))
    return first._replace(late=rng.normal(size=(late, d)), late_roots=roots, late_xy_m=places)


def planner(**changes: Any) -> FeintPlanner:
    bundle = tiny.low()
    feint = replace(FeintConfig(), **changes)
    return FeintPlanner(bundle.level, bundle.proposal, tiny.SPEC, LowPlanConfig(), observer=Blind(), feint=feint)


def plain() -> StrokePlanner:
    bundle = tiny.low()
    return StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, LowPlanConfig())


def test_until_the_hinge_the_body_does_what_it_was_shown_to_do() -> None:
    made = planner(spare=float("inf"))
    shown = made.plan(observation(70), goal())
    assert made.hidden is None
    command = made.plan(observation(74), goal())
    assert shown is not None and command is not None and made.hidden is not None and made.committed is not None
    assert made.hidden.target_xy_m.tolist() in goal().late_xy_m.tolist()
    hinge_ns = made._hinge_ns
    assert hinge_ns is not None and hinge_ns > command.start_ns
    for stamp in range(command.start_ns, hinge_ns, TICK_NS):
        np.testing.assert_allclose(state_at(command, stamp).q_rad, state_at(shown, stamp).q_rad, atol=2e-3)
    after = [state_at(c, made.committed.event_ns).dq_rad_s for c in (shown, command)]
    assert np.abs(after[1] - after[0]).max() > 0.05


def test_without_a_late_goal_in_reach_the_first_shot_is_played_as_if_there_were_none() -> None:
    made, usual = planner(spare=-1.0), plain()
    for k in range(4):
        a, b = made.plan(observation(70 + 4 * k), goal()), usual.plan(observation(70 + 4 * k), goal(0))
        assert a is not None and b is not None
        assert a.start_ns == b.start_ns
        np.testing.assert_allclose(a.q_rad, b.q_rad, atol=1e-4)
    assert made.hidden is None


def test_what_was_shown_is_played_after_all_if_the_late_goal_slips_away() -> None:
    made = planner(spare=float("inf"))
    made.plan(observation(70), goal())
    made.plan(observation(74), goal())
    assert made.hidden is not None
    made.feint = replace(made.feint, spare=-1.0)
    made.plan(observation(78), goal())
    assert made.hidden is None


def test_the_target_is_told_once_it_is_known() -> None:
    made = planner(spare=float("inf"))
    made.plan(observation(70), goal())
    assert decision_of(goal(), made.explain()).target_xy_m is None
    made.plan(observation(74), goal())
    assert made.hidden is not None
    np.testing.assert_allclose(decision_of(goal(), made.explain()).target_xy_m, made.hidden.target_xy_m)
    never = planner(spare=-1.0, tries=1)
    for k in range(3):
        never.plan(observation(70 + 4 * k), goal())
    np.testing.assert_allclose(decision_of(goal(), never.explain()).target_xy_m, goal().target_xy_m)
    usual = MotorPlan(1, np.zeros(2), 0.0, 1, 1.0)
    np.testing.assert_allclose(decision_of(goal(0), usual).target_xy_m, goal().target_xy_m)


def test_the_high_level_names_late_goals_of_the_same_shot_elsewhere() -> None:
    window, mask = np.zeros((40, 3)), np.zeros(40)
    made = _planner(late=16, late_m=(1.0, 1.5))
    found = made.candidates(window, mask, np.array([-3.0, 0.0]))
    chosen = found.rows(np.array([int(np.flatnonzero(found.macro[:, 0] == 2)[0])]))
    late = made._late(chosen)
    far = np.linalg.norm(late.target_xy_m - chosen.target_xy_m, axis=1)
    assert len(late.types) >= 4 and set(late.types) == {"drop"}
    assert (far > 0.7 * 1.0 - 1e-6).all() and (far < 1.5 + 1e-6).all()
    assert (late.target_xy_m[:, 0] <= 6.70 - 0.45 + 1e-6).all() and (
        np.abs(late.target_xy_m[:, 1]) <= 2.14 + 1e-6
    ).all()
    assert _planner()._other_places(chosen) == {}


def test_a_splice_follows_the_first_until_the_second_begins() -> None:
    def ramp(start_ns: int, at: float, slope: float) -> JointTrajectory:
        t = 0.01 * np.arange(50)[:, None]
        return JointTrajectory(start_ns, 0.01, at + slope * t * np.ones(8), np.full((50, 8), slope), NS)

    first, then = ramp(0, 0.0, 1.0), ramp(20 * TICK_NS + 3_000_000, 0.2, -2.0)
    both = spliced(first, then, 5 * TICK_NS)
    assert 4 * TICK_NS <= both.start_ns <= 5 * TICK_NS and both.valid_ns == then.valid_ns
    for stamp, other in ((6 * TICK_NS, first), (19 * TICK_NS, first), (21 * TICK_NS, then), (40 * TICK_NS, then)):
        np.testing.assert_allclose(state_at(both, stamp).q_rad, state_at(other, stamp).q_rad, atol=1e-9)


def watched(n: int, seed: int = 0) -> Watched:
    """Shots whose place the wrist gives away."""
    rng = np.random.default_rng(seed)
    q = tiny.SPEC.q_home_rad + 0.1 * rng.normal(size=(n, 4, 8))
    landing = np.stack([3.5 + 10.0 * (q[:, -1, 6] - tiny.SPEC.q_home_rad[6]), np.zeros(n)], axis=-1)
    yes = np.ones(n, dtype=bool)
    return Watched(np.arange(n), q, np.zeros_like(q), np.zeros((n, 6)), landing, landing, yes, ~yes)


def test_an_observer_learns_what_the_wrist_gives_away(tmp_path) -> None:
    observer, figures = feinting.fit(watched(600), tiny.SPEC, ObserverTraining(steps=300))
    assert figures["error_m"] < 0.4 < 0.7 < figures["error_of_middle_m"]
    path = tmp_path / "observer.safetensors"
    save_observer(path, observer, {"strokes": 600})
    again = load_observer(path)
    test = watched(50, 1)
    np.testing.assert_allclose(
        feinting.errors(again.observer, test, tiny.SPEC), feinting.errors(observer, test, tiny.SPEC)
    )
    assert again.header["strokes"] == 600


def test_who_watches_sees_nothing_of_the_last_tenths() -> None:
    times = 0.01 * np.arange(120)
    q = np.repeat(times[:, None], 8, axis=1)
    film = Recording(times, q, np.repeat(2.0 * times[:, None], 3, axis=1))
    seen, speed, shuttle = feinting._seen(film, 1.0, 8)
    np.testing.assert_allclose(seen[:, 0], [0.76, 0.79, 0.82, 0.85])
    np.testing.assert_allclose(speed, 1.0)
    np.testing.assert_allclose(shuttle, [1.7, 1.7, 1.7, 2.0, 2.0, 2.0])
    assert np.isnan(feinting._seen(film, float("nan"), 8)[0]).all()


@pytest.mark.parametrize("feint", [False, True])
def test_the_configuration_decides_who_plans(feint: bool) -> None:
    from hjepa import build

    c = config.load("badminton", [f"high.feint={str(feint).lower()}"])
    assert isinstance(build.build_low(c, tiny.SPEC), FeintPlanner) is feint
    assert (build.high_settings(c).late > 0) is feint
