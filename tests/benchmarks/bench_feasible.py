"""Which real strokes courtbot can return at its stated limits: share and launch speed by shot type and court zone.

    python tests/benchmarks/bench_feasible.py [--split test] [--strokes 600] [--seed 0] [--cache FOLDER] [--json FILE]

The rule is in hjepa/evaluation/feasible.py: the oracle, told the shuttle's state 0.10 s after the launch, returns it in
the simulator to any of five targets within five draws of its candidates.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa.evaluation.feasible import judge, table
from hjepa.evaluation.metrics import rate
from hjepa.tasks.badminton.feeds import load_feed
from robots.sim.court import CourtWorld
from robots.spec import load_spec


def main() -> None:
    """Print the table; append a JSON line where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--strokes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="keep start states here, and go on from them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    whole = load_feed(options.split)
    rows = np.random.default_rng(options.seed).choice(len(whole.id), options.strokes, replace=False)
    feed = whole.take(np.sort(rows))
    begun = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done % 50 == 0:
            print(f"{done} of {total}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    with CourtWorld(load_spec("courtbot")) as world:
        starts = judge(world, feed, options.cache, progress=progress)
    share = rate(starts.feasible.tolist())
    print(table(feed, starts.feasible))
    print(f"feasible: {100 * share.value:.1f} % (95 % interval {100 * share.lo:.1f} to {100 * share.hi:.1f})")
    print(f"at the first draw: {100 * (starts.feasible & (starts.draws == 1)).mean():.1f} %")
    if options.json:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        line = {
            "benchmark": "feasible",
            "commit": found.stdout.strip() or "unknown",
            "host": platform.machine(),
            "split": options.split,
            "strokes": options.strokes,
            "seed": options.seed,
            "feasible": {"value": share.value, "lo": share.lo, "hi": share.hi},
        }
        with options.json.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
