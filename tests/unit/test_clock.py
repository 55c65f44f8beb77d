"""Deadlines are absolute, counted, and kept by monotonic time."""

import pytest

from hjepa.bus.clock import FakeClock, MonotonicClock, Rate, VirtualClock

PERIOD = 10


def test_a_loop_in_time_sleeps_to_absolute_deadlines():
    clock = FakeClock(100)
    rate = Rate(clock, PERIOD)
    for work in (3, 9, 0, 10):
        clock.spend(work)
        assert rate.wait() == 1
    assert clock.slept_until_ns == [110, 120, 130, 140]
    assert (rate.ticks, rate.misses, rate.late_ns) == (4, 0, 0)


def test_an_overrun_counts_each_missed_deadline_and_does_not_shift_the_next():
    clock = FakeClock()
    rate = Rate(clock, PERIOD)
    clock.spend(35)  # past the deadlines at 10, 20 and 30
    assert rate.wait() == 3
    assert rate.misses == 3
    assert rate.wait() == 1
    assert clock.slept_until_ns == [40]
    assert rate.ticks == 4


def test_waking_late_is_measured_but_is_no_miss():
    clock = FakeClock(oversleep_ns=4)
    rate = Rate(clock, PERIOD)
    assert [rate.wait() for _ in range(5)] == [1] * 5
    assert (rate.late_ns, rate.misses) == (4, 0)
    assert clock.slept_until_ns == [10, 20, 30, 40, 50], "lateness must not add up"


def test_waking_later_than_a_period_is_caught_up_and_counted():
    clock = FakeClock(oversleep_ns=25)
    rate = Rate(clock, PERIOD)
    rate.wait()  # slept to 10, woke at 35
    clock.oversleep_ns = 0
    assert rate.wait() == 2  # 20 and 30
    assert rate.misses == 2


def test_restart_forgets_what_was_missed():
    clock = FakeClock()
    rate = Rate(clock, PERIOD)
    clock.spend(100)
    rate.wait()
    rate.restart()
    assert (rate.ticks, rate.misses, rate.late_ns) == (0, 0, 0)
    assert rate.wait() == 1
    assert clock.slept_until_ns == [110]


def test_a_period_must_be_positive():
    with pytest.raises(ValueError, match="allowed"):
        Rate(FakeClock(), 0)


def test_virtual_time_moves_only_forward_until_a_restart():
    clock = VirtualClock()
    clock.advance_to(50)
    clock.advance_to(20)
    assert clock.now_ns() == 50
    clock.sleep_until(60)
    assert clock.now_ns() == 60
    clock.restart()
    assert clock.now_ns() == 0


def test_the_monotonic_clock_never_wakes_before_the_deadline():
    clock = MonotonicClock()
    for _ in range(5):
        deadline = clock.now_ns() + 2_000_000
        clock.sleep_until(deadline)
        assert clock.now_ns() >= deadline
    clock.sleep_until(clock.now_ns() - 1_000_000_000)  # a past deadline returns at once
