"""Foresight in returned shuttles: real strokes in the context of their rallies, with anticipation and without.

    python tests/benchmarks/bench_anticipation.py --split test --strokes 1200 --seed 29 --json runs/anticipation.json

Before the opponent hits, the robot leaves the place where the real player had just hit: with anticipation for where the
replies that the rally level predicts are returned; without it, for the best fixed place, tuned on training strokes.
Both start from the same recorded states and face the same strokes, feasible or not; a service finds both where the real
receiver stood. The difference is paired, its interval resampled by match.
"""

from __future__ import annotations

import argparse
import json
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import anticipating, api, build, config
from hjepa.evaluation.metrics import wilson
from hjepa.models.cover import load_cover
from hjepa.planning.anticipation import AnticipationConfig
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.badminton.strokes import TYPES, load_strokes

TUNED_ON = 3000  # training strokes


def play(job: tuple[str, Any, anticipating.Chosen]) -> tuple[str, list[bool]]:
    name, settings, chosen = job
    build.use_one_thread()
    found = []
    for k, result in enumerate(anticipating.play_from(api.load(settings), chosen)):
        found.append(result.returned)
        if k % 50 == 49:
            print(f"{name}: {k + 1} strokes, {100 * np.mean(found):.1f} % returned", flush=True)
    return name, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--strokes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--cover", type=Path, help="another cover level than the shipped one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    build.use_one_thread()
    table, where = load_strokes(), AnticipationConfig()
    words = [f"task.feed={o.split}", f"task.strokes={o.strokes}", f"task.seed={o.seed}"]
    settings = config.load("badminton", words)
    rows = api.load(settings).feed.id
    cover = load_cover(o.cover or build.shipped("cover")).cover
    model = build.load_rally_level(build.shipped("rally"))
    some = np.sort(np.random.default_rng(0).choice(load_feed("train").id, TUNED_ON, replace=False))
    fixed = anticipating.best_fixed(cover, anticipating.Contexts(table, "train", some), where)
    contexts = anticipating.Contexts(table, o.split, rows)
    places = {"on": anticipating.anticipated(cover, model, contexts, where), "off": np.tile(fixed, (len(rows), 1))}
    jobs = [(name, settings, anticipating.moved(contexts, at, where)) for name, at in places.items()]
    with get_context("spawn").Pool(o.workers) as pool:
        returned = {name: np.array(found) for name, found in pool.imap_unordered(play, jobs)}
    gain = returned["on"].astype(float) - returned["off"]
    matches, rng = table.match[rows], np.random.default_rng(0)
    by_match = [gain[matches == m] for m in np.unique(matches)]
    means = [
        np.concatenate([by_match[k] for k in rng.integers(len(by_match), size=len(by_match))]).mean()
        for _ in range(4000)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    kinds = {
        TYPES[k]: [int(mine.sum()), *(round(float(returned[n][mine].mean()), 4) for n in ("on", "off"))]
        for k in range(len(TYPES))
        if (mine := table.type[rows] == k).any()
    }
    shares = {n: wilson(int(r.sum()), len(r)) for n, r in returned.items()}
    found = {
        "split": o.split, "strokes": len(rows), "seed": o.seed, "services": int((contexts.before < 0).sum()),
        "fixed_place_m": fixed.tolist(), "gain": float(gain.mean()), "gain_low": float(low), "gain_high": float(high),
        "gained": int((gain > 0).sum()), "lost": int((gain < 0).sum()), "by_incoming": kinds,
        **{n: [s.value, s.lo, s.hi] for n, s in shares.items()},
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if o.json:
        o.json.parent.mkdir(parents=True, exist_ok=True)
        o.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
