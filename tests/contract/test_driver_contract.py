"""One suite for every driver of the catalogue that can run without hardware, simulated, emulated or made up.

The clauses are robots/clauses.py, which `hjepa robots check NAME` runs as well; a new driver is tried as soon as it is
in the catalogue. Run: pytest tests/contract/test_driver_contract.py
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hjepa.errors import RobotError
from hjepa.protocols import Driver, World
from hjepa.types import Observation
from robots.bench import LAUNCH, Bench, kind_of
from robots.catalog import DRIVERS, driver_class, entry, make_driver
from robots.check import maker, try_clause
from robots.clauses import Clause, clauses
from robots.emulators.rig import RIGS
from robots.spec import load_spec


def cases() -> list[Any]:
    """A parameter set (driver, robot, clause) for everything there is to try, or one that says why a driver is not."""
    out: list[Any] = []
    for name, known in DRIVERS.items():
        marks = [pytest.mark.sim] if known.extra == "sim" else []
        why = f"needs {known.remedy}" if known.missing else ""
        if known.real and name not in RIGS:
            why = "moves a machine and has no emulator"
        if why:
            out.append(pytest.param(name, "", None, id=name, marks=[*marks, pytest.mark.skip(reason=why)]))
            continue
        for robot in known.robots:
            out += [
                pytest.param(name, robot, clause, id=f"{name}-{robot}-{clause.name.replace(' ', '_')}", marks=marks)
                for clause in clauses(kind_of(driver_class(name)))
            ]
    return out


@pytest.mark.parametrize(("name", "robot", "clause"), cases())
def test_driver_keeps_the_contract(name: str, robot: str, clause: Clause) -> None:
    try_clause(clause, *maker(name, robot))


INSTALLED = [name for name, known in DRIVERS.items() if not known.missing]
WORLDS = [name for name in INSTALLED if kind_of(driver_class(name)).world]


@pytest.mark.parametrize("name", INSTALLED)
def test_every_driver_is_one_by_its_protocol(name: str) -> None:
    made = make_driver(name)
    assert isinstance(made, Driver)
    assert isinstance(made, World) == kind_of(type(made)).referee


@pytest.mark.parametrize("name", WORLDS)
def test_two_instances_share_nothing(name: str) -> None:
    def episode(world: Any, other: Any = None) -> list[Observation]:
        bench = Bench(world, kind_of(type(world)))
        bench.reset(world, 5)
        bench.begin_rad = world.spec.q_home_rad
        if other is not None:
            bench.reset(other, 6, LAUNCH._replace(v_m_s=np.array([-20.0, 1.0, 3.0])))
        world.send(bench.slide(0))
        seen = []
        for _ in range(80):
            seen.append(world.tick())
            if other is not None:
                other.tick()
        return seen

    with closing(make_driver(name)) as alone:
        alone.connect()
        expected = episode(alone)
    with closing(make_driver(name)) as one, closing(make_driver(name)) as two:
        one.connect()
        two.connect()
        for got, want in zip(episode(one, two), expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
        two.close()
        one.tick()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*DRIVERS])
def test_importing_a_driver_loads_neither_torch_nor_zmq_nor_an_sdk(name: str) -> None:
    if "sim" in (known := entry(name)).path and known.missing:
        pytest.skip(f"needs {known.remedy}")
    module = known.path.split(":")[0]
    code = f"import sys, {module}; print('LOADED', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.partition("LOADED")[2].split())
    assert not {"torch", "zmq", *(known.modules if known.real else ())} & loaded


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_refuses_a_control_rate_that_its_ticks_cannot_serve(name: str) -> None:
    spec = replace(load_spec(entry(name).robot), control_rate_hz=250.0)
    with pytest.raises(RobotError, match="250"):
        driver_class(name)(spec)


def test_unknown_driver_lists_the_known_ones() -> None:
    with pytest.raises(RobotError, match="did you mean 'pybullet'.*fake"):
        make_driver("pybulet")


def test_a_driver_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "lost", DRIVERS["fake"]._replace(path="robots.lost:Lost", extra="lost"))
    with pytest.raises(RobotError, match=r"pip install 'hjepa\[lost\]'"):
        make_driver("lost")
