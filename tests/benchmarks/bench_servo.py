"""Serial servos on the emulated bus: time of one control cycle, and what a bad line does to a moving arm.

    python tests/benchmarks/bench_servo.py [--count 2000] [--seconds 10] [--json FILE]

The emulator runs in a process of its own behind a pseudo-terminal, which passes bytes at once: what the bytes need on a
line of 1 Mbit/s is given beside it. Prints tables, asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import NS, JointTrajectory
from robots.emulators.servo_rig import emulator_at_home
from robots.real.servo_arm import PROTOCOLS, ServoArm
from robots.spec import load_spec

SPEC = load_spec("so101")
IDS = list(range(1, SPEC.joints + 1))
# bytes of a sync read of all six and its answers, and of a sync write (see the modules of the protocols)
LINE_BYTES = {"feetech": (8 + 6) + 6 * (24 + 6) + (8 + 6 * 3), "dynamixel": (14 + 6) + 6 * (21 + 11) + (14 + 6 * 5)}
BAD = ((0.0, 0.0), (0.05, 0.0), (0.0, 0.05), (0.1, 0.1), (0.2, 0.2))  # shares dropped, damaged


def serve(protocol: str, drop: float, corrupt: float, pipe: Connection) -> None:
    """The emulator's process: good line until it is told to be bad, then until told to end."""
    with emulator_at_home(SPEC, protocol) as bus:
        pipe.send(bus.port)
        pipe.recv()
        bus.drop, bus.corrupt = drop, corrupt
        pipe.recv()


@contextmanager
def emulator(protocol: str, drop: float = 0.0, corrupt: float = 0.0) -> Iterator[tuple[str, Connection]]:
    """Port of an emulator, and the pipe that turns the line bad."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(protocol, drop, corrupt, there))
    process.start()
    try:
        yield here.recv(), here
    finally:
        here.send("end")
        process.join(5)


def cycles(protocol: str, count: int) -> np.ndarray:
    """Milliseconds of `count` cycles: read all servos, write all goals."""
    with emulator(protocol) as (port, pipe):
        pipe.send("go on")
        bus = PROTOCOLS[protocol](port)
        bus.open()
        goals = {servo: state.position_steps for servo, state in bus.state(IDS).items()}
        times = np.zeros(count)
        for k in range(count):
            start = time.perf_counter_ns()
            bus.state(IDS)
            bus.write_goals(goals)
            times[k] = (time.perf_counter_ns() - start) / 1e6
        bus.close()
    return times


def swing(start_ns: int, seconds: float) -> JointTrajectory:
    """All joints to and fro by 0.2 rad, once in two seconds."""
    t = np.arange(round(100 * seconds)) * 0.01
    q = SPEC.q_home_rad + 0.2 * np.sin(np.pi * t)[:, None]
    dq = 0.2 * np.pi * np.cos(np.pi * t)[:, None] * np.ones(SPEC.joints)
    return JointTrajectory(start_ns, 0.01, q, dq, round(seconds * NS))


def bad_line(protocol: str, drop: float, corrupt: float, seconds: float) -> dict[str, object]:
    """A moving arm on a bad line: what was lost, how late the loop was, whether it came to a fault."""
    with emulator(protocol, drop, corrupt) as (port, pipe), ServoArm(SPEC, port, protocol) as arm:
        arm.rearm()
        began, first, start = arm.counts(), arm.report().ticks, time.monotonic()
        arm.send(swing(time.monotonic_ns(), seconds))
        pipe.send("bad")
        lag = 0.0
        while time.monotonic() - start < seconds:
            try:
                seen = arm.observe()
            except RobotError:
                break
            at = SPEC.q_home_rad + 0.2 * np.sin(np.pi * (seen.stamp_ns / NS - start))
            lag = max(lag, float(np.abs(seen.q_rad - at).max()))
            time.sleep(0.01)
        counts, report = arm.counts(), arm.report()
        survived = time.monotonic() - start
        fault = arm.fault
    return {
        **{"protocol": protocol, "drop": drop, "corrupt": corrupt, "seconds": survived, "fault": fault},
        **{"ticks": report.ticks - first, "misses": report.misses, "late_ms": report.late_ns / 1e6, "lag_rad": lag},
        **{"silent": counts.silent - began.silent, "corrupt_seen": counts.corrupt - began.corrupt},
        **{"retries": counts.retries - began.retries, "disbelieved": arm.implausible},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'cycle of six servos, ms':26s} {'p50':>7s} {'p99':>7s} {'max':>7s}   on a line of 1 Mbit/s also")
    for protocol in PROTOCOLS:
        times = cycles(protocol, options.count)
        p50, p99 = np.percentile(times, [50, 99])
        line_ms = LINE_BYTES[protocol] / 100.0
        print(f"{protocol:26s} {p50:7.2f} {p99:7.2f} {times.max():7.2f}   {line_ms:.1f} ms")
        rows.append({"cycle": protocol, "p50": p50, "p99": p99, "max": times.max(), "line_ms": line_ms})
    print(f"\n{SPEC.control_rate_hz:.0f} Hz, moving arm, bad line (shares of answers dropped, of packets damaged)")
    print("protocol   drop  damage  seconds  ticks  misses  worst ms  silent  damaged  again  disbelieved  fault")
    for protocol in PROTOCOLS:
        for drop, corrupt in BAD:
            r = bad_line(protocol, drop, corrupt, options.seconds)
            rows.append(r)
            print(
                f"{protocol:9s} {drop:5.2f} {corrupt:7.2f} {r['seconds']:8.1f} {r['ticks']:6d} {r['misses']:7d} "
                f"{r['late_ms']:9.1f} {r['silent']:7d} {r['corrupt_seen']:8d} {r['retries']:6d} {r['disbelieved']:12d} "
                f" {r['fault'] or '-'}"
            )
    if options.json:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        host = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"commit": commit, "host": host, "load": os.getloadavg(), "rows": rows}))


if __name__ == "__main__":
    main()
