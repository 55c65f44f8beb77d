"""A serial servo arm on an emulated bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hjepa.protocols import Driver
from hjepa.types import RobotSpec
from robots.catalog import driver_class
from robots.emulators.servo_bus import ServoBusEmulator


def emulator_at_home(spec: RobotSpec, protocol: str = "feetech") -> ServoBusEmulator:
    """Servos 1 to J at the robot's home posture, zero at step 2048, not started yet."""
    steps = 2048 + spec.q_home_rad * 4096 / (2 * np.pi)
    return ServoBusEmulator(protocol, {j + 1: float(at) for j, at in enumerate(steps)})


@contextmanager
def emulated_servos(spec: RobotSpec, protocol: str = "feetech", **options: Any) -> Iterator[Driver]:
    """An arm driver whose port is an emulated bus; options go to the driver's constructor."""
    with emulator_at_home(spec, protocol) as bus:
        arm = driver_class("servo")(spec, port=bus.port, protocol=protocol, **options)
        try:
            yield arm
        finally:
            arm.close()
