"""python tests/benchmarks/bench_gpu.py --recording val.mcap: low-level decisions, on the CPU and on a CUDA device.

The recording (`hjepa demo badminton --feed val --log val.mcap`) holds real observations and goals; each decision is the
first of a stroke, from raw observation to joint trajectory, the copies to and from the device included. Its energy is
printed, so that a fast search that finds nothing is seen. `score` is one call of the residuals of so many candidates.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hjepa import build, config
from hjepa.benches import host
from hjepa.bus.logfile import Log
from hjepa.bus.messages import unpack
from hjepa.planning.objectives import Situation
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import Goal, Observation
from robots.spec import load_spec

SEARCHES = {
    "gradient, as shipped": [],
    "CEM, 1 round of 4,096": ["low.planner=cem", "low.candidates=4096", "low.elites=64", "low.first_iterations=1"],
    "CEM, 4 rounds of 1,024": ["low.planner=cem", "low.candidates=1024", "low.elites=48", "low.first_iterations=4"],
    "CEM, 8 rounds of 512": ["low.planner=cem", "low.candidates=512", "low.elites=32", "low.first_iterations=8"],
    "MPPI, 4 rounds of 1,024": ["low.planner=mppi", "low.candidates=1024", "low.first_iterations=4"],
}
FP32_PEAK = {"H100": 67e12, "H200": 67e12}  # FLOP/s of the data sheets, without tensor cores


def decisions(path: Path) -> list[tuple[Observation, Goal]]:
    """The observation of each goal of a recording, once the goal is in force."""
    found: list[tuple[Observation, Goal]] = []
    waiting: Goal | None = None
    for entry in Log(path):
        if entry.topic == "goal":
            message = unpack(entry.frame)
            waiting = message.value if message.header.kind == "goal" else waiting
        elif entry.topic == "observation" and waiting is not None:
            seen = unpack(entry.frame).value
            if seen.stamp_ns >= waiting.start_ns:
                found.append((seen, waiting))
                waiting = None
    return found


def timed_ms(call: Callable[[], Any], device: str, times: int) -> list[float]:
    """Wall times, the device idle before and after."""
    out = []
    for _ in range(times):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        out.append(1e3 * (time.perf_counter() - began))
    return out


def scored(low: StrokePlanner, at: tuple[Observation, Goal], count: int, device: str) -> dict[str, float]:
    """Residuals of so many candidates in one call."""
    observation, goal = at
    with torch.no_grad():
        z, _ = low.encoding.encode(observation)
        g, root = low.encoding.tensor(goal.embedding[None]), low.encoding.tensor(goal.root[None])
        situation: Situation = low._situation(observation, z, g, root, low.config.latency_s)
        residual = low._residual(situation)
        x = torch.zeros(count, len(residual.low), device=low.device)
        x[:, -1] = 3.0
        for _ in range(5):
            residual(x)
        ms = statistics.median(timed_ms(lambda: residual(x), device, 200 if device == "cuda" else 5))
    flop = low.flop * count
    return {"candidates": count, "ms": ms, "tflop_per_s": flop / ms / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--device", action="append", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=20, help="times over the recording's decisions")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    load = host.load()
    devices = asked.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = decisions(asked.recording)
    name = torch.cuda.get_device_name() if "cuda" in devices else ""
    peak = next((value for key, value in FP32_PEAK.items() if key in name), float("nan"))
    print(f"{len(found)} decisions of {asked.recording}; {name}")
    figures: dict[str, Any] = {"gpu": name, "decisions": len(found)}
    for device in devices:
        rounds = asked.rounds if device == "cuda" else 1
        for search, sets in SEARCHES.items():
            chosen = config.load("badminton", sets)
            low = build.build_low(chosen, load_spec(chosen.robot.name), device=device)
            ms: list[float] = []
            energy, count = [], []
            for k in range(rounds + 1):
                for observation, goal in found:
                    low.reset(k)
                    low.reachability(observation, goal.candidates, np.tile(goal.root, (len(goal.candidates), 1, 1)))
                    took = timed_ms(partial(low.plan, observation, goal), device, 1)
                    told = low.explain()
                    if k:  # the first time over, graphs are captured
                        ms += took
                        energy.append(told.energy)
                        count.append(told.candidates)
            row = {
                "median_ms": statistics.median(ms), "p99_ms": float(np.quantile(ms, 0.99)),
                "energy": statistics.median(energy), "candidates": statistics.median(count),
            }  # fmt: skip
            figures[f"{device}: {search}"] = row
            print(f"{device:5} {search:26}" + "".join(f"  {key} {value:9.2f}" for key, value in row.items()))
        for size in (64, 1024, 4096):
            row = scored(low, found[0], size, device)
            figures[f"{device}: score {size}"] = row
            share = f", {1e14 * row['tflop_per_s'] / peak:.1f} % of the fp32 peak" if device == "cuda" else ""
            print(f"{device:5} score {size:5} candidates  {row['ms']:8.3f} ms  {row['tflop_per_s']:.2f} TFLOP/s{share}")
    if asked.json:
        asked.json.write_text(host.as_json("gpu", figures, load), encoding="utf-8")


if __name__ == "__main__":
    main()
