"""Frames a second of the film, drawing and encoding, one process.

    python tests/benchmarks/bench_viewer.py [--strokes 4] [--json FILE]

The strokes are random feeds that nobody returns, with a swing being shown; drawing costs the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa.benches.host import commit
from hjepa.evaluation.results import Recording, StrokeResult
from hjepa.tasks.badminton.feeds import random_feed
from hjepa.tasks.badminton.flight import fly
from hjepa.viewer.scene import StrokeScene, scene_of
from hjepa.viewer.video import write_video
from robots.spec import load_spec


def scenes(count: int) -> list[StrokeScene]:
    """Random feeds over two seconds; every joint of the robot swings."""
    spec, feed = load_spec("courtbot"), random_feed(count, 0)
    paths, _ = fly(feed.x0_m, feed.v0_m_s, dt_s=0.01, steps=200)
    times = np.arange(201) / 100
    q = spec.q_home_rad + 0.5 * np.sin(3 * times)[:, None]
    flat = paths.clip((-9, -4, 0), (9, 4, 9))
    result = StrokeResult(id="0", hit=True, contact_s=1.0, landing_s=1.9, landing_xy_m=(3, 0), target_xy_m=(3, 1))
    return [scene_of(spec, result, Recording(times, q, flat[i])) for i in range(count)]


def main() -> None:
    """Print the figure; append a JSON line where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strokes", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    strokes = scenes(options.strokes)
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        frames = write_video(Path(folder) / "bench.mp4", strokes)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    host = f"{platform.machine()} {os.cpu_count()} cores"
    load = os.getloadavg()[0]
    print(f"{frames} frames of 960x540: {frames / wall:.0f} a second of wall time, {frames / cpu:.0f} of CPU time")
    print(f"{host}, load {load:.1f}, commit {commit()}")
    if options.json:
        line = {"benchmark": "viewer", "commit": commit(), "host": host, "load": load, "frames": frames}
        line |= {"frames_per_wall_s": frames / wall, "frames_per_cpu_s": frames / cpu}
        with options.json.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
