"""Real-time factor of the simulated court, lockstep, without planning, one process.

    python tests/benchmarks/bench_sim.py [--episodes 30] [--json FILE]

Every episode is one fed stroke from launch to recovery, with a swing being followed; simulated seconds a wall second.
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
from hjepa.tasks.badminton.feeds import FeedTable, random_feed
from hjepa.types import NS, JointTrajectory, RobotSpec
from robots.sim.court import CourtWorld, home
from robots.spec import load_spec


def swing(spec: RobotSpec) -> JointTrajectory:
    """A 0.8 s swing of all joints from home."""
    q1 = spec.q_home_rad + 0.6
    plan = motion.solve(
        spec.q_home_rad, np.zeros(8), np.zeros(8), q1, 0.3 * spec.dq_max_rad_s, np.array(0.8), np.array(0.2)
    )
    q, dq, _ = motion.evaluate(plan, np.arange(0, 0.8, 0.01)[:, None])
    return JointTrajectory(0, 0.01, q, dq, 4 * NS)


def measure(world: CourtWorld, feed: FeedTable, command: JointTrajectory, every_ms: bool) -> tuple[float, float]:
    """(simulated, wall) seconds over the feed; every_ms: keep the racket at every ms, as data collection may."""
    ticks, start = 0, time.perf_counter()
    for i in range(len(feed.id)):
        world.reset(home(world.spec), feed.launch(i), i)
        if every_ms:
            world.record_racket(0.0, 4.0)
        world.send(command)
        while not world.done:
            world.tick()
            ticks += 1
    return ticks * 0.01, time.perf_counter() - start


def commit() -> str:
    """Short commit of the working tree, or 'unknown' outside one."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main() -> None:
    """Print the table; append a JSON line where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    spec = load_spec("courtbot")
    feed, command = random_feed(options.episodes, 0), swing(spec)
    rows = {}
    for label, record, every_ms in (
        ("plain", False, False),
        ("record=True", True, False),
        ("racket at ms", False, True),
    ):
        with CourtWorld(spec, record=record) as world:
            measure(world, feed.take(np.arange(2)), command, every_ms)  # warm up
            rows[label] = measure(world, feed, command, every_ms)
    print(f"{'mode':<14}{'simulated s':>13}{'wall s':>9}{'x real time':>13}{'us a tick':>11}")
    for label, (simulated, wall) in rows.items():
        print(f"{label:<14}{simulated:>13.1f}{wall:>9.2f}{simulated / wall:>13.1f}{wall / simulated * 1e4:>11.0f}")
    load = os.getloadavg()[0]
    print(
        f"{options.episodes} episodes, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, commit {commit()}"
    )
    if options.json:
        record_line = {
            "benchmark": "sim",
            "commit": commit(),
            "host": f"{platform.machine()} {os.cpu_count()} cores",
            "load": load,
            "episodes": options.episodes,
            "real_time_factor": {label: s / w for label, (s, w) in rows.items()},
        }
        with options.json.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record_line) + "\n")


if __name__ == "__main__":
    main()
