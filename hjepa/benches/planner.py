"""`hjepa bench planner`: our searches on the energy of real situations, beside others where those are installed, and
how near a search comes to its own matrix products. Everything in one process and one thread, so that figures compare.

    python -m hjepa.benches.planner OUT.json --peers     in an environment of tests/benchmarks/peers_setup.sh

Legend: C starts, X search variables, K iterations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjepa.benches import limit
from hjepa.benches.host import where
from hjepa.benches.peers import PeerSolver
from hjepa.benches.situations import Situation, first_searches
from hjepa.errors import DataError
from hjepa.planning.cem import CrossEntropy
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.protocols import Plan, Planner, Residual
from hjepa.planning.searches import make_planner

CANDIDATES, ELITES, ITERATIONS = 300, 30, 30  # what stable-worldmodel's CEM does unless told otherwise
LONGEST = 30  # iterations of ours: ten times those of a first search
BARE = "bare products"
Search = Callable[[Situation], Tensor]  # the point (X,) that it ends at


class AsPlayed:
    """Gauss-Newton as a first search of the low level uses it: all starts one iteration, the best one the others."""

    def __init__(self) -> None:
        self.planner = GaussNewton()

    def plan(self, residual: Residual, starts: Tensor, iterations: int) -> Plan:
        """From starts (C, X)."""
        rough = self.planner.plan(residual, starts, min(iterations, 1))
        return rough if iterations < 2 else self.planner.plan(residual, rough.starts[:1], iterations - 1)


def ours() -> dict[str, Search]:
    """Our searches by what their rows are called."""

    def sampled(planner: Planner) -> Search:
        def run(s: Situation) -> Tensor:
            planner.reset(0)
            return planner.plan(s.residual, s.starts, ITERATIONS).x

        return run

    made = {f"hjepa gradient, {k} iterations": _played(k) for k in (3, 10, LONGEST)}
    for name in ("cem", "icem", "mppi"):
        made[f"hjepa {name}, {CANDIDATES} x {ITERATIONS}"] = sampled(make_planner(name, CANDIDATES, ELITES))
    return made


def _played(k: int) -> Search:
    return lambda s: AsPlayed().plan(s.residual, s.starts, k).x


def theirs() -> dict[str, Search]:
    """Those of stable-worldmodel (swm): as they come from zero, from our best start, and from there with our spread."""

    def solving(kind: str, warm: bool, steps: int, **options: Any) -> Search:
        return lambda s: PeerSolver(kind, s.residual, **options).solve(steps, s.starts[0] if warm else None)

    made: dict[str, Search] = {}
    for kind in ("cem", "icem", "mppi"):
        name = f"swm {kind}, {CANDIDATES} x {ITERATIONS}"
        made[f"{name}, from zero"] = solving(kind, False, ITERATIONS)
        made[f"{name}, from our start"] = solving(kind, True, ITERATIONS)
        made[f"{name}, from our start, spread 0.3"] = solving(kind, True, ITERATIONS, spread=0.3)
    for rate in (0.1, 0.02):
        name = f"swm gradient, 8 x 60, Adam {rate}, from our start, spread 0.1"
        made[name] = solving("gradient", True, 60, samples=8, spread=0.1, rate=rate)
    return made


def searched(situations: list[Situation], searches: dict[str, Search]) -> dict[str, dict[str, list[float]]]:
    """Energy that each search ends at, CPU-seconds and seconds, situation by situation in turn."""
    out: dict[str, dict[str, list[float]]] = {n: {"energy": [], "cpu_s": [], "wall_s": []} for n in searches}
    for s in [situations[0], *situations]:
        for name, search in searches.items():
            cpu, wall = time.process_time(), time.perf_counter()
            x = search(s)
            taken = time.process_time() - cpu, time.perf_counter() - wall
            with torch.no_grad():
                energy = float(0.5 * s.residual(x[None]).square().sum())
            for key, value in zip(("energy", "cpu_s", "wall_s"), (energy, *taken), strict=True):
                out[name][key].append(value)
    return {name: {key: values[1:] for key, values in row.items()} for name, row in out.items()}  # the first warms up


def reached(situations: list[Situation], targets: list[float]) -> list[float | None]:
    """CPU-seconds, proposals included, in which ours comes to each target; None: not within LONGEST iterations."""
    planner, out = AsPlayed(), list[float | None]()
    for s, target in zip(situations, targets, strict=True):
        energies = (planner.plan(s.residual, s.starts, k).energy for k in range(LONGEST + 1))
        k = next((k for k, energy in enumerate(energies) if energy <= target), None)
        if k is None:
            out.append(None)
        else:  # ranking has scored the starts
            out.append(s.ready_s + (_cpu_s(partial(planner.plan, s.residual, s.starts, k)) if k else 0.0))
    return out


def _cpu_s(run: Callable[[], Any], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def limits(rounds: int, peers: bool, folder: Path) -> list[dict[str, Any]]:
    """For each case: searches of CANDIDATES x ITERATIONS beside their bare products."""
    rows = []
    for case in (limit.mlp_case(), limit.follow_case()):
        plain = case.plain()
        bare = limit.Bare(plain, CANDIDATES, case.start)
        kinds = {
            "plain": plain,
            "compiled": case.compiled(folder, CANDIDATES),
            "compiled, bfloat16": case.compiled(folder, CANDIDATES, narrow=True),
        }
        found: dict[str, Tensor] = {}
        work: dict[str, Callable[[], Any]] = {BARE: partial(_repeated, bare)}
        for kind, residual in kinds.items():
            work[f"hjepa cem, {kind}"] = partial(_cem, found, f"hjepa cem, {kind}", residual, case.start)
            if peers and kind != "compiled, bfloat16":
                name = f"swm cem, {kind}"
                work[name] = partial(_peer_cem, found, name, residual, case.start)
        taken = limit.interleaved(work, rounds)
        for name, seconds in taken.items():
            row: dict[str, Any] = {"case": case.name, "name": name, "cpu_s": float(np.median(seconds))}
            row["over_bare"] = limit.ratio(seconds, taken[BARE])
            if name in found:
                with torch.no_grad():
                    row["energy"] = float(0.5 * plain(found[name][None]).square().sum())
            rows.append({**row, "gflop": bare.flop * ITERATIONS / 1e9})
    return rows


def _repeated(bare: Callable[[], None]) -> None:
    for _ in range(ITERATIONS):
        bare()


def _cem(found: dict[str, Tensor], name: str, residual: Residual, start: Tensor) -> None:
    found[name] = CrossEntropy(CANDIDATES, ELITES).plan(residual, start, ITERATIONS).x


def _peer_cem(found: dict[str, Tensor], name: str, residual: Residual, start: Tensor) -> None:
    solver = PeerSolver("cem", residual, horizon=limit.HORIZON, spread=0.3)
    found[name] = solver.solve(ITERATIONS, start[0])


def measure(strokes: int, rounds: int, peers: bool) -> dict[str, Any]:
    """All of it, as plain values."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    situations = first_searches(strokes)
    table = searched(situations, {**ours(), **(theirs() if peers else {})})
    faster: dict[str, Any] = {}
    for name, row in table.items():
        if not name.startswith("hjepa"):
            times = reached(situations, row["energy"])
            over = [0.0 if o is None else t / o for t, o in zip(row["cpu_s"], times, strict=True)]  # missed: never
            missed = sum(o is None for o in times)
            faster[name] = {"theirs_over_ours": over, "median": float(np.median(over)), "not_reached": missed}
    with tempfile.TemporaryDirectory() as folder:
        bare = limits(rounds, peers, Path(folder)) if rounds else []
    about = {**where(), "load": [load, os.getloadavg()[0]], "strokes": len(situations), "rounds": rounds}
    return {"about": about, "searched": table, "faster": faster, "limit": bare}


def measured(strokes: int, rounds: int, peers: Path | None) -> dict[str, Any]:
    """`measure` here, or in another interpreter that has the peers; DataError with its last words if that fails."""
    if peers is None:
        return measure(strokes, rounds, peers=False)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        words = [str(peers), "-m", __name__, str(out), "--peers", "--strokes", str(strokes), "--rounds", str(rounds)]
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        try:
            done = subprocess.run(words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
        except OSError as error:
            raise DataError(
                f"--peers {peers}: {error}; allowed: a Python made by tests/benchmarks/peers_setup.sh"
            ) from error
        if done.returncode or not out.exists():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise DataError(f"--peers {peers}: {last}")
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """What the other interpreter runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--strokes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    found = measure(options.strokes, options.rounds, options.peers)
    options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
