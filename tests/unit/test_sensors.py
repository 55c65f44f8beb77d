"""pytest tests/unit/test_sensors.py: a tracker that sees nothing for a while."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hjepa.errors import RobotError
from hjepa.types import Observation
from robots.sensors import SensorConfig, Sensors

NOISY = SensorConfig(0.010, 0.0, 0.1, 1e-4, 2e-3)
J = 2


def watched(config: SensorConfig, slots: int = 60) -> Observation:
    """The last observation of a target that moves 1 cm a slot along x."""
    sensors = Sensors(config, J, slots, np.random.default_rng(3))
    for slot in range(slots):
        seen = sensors.observe(slot, (0.01 * slot, 0.0, 1.0), np.zeros(J), np.zeros(J))
    return seen


def slots_of(seen: Observation) -> NDArray[np.int64]:
    return np.round(seen.tracker_stamp_ns / 1e7).astype(np.int64)


def test_a_hidden_span_hides_its_first_slot_and_not_the_one_at_its_end() -> None:
    seen = watched(SensorConfig(0.0, 0.0, 0.0, 0.0, 0.0, hidden=((0.07, 0.29), (0.40, 0.41))))
    slots = slots_of(seen)
    hidden = ((slots >= 7) & (slots < 29)) | (slots == 40)
    np.testing.assert_array_equal(seen.tracker_mask, (slots >= 0) & ~hidden)
    assert not seen.tracker_xyz_m[hidden].any()


def test_what_is_hidden_changes_nothing_else_of_the_episode() -> None:
    plain, hidden = watched(NOISY), watched(NOISY._replace(hidden=((0.1, 0.3),)))
    slots = slots_of(plain)
    inside = (slots >= 10) & (slots < 30)
    np.testing.assert_array_equal(hidden.tracker_mask, plain.tracker_mask & ~inside)
    np.testing.assert_array_equal(hidden.tracker_xyz_m[~inside], plain.tracker_xyz_m[~inside])
    np.testing.assert_array_equal(hidden.q_rad, plain.q_rad)


@pytest.mark.parametrize(
    "spans", [((0.3, 0.1),), ((0.3, 0.5), (0.4, 0.6)), ((0.5, 0.6), (0.1, 0.2)), ((-0.1, 0.2),), ((0.1, np.nan),)]
)
def test_spans_that_are_not_in_order_and_apart_are_refused(spans: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(RobotError, match=r"hidden is .*allowed: spans \(from, to\) in s"):
        watched(NOISY._replace(hidden=spans))
