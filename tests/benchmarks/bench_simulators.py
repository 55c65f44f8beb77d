"""The court's two simulators beside each other: how a racket follows fast swings, and the real-time factor.

    python tests/benchmarks/bench_simulators.py [--swings 30] [--json FILE]

Every swing uses more than 90 % of a joint's speed or acceleration limit. Errors are at the racket, at every 10 ms,
against the kinematics of the command. Return rates: hjepa eval badminton --set robot.driver=mujoco
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import motion
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import NS, Array, JointTrajectory, Launch, RobotSpec
from robots.catalog import make_driver
from robots.sim.drive import home
from robots.sim.world import SimulatedCourt, WorldConfig
from robots.spec import load_spec

ASIDE = Launch(np.array([4.0, 2.5, 2.0]), np.array([-10.0, 2.0, 6.0]))


def fast_swing(spec: RobotSpec, rng: np.random.Generator) -> JointTrajectory:
    """A two-phase motion from home that uses 90 to 100 % of a limit."""
    while True:
        T = rng.uniform(0.5, 1.0)
        q1 = spec.q_home_rad + rng.uniform(-1, 1, 8) * [1.5, 1.5, 1.2, 0.8, 0.8, 1, 1, 1]
        v1 = rng.uniform(-1, 1, 8) * spec.dq_max_rad_s * [0.3, 0.3, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
        m = motion.solve(spec.q_home_rad, np.zeros(8), np.zeros(8), q1, v1, np.array(T), np.array(0.15))
        q, v, a = motion.evaluate(m, np.arange(0, T, 0.01)[:, None])
        inside = ((q > spec.q_min_rad + 0.05) & (q < spec.q_max_rad - 0.05)).all()
        if inside and 0.9 < max((np.abs(v) / spec.dq_max_rad_s).max(), (np.abs(a) / spec.ddq_max_rad_s2).max()) <= 1.0:
            return JointTrajectory(0, 0.01, q, v, 4 * NS)


def measure(driver: str, swings: int) -> tuple[Array, float]:
    """Errors (N, 3) at the racket in mm, degrees, m/s; simulated seconds a wall second."""
    world = make_driver(driver, "courtbot", config=WorldConfig())
    assert isinstance(world, SimulatedCourt)
    rng, errors, wall_s, ticks = np.random.default_rng(2), [], 0.0, 0
    with world:
        for seed in range(swings):
            command = fast_swing(world.spec, rng)
            world.reset(home(world.spec), ASIDE, seed)
            world.send(command)
            for q, dq in zip(command.q_rad[1:], command.dq_rad_s[1:], strict=True):
                begun = time.perf_counter()
                world.tick()
                wall_s, ticks = wall_s + time.perf_counter() - begun, ticks + 1
                T, v, _ = world.racket()
                want = racket_motion(world.spec, q, dq)
                turn = np.arccos(np.clip((np.trace(T[:3, :3].T @ want.rotation) - 1) / 2, -1, 1))
                apart = 1000 * np.linalg.norm(T[:3, 3] - want.centre_m)
                errors.append([apart, np.degrees(turn), np.linalg.norm(v - want.v_m_s)])
    return np.array(errors), ticks * 0.01 / wall_s


def main() -> None:
    """Print the table; append a JSON line where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swings", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    spec = load_spec("courtbot")
    figures = {}
    print(f"{'driver':<10}{'mm p50':>9}{'p99':>7}{'max':>7}{'deg max':>9}{'m/s max':>9}{'x real time':>13}")
    for driver in ("pybullet", "mujoco"):
        errors, factor = measure(driver, options.swings)
        (mm50, _, _), (mm99, _, _), (mm, deg, speed) = np.percentile(errors, [50, 99, 100], axis=0)
        print(f"{driver:<10}{mm50:>9.2f}{mm99:>7.2f}{mm:>7.2f}{deg:>9.3f}{speed:>9.3f}{factor:>13.1f}")
        figures[driver] = {"mm": [mm50, mm99, mm], "deg_max": deg, "m_s_max": speed, "real_time_factor": factor}
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    host, load = f"{platform.machine()} {os.cpu_count()} cores", os.getloadavg()[0]
    commit = found.stdout.strip() or "unknown"
    print(f"{options.swings} swings of {spec.name}, {host}, load {load:.1f}, commit {commit}")
    if options.json:
        line = {"benchmark": "simulators", "commit": commit, "host": host, "load": load, "swings": options.swings}
        with options.json.open("a", encoding="utf-8") as out:
            out.write(json.dumps({**line, **figures}) + "\n")


if __name__ == "__main__":
    main()
