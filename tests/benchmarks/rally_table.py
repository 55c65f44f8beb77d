"""What bench_hierarchy.py played, as a Markdown table. A rally is a line of JSON; each training seed has a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hjepa.evaluation.metrics import wilson

RETURNS = 4  # own returns in a rally that are a success, whoever wins it
Seeds = dict[str, list[dict[str, Any]]]  # rallies of a row, by training seed


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What was played; a line that was cut off is not."""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def share(count: int, of: int) -> str:
    """In percent, with its interval."""
    w = wilson(count, of)
    return f"{100 * w.value:.1f} ({100 * w.lo:.1f} to {100 * w.hi:.1f})"


def success(line: dict[str, Any]) -> bool:
    return bool(line["winner"] == 0 or line["returns"] >= RETURNS)


def apart(seeds: Seeds, first: Seeds) -> str:
    """Successes minus the first row's in the same rallies, in points, with the interval of the paired mean."""
    theirs = {(k, line["k"]): success(line) for k, seed in first.items() for line in seed}
    both = [(k, line) for k, seed in seeds.items() for line in seed if (k, line["k"]) in theirs]
    gaps = 100.0 * np.array([float(success(line)) - theirs[k, line["k"]] for k, line in both])
    if len(gaps) < 2 or seeds == first:
        return "-"
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return f"{gaps.mean():+.1f} ({gaps.mean() - half:+.1f} to {gaps.mean() + half:+.1f})"


def table_line(name: str, seeds: Seeds, first: Seeds) -> str:
    """Markdown of a row's rallies."""
    played = [line for seed in seeds.values() for line in seed]
    decided = [line for line in played if line["winner"] >= 0]
    won = [line for line in decided if line["winner"] == 0]
    good = sum(success(line) for line in played)
    strokes, asked = (sum(line[key] for line in played) for key in ("strokes", "decided"))
    plan_ms = [ms for line in played for ms in line["plan_ms"]]
    ends = [Counter(line["why"] for line in decided if line["winner"] == side).most_common() for side in (0, 1)]
    by_seed = [f"{100 * np.mean([line['winner'] == 0 for line in seed]):.0f}" for seed in seeds.values()]
    cells = [
        name, str(len(played)), share(len(won), len(decided)), " ".join(by_seed), share(good, len(played)),
        apart(seeds, first),
        f"{np.mean([line['returns'] for line in played]):.2f}",
        f"{sum(line['mflop'] for line in played) / max(strokes, 1):.0f}",
        f"{np.median(plan_ms):.1f}" if plan_ms else "-",
        f"{100 * sum(line['outside'] for line in played) / asked:.1f}" if asked else "-",
        *(", ".join(f"{why} {count}" for why, count in side) or "-" for side in ends),
        f"{np.mean([line['s'] for line in played]):.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEADS = (
    "row", "rallies", "won %", "by training seed", "success %", "success minus the first",
    "own returns", "MFLOP a stroke", "plan ms p50", "outside %", "won by", "lost by", "s a rally",
)  # fmt: skip


def table(out: Path, names: list[str]) -> str:
    """Markdown of the rows that were played; the first is what others are compared with."""
    rows = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    every: dict[str, Seeds] = {}
    for name in names:
        found = {path.stem: list(lines(path)) for path in sorted(out.glob(f"{name}_[0-9].jsonl"))}
        every[name] = {path.removeprefix(f"{name}_"): seed for path, seed in found.items() if seed}
        if every[name]:
            rows.append(table_line(name, every[name], every[names[0]]))
    return "\n".join(rows)
