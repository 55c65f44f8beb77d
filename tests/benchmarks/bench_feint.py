"""How well a feint hides where a shot goes: an observer the planner never met, 0.15 s before the contact.

    python tests/benchmarks/bench_feint.py --split test --strokes 500 --seed 31 --out runs/feint

The same strokes are played plainly and with feints. The held-out observer sees joints, racket and shuttle (the shipped
one, which feints are planned against, does not see the shuttle). It learns from plain strokes of the training matches,
and its feint form goes on from there with feints of these matches, so that it knows the trick. Every shot that comes
over the net counts, whether a late goal was found for it or not. Resumable: what was played is not played again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa import build, config, feinting
from hjepa.evaluation.metrics import wilson
from hjepa.feinting import ObserverTraining, Watched
from robots.spec import load_spec

LEARN = ObserverTraining(steps=800, held_out=0.05, seed=7)
LEARN_FEINTS = ObserverTraining(steps=800, rate=1e-3, held_out=0.05, seed=8)
ROUNDS = 4000  # of the bootstrap


def played(o: argparse.Namespace, feed: str, strokes: int, seed: int, feint: bool) -> Watched:
    """Strokes of a feed, from OUT or played now."""
    name = f"{feed}_{'feint' if feint else 'plain'}"
    words = [f"task.feed={feed}", f"task.strokes={strokes}", f"task.seed={seed}", f"high.feint={str(feint).lower()}"]

    def told(done: int, total: int, _: object) -> None:
        print(f"{name}: {done} of {total} strokes", flush=True)

    return feinting.watch(config.load("badminton", [*words, *o.sets]), o.out / name, strokes, o.workers, told)


def ratio(feint: np.ndarray, plain: np.ndarray) -> list[float]:
    """Of the means, with a bootstrap interval over strokes."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(feint, len(feint)).mean() / rng.choice(plain, len(plain)).mean() for _ in range(ROUNDS)]
    return [float(v) for v in (feint.mean() / plain.mean(), *np.percentile(drawn, [2.5, 97.5]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--strokes", type=int, default=400)
    parser.add_argument("--learn", type=int, default=2000, help="training strokes, plain ones and feints, of observers")
    parser.add_argument("--watched", type=Path, help="plain ones that `hjepa train observer` played: its --data folder")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args()
    build.use_one_thread()
    spec = load_spec("courtbot")
    known = feinting.watched(o.watched) if o.watched else played(o, "train", o.learn, 0, False)
    school = {False: known, True: played(o, "train", o.learn, 1, True)}
    test = {feint: played(o, o.split, o.strokes, o.seed, feint) for feint in (False, True)}
    held_out, learned = feinting.fit(school[False], spec, LEARN, shuttle=True)
    warned, relearned = feinting.fit(school[True], spec, LEARN_FEINTS, shuttle=True, start=held_out)
    shipped = build.load_observer(build.shipped("observer")).observer
    plain, feint = (test[k].rows(test[k].seen) for k in (False, True))
    errors = {
        "plain": feinting.errors(held_out, plain, spec), "feint": feinting.errors(warned, feint, spec),
        "feint, not warned": feinting.errors(held_out, feint, spec),
        "feint, planned against": feinting.errors(shipped, feint, spec),
        "plain, planned against": feinting.errors(shipped, plain, spec),
    }  # fmt: skip
    hidden = feint.hidden
    back = {k: wilson(int(test[k].returned.sum()), len(test[k].returned)) for k in (False, True)}
    lost = test[False].returned.astype(float) - test[True].returned
    rng = np.random.default_rng(0)
    means = [rng.choice(lost, len(lost)).mean() for _ in range(ROUNDS)]
    off = {k: np.linalg.norm(t.landing_m - t.target_m, axis=1) for k, t in ((False, plain), (True, feint))}
    found: dict[str, Any] = {
        "split": o.split, "strokes": o.strokes, "seed": o.seed, "learned_on": [len(x.stroke) for x in school.values()],
        "mean_error_m": {k: float(e.mean()) for k, e in errors.items()},
        "ratio": ratio(errors["feint"], errors["plain"]),
        "ratio_of_feints_with_late_goal": ratio(errors["feint"][hidden], errors["plain"]),
        "hidden": float(hidden.mean()), "shots": [len(plain.stroke), len(feint.stroke)],
        "returned": {n: [back[k].value, back[k].lo, back[k].hi] for n, k in (("plain", False), ("feint", True))},
        "returned_lost": [float(lost.mean()), *(float(v) for v in np.percentile(means, [2.5, 97.5]))],
        "landing_error_m": {n: float(np.nanmedian(off[k])) for n, k in (("plain", False), ("feint", True))},
        "observers": {"plain": learned, "warned": relearned},
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    (o.out / f"{o.split}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
