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
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import build, config, matches, sides
from hjepa.evaluation.metrics import wilson
from hjepa.tasks.badminton.opponents import Opponent
from hjepa.types import Observation

PAIRS = tuple(f"{high}:{opponent}" for opponent in ("human", "markov", "greedy") for high in matches.HIGHS)


def play(job: tuple[str, int, int, float, str, list[str]]) -> dict[str, Any]:
    pair, rallies, seed, minutes, split, sets = job
    high, _, opponent = pair.partition(":")
    build.use_one_thread()
    settings = config.load("badminton", sets)
    cooperative = opponent.endswith("-cooperative")
    other = opponent.removesuffix("-cooperative")
    robots = other.startswith("self-")
    us = matches.robot(settings, high, cooperative=cooperative, against_robot=robots)
    if robots:
        them: sides.Side = matches.robot(settings, other.removeprefix("self-"), "robot 2", cooperative, True)
    else:
        them = sides.HumanSide(Opponent(other, split))
    spent_ms: list[float] = []
    decide = us.high.decide

    def timed(observation: Observation, reachability: Any) -> Any:
        begun = time.perf_counter()
        goal = decide(observation, reachability)
        if goal is not None:
            spent_ms.append(1e3 * (time.perf_counter() - begun))
        return goal

    us.high.decide = timed  # type: ignore[method-assign]
    begun, played = time.monotonic(), []
    while len(played) < rallies and time.monotonic() - begun < 60.0 * minutes:
        k = len(played)
        played.append(matches.play_rally((us, them), k % 2, split, 1000 * seed + k))
    decided = [r for r in played if r.winner >= 0]
    won = sum(r.winner == 0 for r in decided)
    share, lengths = wilson(won, len(decided)), [r.length for r in played]
    ends = sorted({(r.winner, r.why) for r in played})
    return {
        "pair": pair, "rallies": len(played), "decided": len(decided), "won": [share.value, share.lo, share.hi],
        "length": {"median": float(np.median(lengths)), "mean": float(np.mean(lengths)), "max": int(max(lengths))},
        "ends": {f"{w}: {why}": sum((r.winner, r.why) == (w, why) for r in played) for w, why in ends},
        "decision_ms": [float(v) for v in np.percentile(spent_ms, [50, 99])],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="*", default=PAIRS)
    parser.add_argument("--rallies", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=1e9, help="at most so long for a pair")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default="test", choices=("val", "test"), help="services, and whom `human` copies")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    rows = []
    jobs = [(pair, o.rallies, o.seed, o.minutes, o.split, o.sets) for pair in o.pairs]
    with get_context("spawn").Pool(o.workers) as pool:
        for row in pool.imap_unordered(play, jobs, chunksize=1):
            rows.append(row)
            print(json.dumps(row), flush=True)
            if o.json:
                o.json.parent.mkdir(parents=True, exist_ok=True)
                o.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
