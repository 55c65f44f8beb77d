"""Is the hierarchy worth it? Rallies against `human`, every upper level and none, at equal planner operations.

    python tests/benchmarks/bench_hierarchy.py --rallies 200 --workers 2 --out runs/bench/hierarchy
    python tests/benchmarks/bench_hierarchy.py --rallies 70 --levels runs/tactics_s1 runs/tactics_s2
    python tests/benchmarks/bench_hierarchy.py --table

Rally k has the same service and seed in every row. --levels: folders with rally.safetensors and cover.safetensors of
other training seeds, which play rallies of their own beside those of the shipped levels. Each rally appends a line to
OUT/ROW_SEED.jsonl; a second call goes on where it stopped. Shares carry Wilson intervals; undecided rallies count for
nobody. A success is a rally that is won, or in which the robot returns four times. Operations: two for each weight that
is touched, of the low level for every motion scored, of the upper levels for every row evaluated, waiting included.
Outside: decisions whose macro-action (for `flat`, what its predicted outcome is read as) is no neighbour of what real
players answer with there (HighPlanner.apart > NEAR).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from torch import nn

from hjepa import build, config, matches, sides
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.models.cloned import ClonedAgent, load_clone
from hjepa.planning.flat import FlatAgent
from hjepa.planning.flat_rally import FlatRallyAgent
from hjepa.planning.hierarchy import NEAR, flight_window
from hjepa.planning.spent import Spent
from hjepa.planning.tactics import TacticsConfig
from hjepa.tasks.badminton.opponents import Opponent
from hjepa.types import Array, JointTrajectory, Observation
from robots.spec import load_spec
from tests.benchmarks.rally_table import lines, table

# what is not spent on covers goes into more replies, and searches of `flat` are as long as the operations of `ours`
# allow: measured on val, as was that a flat search does best with most of them in its first decision
ONE_WAY = TacticsConfig(covers=False, anticipates=False, replies=200)
FLAT_STARTS = 384
ONCE = ("low.first_starts=8", "low.first_iterations=10", "low.iterations=1", "low.alarm_energy=1e9")
CEM = ("low.planner=cem", "low.candidates=48", "low.elites=8", *ONCE)
NEWTON = ("low.first_starts=6", "low.first_iterations=6", "low.alarm_energy=1e9")


class Still:
    """Never swings."""

    decision = None

    def reset(self, seed: int = 0) -> None: ...

    def act(self, observation: Observation) -> None: ...


class Row(NamedTuple):
    """What of the configuration differs, and how far the tactician looks."""

    sets: tuple[str, ...] = ()
    tactics: TacticsConfig = TacticsConfig()


ROWS = {
    "ours": Row(),
    "support": Row(("high.weights.reach=0",), ONE_WAY),
    "naive": Row(("high.weights.reach=0", "high.in_support=false"), ONE_WAY),
    "flat": Row(CEM, ONE_WAY),
    "flat-newton": Row(NEWTON, ONE_WAY),
    "flat-joint": Row(),
    "oracle": Row(("high.weights.mixing=0",)),
    "no-op": Row(),
    "bc": Row(),
}


def made(name: str, c: Config, them: sides.HumanSide) -> Any:
    """The agent of a row."""
    spec = load_spec(c.robot.name)
    if name == "no-op":
        return Still()
    if name == "bc":
        return ClonedAgent(spec, load_clone(build.weights_path(c, "bc"), spec), build.timing_of(c).latency_s)
    ask = matches.foretold(them) if name == "oracle" else None
    high, low = build.build_tactician(c, spec, ROWS[name].tactics, ask), build.build_low(c, spec)
    if name == "flat-joint":
        return FlatAgent(high, low)
    return FlatRallyAgent(high, low, FLAT_STARTS) if name.startswith("flat") else HierarchicalAgent(high, low)


class Watched:
    """An agent whose plans are timed, and whose chosen macro-actions are compared with the support."""

    def __init__(self, agent: Any, spent: Spent) -> None:
        self._agent, self._spent = agent, spent
        self.high, self.low = getattr(agent, "high", None), getattr(agent, "low", None)
        if self.high is not None:
            self._look, self.high.candidates = self.high.candidates, self._looked
        self.begin()

    @property
    def decision(self) -> Any:
        return self._agent.decision

    def begin(self) -> None:
        """A rally; what was learned about the world in others is forgotten, so that each can be played alone."""
        if self.low is not None and self.low.context is not None:
            self.low.context.forget()
        self.plan_ms: list[float] = []
        self.strokes, self.decided, self.outside = 0, 0, 0
        self._spent.flop, self._seen, self._found = 0.0, None, None

    def reset(self, seed: int = 0) -> None:
        self.end_stroke()
        self.strokes += 1
        self._agent.reset(seed)

    def act(self, observation: Observation) -> JointTrajectory | None:
        samples = int(observation.tracker_mask.sum())
        if self.high is not None and self._seen is None and samples >= self.high.config.samples:
            self._seen = (*flight_window(observation), self.high.feet(observation).copy())
        before, begun = self._agent.decision, time.perf_counter()
        command = self._agent.act(observation)
        if self._agent.decision is not before:
            self.plan_ms.append(round(1e3 * (time.perf_counter() - begun), 2))
        return command

    def end_stroke(self) -> None:
        """Was the last decision inside the support?"""
        decision, seen, found, flop = self._agent.decision, self._seen, self._found, self._spent.flop
        self._seen = self._found = None
        if self.high is None or decision is None or seen is None:
            return
        macro: Array = getattr(self._agent, "macro", None)
        if macro is None:
            macro = found.macro[int(np.abs(found.target_xy_m - decision.target_xy_m).sum(axis=1).argmin())]
        self.decided += 1
        self.outside += self.high.apart(*seen, macro) > NEAR
        self._spent.flop = flop  # looking on costs the player nothing

    def _looked(self, *situation: Any) -> Any:
        self._found = self._look(*situation)
        return self._found


def own_returns(rally: matches.Rally) -> int:
    """Strokes of the robot, without its service and a last one that was a fault."""
    lost = rally.winner == 1 and rally.why in ("net", "out") and rally.strokes[-1].side == 0
    return sum(s.side == 0 for s in rally.strokes[1:]) - lost * (rally.length > 1)


def play(job: tuple[str, int, str, argparse.Namespace]) -> str:
    """The rallies of a row and a training seed that are not there yet."""
    name, seed, folder, o = job
    build.use_one_thread()
    out = o.out / f"{name}_{seed}.jsonl"
    c = config.load("badminton", [*ROWS[name].sets, *([f"agent.weights={folder}"] if folder else []), *o.sets])
    them, spent = sides.HumanSide(Opponent("human", o.split)), Spent()
    player = made(name, c, them)
    agent = Watched(player, spent)
    us = sides.RobotSide(c, agent, name)
    high, low = agent.high, agent.low
    if high is not None:
        spent.networks(high.model, high.play, high.anticipation.cover, high.errs)
    if low is not None:
        spent.motions(low)
        if isinstance(low.starts.proposal, nn.Module):
            spent.networks(low.starts.proposal)
    whole = list(lines(out))
    out.write_text("".join(json.dumps(line) + "\n" for line in whole), encoding="utf-8")
    if isinstance(player, ClonedAgent):
        spent.networks(player.clone)
    if any((line["split"], line["seed"]) != (o.split, o.seed) for line in whole):
        raise DataError(f"{out} holds rallies of another --split or --seed; choose another --out")
    done = {line["k"] for line in whole}
    for k in (k for k in range(o.rallies) if k not in done):
        agent.begin()
        begun = time.monotonic()
        rally = matches.play_rally((us, them), k % 2, o.split, 1_000_000 * seed + 1000 * o.seed + k)
        agent.end_stroke()
        line = {
            "k": k, "split": o.split, "seed": o.seed, "winner": rally.winner, "why": rally.why,
            "length": rally.length, "returns": own_returns(rally),
            "strokes": agent.strokes, "mflop": spent.flop / 1e6, "decided": agent.decided,
            "outside": int(agent.outside), "plan_ms": agent.plan_ms, "s": time.monotonic() - begun,
        }  # fmt: skip
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{name} {seed}: rally {k + 1} of {o.rallies}, {line['s']:.1f} s", flush=True)
    us.close()
    return name


def weights(out: Path, folders: list[Path]) -> list[str]:
    """Folders of weights, one a training seed: the shipped one (''), and copies of it with other rally levels."""
    found = [""]
    for k, folder in enumerate(folders, start=1):
        if not any((folder / build.FILES[name]).exists() for name in ("rally", "cover")):
            raise SystemExit(f"--levels: '{folder}' holds no rally.safetensors or cover.safetensors")
        whole = out / f"weights_{k}"
        whole.mkdir(parents=True, exist_ok=True)
        for name, file in build.FILES.items():
            other = folder / file
            shutil.copyfile(
                other if name in ("rally", "cover") and other.exists() else build.shipped(name), whole / file
            )
        found.append(str(whole))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--rallies", type=int, default=200, help="of each row and training seed")
    parser.add_argument("--levels", type=Path, nargs="*", default=[], help="folders of other training seeds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default="test", choices=("val", "test"), help="services, and whom `human` copies")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/bench/hierarchy"))
    parser.add_argument("--table", action="store_true", help="print what is there and play nothing")
    o = parser.parse_args()
    if not o.table:
        o.out.mkdir(parents=True, exist_ok=True)
        jobs = [(name, k, folder, o) for k, folder in enumerate(weights(o.out, o.levels)) for name in o.only]
        with get_context("spawn").Pool(o.workers, maxtasksperchild=1) as pool:
            for name in pool.imap_unordered(play, jobs, chunksize=1):
                print(f"{name}: done", flush=True)
    print(table(o.out, list(ROWS)))


if __name__ == "__main__":
    main()
