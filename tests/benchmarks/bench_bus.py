"""Round trips over the bus beside bare zmq, the cost of a lockstep tick, and the lateness of the real-time driver.

    python tests/benchmarks/bench_bus.py [--count 2000] [--json FILE]

Two processes on one machine; the echo sends back what it has read and checked. Prints a table, asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.link import Publisher, Replier, Requester, Subscriber
from hjepa.bus.messages import pack, unpack
from hjepa.bus.processes import NodeSpec, ProcessGraph
from hjepa.bus.topics import Record
from hjepa.types import JointTrajectory, Launch, Observation, RobotState

VALUES = {
    "command, 256 B of joints": ("command", JointTrajectory(0, 0.01, np.zeros((2, 8)), np.zeros((2, 8)), 10**8)),
    "observation, 2.2 kB": (
        "observation",
        Observation(
            0, np.zeros(8), np.zeros(8), np.zeros((64, 3)), np.zeros(64, dtype=bool), np.zeros(64, dtype=np.int64)
        ),
    ),
    "record, 1 MB": ("record", Record({"x": np.zeros(2**17)}, "")),
}
KINDS = ("command", "observation", "record")
START = RobotState(np.zeros(2), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]))
WAIT_S = 20.0


def echo(mode: str, folder: str) -> None:
    """The other process."""
    if mode == "zmq PAIR, bare bytes":
        socket = zmq.Context.instance().socket(zmq.PAIR)
        socket.connect(f"ipc://{folder}/there")
        while frame := socket.recv():
            socket.send(frame)
    elif mode == "stream and back":
        back = Publisher(f"ipc://{folder}/back")
        there = Subscriber(f"ipc://{folder}/there", KINDS, conflate=False)
        while True:
            message = there.receive(0.1)
            if message is not None:
                back.send(message.header.kind, message.value, stamp_ns=0)
    else:
        replier = Replier(f"ipc://{folder}/there")
        while True:
            replier.serve(lambda message: (message.header.kind, message.value), 0.1)


def round_trips(mode: str, kind: str, value: object, count: int, pause_s: float) -> np.ndarray:
    """Round trip times (count,) in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=echo, args=(mode, folder), daemon=True)
        there = f"ipc://{folder}/there"
        if mode == "zmq PAIR, bare bytes":
            pair = zmq.Context.instance().socket(zmq.PAIR)
            pair.bind(there)
            frame = pack(kind, value, session=0, sequence=0, stamp_ns=0)
            links = []

            def once() -> None:
                pair.send(frame)
                pair.recv()

        elif mode == "stream and back":
            publisher, subscriber = Publisher(there), Subscriber(f"ipc://{folder}/back", KINDS, conflate=False)
            links = [publisher, subscriber]

            def once() -> None:
                publisher.send(kind, value, stamp_ns=0)
                if subscriber.receive(WAIT_S) is None:
                    raise RuntimeError("the echo is silent")

        else:
            requester = Requester(there)
            links = [requester]

            def once() -> None:
                requester.request(kind, value, timeout_s=WAIT_S)

        process.start()
        if mode == "stream and back":
            publisher.wait_subscribers(1, WAIT_S)
            time.sleep(0.3)  # until the echo's own publisher is heard
        try:
            return timed(once, count, pause_s)
        finally:
            process.kill()
            process.join()
            for link in links:
                link.close()
            if mode == "zmq PAIR, bare bytes":
                pair.close(linger=0)


def timed(once, count: int, pause_s: float) -> np.ndarray:
    for _ in range(20):
        once()
    times = np.empty(count)
    for i in range(count):
        time.sleep(pause_s)
        start = time.perf_counter_ns()
        once()
        times[i] = (time.perf_counter_ns() - start) / 1e3
    return times


def row(name: str, times_us: np.ndarray, rows: list[dict[str, object]]) -> None:
    p50, p99, p999 = np.percentile(times_us, [50, 99, 99.9])
    print(f"{name:58s} {p50:9.0f} {p99:9.0f} {p999:9.0f} {times_us.max():9.0f} {len(times_us):7d}", flush=True)
    rows.append({"what": name, "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": times_us.max()})


def lockstep(rows: list[dict[str, object]]) -> None:
    """Wall time of a lockstep tick of 10 ms with toy parts: what the bus itself costs."""
    graphs = {
        "inproc": InprocGraph(PointWorld(ticks=400), PointHigh(), PointLow()),
        "three processes": ProcessGraph(
            {n: NodeSpec(f"hjepa.bus.fake:Point{n.capitalize()}") for n in ("high", "low")}
            | {"driver": NodeSpec("hjepa.bus.fake:PointWorld", {"ticks": 400})}
        ),
    }
    for name, graph in graphs.items():
        with graph:
            graph.play(START, LAUNCH, 0)
            times = []
            for seed in range(5):
                start = time.perf_counter_ns()
                graph.play(START, LAUNCH, seed)
                times.append((time.perf_counter_ns() - start) / 1e3 / 400)
        row(f"lockstep tick, {name}, mean of each of 5 episodes", np.array(times), rows)


def real_time(rows: list[dict[str, object]]) -> None:
    """From an observation's stamp to its command's, and the spacing of observations at 100 Hz."""
    specs = {n: NodeSpec(f"hjepa.bus.fake:Point{n.capitalize()}") for n in ("high", "low")}
    specs["driver"] = NodeSpec("hjepa.bus.fake:PointWorld", {"ticks": 500})
    with ProcessGraph(specs, clock="realtime") as graph:
        episode = graph.play(START, LAUNCH, 0)
    seen = {m.header.sequence: m.header.stamp_ns for m in episode.messages["observation"]}
    stamps = np.array(list(seen.values()))
    row("real time, error of the 10 ms spacing of observations", np.abs(np.diff(stamps) - 10**7) / 1e3, rows)
    legs = [m.header.stamp_ns - seen[m.header.answers] for m in episode.messages["command"]]
    row("real time, observation to command sent (toy plan, 0.1 ms)", np.array(legs) / 1e3, rows)
    print("driver's counts:", {k: v for k, v in episode.status["driver"].counts.items() if "sub" not in k})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    print(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, zmq {zmq.zmq_version()}, {platform.python_version()}"
    )
    print(f"{'microseconds':58s} {'p50':>9s} {'p99':>9s} {'p99.9':>9s} {'max':>9s} {'n':>7s}")
    for name, (kind, value) in VALUES.items():
        count = options.count if kind != "record" else options.count // 10
        for mode in ("zmq PAIR, bare bytes", "stream and back", "request and reply"):
            row(f"{name}; {mode}", round_trips(mode, kind, value, count, 0.0), rows)
        times = []
        for _ in range(count):
            start = time.perf_counter_ns()
            unpack(pack(kind, value, session=0, sequence=0, stamp_ns=0))
            times.append((time.perf_counter_ns() - start) / 1e3)
        row(f"{name}; pack and unpack alone", np.array(times), rows)
    kind, value = VALUES["command, 256 B of joints"]
    for mode in ("zmq PAIR, bare bytes", "stream and back"):
        row(f"command at 100 Hz; {mode}", round_trips(mode, kind, value, options.count // 10, 0.01), rows)
    lockstep(rows)
    real_time(rows)
    if options.json:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        host = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"commit": commit, "host": host, "load": os.getloadavg(), "rows": rows}))


if __name__ == "__main__":
    main()
