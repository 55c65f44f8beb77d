"""Drivers by name. A driver's module, and with it its SDK or simulator, is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

from hjepa.errors import RobotError, nearest
from hjepa.protocols import Driver
from robots.spec import load_spec, slowed


class Entry(NamedTuple):
    """A driver: where it is, what it needs, and the robots it is tried with."""

    path: str  # "module:Class"
    extra: str = ""  # pip extra that brings what it imports
    modules: tuple[str, ...] = ()  # what the extra brings
    robot: str = "courtbot"  # unless another is asked for
    others: tuple[str, ...] = ()

    @property
    def robots(self) -> tuple[str, ...]:
        """Every robot that the contract suite tries it with."""
        return (self.robot, *self.others)

    @property
    def remedy(self) -> str:
        """How to install what it needs."""
        return f"pip install 'hjepa[{self.extra}]'" if self.extra else "a complete installation"

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and is not installed."""
        return tuple(name for name in self.modules if find_spec(name) is None)

    @property
    def real(self) -> bool:
        """Whether it moves a machine."""
        return self.path.startswith("robots.real.")


DRIVERS = {
    "fake": Entry("robots.fake:FakeDriver"),
    "ideal": Entry("robots.ideal:IdealRobot"),
    "replay": Entry("robots.replay:ReplayDriver"),
    "pybullet": Entry("robots.sim.court:CourtWorld", "sim", ("pybullet",)),
    "mujoco": Entry("robots.sim.mujoco_court:MujocoCourt", "mujoco", ("mujoco",)),
    "servo": Entry("robots.real.servo_arm:ServoArm", "servo", ("serial", "dynamixel_sdk"), "so101"),
    "pybullet-arm": Entry("robots.sim.arm:ArmWorld", "sim", ("pybullet",), "panda", ("iiwa",)),
    "pybullet-arm-realtime": Entry("robots.sim.arm:ArmDriver", "sim", ("pybullet",), "panda"),
    "udp": Entry("robots.real.udp:UdpRobot", robot="panda"),
    "ur": Entry("robots.real.ur:UrRobot", robot="ur5e"),
    "franka": Entry("robots.real.franka:FrankaRobot", "franka", ("pylibfranka",), "panda"),
}


def entry(name: str) -> Entry:
    """What the catalogue knows of a driver; RobotError lists the known names."""
    if name not in DRIVERS:
        raise RobotError(f"unknown driver '{name}': {nearest(name, DRIVERS)}")
    return DRIVERS[name]


def driver_class(name: str) -> type[Any]:
    """Class of a driver; RobotError lists the known names, or says what is not installed."""
    known = entry(name)
    module, _, attribute = known.path.partition(":")
    try:
        return cast("type[Any]", getattr(import_module(module), attribute))
    except ModuleNotFoundError as missing:
        raise RobotError(f"driver '{name}' needs the module '{missing.name}'; allowed: {known.remedy}") from missing


def make_driver(name: str, robot: str | None = None, *, speed_share: float = 1.0, **options: Any) -> Driver:
    """A driver, not connected yet, for a robot of robots/descriptions (None: the one it is tried with).

    speed_share: of its speed and acceleration limits; options go to its constructor.
    """
    spec = slowed(load_spec(robot or entry(name).robot), speed_share)
    return cast("Driver", driver_class(name)(spec, **options))
