"""Rigs (see `rig`) of the robots on a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hjepa.types import RobotSpec
from robots.emulators.rtde import UrEmulator
from robots.emulators.udp_robot import UdpRobotEmulator
from robots.real.udp import UdpRobot
from robots.real.ur import UrRobot


@contextmanager
def emulated_udp(spec: RobotSpec, **options: Any) -> Iterator[UdpRobot]:
    """A UDP robot on a free loopback port; options go to the driver.

    Its emulator bears 100 missed commands instead of 20: it shares a processor with the driver and much else.
    """
    with UdpRobotEmulator(spec, missed_max=100) as robot:
        yield UdpRobot(spec, robot.host, robot.port, **{"lost_s": 0.1, **options})


@contextmanager
def emulated_ur(spec: RobotSpec, **options: Any) -> Iterator[UrRobot]:
    """A UR controller on a loopback address of its own; options go to the driver."""
    with UrEmulator(spec) as robot:
        yield UrRobot(spec, robot.host, **{"watchdog_hz": 5.0, "lost_s": 0.5, **options})
