"""What the tests of emulated robots share: a smooth move, waiting, following errors."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hjepa.protocols import Driver
from hjepa.types import NS, Array, JointTrajectory, Observation


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it holds, looking every 2 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


def swing(q0: Array, valid_s: float = 3.0, size: float = 0.2, lasts_s: float = 1.0) -> JointTrajectory:
    """A half-cosine of every joint, starting now, and a second of standing there."""
    t = np.minimum(np.arange(round(100 * lasts_s) + 101) * 0.01, lasts_s)
    q = q0 + 0.5 * size * (1 - np.cos(np.pi * t / lasts_s))[:, None]
    dq = 0.5 * size * np.pi / lasts_s * np.sin(np.pi * t / lasts_s)[:, None] * np.ones(len(q0))
    return JointTrajectory(time.monotonic_ns(), 0.01, q, dq, round(valid_s * NS))


def error_rad(command: JointTrajectory, seen: Observation) -> float:
    """The worst joint's distance from the command at the observation's instant."""
    at = np.arange(len(command.q_rad)) * command.dt_s
    s = (seen.stamp_ns - command.start_ns) / NS
    return max(abs(q - np.interp(s, at, command.q_rad[:, j])) for j, q in enumerate(seen.q_rad))


def stands(driver: Driver) -> bool:
    """True if the joints do not move for 30 ms."""
    before = driver.observe()
    until(lambda: driver.observe().stamp_ns > before.stamp_ns + 30_000_000)
    return bool(np.abs(driver.observe().q_rad - before.q_rad).max() < 1e-4)
