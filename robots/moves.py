"""Slow, smooth motions of any driver, commanded a little at a time: for calibration, babbling and recorded motions.

A motion is sent in windows of half a second that are replaced every 0.1 s. When this process stalls or dies the driver
has nothing new to follow and brakes. Legend: J joints, H samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hjepa.protocols import Driver
from hjepa.types import NS, Array, JointTrajectory, Observation, RobotSpec
from robots.bench import DT_S, Bench, kind_of

EVERY_S = 0.1
WINDOW_S = 0.5
VALID_S = 0.4  # a window is not followed for longer than this
_LEAD_S = 0.02  # a window is sent so long before it begins, in real time
_USE = 0.8  # of the driver's own limits: its guard has something left to correct with

Sent = Callable[[JointTrajectory], None]
"""Told of every command, as the driver returned it."""


def armed(driver: Driver) -> Bench:
    """Connect a driver and arm it; a world begins at home."""
    return Bench(driver, kind_of(type(driver))).connect()


def rest_to_rest(spec: RobotSpec, from_rad: Array, to_rad: Array, use: float = _USE) -> JointTrajectory:
    """Half a cosine from one place (J,) to another, all joints together, within a share of the limits; starts at 0.

    With d = to - from and T its time, speed peaks at d pi / 2T, acceleration at d pi^2 / 2T^2.
    """
    way = np.abs(to_rad - from_rad)
    times = (way * np.pi / (2 * use * spec.dq_max_rad_s), np.pi * np.sqrt(way / (2 * use * spec.ddq_max_rad_s2)))
    steps = max(1, int(np.ceil(max(float(t.max()) for t in times) / DT_S)))
    phase = np.pi * np.arange(steps + 1)[:, None] / steps  # (H, 1)
    half = 0.5 * (to_rad - from_rad)
    q = from_rad + half * (1 - np.cos(phase))
    dq = half * np.sin(phase) * (np.pi / (steps * DT_S))
    return JointTrajectory(0, DT_S, q, dq, NS)


def follow(bench: Bench, motion: JointTrajectory, sent: Sent = lambda command: None) -> Iterator[Observation]:
    """Let the bench's driver follow a motion (its start_ns counts from now); every new observation on the way.

    Ends when the motion has; the driver then holds its last place for as long as the last window is in force.
    """
    begin_ns = bench.soon()
    every, window = round(EVERY_S / motion.dt_s), round(WINDOW_S / motion.dt_s)
    lead_ns = 0 if bench.kind.world else round(_LEAD_S * NS)
    last_ns = -1
    for first in range(0, len(motion.q_rad), every):
        start_ns = begin_ns + round(first * motion.dt_s * NS)
        for seen in bench.play(start_ns - lead_ns):
            if seen.stamp_ns > last_ns:
                last_ns = seen.stamp_ns
                yield seen
        sent(bench.driver.send(_window(motion, first, window, start_ns)))
    for seen in bench.play(begin_ns + round((len(motion.q_rad) - 1) * motion.dt_s * NS)):
        if seen.stamp_ns > last_ns:
            last_ns = seen.stamp_ns
            yield seen


def go_to(bench: Bench, to_rad: Array, sent: Sent = lambda command: None) -> list[Observation]:
    """Move to a place (J,) and stop there."""
    here = bench.driver.observe().q_rad
    return list(follow(bench, rest_to_rest(bench.driver.spec, here, to_rad), sent))


def stay(bench: Bench, seconds: float, sent: Sent = lambda command: None) -> list[Observation]:
    """Stand still where the joints are; every new observation."""
    q = np.tile(bench.driver.observe().q_rad, (round(seconds / DT_S) + 1, 1))
    return list(follow(bench, JointTrajectory(0, DT_S, q, np.zeros_like(q), NS), sent))


def _window(motion: JointTrajectory, first: int, samples: int, start_ns: int) -> JointTrajectory:
    """A piece of a motion; behind its end the last place, at rest, so that the driver stands and does not brake."""
    rows = np.minimum(np.arange(first, first + samples + 1), len(motion.q_rad) - 1)
    beyond = np.arange(first, first + samples + 1) >= len(motion.q_rad)
    dq = np.where(beyond[:, None], 0.0, motion.dq_rad_s[rows])
    return JointTrajectory(start_ns, motion.dt_s, motion.q_rad[rows], dq, round(VALID_S * NS))
