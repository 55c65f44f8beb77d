"""Runs the contract (robots/clauses.py) on a driver: the test suite does it, and `hjepa robots check NAME`.

for result in checks(lambda: closing(MyDriver(spec)), kind_of(MyDriver)):
    ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Any, NamedTuple

from hjepa.errors import RobotError
from hjepa.protocols import Driver
from robots.bench import Bench, Kind, kind_of
from robots.catalog import driver_class, entry, moves_machine, robot_of
from robots.clauses import Clause, clauses
from robots.emulators.rig import emulated, has_rig
from robots.spec import load_spec, slowed

Make = Callable[[], AbstractContextManager[Driver]]
"""Makes a driver that is not connected; leaving the context ends it, and the emulator behind it if there is one."""
HARDWARE_SHARE = 0.1  # of the speed and acceleration limits, which the guard then enforces


class Result(NamedTuple):
    """How a clause went."""

    clause: str
    passed: bool
    message: str  # empty, or why not
    seconds: float


def try_clause(clause: Clause, make: Make, kind: Kind) -> None:
    """Try one clause on a new driver; raises whatever is wrong."""
    with make() as driver:
        bench = Bench(driver, kind)
        try:
            clause.test(bench if clause.fresh else bench.connect())
        finally:
            driver.close()


def checks(make: Make, kind: Kind, *, hardware: bool = False) -> Iterator[Result]:
    """The clauses that fit this kind of driver, one result each, in order; on hardware the tame ones.

    Test motions use half of the speed and acceleration limits of the driver's spec: give hardware a slowed one.
    """
    for clause in clauses(kind, hardware):
        begun = time.monotonic()
        message = ""
        try:
            try_clause(clause, make, kind)
        except Exception as error:  # noqa: BLE001  whatever a driver raises is the finding
            message = f"{type(error).__name__}: {error}"
        yield Result(clause.name, not message, message, time.monotonic() - begun)


def maker(name: str, robot: str | None = None, *, hardware: bool = False, **options: Any) -> tuple[Make, Kind]:
    """How a driver of the catalogue is made for a check, and its kind.

    A driver of a real robot is made with its emulator, unless `hardware`: the machine at a tenth of its limits.
    RobotError: no such driver, not installed, or a real robot without an emulator.
    """
    known = entry(name)
    spec = slowed(load_spec(robot or robot_of(name)), HARDWARE_SHARE if hardware else 1.0)
    made = driver_class(name)
    if known.missing:
        raise RobotError(f"driver '{name}' needs the module '{known.missing[0]}'; allowed: {known.remedy}")
    kind = kind_of(made)
    if has_rig(name) and not hardware:
        return lambda: emulated(name, spec, **options), kind
    if moves_machine(name) and not hardware:
        raise RobotError(f"driver '{name}' has no emulator; allowed: --hardware, with a person present")
    return lambda: closing(made(spec, **options)), kind
