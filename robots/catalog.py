"""Drivers by name. A driver's module, and with it its SDK or simulator, is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from hjepa.errors import RobotError, nearest
from hjepa.protocols import Driver
from robots.spec import load_spec

DRIVERS = {
    "fake": "robots.fake:FakeDriver",
    "ideal": "robots.ideal:IdealRobot",
    "pybullet": "robots.sim.court:CourtWorld",
}
_EXTRA = {"pybullet": "sim"}  # which extra brings what a driver imports


def driver_class(name: str) -> type[Any]:
    """Class of a driver; RobotError lists the known names, or says what is not installed."""
    if name not in DRIVERS:
        raise RobotError(f"unknown driver '{name}': {nearest(name, DRIVERS)}")
    module, _, attribute = DRIVERS[name].partition(":")
    try:
        return cast("type[Any]", getattr(import_module(module), attribute))
    except ModuleNotFoundError as missing:
        extra = _EXTRA.get(name)
        remedy = f"pip install 'hjepa[{extra}]'" if extra else "a complete installation"
        raise RobotError(f"driver '{name}' needs the module '{missing.name}'; allowed: {remedy}") from missing


def make_driver(name: str, robot: str = "courtbot", **options: Any) -> Driver:
    """A driver, not connected yet, for a robot of robots/descriptions; options go to its constructor."""
    return cast("Driver", driver_class(name)(load_spec(robot), **options))
