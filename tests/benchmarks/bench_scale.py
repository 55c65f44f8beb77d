"""What a core collects, plays and learns, and what a second one adds: the figures that docs/scale.md multiplies.

    python tests/benchmarks/bench_scale.py [--data FOLDER] [--runs 3] [--only WORD] [--json FILE]

Collection: swings a second with one and two workers, of Ray and of spawned processes; the clock starts with the first
shard, what came before is start-up. One worker and two take turns, each with as many shards a worker; before a
run the machine may grow quiet for up to --patience seconds, and the share of a core that workers got is told (below
0.9 others were in the way: then `gain_cpu`, by the workers' own processor time, says more than `gain`).
Strokes: whole ones, played by an agent. Training: rows a second, alone and in two processes (torchrun), and the share
of a step that every process spends on drawing the whole batch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from hjepa import api, build
from hjepa.benches.host import where
from hjepa.config import load
from hjepa.models.checkpoint import load_codec
from hjepa.models.high import HighConfig, load_high
from hjepa.models.low import LowConfig, LowLevel
from hjepa.training import collect as room
from hjepa.training.body import BodyConfig
from hjepa.training.collect import CollectConfig, load_swings
from hjepa.training.encoder import EncoderTraining, train_encoder
from hjepa.training.loop import LoopConfig, optimise
from hjepa.training.low import LowTraining, forget_body, loss
from hjepa.training.low_data import prepare
from hjepa.training.pairs import PairConfig
from hjepa.training.pipeline import CODEC, EVENTS, SwingRun, collect_swings, launches
from hjepa.training.rallies import with_simulated
from hjepa.training.ranks import Ranks, joined
from hjepa.training.shards import processes
from hjepa.training.spread_ray import ray_workers
from hjepa.training.teacher import Events
from robots.spec import load_spec

SHARD = 20  # swings
SMALL = SwingRun(real=120, drawn=60, body=BodyConfig(steps=600), collect=CollectConfig(swings=200, shard=50))
SPEC = load_spec("courtbot")


class Timed(NamedTuple):
    """A shard, and when and with how much of a core it was made."""

    begin_s: float
    end_s: float
    cpu_s: float
    shard: tuple[int, dict[str, Any]]


def timed(shared: Any, k: int) -> Timed:
    """A shard of the collection, by the clock."""
    begin, cpu = time.time(), time.process_time()
    shard = room._make_shard(shared, k)
    return Timed(begin, time.time(), time.process_time() - cpu, shard)


def quiet(patience_s: float) -> float:
    """Waits until nine tenths of all cores are idle for two seconds, or for so long; the load then."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = _idle_s()
        time.sleep(2.0)
        if (_idle_s() - before) / (2.0 * (os.cpu_count() or 1)) > 0.9:
            break
    return os.getloadavg()[0]


def _idle_s() -> float:
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    return int(fields[4]) / os.sysconf("SC_CLK_TCK")


def collection(engine: str, workers: int, data: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """One run: swings a second, and what surrounded it."""
    load_before = quiet(options.patience)
    asked = time.time()
    with ray_workers("local", workers) if engine == "ray" else nullcontext(processes(workers)) as spread:
        made: list[Timed] = []
        size = 0

        def told(work: Any, shared: Any, jobs: Any) -> Any:
            nonlocal size
            for item in spread(timed, shared, jobs):
                made.append(item)
                size += sum(column.nbytes for column in item.shard[1].values())
                yield item.shard

        head = time.process_time()
        with tempfile.TemporaryDirectory() as out:
            config = CollectConfig(swings=options.shards * SHARD * workers, shard=SHARD, seed=seed)
            room.collect(SPEC, api.WORLD, data / CODEC, events(data), config, Path(out), spread=told)
            end, head = time.time(), time.process_time() - head
    begin, swings = min(item.begin_s for item in made), len(made) * SHARD
    wall = sum(item.end_s - item.begin_s for item in made)
    return {
        "swings_s": swings / (end - begin),
        "swings_cpu_s": swings / sum(item.cpu_s for item in made),
        "core_share": sum(item.cpu_s for item in made) / wall,
        "head_cpu_ms_a_swing": 1000.0 * head / swings,
        "start_up_s": begin - asked,
        "bytes_a_swing": size / swings,
        "load": load_before,
    }


def events(data: Path) -> Events:
    """The teacher's events of a collection."""
    with np.load(data / EVENTS, allow_pickle=False) as file:
        return Events(*(file[name] for name in Events._fields))


def collections(data: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each engine with one worker and two, in turns."""
    rows = []
    for engine in ("ray", "processes"):
        runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for k in range(options.runs):
            for workers in (1, 2):
                runs[workers].append(collection(engine, workers, data, options, k))
                print(f"  {engine} {workers}: " + ", ".join(f"{n} {v:.3g}" for n, v in runs[workers][-1].items()))
        for workers, found in runs.items():
            middle = {name: median(run[name] for run in found) for name in found[0]}
            rows.append({"what": f"collect, {engine}, {workers}", "runs": found, **middle})
        pairs = list(zip(runs[1], runs[2], strict=True))
        gain = [two["swings_s"] / one["swings_s"] for one, two in pairs]
        by_cpu = [2.0 * two["swings_cpu_s"] / one["swings_cpu_s"] for one, two in pairs]
        gains = {"runs": gain, "gain": median(gain), "gain_cpu": median(by_cpu)}
        rows.append({"what": f"collect, {engine}, two over one", **gains})
    return rows


def strokes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole strokes, played in this process alone."""
    rows = []
    for agent in ("hjepa", "classical"):
        system = api.load(load("badminton", [f"agent.name={agent}", f"task.strokes={options.strokes}"]))
        system.starts()
        before, cpu = time.perf_counter(), time.process_time()
        count = len(list(api.play(system)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - before
        row = {"what": f"strokes, {agent}", "strokes_s": count / wall, "strokes_cpu_s": count / cpu}
        rows.append(row | {"load": os.getloadavg()[0]})
    return rows


class Pace:
    """Reports of a training, by the clock; the first one is warm-up."""

    def __init__(self, rows: int) -> None:
        self.rows, self.seen = rows, [(0, 0.0, 0.0)]
        self.draw_s = 0.0

    def report(self, step: int, parts: dict[str, float]) -> None:
        self.seen.append((step, time.perf_counter(), time.process_time()))
        if len(self.seen) == 2:
            self.draw_s = 0.0

    def drawn(self, draw: Callable[[], Any]) -> Any:
        """What `draw` draws; its time is kept."""
        before = time.process_time()
        out = draw()
        self.draw_s += time.process_time() - before
        return out

    def row(self, what: str, ranks: Ranks) -> dict[str, Any]:
        """Rows a second, in all and for each second of a core; nothing where another rank reports."""
        if not ranks.leads:
            return {}
        (first, wall_0, cpu_0), (last, wall_1, cpu_1) = self.seen[1], self.seen[-1]
        rows, wall, cpu = (last - first) * self.rows, wall_1 - wall_0, cpu_1 - cpu_0
        found: dict[str, Any] = {
            "rows_s": rows / wall,
            "rows_cpu_s": rows / cpu / ranks.count,
            "core_share": cpu / wall,
        }
        if self.draw_s:
            found["draw_share"] = self.draw_s / cpu
        return {"what": f"{what}, {ranks.count}", **found, "load": os.getloadavg()[0]}


def train_low(data: Path, ranks: Ranks, steps: int) -> dict[str, Any]:
    """The level's steps as train_low.py makes them."""
    c, high = LowTraining(), load_high(build.shipped("high"))
    x0, v0, _ = launches(700, 300, 0)
    codec = load_codec(data / CODEC)
    prepared = prepare(SPEC, codec, load_swings(data), (x0, v0), high, PairConfig(pairs=20_000), c)
    torch.manual_seed(0)
    level = LowLevel(LowConfig(), load_codec(data / CODEC)).to(ranks.device)
    generator, pace = torch.Generator().manual_seed(0), Pace(c.batch)

    def step(k: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([0, k])
        rows = prepared.train[rng.integers(len(prepared.train), size=c.batch)]
        batch = pace.drawn(lambda: prepared.data.draw(rows, rng, c.noise_m, c.dropout, other_sensors=c.other_sensors))
        batch = batch._replace(now=forget_body(batch.now, generator))
        return loss(level, ranks.part(batch), c, generator, None, ranks)

    optimise(level, step, LoopConfig(steps, report_every=10), report=pace.report, ranks=ranks)
    return pace.row("train low", ranks)


def train_high(ranks: Ranks, steps: int) -> dict[str, Any]:
    """The encoder's stage."""
    c = EncoderTraining(steps=steps, save_every=10**9)
    pace, pool = Pace(c.chains), with_simulated(None, 2000, np.random.default_rng(0))
    answered = pool._replace(real=pool.previous >= 0)  # the sampler wants real strokes
    with tempfile.TemporaryDirectory() as out:
        train_encoder(Path(out), c, HighConfig(), answered, pace.report, ranks=ranks)
    return pace.row("train high", ranks)


def training(data: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both levels alone and in two processes."""
    rows = []
    for count in (1, 2):
        quiet(options.patience)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        words = [__file__, "--ranked", "--data", str(data), "--steps", str(options.steps)]
        out = subprocess.run([*launcher, *words], capture_output=True, text=True, check=True).stdout
        rows += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return rows


def ranked(options: argparse.Namespace) -> None:
    """One of the processes of `training`."""
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        for row in (train_low(options.data, ranks, options.steps), train_high(ranks, 25 * (options.steps // 25) + 1)):
            if ranks.leads:
                print(json.dumps(row))


def show(rows: list[dict[str, Any]]) -> None:
    """A line for each row."""
    for row in rows:
        figures = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['what']:<32} {figures}")


def main() -> None:
    """Print the table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder that `hjepa collect` filled; else a small one is made")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shards", type=int, default=4, help="of 20 swings, for each worker")
    parser.add_argument("--strokes", type=int, default=20)
    parser.add_argument("--steps", type=int, default=101)
    parser.add_argument("--patience", type=float, default=60.0)
    parser.add_argument("--only", choices=("collect", "strokes", "train"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ranked", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ranked:
        ranked(options)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 as a rule: beside others' jobs the engines would not compare
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        if not options.data:
            collect_swings(SPEC, api.WORLD, data, SMALL)
        if options.only in (None, "collect"):
            rows += collections(data, options)
        if options.only in (None, "strokes"):
            rows += strokes(options)
        if options.only in (None, "train"):
            rows += training(data, options)
    show(rows)
    about = where()
    rss_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{about}, largest child {rss_mb:.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(about | {"child_rss_mb": rss_mb, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
