"""The replay driver. Run: pytest tests/unit/test_replay.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import CommandError, DataError, RobotError
from hjepa.types import NS, JointTrajectory, Observation
from robots.replay import Recording, ReplayDriver, load_recording, of_observations, recording, save_recording
from robots.spec import load_spec
from robots.trackers import nothing_seen

SPEC = load_spec("panda")
MS = NS // 1000


class Clock:
    """Time as the test says it."""

    def __init__(self) -> None:
        self.ns = 100 * NS

    def __call__(self) -> int:
        return self.ns


def made(n: int = 5) -> Recording:
    """Joint 1 at 0, 0.1, 0.2 ... every 10 ms, stamps from 7 s on."""
    seen = []
    for k in range(n):
        stamp = 7 * NS + 10 * MS * k
        q = SPEC.q_home_rad + 0.1 * k * (np.arange(7) == 0)
        seen.append(Observation(stamp, q, np.full(7, float(k)), *nothing_seen(stamp)))
    return of_observations(seen)


def test_observations_come_back_in_their_time_on_today_s_clock() -> None:
    clock = Clock()
    with ReplayDriver(SPEC, made(), clock_ns=clock) as driver:
        for k, late in [(0, 0), (1, 3), (3, 9)]:
            clock.ns = 100 * NS + (10 * k + late) * MS
            seen = driver.observe()
            assert seen.stamp_ns == 100 * NS + 10 * MS * k
            assert seen.tracker_stamp_ns[-1] == seen.stamp_ns
            np.testing.assert_array_equal(seen.dq_rad_s, k)


def test_at_its_end_it_stays_where_it_is() -> None:
    clock = Clock()
    with ReplayDriver(SPEC, made(), clock_ns=clock) as driver:
        clock.ns += 45 * MS
        assert not driver.done
        clock.ns += NS
        assert driver.done
        np.testing.assert_array_equal(driver.observe().dq_rad_s, 4)


def test_in_a_loop_it_begins_again_and_stamps_go_on() -> None:
    clock = Clock()
    with ReplayDriver(SPEC, made(), loop=True, clock_ns=clock) as driver:
        values, stamps = [], []
        for _ in range(12):
            seen = driver.observe()
            values.append(float(seen.dq_rad_s[0]))
            stamps.append(seen.stamp_ns)
            clock.ns += 10 * MS
        assert values == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
        assert np.diff(stamps).tolist() == [10 * MS] * 11
        assert not driver.done


def test_what_was_sent_is_kept_clipped_and_with_its_time() -> None:
    clock = Clock()
    with ReplayDriver(SPEC, made(), clock_ns=clock) as driver:
        wild = JointTrajectory(clock.ns, 0.01, np.full((3, 7), 99.0), np.zeros((3, 7)), NS)
        with pytest.raises(CommandError, match="held"):
            driver.send(wild)
        driver.rearm()
        followed = driver.send(wild)
        followed.q_rad[...] = 0.0
        assert [entry.stamp_ns for entry in driver.sent] == [clock.ns]
        np.testing.assert_array_equal(driver.sent[0].command.q_rad, np.tile(SPEC.q_max_rad, (3, 1)))


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    save_recording(tmp_path / "run.npz", made())
    for got, want in zip(load_recording(tmp_path / "run.npz"), made(), strict=True):
        np.testing.assert_array_equal(got, want)
    with ReplayDriver(SPEC, tmp_path / "run.npz") as driver:
        np.testing.assert_array_equal(driver.observe().dq_rad_s, 0)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    arrays = {name: np.array([object()], dtype=object) for name in Recording._fields}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match="damaged"):
        load_recording(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("q_rad", np.full((5, 7), np.nan), "not finite"),
        ("dq_rad_s", np.zeros((4, 7)), "shape"),
        ("tracker_mask", np.zeros((5, 3), dtype=bool), "shape"),
        ("stamp_ns", np.array([0, 1, 1, 2, 3]), "does not rise at row 2"),
        ("stamp_ns", np.zeros(0, dtype=np.int64), "shape"),
    ],
)
def test_a_recording_that_makes_no_sense_is_refused(field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recording({**made()._asdict(), field: value})


def test_a_lacking_array_is_named() -> None:
    with pytest.raises(DataError, match="lacks q_rad"):
        recording({name: array for name, array in made()._asdict().items() if name != "q_rad"})


def test_a_recording_of_another_robot_is_refused() -> None:
    with pytest.raises(RobotError, match="7 joints; allowed: 8 for courtbot"):
        ReplayDriver(load_spec("courtbot"), made()).connect()
