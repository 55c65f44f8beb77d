"""What each part of the low level's training is worth: the same data, size and steps, one thing changed at a time.

    python tests/benchmarks/bench_ablation.py --data data/swings --high runs/s1 --out runs/ablation --seeds 1 2 3

Trains every variant with every seed (shorter than the shipped level: all of them fit into two hours on two
cores), probes it on strokes never trained on and plays test strokes with it. Resumable: what is there is not done
again; `--only NAME` picks variants, so that two processes can share the work. Prints a Markdown table over all that is
there.
"""

from __future__ import annotations

import argparse
import copy
import math
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from hjepa import api
from hjepa.evaluation.episodes import run
from hjepa.evaluation.metrics import paired_bootstrap, rate, within
from hjepa.evaluation.results import StrokeResult, read_csv, write_csv
from hjepa.models.checkpoint import load_codec
from hjepa.models.high import load_high
from hjepa.models.low import LowLevel, load_low
from hjepa.planning.objectives import LowWeights
from hjepa.training import train_low
from hjepa.training.collect import load_swings
from hjepa.training.low import LowData, LowTraining
from hjepa.training.low_data import Prepared, prepare
from hjepa.training.low_run import LowRun
from hjepa.training.pairs import PairConfig
from hjepa.training.pipeline import CODEC, launches
from hjepa.training.proposal import ProposalTraining
from hjepa.training.ranks import Ranks
from hjepa.training.searched import SearchedConfig
from robots.spec import load_spec

BASE = "JEPA, bridge, heads (SIGReg)"


@dataclass(frozen=True)
class Variant:
    """What is changed, in training and in the energy that is planned with."""

    level: dict[str, object] = field(default_factory=dict)
    run: dict[str, object] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


NO_HEADS = Variant({"heads_shape": False}, {"body_steps": 0}, {"contact": 0.0})
VARIANTS = {
    BASE: Variant(),
    "outcome regression, no JEPA": Variant({"prediction": 0.0, "collapse": 0.0, "inverse": 0.0, "tick": 0.0}),
    "JEPA alone (bridge and heads only read)": replace(NO_HEADS, level={"heads_shape": False, "bridge_shapes": False}),
    "JEPA, bridge, no heads": NO_HEADS,
    "VICReg for SIGReg": Variant({"regulariser": "vicreg"}),
    "gradient stopped at the target": Variant({"stop_gradient": True}),
    "hindsight labels on 10 % of swings": Variant({"labelled": 0.1}),
    "hindsight labels on 1 % of swings": Variant({"labelled": 0.01}),
    "JEPA, bridge, own body and shuttle, no outcome heads": Variant({"outcomes_shape": False}),
}
PROBES = ("target_offset_m", "target_landing_m", "offset_m@0.4", "landing_m@0.4", "rank")


def settings(variant: Variant, seed: int, steps: int) -> LowRun:
    """The run of a variant: no polishing and settling, a third of the shipped level's steps."""
    short = LowRun(
        level=LowTraining(steps=steps, seed=seed),
        proposal=ProposalTraining(hindsight_steps=steps * 2 // 5, energy_steps=steps * 3 // 5),
        searched=SearchedConfig(motions=0),
        body_steps=800,
        polish_steps=0,
        settle_steps=0,
        refine_steps=0,
        weights=LowWeights(**variant.weights),
    )
    return replace(short, level=replace(short.level, **variant.level), **variant.run)


@cache
def data(folder: Path, high: Path, pairs: Path) -> Prepared:
    """The same for every variant."""
    x0, v0, _ = launches(7000, 3000, 0)
    swings, codec, spec = load_swings(folder), load_codec(folder / CODEC), load_spec("courtbot")
    return prepare(spec, codec, swings, (x0, v0), load_high(high), PairConfig(), LowTraining(), pairs)


BODIES: dict[int, dict[str, torch.Tensor]] = {}  # by seed: the own body, learned before anything is varied
learn_body = train_low.learn_body


def learn_once(level: LowLevel, data: LowData, run: LowRun, progress: None, writer: None, ranks: Ranks) -> None:
    """The own body of a seed, learned by the first variant that asks."""
    seed = run.level.seed
    if seed not in BODIES:
        learn_body(level, data, run, progress, writer)
        BODIES[seed] = copy.deepcopy(level.action.state_dict())
    level.action.load_state_dict(BODIES[seed])


def train(variant: Variant, seed: int, out: Path, options: argparse.Namespace) -> None:
    """Weights of a variant in `out`."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    high = options.high / "high.safetensors"
    prepared = data(options.data, high, options.out / "pairs.npz")
    train_low.learn_body = learn_once
    train_low.fit(load_spec("courtbot"), prepared, load_high(high), settings(variant, seed, options.steps), out)
    (out / "high.safetensors").write_bytes(high.read_bytes())


def play(variant: Variant, seed: int, out: Path, options: argparse.Namespace) -> list[StrokeResult]:
    """Test strokes."""
    sets = [f"low.weights.{name}={value}" for name, value in variant.weights.items()]
    base = [f"task.strokes={options.strokes}", f"task.seed={options.feed_seed}", f"agent.weights={out}", *sets]
    system = api.load("badminton", base)
    with system.world() as world:
        return [
            played.result
            for played in run(
                world, system.agent("hjepa"), system.feed, system.starts(),
                replan_period_ms=system.config.low.replan_period_ms, seed=options.feed_seed, weights_seed=seed,
            )
        ]  # fmt: skip


def line(name: str, probes: list[dict[str, float]], results: list[StrokeResult], base: list[StrokeResult]) -> str:
    """Markdown."""
    feasible = [r for r in results if r.feasible]
    back, near = rate(r.returned for r in feasible), rate(within(r) for r in feasible)
    errors = [r.landing_error_m for r in feasible if math.isfinite(r.landing_error_m)]
    apart = "-"
    if name != BASE and base:
        gaps = (
            paired_bootstrap(feasible, base, value, np.random.default_rng(0))
            for value in (lambda r: float(r.returned), lambda r: float(within(r)))
        )
        apart = "; ".join(f"{100 * g.value:+.0f} ({100 * g.lo:+.0f} to {100 * g.hi:+.0f})" for g in gaps)
    told = [f"{np.median([p[k] for p in probes]):.3g}" for k in PROBES]
    landing = f"{np.median(errors):.2f} m" if errors else "-"
    shares = [f"{100 * x.value:.0f} % ({100 * x.lo:.0f} to {100 * x.hi:.0f})" for x in (back, near)]
    return f"| {' | '.join([name, str(len(probes)), *told, *shares, landing, apart])} |"


def main() -> None:
    """Train, play, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/swings"))
    parser.add_argument("--high", type=Path, required=True, help="folder with high.safetensors")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--strokes", type=int, default=60)
    parser.add_argument("--feed-seed", type=int, default=11)
    parser.add_argument("--only", nargs="+", default=[], help="variants whose name contains one of these")
    options = parser.parse_args()
    wanted = [n for n in VARIANTS if not options.only or any(part in n for part in options.only)]
    for seed in options.seeds:
        for name in wanted:
            out = options.out / f"v{list(VARIANTS).index(name)}_s{seed}"
            if (out / "strokes.csv").exists():
                continue
            train(VARIANTS[name], seed, out, options)
            results = play(VARIANTS[name], seed, out, options)
            write_csv(out / "strokes.csv", results)
            print(name, seed, line(name, [load_low(out / "low.safetensors").header["probe"]], results, []), flush=True)
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {found.stdout.strip() or 'unknown'}, {options.steps} steps, {options.strokes} test strokes a run")
    print(
        "| variant | seeds | target's offset m | target's landing m | offset @ 0.4 s m | landing @ 0.4 s m | rank"
        " | returned, feasible | within 1 m, feasible | landing error | minus the first: returned; within 1 m |"
    )
    print("|---" * 11 + "|")
    everything: dict[str, list[StrokeResult]] = {}
    for k, name in enumerate(VARIANTS):
        runs = [options.out / f"v{k}_s{seed}" for seed in options.seeds]
        done = [out for out in runs if (out / "strokes.csv").exists()]
        everything[name] = [r for out in done for r in read_csv(out / "strokes.csv")]
        if done:
            probes = [load_low(out / "low.safetensors").header["probe"] for out in done]
            print(line(name, probes, everything[name], everything[BASE]))


if __name__ == "__main__":
    main()
