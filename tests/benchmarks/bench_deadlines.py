"""Which search returns most strokes by a deadline: ours and stable-worldmodel's in the closed loop of the same agent.

    PYTHONPATH=. PEERS/bin/python tests/benchmarks/bench_deadlines.py --strokes 300 --workers 2 --out runs/deadlines
    python tests/benchmarks/bench_deadlines.py --agents gradient cem --deadlines 20 --strokes 50 --out runs/deadlines
    python tests/benchmarks/bench_deadlines.py --programs bundle/programs --deadlines 20 --out runs/compiled
    python tests/benchmarks/bench_deadlines.py --table --out runs/deadlines --json runs/deadlines.json

PEERS: what tests/benchmarks/peers_setup.sh made; rows `swm-...` need it. Feasible strokes of the validation matches,
the same for every row, from the same starts, with the same sensor noise; simulated time waits. A search is given the
wall clock, until so many milliseconds after the observation came in (what it has found then is taken); the deadline and
10 ms are charged. It searches until then, whatever count of iterations it would have been content with: only the first
look at several starts is one iteration (Gauss-Newton), or ranks them (those that sample). The slow context is off, so
that strokes are independent. Ours sample 128 candidates a round, so do theirs, from our start with our spread: with
their own they find nothing on this energy (`hjepa bench planner`). Goals, proposals and the search behind reachability
are the same for all. Each stroke appends a line to OUT/ROW_DEADLINE.jsonl; a second call goes on where the first one
stopped. Differences to `gradient` at the same deadline are bootstrapped over strokes that both have played.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from safetensors.torch import load
from torch import Tensor

from hjepa import api
from hjepa.benches.host import where
from hjepa.benches.peers import PeerPlanner
from hjepa.benches.situations import feasible_strokes, low_of
from hjepa.deploy import compiled
from hjepa.evaluation.episodes import run
from hjepa.evaluation.metrics import rate
from hjepa.planning.programs import LowPrograms
from hjepa.planning.protocols import Plan, Planner, Residual
from hjepa.planning.searches import NAMES, make_planner

SPARE_MS = 10  # charged beyond the deadline
LONGEST = {"gradient": 30}  # iterations: by then Gauss-Newton has long come to rest
THEIRS: dict[str, dict[str, Any]] = {
    **{f"swm-{kind}": {"samples": 128, "topk": 12, "spread": 0.3} for kind in ("cem", "icem", "mppi")},
    "swm-gradient": {"samples": 8, "spread": 0.1, "rate": 0.02},
}
ROWS = (*NAMES, *THEIRS)


class ToDeadline:
    """A planner that searches until its deadline; where one iteration is asked for, it only looks at the starts."""

    def __init__(self, row: str) -> None:
        made: Planner = PeerPlanner(row[4:], **THEIRS[row]) if row in THEIRS else make_planner(row)
        self.inner, self.most, self.look = made, LONGEST.get(row, 400), int(row == "gradient")

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self.inner.reset(seed)

    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """From starts (C, X); once time is over they are ranked and no more."""
        late = deadline_s is not None and deadline_s <= 0.0
        count = 0 if late else self.look if iterations <= 1 else self.most
        return self.inner.plan(residual, starts, count, deadline_s, budget)


class Job(NamedTuple):
    """Strokes (by their place among the feasible ones) that one process plays for one row and deadline."""

    row: str
    deadline_ms: int
    places: tuple[int, ...]
    strokes: int
    out: str
    programs: str = ""  # folder of compiled programs; empty: recorded


def play(job: Job) -> str:
    """Play them and note each; what was done, for the log."""
    charged = job.deadline_ms + SPARE_MS
    period = max(40, -(-charged // 10) * 10)
    overrides = ["task.feed=val", f"task.strokes={2 * job.strokes + 20}", "low.adapt=false"]
    overrides += [f"low.latency_ms={charged}", f"low.replan_period_ms={period}"]
    system = api.load("badminton", overrides)
    feed, starts = feasible_strokes(system, job.strokes)
    rows = np.array(job.places)
    agent = system.agent("hjepa")
    low = low_of(agent)
    low.planner = ToDeadline(job.row)
    if job.programs and job.row != "swm-gradient":  # compiled code has no gradient
        low.programs = compiled_programs(Path(job.programs))
    low.config = replace(low.config, budget_s=job.deadline_ms / 1e3, first_iterations=3, iterations=3)
    began, file = time.monotonic(), path(job.out, job.row, job.deadline_ms)
    with closing(system.world()) as world:
        played = run(
            world, agent, feed.take(rows), starts.take(rows), replan_period_ms=period, seed=system.config.task.seed
        )
        for place, stroke in zip(job.places, played, strict=False):
            r = stroke.result
            spent = [round(float(q), 2) for q in np.quantile(r.plan_ms_low or [np.nan], (0.5, 0.95, 1.0))]
            line = {"place": place, "id": r.id, "returned": bool(r.returned), "hit": bool(r.hit), "plan_ms": spent}
            error = None if np.isnan(r.landing_error_m) else round(float(r.landing_error_m), 4)
            with file.open("a", encoding="utf-8") as log:
                log.write(json.dumps({**line, "landing_error_m": error}) + "\n")
    return f"{job.row} {job.deadline_ms} ms: {len(job.places)} strokes, {time.monotonic() - began:.0f} s"


def compiled_programs(folder: Path) -> LowPrograms:
    """Those of a bundle of one's own."""
    packages = {file.stem: file.read_bytes() for file in folder.glob("*.pt2")}
    with tempfile.TemporaryDirectory() as unpacked:
        functions = compiled.opened(packages, Path(unpacked))
        for name, function in functions.items():  # called once each: then the folder is needed no more
            pairs = load((folder.parent / "goldens" / f"{name}.safetensors").read_bytes())
            function(*(pairs[f"in{k}"] for k in range(sum(key.startswith("in") for key in pairs))))
    return compiled.as_programs(functions)


def path(out: str, row: str, deadline_ms: int) -> Path:
    """Where a row's strokes are noted."""
    return Path(out) / f"{row}_{deadline_ms}.jsonl"


def played_so_far(out: str, row: str, deadline_ms: int) -> dict[int, dict[str, Any]]:
    """By the stroke's place."""
    file = path(out, row, deadline_ms)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line["place"]: line for line in map(json.loads, lines)}


def jobs(options: argparse.Namespace) -> list[Job]:
    """What is still to be played, in pieces of ten strokes, every row's first piece first."""
    out = []
    for begin in range(0, options.strokes, 10):
        for deadline in options.deadlines:
            for row in options.agents:
                done = played_so_far(options.out, row, deadline)
                places = tuple(k for k in range(begin, min(begin + 10, options.strokes)) if k not in done)
                if places:
                    out.append(Job(row, deadline, places, options.strokes, options.out, options.programs))
    return out


def table(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each row and deadline, also printed."""
    print("| deadline | search | strokes | returned (95 %) | - gradient (95 %) | landing error | plan p50 / p95 |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for deadline in options.deadlines:
        first = played_so_far(options.out, "gradient", deadline)
        for row in options.agents:
            lines = played_so_far(options.out, row, deadline)
            if not lines:
                continue
            share = rate([line["returned"] for line in lines.values()])
            both = sorted(lines.keys() & first.keys())
            gap = apart([lines[k]["returned"] - first[k]["returned"] for k in both]) if row != "gradient" else None
            errors = [line["landing_error_m"] for line in lines.values() if line["landing_error_m"] is not None]
            spent = np.nanmedian([line["plan_ms"][:2] for line in lines.values()], axis=0).tolist()
            error = float(np.median(errors)) if errors else float("nan")
            told = "-" if gap is None else f"{100 * gap[0]:+.1f} ({100 * gap[1]:+.1f} to {100 * gap[2]:+.1f})"
            cells = [f"{deadline} ms", row, str(len(lines))]
            cells += [f"{100 * share.value:.1f} % ({100 * share.lo:.1f} to {100 * share.hi:.1f})", told]
            cells += [f"{error:.2f} m", f"{spent[0]:.0f} / {spent[1]:.0f} ms"]
            print(f"| {' | '.join(cells)} |")
            numbers = {"strokes": len(lines), "returned": [share.value, share.lo, share.hi], "less_gradient": gap}
            found.append({"row": row, "deadline_ms": deadline, **numbers, "landing_error_m": error, "plan_ms": spent})
    return found


def apart(gaps: Sequence[int]) -> tuple[float, float, float] | None:
    """Mean of paired differences with a 95 % bootstrap interval; None without any."""
    if not gaps:
        return None
    values, rng = np.asarray(gaps, dtype=float), np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(4000, len(values)))].mean(axis=1)
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    """Play, note, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--deadlines", nargs="+", type=int, default=[5, 20, 50, 200], help="ms")
    parser.add_argument("--strokes", type=int, default=100, help="feasible ones")
    parser.add_argument("--workers", type=int, default=1, help="processes; more than there are cores spoils the clock")
    parser.add_argument("--out", default="runs/deadlines")
    parser.add_argument(
        "--programs", default="", help="programs/ of a bundle of your own: compiled instead of recorded"
    )
    parser.add_argument("--table", action="store_true", help="print what is there, play nothing")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    work = [] if options.table else jobs(options)
    if work:
        api.load("badminton", ["task.feed=val", f"task.strokes={2 * options.strokes + 20}"]).starts()  # judged once
    with get_context("spawn").Pool(max(1, min(options.workers, len(work)))) as pool:
        for k, done in enumerate(pool.imap_unordered(play, work)):
            print(f"{k + 1} of {len(work)}: {done}", file=sys.stderr, flush=True)
    rows = table(options)
    if options.json:
        options.json.write_text(json.dumps({"about": where(), "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
