"""Rallies won: the tactician, the high level without a rally, and random shots, against several opponents.

    python tests/benchmarks/bench_matches.py --rallies 60 --json runs/bench/matches.json
    python tests/benchmarks/bench_matches.py --pairs hjepa:self-random hjepa:self-hjepa-cooperative --rallies 40

A pair is HIGH:OPPONENT; an opponent is human, markov, greedy, random (human limits), or self-HIGH: a second robot whose
shots are chosen as HIGH says; self-hjepa-cooperative: both keep the rally going. Rally k of every pair has the same
service and the same seed. Shares carry Wilson intervals; rallies that nobody won within 200 strokes count for nobody.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import build, config, matches, sides
from hjepa.evaluation.metrics import wilson
from hjepa.tasks.badminton.opponents import Opponent
from hjepa.types import Observation

PAIRS = tuple(f"{high}:{opponent}" for opponent in ("human", "markov", "greedy") for high in matches.HIGHS)


PART = 10  # rallies of a job


class Job(NamedTuple):
    pair: str
    first: int  # rally
    count: int
    options: argparse.Namespace


def play(job: Job) -> tuple[str, dict[str, Any]]:
    o, (high, _, opponent) = job.options, job.pair.partition(":")
    build.use_one_thread()
    settings = config.load("badminton", o.sets)
    cooperative = opponent.endswith("-cooperative")
    other = opponent.removesuffix("-cooperative")
    robots = other.startswith("self-")
    us = matches.robot(settings, high, cooperative=cooperative, against_robot=robots)
    if robots:
        them: sides.Side = matches.robot(settings, other.removeprefix("self-"), "robot 2", cooperative, True)
    else:
        them = sides.HumanSide(Opponent(other, o.split))
    spent_ms: list[float] = []
    decide = us.high.decide

    def timed(observation: Observation, reachability: Any) -> Any:
        begun = time.perf_counter()
        goal = decide(observation, reachability)
        if goal is not None:
            spent_ms.append(1e3 * (time.perf_counter() - begun))
        return goal

    us.high.decide = timed  # type: ignore[method-assign]
    rows = range(job.first, job.first + job.count)
    played = [matches.play_rally((us, them), k % 2, o.split, 1000 * o.seed + k) for k in rows]
    return job.pair, {
        "ends": [(r.winner, r.why) for r in played],
        "lengths": [r.length for r in played],
        "ms": spent_ms,
    }


def summary(pair: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    ends, lengths, spent_ms = (sum((list(part[name]) for part in parts), []) for name in ("ends", "lengths", "ms"))
    decided = [winner for winner, _ in ends if winner >= 0]
    share = wilson(sum(winner == 0 for winner in decided), len(decided))
    return {
        "pair": pair, "rallies": len(ends), "decided": len(decided), "won": [share.value, share.lo, share.hi],
        "length": {"median": float(np.median(lengths)), "mean": float(np.mean(lengths)), "max": int(max(lengths))},
        "ends": {f"{w}: {why}": ends.count((w, why)) for w, why in sorted(set(ends))},
        "decision_ms": [float(v) for v in np.percentile(spent_ms, [50, 99])],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="*", default=PAIRS)
    parser.add_argument("--rallies", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default="test", choices=("val", "test"), help="services, and whom `human` copies")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    jobs = [Job(pair, k, min(PART, o.rallies - k), o) for pair in o.pairs for k in range(0, o.rallies, PART)]
    parts: dict[str, list[dict[str, Any]]] = {}
    with get_context("spawn").Pool(o.workers) as pool:
        for pair, part in pool.imap_unordered(play, jobs, chunksize=1):
            parts.setdefault(pair, []).append(part)
            print(json.dumps(summary(pair, parts[pair])), flush=True)
            if o.json:
                o.json.parent.mkdir(parents=True, exist_ok=True)
                o.json.write_text(json.dumps([summary(*row) for row in parts.items()], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
