"""The simulated court without planning, beside bare pybullet.stepSimulation of the same body at the same rate.

Every stroke is fed, swung at and followed to its end; the bare physics makes as many 1 ms steps and nothing else, which
is the limit of any such world in one process. Rounds alternate, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pybullet as p

from hjepa import motion
from hjepa.tasks.badminton.feeds import FeedTable, random_feed
from hjepa.types import NS, JointTrajectory, RobotSpec
from robots.sim.body import PyBulletBody
from robots.sim.court import CourtWorld, home
from robots.sim.drive import STEP_S, TICK_S
from robots.spec import load_spec

BARE, DRIVEN = "bare steps", "bare steps, driven"
PLAIN, RECORDED, FINE = "court", "court, recorded", "court, racket every ms"
REST_S = 4.0  # how long a swing's command stays in force
ROUND = 10  # strokes
Report = Callable[[int, int, Mapping[str, float]], None]


class Pace(NamedTuple):
    """How quickly strokes are simulated in one way."""

    simulated_s: float
    wall_s: float
    strokes_per_s: float
    real_time_factor: float
    over_bare: float  # of the time that bare steps take

    @property
    def us_a_tick(self) -> float:
        """Microseconds for 10 ms of simulated time."""
        return 1e6 * self.wall_s * TICK_S / self.simulated_s


def run(strokes: int = 100, seed: int = 0, robot: str = "courtbot", report: Report | None = None) -> dict[str, Pace]:
    """Each way of simulating so many strokes, by name."""
    spec = load_spec(robot)
    feed, command = random_feed(strokes + 1, seed), swing(spec)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in (BARE, DRIVEN, PLAIN, RECORDED, FINE)}
    with CourtWorld(spec) as plain, CourtWorld(spec, record=True) as recorded:
        body = PyBulletBody(spec)
        ways = {PLAIN: (plain, False), RECORDED: (recorded, False), FINE: (plain, True)}
        for world, fine in ways.values():
            play(world, feed.take(np.arange(strokes, strokes + 1)), command, fine)  # warm up
        for first in range(0, strokes, ROUND):
            part = feed.take(np.arange(first, min(first + ROUND, strokes)))
            for name, (world, fine) in ways.items():
                spent[name].append(play(world, part, command, fine))
            steps = round(spent[PLAIN][-1][0] / STEP_S)
            for name in (BARE, DRIVEN):
                spent[name].append((steps * STEP_S, step(body, spec, steps, driven=name == DRIVEN)))
            if report is not None:
                report(first + len(part.id), strokes, {})
        body.close()
    totals = {name: np.sum(rounds, axis=0) for name, rounds in spent.items()}
    bare_s = totals[BARE][1] / totals[BARE][0]
    return {
        name: Pace(float(sim), float(wall), strokes / float(wall), float(sim / wall), float(wall / sim / bare_s))
        for name, (sim, wall) in totals.items()
    }


def swing(spec: RobotSpec) -> JointTrajectory:
    """A 0.8 s swing of all joints from home."""
    start, rest = spec.q_home_rad, np.zeros(spec.joints)
    way = motion.solve(start, rest, rest, start + 0.6, 0.3 * spec.dq_max_rad_s, np.array(0.8), np.array(0.2))
    q, dq, _ = motion.evaluate(way, np.arange(0, 0.8, TICK_S)[:, None])
    return JointTrajectory(0, TICK_S, q, dq, round(REST_S * NS))


def play(world: CourtWorld, feed: FeedTable, command: JointTrajectory, fine: bool) -> tuple[float, float]:
    """(simulated, wall) seconds over a feed; fine: keep the racket at every millisecond, as data collection may."""
    ticks, begun = 0, time.perf_counter()
    for i in range(len(feed.id)):
        world.reset(home(world.spec), feed.launch(i), i)
        if fine:
            world.record_racket(0.0, REST_S)
        world.send(command)
        while not world.done:
            world.tick()
            ticks += 1
    return ticks * TICK_S, time.perf_counter() - begun


def step(body: PyBulletBody, spec: RobotSpec, steps: int, driven: bool) -> float:
    """Wall seconds of so many physics steps; driven: each with new speeds for the motors, as a world needs."""
    rest = [0.0] * spec.joints
    body.reset(spec.q_home_rad, np.zeros(spec.joints))
    client, begun = body.client, time.perf_counter()
    if driven:
        for _ in range(steps):
            body.step(rest)
    else:
        for _ in range(steps):
            p.stepSimulation(physicsClientId=client)
    return time.perf_counter() - begun
