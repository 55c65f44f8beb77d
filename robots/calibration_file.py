"""Files of a calibration: the points that were measured, and the frames that came out.

Points, as YAML (`PointsFile`) or CSV. A row tells where the tracker saw its marker, and where the marker was: at the
robot's tool, with the joints (q, one number per joint), or at a place whose coordinates are known (at: x, y, z or a
name such as near-left).

    name,x,y,z,sigma_m,q1,q2,at          CSV: q1..qJ in the robot's order; `at` holds a name, or at_x,at_y,at_z
    p1,0.412,0.031,0.655,0.001,0.2,0.7,

The result, `calibration.yaml`, is written whole or not at all. Lengths in m, residuals in mm.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from hjepa.errors import ConfigError, DataError, nearest
from hjepa.tasks.kinematics import joint_frames
from hjepa.typed_yaml import Problems, Section, key, read
from hjepa.types import Array, RobotSpec
from robots.calibration import SIGMA_M, Fit, apply, fit, inverse

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
_ORTHOGONAL = 1e-6


class Point(Section):
    """One measurement of the marker."""

    name: str = key("", "for messages")
    tracker: Vector = key(..., "where the tracker saw it (m, its own frame)")
    sigma_m: float = key(SIGMA_M, "standard deviation of that, per axis", gt=0)
    covariance_m2: tuple[float, float, float, float, float, float] | None = key(None, "instead: xx, yy, zz, xy, xz, yz")
    q: tuple[float, ...] | None = key(None, "the marker is at the robot's tool, the joints are here (rad or m)")
    at: Vector | str | None = key(None, "or it touches this place: x, y, z (m), or a name")


class PointsFile(Section):
    """What was measured."""

    robot: str = key("", "by name or description file; needed where joints are given")
    marker_m: Vector = key((0.0, 0.0, 0.0), "where the marker is in the tool's frame (m)")
    points: tuple[Point, ...] = key(..., "at least 4 of a kind, not on one line", min_length=1)


class Frame(Section):
    """One frame in another, and how well it is known."""

    T: tuple[Row, Row, Row, Row] = key(..., "rows of the transform; lengths in m")
    points: int = key(..., "measured", ge=0)
    used: int = key(..., "of these; the others did not fit", ge=0)
    rms_mm: float = key(..., "root mean square residual of those used", ge=0)
    worst_mm: float = key(..., "largest one", ge=0)
    sigma_mm: Vector = key(..., "doubt about the place, at the middle of the points")
    sigma_mrad: Vector = key(..., "doubt about the direction, about each axis")
    residuals_mm: dict[str, float] = key(..., "of every point")
    set_aside: tuple[str, ...] = key((), "points that did not fit")


class Calibration(Section):
    """The content of calibration.yaml. World: the frame in which the robot's description begins."""

    made: str = key(..., "date and time (UTC)")
    robot: str = key("", "whose joints were read")
    world_tracker: Frame | None = key(None, "the tracker in the robot's world")
    court_tracker: Frame | None = key(None, "the tracker on the court")
    court_world: tuple[Row, Row, Row, Row] | None = key(None, "the robot's world on the court, from both")

    @property
    def T_world_tracker(self) -> Array:
        """What a tracker's points are moved by (4, 4): into the robot's world, else onto the court."""
        frame = self.world_tracker or self.court_tracker
        if frame is None:
            raise DataError("the calibration holds no frame; allowed: one of `hjepa calibrate`")
        return np.array(frame.T)


class Sets(NamedTuple):
    """Points in both frames, of one kind."""

    names: tuple[str, ...]
    source_m: Array  # (N, 3) tracker
    target_m: Array  # (N, 3)
    covariance_m2: Array  # (N, 3, 3)


def read_points(path: Path) -> PointsFile:
    """Points of a .csv or .yaml file; ConfigError or DataError with file, line and key of what is wrong."""
    if path.suffix == ".csv":
        return _read_csv(path)
    return read(PointsFile, path, check=_check_points)


def solve(
    measured: PointsFile,
    spec: RobotSpec | None = None,
    places: Mapping[str, Vector] = {},  # noqa: B006 (read only)
    worst_m: float = 0.02,
    made: datetime | None = None,
) -> Calibration:
    """The frames that the points fix. spec: needed where joints are given; places: names that points may be at.

    DataError in words where they fix none.
    """
    at_tool = [p for p in measured.points if p.q is not None]
    touched = [p for p in measured.points if p.at is not None]
    world = _frame(_of_tool(at_tool, measured, spec), "tool", worst_m) if at_tool else None
    court = _frame(_of_places(touched, places), "touched", worst_m) if touched else None
    court_world = None
    if world is not None and court is not None:
        court_world = _rows(np.array(court.T) @ inverse(np.array(world.T)))
    return Calibration(
        made=(made or datetime.now(UTC)).isoformat(timespec="seconds"),
        robot=spec.name if spec is not None and at_tool else "",
        world_tracker=world,
        court_tracker=court,
        court_world=court_world,
    )


def write_calibration(path: Path, made: Calibration) -> None:
    """Write the file in one step; DataError where it cannot be written."""
    values = {name: value for name, value in made.model_dump(mode="json").items() if value is not None}
    text = "# made by `hjepa calibrate`; T: rows of the transform in m\n"
    text += yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=118, allow_unicode=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{path}: {error.strerror}; give a file in a folder that can be written") from error


def write_points(path: Path, measured: PointsFile) -> None:
    """Write points as YAML, to be read again by `read_points`."""
    text = yaml.safe_dump(measured.model_dump(mode="json", exclude_none=True), sort_keys=False, default_flow_style=None)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_calibration(path: Path) -> Calibration:
    """What `write_calibration` wrote; ConfigError for a transform that is none."""
    if not path.is_file():
        raise ConfigError(f"no calibration '{path}': give a file of `hjepa calibrate`")
    return read(Calibration, path, check=_check_frames)


# points to pairs


def _of_tool(points: Sequence[Point], measured: PointsFile, spec: RobotSpec | None) -> Sets:
    if spec is None:
        raise DataError("points tell joints, and no robot is named; allowed: --robot NAME, or `robot:` in the file")
    for p in points:
        if p.q is None or len(p.q) != spec.joints:
            got = 0 if p.q is None else len(p.q)
            raise DataError(f"point '{p.name}' has {got} joints; allowed: {spec.joints} for {spec.name}")
    q = np.array([p.q for p in points], dtype=np.float64)
    T_world_tool = joint_frames(spec, q)[:, -1]  # (N, 4, 4)
    marker = np.array(measured.marker_m)
    target = np.stack([apply(T, marker) for T in T_world_tool])
    return Sets(*_sources(points)[:2], target, _sources(points)[2])


def _of_places(points: Sequence[Point], places: Mapping[str, Vector]) -> Sets:
    where = []
    for p in points:
        if isinstance(p.at, str) and p.at not in places:
            raise DataError(f"point '{p.name}' is at '{p.at}', an unknown place; {nearest(p.at, places)}, or x, y, z")
        where.append(places[p.at] if isinstance(p.at, str) else p.at)
    return Sets(*_sources(points)[:2], np.array(where, dtype=np.float64), _sources(points)[2])


def _sources(points: Sequence[Point]) -> tuple[tuple[str, ...], Array, Array]:
    names = tuple(p.name or f"{k + 1}" for k, p in enumerate(points))
    return names, np.array([p.tracker for p in points]), np.stack([_covariance(p) for p in points])


def _covariance(p: Point) -> Array:
    if p.covariance_m2 is None:
        return p.sigma_m**2 * np.eye(3)
    xx, yy, zz, xy, xz, yz = p.covariance_m2
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _frame(sets: Sets, what: str, worst_m: float) -> Frame:
    try:
        fitted = fit(sets.source_m, sets.target_m, sets.covariance_m2, worst_m=worst_m, names=sets.names)
    except DataError as error:
        raise DataError(f"{what} points: {error}") from error
    return _described(fitted, sets.names)


def _described(fitted: Fit, names: Sequence[str]) -> Frame:
    return Frame(
        T=_rows(fitted.T_target_source),
        points=len(names),
        used=int(fitted.used.sum()),
        rms_mm=round(1e3 * fitted.rms_m, 3),
        worst_mm=round(1e3 * fitted.worst_m, 3),
        sigma_mm=_three(1e3 * fitted.sigma_m),
        sigma_mrad=_three(1e3 * fitted.sigma_rad),
        residuals_mm={name: round(1e3 * float(r), 3) for name, r in zip(names, fitted.residual_m, strict=True)},
        set_aside=tuple(name for name, used in zip(names, fitted.used, strict=True) if not used),
    )


def _three(values: Array) -> Vector:
    x, y, z = (round(float(v), 4) for v in values)
    return x, y, z


def _rows(T: Array) -> tuple[Row, Row, Row, Row]:
    a, b, c, d = (tuple(float(v) for v in row) for row in T)
    return a, b, c, d  # type: ignore[return-value]


# checks and CSV


def _check_points(measured: PointsFile) -> Problems:
    names = [p.name for p in measured.points]
    for index, p in enumerate(measured.points):
        if (p.q is None) == (p.at is None):
            yield ("points", str(index)), "tells neither or both of q and at; allowed: one of them"
        if p.name and p.name in names[:index]:
            yield ("points", str(index), "name"), f"'{p.name}' is given twice"


def _check_frames(made: Calibration) -> Problems:
    for name in ("world_tracker", "court_tracker"):
        frame = getattr(made, name)
        if frame is None:
            continue
        T = np.array(frame.T)
        R = T[:3, :3]
        off = float(np.abs(R @ R.T - np.eye(3)).max())
        if off > _ORTHOGONAL or np.linalg.det(R) < 0 or (T[3] != [0, 0, 0, 1]).any():
            yield (name, "T"), "is no rigid transform; allowed: a rotation, a shift, and 0 0 0 1 below"


def _read_csv(path: Path) -> PointsFile:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error
    points = []
    for line, row in enumerate(rows, start=2):
        points.append(_csv_point({k: (v or "").strip() for k, v in row.items() if k}, f"{path}:{line}", line))
    if not points:
        raise DataError(f"{path}: no points; expected the header name,x,y,z,... and a row for each")
    made = PointsFile(points=tuple(points))
    for at, said in _check_points(made):
        raise DataError(f"{path}:{int(at[1]) + 2}: {said}")
    return made


def _csv_point(row: dict[str, str], where: str, line: int) -> Point:
    known = {"name", "x", "y", "z", "sigma_m", "at", "at_x", "at_y", "at_z"}
    joints = sorted((k for k in row if k[0] == "q" and k[1:].isdecimal()), key=lambda k: int(k[1:]))
    for column in row:
        if column not in known and column not in joints:
            raise DataError(f"{where}: unknown column '{column}'; {nearest(column, {*known, 'q1'})}, q2, ...")

    def number(column: str) -> float:
        try:
            value = float(row.get(column, ""))
        except ValueError as error:
            raise DataError(f"{where}: {column} is '{row.get(column, '')}'; allowed: a number") from error
        if not np.isfinite(value):
            raise DataError(f"{where}: {column} is {value}; allowed: a finite number")
        return value

    values: dict[str, Any] = {"name": row.get("name") or f"line {line}", "tracker": tuple(map(number, "xyz"))}
    if row.get("sigma_m"):
        values["sigma_m"] = number("sigma_m")
        if values["sigma_m"] <= 0:
            raise DataError(f"{where}: sigma_m is {values['sigma_m']}; allowed: more than 0")
    if any(row[k] for k in joints):
        values["q"] = tuple(map(number, joints))
    if row.get("at"):
        values["at"] = row["at"]
    elif row.get("at_x"):
        values["at"] = tuple(map(number, ("at_x", "at_y", "at_z")))
    return Point(**values)
