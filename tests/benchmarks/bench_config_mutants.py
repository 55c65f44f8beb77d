"""Configurations with one mistake each, through `hjepa config check`: how many are refused, and how clearly.

    python tests/benchmarks/bench_config_mutants.py --count 2000 --json runs/bench/config_mutants.json

For each kind: mutants; accepted (must be 0); with file and line first; that name the key or the problem; that came with
a traceback (must be 0); and milliseconds a check.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from hjepa.benches import host
from hjepa.cli.app import main
from tests.mutated import KINDS, Mutant, mutants, write


class Refusal(NamedTuple):
    """What became of a mutant."""

    accepted: bool
    placed: bool  # the first line begins with the file and a line in it
    named: bool
    traced: bool
    ms: float


def refuse(mutant: Mutant, folder: Path) -> Refusal:
    """Check it as the command line does."""
    path, said, code, traced = write(mutant, folder), io.StringIO(), 0, False
    began = time.perf_counter()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main(["config", "check", str(path)])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except Exception:  # noqa: BLE001  whatever comes out is the finding
        traceback.print_exc()
        traced = True
    ms, text = 1e3 * (time.perf_counter() - began), said.getvalue()
    placed = text.startswith(f"hjepa: {path}:") and text[len(f"hjepa: {path}:") :].partition(":")[0].isdigit()
    return Refusal(code == 0 and not traced, placed, mutant.says in text, traced or "Traceback" in text, ms)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run() -> None:
    o, load_before = parsed(), host.load()
    found: dict[str, list[Refusal]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for mutant in mutants(o.count, o.seed):
            refusal = refuse(mutant, Path(folder))
            found[mutant.kind].append(refusal)
            if refusal.accepted or refusal.traced or not (refusal.placed and refusal.named):
                print(f"unclear: {mutant}")
    print(f"{'kind':16}{'mutants':>8}{'accepted':>9}{'placed':>8}{'named':>7}{'traceback':>10}{'ms':>7}")
    rows = {}
    for kind in (*KINDS, "all"):
        all_of = [r for rs in found.values() for r in rs] if kind == "all" else found[kind]
        accepted, placed, named, traced = (sum(getattr(r, name) for r in all_of) for name in Refusal._fields[:4])
        ms = sum(r.ms for r in all_of) / max(len(all_of), 1)
        print(f"{kind:16}{len(all_of):8d}{accepted:9d}{placed:8d}{named:7d}{traced:10d}{ms:7.1f}")
        counts = {"mutants": len(all_of), "accepted": accepted, "placed": placed, "named": named, "traceback": traced}
        rows[kind] = counts | {"ms": ms}
    if o.json:
        o.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"count": o.count, "seed": o.seed, "kinds": rows, **host.about(load_before)}
        o.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run()
