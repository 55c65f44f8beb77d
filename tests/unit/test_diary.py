"""What is kept of decisions: each once, with the times of both levels."""

import math

import numpy as np

from hjepa.diary import Diary, decision_of
from hjepa.types import Goal, JointTrajectory, MotorPlan

GOAL = Goal(3, 0, 0, np.zeros(2), np.eye(2), np.array([4.0, 1.0]), "drop", np.zeros((0, 2)), np.zeros(0))
COMMAND = JointTrajectory(0, 0.01, np.zeros((2, 1)), np.zeros((2, 1)), 1)


class Low:
    """Explains what it is told to."""

    def __init__(self) -> None:
        self.said = MotorPlan(-1, np.zeros(0), math.nan, 0, 0.0)

    def explain(self) -> MotorPlan:
        return self.said


def ticking(*seconds: float):
    times = iter(np.cumsum((0.0, *seconds)).tolist())
    return lambda: next(times)


def test_a_decision_holds_goal_plan_and_both_times() -> None:
    diary, low = Diary(ticking(0, 0.030, 0, 0.004, 0, 0, 0, 0.002)), Low()
    diary.begin()
    diary.decided(GOAL)
    low.said = MotorPlan(3, np.ones(2), 1.5, 40, 0.0, np.array([4.1, 0.9]), 2.5)
    diary.planned(GOAL, low, COMMAND)
    first = diary.decision
    assert first is not None
    assert (first.type, first.energy, first.candidates, first.mflop) == ("drop", 1.5, 40, 2.5)
    assert first.target_xy_m is GOAL.target_xy_m
    assert first.predicted_xy_m is not None and first.predicted_xy_m.tolist() == [4.1, 0.9]
    assert math.isclose(first.high_ms, 30.0)
    assert math.isclose(first.plan_ms, 4.0)


def test_the_same_plan_told_again_is_no_new_decision() -> None:
    diary, low = Diary(), Low()
    low.said = MotorPlan(3, np.ones(2), 1.5, 40, 0.0)
    diary.planned(GOAL, low, COMMAND)
    first = diary.decision
    diary.planned(GOAL, low, COMMAND)
    assert diary.decision is first
    low.said = MotorPlan(3, np.ones(2), 1.4, 30, 0.0)
    diary.planned(GOAL, low, None)
    assert diary.decision is not first
    assert diary.decision is not None and math.isnan(diary.decision.high_ms)
    diary.reset()
    assert diary.decision is None


def test_nothing_is_noted_before_a_goal_or_for_a_plan_of_another_goal() -> None:
    diary, low = Diary(), Low()
    diary.planned(None, low, None)
    diary.planned(GOAL, low, None)  # its plan serves goal -1
    assert diary.decision is None


def test_a_level_that_does_not_say_what_it_chose_is_timed_all_the_same() -> None:
    diary = Diary()
    diary.planned(GOAL, object(), COMMAND)
    assert diary.decision is not None
    assert diary.decision.plan_ms >= 0.0
    assert diary.decision.predicted_xy_m is None


def test_a_plan_that_names_no_landing_predicts_none() -> None:
    assert decision_of(GOAL, MotorPlan(3, np.zeros(0), 1.0, 1, 2.0)).predicted_xy_m is None
