"""Drivers and trackers by name: ours, and those that installed packages bring (entry points, see hjepa.plugins).

A driver's module, and with it its SDK or simulator, is imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

from hjepa.errors import PluginError, RobotError, nearest
from hjepa.plugins import Plugin, found
from hjepa.protocols import Driver, Tracker
from robots.calibration_file import read_calibration
from robots.description import robots, shipped
from robots.spec import load_spec, slowed
from robots.trackers import Calibrated


class Entry(NamedTuple):
    """A driver: where it is, what it needs, and the robots it is tried with."""

    path: str  # "module:Class"
    extra: str = ""  # pip extra that brings what it imports
    modules: tuple[str, ...] = ()  # what the extra brings
    robot: str = "courtbot"  # unless another is asked for
    others: tuple[str, ...] = ()
    package: str = ""  # that brings it; empty: hjepa

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
        """Whether it is one of ours that moves a machine; of any driver `moves_machine` tells."""
        return self.path.startswith("robots.real.")


DRIVERS = {
    "fake": Entry("robots.fake:FakeDriver"),
    "ideal": Entry("robots.ideal:IdealRobot"),
    "replay": Entry("robots.replay:ReplayDriver"),
    "pybullet": Entry("robots.sim.court:CourtWorld", "sim", ("pybullet",)),
    "mujoco": Entry("robots.sim.mujoco_court:MujocoCourt", "mujoco", ("mujoco",)),
    "servo": Entry("robots.real.servo_arm:ServoArm", "servo", ("serial", "dynamixel_sdk"), "so101"),
    "pybullet-arm": Entry("robots.sim.arm:ArmWorld", "sim", ("pybullet",), "panda", ("iiwa",)),
    "pybullet-reach": Entry("robots.sim.reach:ReachWorld", "sim", ("pybullet",), "panda"),
    "pybullet-arm-realtime": Entry("robots.sim.arm:ArmDriver", "sim", ("pybullet",), "panda"),
    "udp": Entry("robots.real.udp:UdpRobot", robot="panda"),
    "ur": Entry("robots.real.ur:UrRobot", robot="ur5e"),
    "franka": Entry("robots.real.franka:FrankaRobot", "franka", ("pylibfranka",), "panda"),
}


TRACKERS = {"udp": "robots.udp_tracker:UdpTracker"}
_VERBS = ("connect", "observe", "send", "hold", "close")


def drivers() -> dict[str, Entry]:
    """Every driver by name: ours first, then those of installed packages."""
    plugins = found("hjepa.robots", DRIVERS).plugins
    return DRIVERS | {name: _entry_of(plugin) for name, plugin in plugins.items()}


def clashes() -> list[str]:
    """What installed packages bring under a name that they cannot have, a line each."""
    groups = {"hjepa.robots": set(DRIVERS), "hjepa.descriptions": set(shipped()), "hjepa.trackers": set(TRACKERS)}
    return [line for group, own in groups.items() for line in found(group, own).clashes.values()]


def entry(name: str) -> Entry:
    """What the catalogue knows of a driver; RobotError lists the known names."""
    if name in DRIVERS:
        return DRIVERS[name]
    plugin = found("hjepa.robots", DRIVERS).get(name)
    if plugin is None:
        raise RobotError(f"unknown driver '{name}': {nearest(name, drivers())}")
    return _entry_of(plugin)


def driver_class(name: str) -> type[Any]:
    """Class of a driver; RobotError lists the known names, or says what is not installed; PluginError: a broken one."""
    known = entry(name)
    if known.package:
        return _plugin_class(name)
    module, _, attribute = known.path.partition(":")
    try:
        return cast("type[Any]", getattr(import_module(module), attribute))
    except ModuleNotFoundError as missing:
        raise RobotError(f"driver '{name}' needs the module '{missing.name}'; allowed: {known.remedy}") from missing


def moves_machine(name: str) -> bool:
    """Whether a driver moves a machine. One of another package does, unless it is a world or says otherwise
    (`moves_machine = False` in its class)."""
    known = entry(name)
    if not known.package:
        return known.real
    made = driver_class(name)
    return bool(getattr(made, "moves_machine", not hasattr(made, "tick")))


def make_driver(name: str, robot: str | None = None, *, speed_share: float = 1.0, **options: Any) -> Driver:
    """A driver, not connected yet, for a robot by name or description file (None: the one it is tried with).

    speed_share: of its speed and acceleration limits; options go to its constructor.
    """
    spec = slowed(load_spec(robot or robot_of(name)), speed_share)
    return cast("Driver", driver_class(name)(spec, **options))


def robot_of(name: str) -> str:
    """The robot that a driver is tried with; RobotError where its package describes none."""
    known = entry(name)
    if not known.robot:
        raise RobotError(
            f"driver '{name}' of package {known.package} comes without a robot; allowed: --robot NAME or FILE.yaml, "
            "or a description in the package (entry point group hjepa.descriptions)"
        )
    return known.robot


def make_tracker(name: str, *, calibration: str | Path | None = None, **options: Any) -> Tracker:
    """A tracker, not connected yet; RobotError lists the known names.

    calibration: a file of `hjepa calibrate`; what the tracker sees is then told in the robot's world.
    """
    made = cast("Tracker", _tracker_maker(name)(**options))
    return made if calibration is None else Calibrated(made, read_calibration(Path(calibration)).T_world_tracker)


def _tracker_maker(name: str) -> Any:
    if name in TRACKERS:
        module, _, attribute = TRACKERS[name].partition(":")
        return getattr(import_module(module), attribute)
    plugins = found("hjepa.trackers", TRACKERS)
    plugin = plugins.get(name)
    if plugin is None:
        raise RobotError(f"unknown tracker '{name}': {nearest(name, {*TRACKERS, *plugins.plugins})}")
    return plugin.load()


def _entry_of(plugin: Plugin) -> Entry:
    """A package's driver is tried with the robot of its own name, else with every robot that the package describes."""
    mine = [name for name, package in robots().items() if package == plugin.package]
    tried = [plugin.name] if plugin.name in mine else mine
    return Entry(plugin.value, robot=tried[0] if tried else "", others=tuple(tried[1:]), package=plugin.package)


def _plugin_class(name: str) -> type[Any]:
    plugin = found("hjepa.robots", DRIVERS).get(name)
    assert plugin is not None  # `entry` has found it
    made = plugin.load()
    lacking = [verb for verb in _VERBS if not callable(getattr(made, verb, None))]
    if not isinstance(made, type) or lacking:
        what = f"lacks {', '.join(lacking)}" if lacking else "is no class"
        raise PluginError(f"{plugin.title} ({plugin.value}) {what}; allowed: a class as hjepa.protocols.Driver has it")
    return made
