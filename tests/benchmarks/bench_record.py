"""How much a recorder takes without loss, and what recording a graph costs: python bench_record.py --json OUT."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.link import Publisher
from hjepa.bus.listen import Place
from hjepa.bus.logfile import Log
from hjepa.bus.processes import NodeSpec, ProcessGraph
from hjepa.bus.record import Recorder
from hjepa.bus.topics import Record, address
from hjepa.types import Launch, Observation, RobotState

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
SLOTS = 64
PARTS = {"driver": PointWorld, "high": PointHigh, "low": PointLow}


def observation(k: int) -> Observation:
    rng = np.random.default_rng(k)
    xyz = rng.normal(size=(SLOTS, 3))
    return Observation(k, rng.normal(size=8), rng.normal(size=8), xyz, np.ones(SLOTS, bool), np.arange(SLOTS))


def record(base: str, path: str, readable: bool, seconds: float, out: multiprocessing.Queue) -> None:
    """Body of the recorder's process: ends once nothing has come for a second, or after so many seconds."""
    recorder = Recorder(Place(base), Path(path), readable=readable)
    last = [0.0, time.monotonic() + 10.0]
    begun = time.monotonic()

    def stop() -> bool:
        total, now = sum(recorder.frames.values()), time.monotonic()
        if total != last[0]:
            last[:] = [total, now]
        return now - begun > seconds if seconds else now - last[1] > 1.0

    cpu = time.process_time()
    report = recorder.run(stop)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out.put((report.frames, report.lost, time.process_time() - cpu, last[1], usage))


def stream(kind: str, values: list[object], rate_hz: float, readable: bool, seconds: float = 4.0) -> dict[str, float]:
    """Send at a rate for some seconds; the recorder should end with all of it."""
    count = round(rate_hz * seconds)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        base, path = f"ipc://{folder}", Path(folder) / "run.mcap"
        with Publisher(address(base, "observation")) as publisher:
            queue = spawn.Queue()
            process = spawn.Process(target=record, args=(base, str(path), readable, 0.0, queue))
            process.start()
            publisher.wait_subscribers(1, 30.0)
            began, size = time.monotonic(), 0
            for k in range(count):
                time.sleep(max(0.0, began + k / rate_hz - time.monotonic()))
                size += len(publisher.send(kind, values[k % len(values)], stamp_ns=k))
            sent_s = time.monotonic() - began
            frames, lost, cpu_s, ended, rss_mb = queue.get(timeout=300)
            process.join()
        assert len([None for _ in Log(path)]) == sum(frames.values())
        return {
            "asked_hz": rate_hz, "sent_hz": count / sent_s, "mb_per_s": size / sent_s / 1e6,
            "lost": count - sum(frames.values()), "behind_s": ended - began - sent_s,
            "cpu_us_per_frame": 1e6 * cpu_s / count, "rss_mb": rss_mb,
        }  # fmt: skip


def graph_share(seconds: float) -> dict[str, float]:
    """CPU of a recorder beside a graph in real time, as a share of one core."""
    specs = {n: NodeSpec(f"hjepa.bus.fake:{p.__name__}", {}) for n, p in PARTS.items()}
    specs["driver"] = NodeSpec("hjepa.bus.fake:PointWorld", {"ticks": round(100 * seconds)})
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessGraph(specs, clock="realtime", journal=True) as graph:
        queue, path = spawn.Queue(), Path(folder) / "run.mcap"
        process = spawn.Process(target=record, args=(graph.config.base, str(path), True, seconds + 3.0, queue))
        process.start()
        time.sleep(1.5)  # until it listens
        player = threading.Thread(target=graph.play, args=(START, LAUNCH, 3))
        player.start()
        frames, lost, cpu_s, _, rss_mb = queue.get(timeout=300)
        process.join()
        player.join()
        return {
            "frames": sum(frames.values()), "lost": sum(lost.values()), "cpu_percent": 100 * cpu_s / seconds,
            "mb_per_min": path.stat().st_size / 1e6 / seconds * 60, "rss_mb": rss_mb,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    small = [observation(k) for k in range(100)]
    large = [Record({"image": np.random.default_rng(k).integers(0, 255, 2**20, np.uint8)}, "{}") for k in range(8)]
    results: dict[str, dict[str, float]] = {}
    for rate_hz in (500, 1000, 2000, 4000, 8000):
        results[f"observations, 2.4 kB, {rate_hz} Hz"] = stream("observation", small, rate_hz, False)
    for rate_hz in (500, 1000, 2000):
        results[f"with figures for Foxglove, {rate_hz} Hz"] = stream("observation", small, rate_hz, True)
    for rate_hz in (25, 50, 100):
        results[f"1 MB frames, {rate_hz} Hz"] = stream("record", large, rate_hz, False)
    results["a toy graph in real time"] = graph_share(given.seconds)
    for name, figures in results.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
