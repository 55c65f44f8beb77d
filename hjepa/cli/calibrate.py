"""hjepa calibrate: where the tracker stands, from points measured with the robot or on the court."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hjepa.cli import files, options, quick
from hjepa.cli.robots import check_present, driver_options
from hjepa.errors import ConfigError
from hjepa.tasks.badminton import court
from robots.calibration_file import Calibration, Frame, PointsFile, read_points, solve, write_calibration, write_points

SPEED = 0.1  # of the robot's limits, while it moves from pose to pose
PLACES = {
    f"{end}-{side}": (x, y, 0.0)
    for end, x in (("near", -court.HALF_LENGTH_M), ("net", 0.0), ("far", court.HALF_LENGTH_M))
    for side, y in (("left", court.HALF_DOUBLES_M), ("right", -court.HALF_DOUBLES_M))
}
"""Outer corners of the doubles lines by name, as the robot sees them, and where they meet the net's plane; m."""


def calibrate(
    points_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Points measured before, .yaml or .csv; without it they are measured now."
        ),
    ] = None,
    driver: Annotated[str | None, typer.Option("--driver", metavar="NAME", help="Measure with this driver.")] = None,
    robot: options.RobotOrFile = None,
    tracker: options.Tracker = None,
    points: Annotated[int, typer.Option("--points", min=4, help="Poses to measure.")] = 12,
    speed: Annotated[float, typer.Option("--speed", min=0.001, max=1.0, help="Share of the robot's limits.")] = SPEED,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The result.")] = Path("calibration.yaml"),
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE.yaml", help="Also write the points measured now.")
    ] = None,
    worst_mm: Annotated[float, typer.Option("--worst-mm", min=0.001, help="Largest residual (rms) accepted.")] = 20.0,
    small: quick.Quick = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the poses.")] = 0,
    present: options.Present = False,
    sets: options.DriverSets = None,
    tracker_sets: options.TrackerSets = None,
) -> None:
    """Find where the tracker stands: T_world_tracker, with residuals; drivers and trackers read the file written.

    A point tells where the tracker saw its marker, and either the joints (the marker is on the robot's tool) or a place
    on the court (near-left, net-right, ...). Sets of points that cannot fix a frame are refused.
    """
    files.check_file(out)
    if keep is not None:
        files.check_file(keep)
    if (points_file is None) == (driver is None):
        raise ConfigError("give either a FILE of points or --driver NAME to measure them now")
    if points_file is not None:
        measured = read_points(points_file)
    else:
        assert driver is not None
        check_present(driver, present, "calibrate")
        measured = _measure(
            driver,
            robot,
            tracker,
            quick.POSES if small else points,
            speed,
            seed,
            driver_options(sets),
            driver_options(tracker_sets),
        )
    if keep is not None:
        write_points(keep, measured)
        typer.echo(f"written: {keep}")
    from robots.spec import load_spec

    name = robot or measured.robot
    made = solve(measured, load_spec(name) if name else None, PLACES, worst_m=worst_mm / 1e3)
    write_calibration(out, made)
    _tell(made)
    typer.echo(f"written: {out}")


def _measure(
    driver: str, robot: str | None, tracker: str | None, points: int, speed: float, seed: int,
    driver_set: dict[str, Any], tracker_set: dict[str, Any],
) -> PointsFile:  # fmt: skip
    """Move from pose to pose and look at the marker."""
    from robots.capture import CaptureConfig, capture
    from robots.catalog import make_driver, make_tracker, robot_of
    from robots.moves import armed

    eye = make_tracker(tracker, **tracker_set) if tracker else None
    made = make_driver(driver, robot, speed_share=speed, **driver_set)

    def said(done: int, wanted: int, what: str) -> None:
        typer.echo(f"point {done} of {wanted}{': ' + what if what else ''}")

    if eye is not None:
        eye.connect()
    try:
        got = tuple(capture(armed(made), CaptureConfig(points=points, seed=seed), eye, said))
    finally:
        made.close()
        if eye is not None:
            eye.close()
    return PointsFile(robot=robot or robot_of(driver), points=got)


def _tell(made: Calibration) -> None:
    for label, frame in (
        ("tracker in the robot's world", made.world_tracker),
        ("tracker on the court", made.court_tracker),
    ):
        if frame is not None:
            typer.echo(f"{label}: {_said(frame)}")
    if made.court_world is not None:
        x, y, z = (row[3] for row in made.court_world[:3])
        typer.echo(f"the robot's world on the court: origin at {x:.3f} {y:.3f} {z:.3f} m")


def _said(frame: Frame) -> str:
    aside = f"; set aside: {', '.join(frame.set_aside)}" if frame.set_aside else ""
    doubt = max(frame.sigma_mm)
    return (
        f"{frame.used} of {frame.points} points, residual {frame.rms_mm:.2f} mm rms, {frame.worst_mm:.2f} mm at most, "
        f"place known to {doubt:.2f} mm{aside}"
    )
