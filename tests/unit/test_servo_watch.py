"""Judging servos by their readings alone, in time that is handed in. Run: pytest tests/unit/test_servo_watch.py"""

from __future__ import annotations

import numpy as np

from hjepa.types import NS
from robots.real.joint_map import Calibration
from robots.real.servo import ServoState
from robots.real.servo_watch import ServoWatch, Tolerance
from robots.spec import load_spec

SPEC = load_spec("so101")
CALM = ServoState(2048, 0.0, 0.0, 7.4, 30.0, True, ())
TICK_NS = NS // 50
MIDDLE = np.zeros(SPEC.joints)


class Bench:
    """A watch and its clock."""

    def __init__(self) -> None:
        self.watch = ServoWatch(SPEC, Calibration.default(SPEC), Tolerance())
        self.now_ns = 0
        self.watch.begin([CALM] * 6, 0)

    def tick(self, **changes: object) -> None:
        """One period in which servo 2 reads as changed, the others calm."""
        self.now_ns += TICK_NS
        self.watch.look(dict.fromkeys((1, 3, 4, 5, 6), CALM) | {2: CALM._replace(**changes)}, self.now_ns)


def test_a_reading_that_no_motion_explains_is_passed_over_once() -> None:
    bench = Bench()
    bench.tick(position_steps=100)
    assert bench.watch.implausible == 1
    np.testing.assert_array_equal(bench.watch.q_rad(), MIDDLE)
    bench.tick()
    bench.tick(speed_steps_s=30000.0)
    np.testing.assert_array_equal(bench.watch.dq_rad_s(), MIDDLE)
    bench.tick()
    assert (bench.watch.fault, bench.watch.implausible) == ("", 2)
    bench.tick(position_steps=100)
    bench.tick(position_steps=100)  # twice: it is so
    assert "servo 2 (shoulder_lift): does not follow" in bench.watch.fault


def test_a_complaint_counts_when_it_is_repeated() -> None:
    bench = Bench()
    for _ in range(10):
        bench.tick(alarms=("overload",))
        bench.tick()
    assert bench.watch.fault == ""
    bench.tick(alarms=("overload",))
    bench.tick(alarms=("overload",))
    assert bench.watch.fault == "servo 2 (shoulder_lift): overload"


def test_a_joint_that_creeps_to_its_goal_is_no_fault_and_one_that_stands_is() -> None:
    bench, goal = Bench(), MIDDLE.copy()
    goal[1] = 0.3
    at = 2048
    bench.watch.goals(goal)
    for _ in range(40):
        at += 3
        bench.tick(position_steps=at, speed_steps_s=150.0)
    assert bench.watch.fault == ""
    bench, ticks = Bench(), 0
    bench.watch.goals(goal)
    while not bench.watch.fault:
        bench.tick()
        ticks += 1
    assert 0.3 <= ticks / 50 <= 0.36


def test_at_fault_a_joint_stays_and_one_without_torque_is_told_nothing() -> None:
    bench, goal = Bench(), MIDDLE.copy()
    goal[1] = 0.3
    bench.watch.goals(goal)
    for _ in range(20):
        bench.tick()
    assert bench.watch.goals(goal)[2] == 2048
    bench.tick(torque_on=False)
    bench.tick(torque_on=False)
    assert set(bench.watch.goals(goal)) == {1, 3, 4, 5, 6}


def test_silence_is_a_fault_after_a_tenth_of_a_second() -> None:
    bench = Bench()
    for k in range(1, 8):
        bench.now_ns += TICK_NS
        bench.watch.look(dict.fromkeys((1, 3, 4, 5, 6), CALM), bench.now_ns)
        assert bool(bench.watch.fault) == (k > 5)


def test_a_loop_that_was_held_up_does_not_blame_the_servos() -> None:
    bench = Bench()
    bench.now_ns += NS // 5
    bench.watch.look({}, bench.now_ns)
    assert bench.watch.fault == ""
