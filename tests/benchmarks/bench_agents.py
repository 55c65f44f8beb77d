"""Agents against each other on the same strokes, from the same starts, with the same sensor noise; or in odd worlds.

    python tests/benchmarks/bench_agents.py hjepa classical --strokes 300 --seed 7 --out runs/agents
    python tests/benchmarks/bench_agents.py hjepa classical oracle --worlds 10 --strokes 400 --out runs/robust
    python tests/benchmarks/bench_agents.py hjepa --weights runs/s0 --weights runs/s1 --strokes 1300 --out runs/seeds
    python tests/benchmarks/bench_agents.py hjepa "few: low.most=64 low.first_starts=1" --feed val --out runs/few
    python tests/benchmarks/bench_agents.py hjepa --read runs/seeds0/hjepa.csv --read runs/seeds1/hjepa.csv

Strokes are drawn from the split's matches and, with --worlds, dealt to so many worlds whose drag length, restitution,
tracker delay and tracker noise are drawn uniformly from the ranges of the task; no agent is told. An agent starts every
world afresh and keeps what it learns there from stroke to stroke. `oracle-sensors` is the oracle without its
privilege: nominal physics, and a filter on the same sensors as the others instead of the true state. Feasible means
feasible in the nominal world. Writes a CSV of strokes per agent and prints a table; differences to the first agent are
resampled by match and training seed.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import api
from hjepa.build import timing_of
from hjepa.evaluation.baselines import ClassicalAgent
from hjepa.evaluation.episodes import run
from hjepa.evaluation.metrics import paired_bootstrap, rate, shot_realised, within
from hjepa.evaluation.results import StrokeResult, read_csv, write_csv
from hjepa.tasks.badminton.estimate import FilterConfig

NOMINAL = "oracle-sensors"
RANGES = {
    "drag_length_m": (4.1, 5.4),
    "restitution": (0.4, 0.7),
    "tracker_delay_s": (0.0, 0.06),
    "tracker_noise_m": (0.0, 0.03),
}


class Row(NamedTuple):
    """One line of the table."""

    agent: str
    results: list[StrokeResult]
    low_ms: list[float]
    high_ms: list[float]


def worlds(count: int, seed: int) -> list[list[str]]:
    """Overrides for each world; [[]]: the nominal one alone."""
    if not count:
        return [[]]
    rng = np.random.default_rng([seed, 23])
    return [[f"world.{name}={rng.uniform(*span):.4f}" for name, span in RANGES.items()] for _ in range(count)]


def nominal(system: api.System) -> ClassicalAgent:
    """The oracle with the same sensors: it believes in the nominal world, whatever the flights and returns show."""
    certain = FilterConfig(drag_spread=1e-6, drag_walk=0.0)
    return ClassicalAgent(system.spec, timing_of(system.config), sight=certain)


def play(agent: str, base: list[str], options: argparse.Namespace, out: Path) -> Row:
    """All strokes of one agent, with every training seed's weights; `NAME: key=value ...` is hjepa with overrides."""
    label, _, changed = agent.partition(":")
    if changed:
        base, agent = [*base, *changed.split()], "hjepa"
    results: list[StrokeResult] = []
    begun = time.monotonic()
    for k, folder in enumerate(options.weights or [""]):
        named = [
            *base,
            f"agent.name={'oracle' if agent == NOMINAL else agent}",
            *([f"agent.weights={folder}"] if folder else []),
        ]
        whole = api.load("badminton", named)
        starts, places = whole.starts(), worlds(options.worlds, options.seed)
        every = np.arange(0, len(starts.feasible), options.every)
        for rows, place in zip(np.array_split(every, len(places)), places, strict=True):
            system = api.load("badminton", [*named, *place])
            part, c = starts.take(rows), system.config
            with system.world() as world:
                strokes = run(
                    world,
                    nominal(system) if agent == NOMINAL else system.agent(agent),
                    whole.feed.take(rows),
                    part,
                    replan_period_ms=c.low.replan_period_ms,
                    seed=c.task.seed,
                    weights_seed=k,
                )
                for stroke in strokes:
                    results.append(stroke.result)
                    if len(results) % 100 == 0:
                        done = rate([r.returned for r in results if r.feasible]).value
                        note = f"{label}: {len(results)} strokes, {100 * done:.1f} %, {time.monotonic() - begun:.0f} s"
                        print(note, file=sys.stderr, flush=True)
                        write_csv(out / f"{label}.csv", results)
    write_csv(out / f"{label}.csv", results)
    return Row(
        label, results, [x for r in results for x in r.plan_ms_low], [x for r in results for x in r.plan_ms_high]
    )


def line(row: Row, first: Row) -> str:
    """Markdown."""
    feasible = [r for r in row.results if r.feasible]
    errors = [r.landing_error_m for r in row.results if math.isfinite(r.landing_error_m)]
    landing = f"{np.median(errors):.2f} / {np.quantile(errors, 0.9):.2f} m" if errors else "-"
    back, close, hit = (
        rate(flags)
        for flags in ([r.returned for r in feasible], [within(r) for r in row.results], [r.hit for r in row.results])
    )
    told = shot_realised(row.results)
    named = f"{100 * told.value:.0f} % of {len(told.commanded)}" if told.commanded else "-"
    apart = "-"
    if row is not first:
        gaps = (
            paired_bootstrap(row.results, first.results, value, np.random.default_rng(0))
            for value in (lambda r: float(r.returned), lambda r: float(within(r)))
        )
        apart = "; ".join(f"{100 * g.value:+.1f} ({100 * g.lo:+.1f} to {100 * g.hi:+.1f})" for g in gaps)
    cells = [
        row.agent,
        f"{len(row.results)} ({len(feasible)})",
        f"{100 * hit.value:.1f} %",
        f"{100 * back.value:.1f} % ({100 * back.lo:.1f} to {100 * back.hi:.1f})",
        f"{100 * close.value:.1f} % ({100 * close.lo:.1f} to {100 * close.hi:.1f})",
        landing,
        named,
        apart,
        _times(row.low_ms),
        _times(row.high_ms),
    ]
    return f"| {' | '.join(cells)} |"


def _times(ms: Sequence[float]) -> str:
    return f"{np.quantile(ms, 0.5):.0f} / {np.quantile(ms, 0.99):.0f} ms" if ms else "-"


def main() -> None:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agents", nargs="+")
    parser.add_argument("--read", action="append", type=Path, help="table of CSVs written before, one a training seed")
    parser.add_argument("--strokes", type=int, default=300)
    parser.add_argument("--every", type=int, default=1, help="play only one in so many of the drawn strokes")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--feed", default="test", choices=("test", "val", "random"))
    parser.add_argument("--worlds", type=int, default=0, help="so many drawn worlds instead of the nominal one")
    parser.add_argument("--weights", action="append", help="folder of weights; repeated: one per training seed")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="A.B=C")
    parser.add_argument("--out", type=Path, default=Path("runs/agents"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    base = [f"task.feed={options.feed}", f"task.strokes={options.strokes}", f"task.seed={options.seed}", *options.sets]
    if options.read:
        seeds = [replace(r, seed=k) for k, path in enumerate(options.read) for r in read_csv(path)]
        rows = [Row(options.agents[0], seeds, [], [])]
    else:
        rows = [play(agent, base, options, options.out) for agent in options.agents]
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {found.stdout.strip() or 'unknown'}, {options.feed} strokes, seed {options.seed}")
    apart = f"minus {rows[0].agent}, points: returned; within 1 m"
    print(
        "| agent | strokes (feasible) | hit | returned, feasible | within 1 m of target, all | landing error, p50 / p90"
        f" | shot realised, types | {apart} | low plan p50 / p99 | high p50 / p99 |"
    )
    print("|---" * 10 + "|")
    for row in rows:
        print(line(row, rows[0]))


if __name__ == "__main__":
    main()
