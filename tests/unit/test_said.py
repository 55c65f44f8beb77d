"""Figures in words: pytest tests/unit/test_said.py."""

from hjepa.evaluation.metrics import Interval
from hjepa.insight.sense.said import percent, shown


def test_a_figure_is_said_with_its_interval_whether_it_comes_from_json_or_not() -> None:
    assert shown(Interval(1.234, -0.5, 2.0), 2) == "1.23 (-0.50 to 2.00)"
    assert shown({"value": 0.05, "lo": -0.01, "hi": 0.1, "count": 3}, 1, 100.0, signed=True) == "+5.0 (-1.0 to +10.0)"
    half = {"value": 0.5, "lo": 0.25, "hi": 0.75}
    assert percent(half) == percent(Interval(**half)) == "50.0 % (25.0 to 75.0)"
