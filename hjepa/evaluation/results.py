"""What is kept of each played stroke, and its CSV form. numpy only, so that the viewer and tests read it cheaply."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from hjepa.errors import DataError
from hjepa.types import Alarm, Array

Point = tuple[float, float]
NAN = math.nan
NOWHERE: Point = (NAN, NAN)


@dataclass(frozen=True)
class StrokeResult:
    """One stroke. Points are (x, y) on the floor in the world frame, m; times count from the shuttle's launch."""

    id: str
    match: str = ""  # of the real stroke; cluster of the bootstrap
    seed: int = 0  # training seed of the weights, crossed with the match
    feed_type: str = "unknown"  # type of the incoming stroke
    start: str = (
        "receiver"  # receiver: where the real one stood (or an oracle run); carried: where the last stroke ended
    )
    feasible: bool = True  # an oracle with perfect state returns it to one of the fixed targets
    hit: bool = False
    returned: bool = False
    fault: str = ""
    commanded_type: str = ""  # '' where the agent names none
    realised_type: str = ""  # re-classified from the flight; '' without a hit
    target_xy_m: Point = NOWHERE  # committed: frozen at the first low-level plan
    predicted_xy_m: Point = NOWHERE  # what the last plan expected
    landing_xy_m: Point = NOWHERE
    contact_s: float = NAN
    landing_s: float = NAN
    racket_speed_m_s: float = NAN
    effort_j: float = NAN
    plan_ms_low: tuple[float, ...] = ()  # every decision, first ones included
    plan_ms_high: tuple[float, ...] = ()
    candidates: float = 0.0  # scored per low-level decision, mean
    mflop: float = 0.0  # spent per low-level decision, mean
    deadline_misses: int = 0

    @property
    def landing_error_m(self) -> float:
        """Distance of the landing to the committed target; nan without a hit, a landing or a target."""
        return math.dist(self.landing_xy_m, self.target_xy_m) if self.hit else NAN

    @property
    def plan_ms(self) -> float:
        """Slowest low-level plan of the stroke; nan where nothing was planned."""
        return max(self.plan_ms_low, default=NAN)


class Recording(NamedTuple):
    """A stroke as it was played, for the film. T instants, J joints."""

    times_s: Array  # (T,) from the launch
    q_rad: Array  # (T, J)
    shuttle_m: Array  # (T, 3)
    alarms: tuple[Alarm, ...] = ()  # every look of a low level that watches, in order


class Played(NamedTuple):
    """One stroke: its figures, and its recording where one was asked for."""

    result: StrokeResult
    recording: Recording | None = None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _columns(result: StrokeResult) -> dict[str, str]:
    """One CSV row: points become two columns, lists of times their largest."""
    row: dict[str, str] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if field.name.endswith("_xy_m"):
            stem = field.name.removesuffix("_xy_m")
            row[f"{stem}_x_m"], row[f"{stem}_y_m"] = _cell(value[0]), _cell(value[1])
        elif field.name.startswith("plan_ms_"):
            row[f"{field.name}_max"] = _cell(max(value, default=NAN))
        else:
            row[field.name] = _cell(value)
    row["landing_error_m"] = _cell(result.landing_error_m)
    return row


def write_csv(path: Path, results: Sequence[StrokeResult]) -> None:
    """One row per stroke; an empty cell where there is no value."""
    header = list(_columns(StrokeResult(id="")))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(_columns(result) for result in results)


def read_csv(path: Path) -> list[StrokeResult]:
    """What `write_csv` wrote; of a stroke's plan times only the largest is there. DataError for another file."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(_columns(StrokeResult(id=""))) - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"'{path}' has no column {min(missing)}; allowed: what `hjepa demo` writes as strokes.csv")
        return [_result(row) for row in reader]


def _result(row: dict[str, str]) -> StrokeResult:
    values: dict[str, Any] = {}
    for field in fields(StrokeResult):
        stem = field.name.removesuffix("_xy_m")
        if field.name.endswith("_xy_m"):
            values[field.name] = (_number(row[f"{stem}_x_m"]), _number(row[f"{stem}_y_m"]))
        elif field.name.startswith("plan_ms_"):
            most = _number(row[f"{field.name}_max"])
            values[field.name] = () if math.isnan(most) else (most,)
        elif isinstance(field.default, bool):
            values[field.name] = row[field.name] == "1"
        elif isinstance(field.default, (int, float)):
            values[field.name] = type(field.default)(_number(row[field.name]))
        else:
            values[field.name] = row[field.name]
    return StrokeResult(**values)


def _number(text: str) -> float:
    return float(text) if text else NAN
