"""A driver together with the emulator it talks to, by the driver's name.

    with emulated("servo", load_spec("so101")) as driver, driver:
        driver.observe()

A rig is a function (spec, **options) that returns a context manager: inside it the emulator runs, and what it yields is
a driver, not connected yet. A new one is added to RIGS, or brought by an installed package (entry point group
hjepa.emulators, named as its driver).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, cast

from hjepa.errors import RobotError, nearest
from hjepa.plugins import found
from hjepa.protocols import Driver
from hjepa.types import RobotSpec

RIGS: dict[str, str] = {
    "servo": "robots.emulators.servo_rig:emulated_servos",
    "udp": "robots.emulators.net_rigs:emulated_udp",
    "ur": "robots.emulators.net_rigs:emulated_ur",
}


def has_rig(name: str) -> bool:
    """Whether there is an emulator for the named driver."""
    return name in RIGS or name in found("hjepa.emulators", RIGS).plugins


def emulated(name: str, spec: RobotSpec, **options: Any) -> AbstractContextManager[Driver]:
    """Context manager that yields the named driver, to be connected to its emulator; RobotError lists the names."""
    if name in RIGS:
        module, _, function = RIGS[name].partition(":")
        rig = getattr(import_module(module), function)
    else:
        plugins = found("hjepa.emulators", RIGS)
        plugin = plugins.get(name)
        if plugin is None:
            raise RobotError(f"no emulator for driver '{name}': {nearest(name, {*RIGS, *plugins.plugins})}")
        rig = plugin.load()
    return cast("AbstractContextManager[Driver]", rig(spec, **options))
