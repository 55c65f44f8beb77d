"""How networked drivers keep time on their emulators, and how soon a robot stands when its line is lost.

    python tests/benchmarks/bench_network_robots.py [--seconds 10] [--losses 20] [--json FILE]

The emulator runs in a process of its own. Prints a table, asserts nothing. Lost line: the emulator stops passing
anything while the robot moves; what counts is when its own watchdog stops it and when our driver tells.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from hjepa.errors import HjepaError
from hjepa.types import NS, Array, JointTrajectory
from robots.emulators.rtde import UrEmulator
from robots.emulators.udp_robot import UdpRobotEmulator
from robots.real.streamed import StreamedRobot
from robots.real.udp import UdpRobot
from robots.real.ur import UrRobot
from robots.spec import load_spec

SPECS = {"udp": load_spec("panda"), "ur": load_spec("ur5e")}
WATCHDOG_MS = {"udp": 20.0, "ur": 40.0}


def serve(name: str, pipe: Connection) -> None:
    """The emulator's process: 'mute' and 'heal' switch the line, 'stopped' tells when the watchdog acted (ns)."""
    robot = UdpRobotEmulator(SPECS[name]) if name == "udp" else UrEmulator(SPECS[name])
    with robot:
        pipe.send((robot.host, robot.port if isinstance(robot, UdpRobotEmulator) else 0))
        while (asked := pipe.recv()) != "end":
            if asked == "stopped":
                pipe.send(robot.stopped_at_ns)
            else:
                robot.set_knobs(mute=asked == "mute")
                pipe.send(time.monotonic_ns())


def driver_of(name: str, host: str, port: int) -> StreamedRobot:
    return UdpRobot(SPECS[name], host, port) if name == "udp" else UrRobot(SPECS[name], host)


def sway(q0: Array, seconds: float) -> JointTrajectory:
    t = np.arange(round(100 * seconds) + 200) * 0.01
    dq = 0.3 * np.sin(2 * np.pi * t)[:, None] * np.ones(len(q0))
    q = q0 + (0.3 * (1 - np.cos(2 * np.pi * t)) / (2 * np.pi))[:, None]
    return JointTrajectory(time.monotonic_ns(), 0.01, q, dq, round((seconds + 2) * NS))


def keep_time(driver: StreamedRobot, seconds: float) -> dict[str, float]:
    stamps: list[int] = []
    write = driver._write

    def stamped(q: Array, dq: Array) -> None:
        stamps.append(time.monotonic_ns())
        write(q, dq)

    driver._write = stamped  # type: ignore[method-assign]
    with driver:
        driver.rearm()
        driver.send(sway(driver.observe().q_rad, seconds))
        time.sleep(seconds)
        report = driver.report()
    gaps = np.diff(stamps) / 1e6
    late = gaps - 1e3 / driver.spec.control_rate_hz
    return {
        "rate_hz": 1e3 / gaps.mean(), "late_p50_ms": float(np.percentile(late, 50)),
        "late_p99_ms": float(np.percentile(late, 99)), "late_max_ms": float(late.max()),
        "misses_per_10000": 1e4 * report.misses / max(report.ticks, 1),
    }  # fmt: skip


def lose(name: str, driver: StreamedRobot, pipe: Connection) -> tuple[float, float]:
    """Milliseconds from the lost line to the robot's own stop, and to our fault."""
    with driver:
        driver.rearm()
        driver.send(sway(driver.observe().q_rad, 5.0))
        time.sleep(0.25)
        pipe.send("mute")
        lost = pipe.recv()
        told = 0
        while not told:
            try:
                driver.observe()
                time.sleep(0.0005)
            except HjepaError:
                told = time.monotonic_ns()
        time.sleep(0.1)
        pipe.send("stopped")
        stopped = pipe.recv()
        pipe.send("heal")
        pipe.recv()
    return (stopped - lost) / 1e6, (told - lost) / 1e6


def bench(name: str, seconds: float, losses: int) -> dict[str, object]:
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(name, theirs), daemon=True)
    process.start()
    host, port = mine.recv()
    row: dict[str, object] = {"driver": name}
    faults, times = 0, []
    try:
        row |= keep_time(driver_of(name, host, port), seconds)
    except HjepaError as error:
        row["ended"] = str(error)
    for _ in range(losses):
        time.sleep(0.3)
        try:
            times.append(lose(name, driver_of(name, host, port), mine))
        except HjepaError:
            faults += 1  # stopped before the line was lost: this host was too busy
    mine.send("end")
    process.join(5.0)
    stops, tells = np.array(times).T if times else (np.zeros(1), np.zeros(1))
    return row | {
        "losses": len(times), "stopped_too_early": faults, "watchdog_ms": WATCHDOG_MS[name],
        "robot_stops_p50_ms": float(np.median(stops)), "robot_stops_max_ms": float(stops.max()),
        "we_tell_p50_ms": float(np.median(tells)), "we_tell_max_ms": float(tells.max()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--losses", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [bench(name, options.seconds, options.losses) for name in SPECS]
    for row in rows:
        for key, value in row.items():
            print(f"{key:20} {value:.2f}" if isinstance(value, float) else f"{key:20} {value}")
        print()
    if options.json:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        host = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"commit": commit, "host": host, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
