"""What couples the levels: one low level is given the same macro-actions, and one thing of the hand-over is changed.

    python tests/benchmarks/bench_coupling.py --feed test --strokes 400 --seed 17 --out runs/coupling --workers 2
    python tests/benchmarks/bench_coupling.py --feed test --strokes 400 --seed 17 --out runs/coupling --table

Every stroke's decision is made once, by the shipped high level and what the shipped low one can reach, and kept in
OUT/choices.npz; each variant replays it, so that command, start, sensors and budget are equal (`no-reply` alone decides
anew). Two things of the shipped agent are left out for all alike, as they would carry the embedding into variants that
are to do without it: the start for the search that the question of reachability leaves behind, and the context learned
from stroke to stroke. A variant that is in OUT is not played again. Differences are paired by stroke and resampled by
match; that of the landing error is over strokes both have hit, the others are over all.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from torch import Tensor

from hjepa import api, build, config
from hjepa.agent import HierarchicalAgent
from hjepa.arrays import load_arrays, save_arrays
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import stroke_seed
from hjepa.evaluation.metrics import paired_bootstrap, quantile, rate, shot_realised, within
from hjepa.evaluation.results import NAN, StrokeResult, read_csv, write_csv
from hjepa.models.high import HighModel
from hjepa.planning.objectives import PointGoal, Predictive
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.protocols import Reachability
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.types import Goal, Observation
from robots.spec import load_spec

USUAL = {  # medians of 1,000 real training strokes of each type: over the tape (m), from the hit to the floor (s)
    "net shot": (0.48, 1.13), "drop": (0.67, 1.06), "lob": (0.55, 1.72), "push/rush": (0.52, 1.39),
    "defensive shot": (0.59, 1.19), "clear": (2.43, 1.62), "smash": (0.40, 0.76), "drive": (0.35, 0.93),
    "short service": (0.19, 1.02), "long service": (2.68, 2.31),
}  # fmt: skip
CLEARANCE_M, TEMPO_S = 0.30, 0.15  # what costs 1/2: half of what lies between the 16 % and 84 % of a type


@dataclass(frozen=True)
class Variant:
    """What is changed about the hand-over."""

    term: str = "embedding"  # what the search minimises: the distance in the upper latent, point or point and hand
    proposed: bool = True  # proposals are made for the goal handed over; False: for the mean goal
    search: bool = True  # False: the best proposal is played
    donor: str = ""  # whose goal is handed over: one's own, that of any other rally, or one of the same type
    sees: bool = True  # z tells how the shuttle flies; False: where it is and its heading alone
    reply: bool = True  # the high level looks at the opponent's reply


BASE = "embedding"
VARIANTS = {
    BASE: Variant(),
    "point": Variant(term="point"),
    "point-mean": Variant(term="point", proposed=False),  # nothing of the embedding reaches the low level
    "hand": Variant(term="hand"),
    "hand-mean": Variant(term="hand", proposed=False),
    "shuffled": Variant(donor="any"),
    "shuffled-type": Variant(donor="type"),
    "flat-cost": Variant(proposed=False),
    "proposal-only": Variant(search=False),
    "no-z": Variant(sees=False),
    "no-reply": Variant(reply=False),
}


class Choices(NamedTuple):
    """The decisions of N strokes. D upper latent, Z the low level's state."""

    id: Any  # (N,) of the stroke
    stamp_ns: Any  # (N,)
    start_ns: Any  # (N,)
    embedding: Any  # (N, D)
    root: Any  # (N, D, D)
    target_xy_m: Any  # (N, 2)
    type: Any  # (N,)
    z: Any  # (N, Z) when it was decided

    def goal(self, k: int, donor: int) -> Goal:
        """Stroke k's command, its embedding and root those of a donor; nothing else of the donor is told."""
        when, shown = (int(self.stamp_ns[k]), int(self.start_ns[k])), (self.target_xy_m[k], str(self.type[k]))
        return Goal(1, *when, self.embedding[donor], self.root[donor], *shown, self.embedding[:0], np.empty(0))

    def donors(self, kind: str) -> list[int]:
        """For each stroke, the one whose goal it gets."""
        if not kind:
            return list(range(len(self.id)))
        rally, rng = load_strokes().rally[self.id], np.random.default_rng(0)
        foreign = rally[:, None] != rally
        same = foreign & (self.type[:, None] == self.type)
        pools = [s if kind == "type" and s.any() else f for s, f in zip(same, foreign)]
        return [int(rng.choice(np.flatnonzero(pool))) for pool in pools]


class Replay:
    """A high level (protocols.HighLevel) that decides what was decided before; goals by the seed of their stroke."""

    def __init__(self, goals: dict[int, Goal]) -> None:
        self.goals = goals

    def reset(self, seed: int = 0) -> None:
        self._next = self.goals.get(seed)

    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None:
        if self._next is None or observation.stamp_ns < self._next.stamp_ns:
            return None
        goal, self._next = self._next, None
        return goal


class WithoutReply:
    """A high level's model to which a rally that goes on is worth a half."""

    def __init__(self, model: HighModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def win_probability(self, s: Tensor, s_in: Tensor, context: Any) -> Tensor:
        over, by_hitter = self._model.ends(s, context)
        return torch.lerp(torch.full_like(over, 0.5), torch.sigmoid(by_hitter), torch.sigmoid(over))


class HandGoal(NamedTuple):
    """The point, and what a coach would say of the type: how high over the tape, how long to the floor. The time is
    the upper level's reading of the bridged outcome: the low level has no head for it."""

    point: PointGoal
    type: str
    level: Predictive
    high: HighModel

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        clearance_m, floor_s = USUAL[self.type]
        time_s = self.high.read(self.level.goal_of(outcome)).floor_s[:, None]
        hand = [(read["net_m"] - clearance_m) / CLEARANCE_M, (time_s - floor_s) / TEMPO_S]
        return torch.cat([self.point(outcome, read), *hand], dim=-1)


def coupled(variant: Variant, settings: Config, choices: Choices) -> StrokePlanner:
    """The low level as the variant has it."""
    name = "hjepa" if variant.term == "embedding" else "coded-goal"
    low, high = build.build_low(settings, load_spec(settings.robot.name), name), build.high_model(settings)
    low.config = replace(low.config, search=variant.search)
    if variant.term == "hand":
        point = low.term
        low.term = lambda goal: HandGoal(point(goal), goal.type, low.level, high)
    if not variant.proposed:
        propose, mean = low.starts.proposal, torch.from_numpy(choices.embedding.mean(0)).float()
        low.starts.proposal = lambda z, goal, *joints: propose(z, mean.expand_as(goal), *joints)
    if not variant.sees:
        look, usual = low.programs.see, torch.from_numpy(choices.z.mean(0)).float()[None, : low.level.config.latent]
        see = lambda *seen: torch.cat([usual, look(*seen)[:, usual.shape[1] :]], dim=-1)  # noqa: E731
        low.programs = low.programs._replace(see=see)
    return low


@torch.no_grad()
def choose(settings: Config, reply: bool, out: Path) -> Choices:
    """Every stroke's decision, made before the robot has moved; read where it is known."""
    system, path = api.load(settings), out / ("choices.npz" if reply else "choices_no_reply.npz")
    if path.exists():
        found = Choices(**load_arrays(path, Choices._fields, "file of decisions", "delete it and run again"))
        if not set(found.id.tolist()) <= set(system.feed.id.tolist()):
            raise DataError(f"'{path}' decides about other strokes; allowed: those of --feed, --strokes and --seed")
        return found
    high, low = build.build_high(settings), build.build_low(settings, system.spec)
    high.model = high.model if reply else WithoutReply(high.model)
    rows: list[tuple[Any, ...]] = []
    system.starts()
    with system.world() as world:
        for i, stroke in enumerate(system.feed.id.tolist()):
            start, launch, seed = system.stroke(i)
            high.reset(seed)
            low.reset(seed)
            seen, tick, goal = world.reset(start, launch, seed), 0, None
            while goal is None and not world.done:
                if tick % (settings.low.replan_period_ms // 10) == 0:
                    goal = high.decide(seen, lambda *goals, now=seen: low.reachability(now, *goals))
                    z, _ = low.encoding.encode(seen)
                seen, tick = world.tick(), tick + 1
            if goal:
                rows.append((stroke, *goal[1:7], z[0].numpy()))
    choices = Choices(*(np.array(column) for column in zip(*rows, strict=True)))
    save_arrays(path, choices._asdict())
    return choices


def play(job: tuple[str, Config, Path]) -> str:
    """A variant's strokes; for each, what its last plan believed and where the goal handed over lay."""
    name, settings, out = job
    variant, system = VARIANTS[name], api.load(settings)
    choices = choose(settings, variant.reply, out)
    donors, index = choices.donors(variant.donor), {str(stroke): k for k, stroke in enumerate(choices.id)}
    goals = {stroke_seed(settings.task.seed, int(i)): choices.goal(k, donors[k]) for k, i in enumerate(choices.id)}
    agent = HierarchicalAgent(Replay(goals), coupled(variant, settings, choices))
    low, timing = agent.low, {"replan_period_ms": settings.low.replan_period_ms, "seed": settings.task.seed}
    results, beliefs = [], []
    with system.world() as world:
        for result, _ in run(world, agent, system.feed, system.starts(), **timing):
            results.append(result)
            beliefs.append([NAN] * len(Row._fields[1:]))
            if agent.decision and low.expected is not None:
                k = index[result.id]
                gap = choices.root[k] @ (low.level.goal_of(low.expected)[0].double().numpy() - choices.embedding[k])
                astray = math.dist(result.landing_xy_m, choices.target_xy_m[donors[k]]) if result.hit else NAN
                beliefs[-1] = [agent.decision.energy, 0.5 * float(gap @ gap), astray]
    write_csv(out / f"{name}.csv", results)
    save_arrays(out / f"{name}.npz", dict(zip(Row._fields[1:], np.array(beliefs).T)))
    return name


class Row(NamedTuple):
    """What a variant played."""

    results: list[StrokeResult]
    energy: Any  # (N,) the last search ended at, in the variant's own terms
    asked: Any  # (N,) the outcome expected is so far from the goal that was decided on, by its root
    astray_m: Any  # (N,) from the landing to the target of the goal that was handed over


def load(name: str, out: Path) -> Row:
    beliefs = load_arrays(out / f"{name}.npz", Row._fields[1:], "file of beliefs", "delete it and run again")
    return Row(read_csv(out / f"{name}.csv"), **beliefs)


def named(r: StrokeResult) -> float:
    return float(r.hit and r.realised_type == r.commanded_type)


BACK, LANDING = attrgetter("returned"), attrgetter("landing_error_m")
GAPS = ((BACK, "+.1f", 100.0), (within, "+.1f", 100.0), (LANDING, "+.2f", 1.0), (named, "+.1f", 100.0))


def line(name: str, row: Row, base: Row) -> str:
    """Markdown."""
    theirs = {r.id: (r.commanded_type, r.target_xy_m) for r in base.results}
    same = rate((r.commanded_type, r.target_xy_m) == theirs.get(r.id) for r in row.results).value
    gaps = ["-"] * len(GAPS)
    for k, (value, form, scale) in enumerate(GAPS[: len(GAPS) if VARIANTS[name].reply else 1]):  # else other targets
        with suppress(DataError):  # no stroke that both have hit
            g = paired_bootstrap(row.results, base.results, value, np.random.default_rng(0))
            gaps[k] = f"{scale * g.value:{form}} ({scale * g.lo:{form}} to {scale * g.hi:{form}})"
    shares = [rate(map(value, row.results)) for value in (BACK, within)]
    cells = [
        name,
        f"{len(row.results)}, {100 * same:.0f} %",
        *(f"{100 * s.value:.1f} % ({100 * s.lo:.1f} to {100 * s.hi:.1f})" for s in shares),
        f"{quantile(map(LANDING, row.results), 0.5):.2f} / {quantile(row.astray_m, 0.5):.2f}",
        f"{100 * shot_realised(row.results).value:.0f} %",
        f"{quantile(row.asked, 0.5):.2f} / {quantile(row.energy, 0.5):.2f}",
        *(gaps if name != BASE else ["-"] * len(GAPS)),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Decide, play, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feed", default="val", choices=("test", "val"))
    parser.add_argument("--strokes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="play nothing")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="A.B=C")
    parser.add_argument("--out", type=Path, default=Path("runs/coupling"))
    o = parser.parse_args()
    words = [f"task.feed={o.feed}", f"task.strokes={o.strokes}", f"task.seed={o.seed}", "low.adapt=false", *o.sets]
    settings = config.load("badminton", words)
    wanted = list(dict.fromkeys([BASE, *o.only]))  # all are compared with the base
    missing = [name for name in wanted if not o.table and not (o.out / f"{name}.npz").exists()]
    for reply in {VARIANTS[name].reply for name in missing}:
        choose(settings, reply, o.out)  # before the variants share it
    with get_context("spawn").Pool(o.workers) as pool:
        for name in pool.imap_unordered(play, [(name, settings, o.out) for name in missing]):
            print(f"{name}: done", file=sys.stderr, flush=True)
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {found.stdout.strip() or 'unknown'}, {o.feed} strokes, seed {o.seed}")
    print(
        "| variant | strokes, same command | returned, all | within 1 m, all | landing error / to the target of the"
        " goal handed over, p50 m | type realised, of hits | goal energy expected / own energy, p50 | minus the first:"
        " returned | within 1 m | landing error, mean m | type, of all |"
    )
    print("|---" * 11 + "|")
    base = load(BASE, o.out)
    for name in wanted:
        if (o.out / f"{name}.npz").exists():
            print(line(name, load(name, o.out), base))


if __name__ == "__main__":
    main()
