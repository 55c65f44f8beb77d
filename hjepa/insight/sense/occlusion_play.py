"""Strokes played while the shuttle is hidden in mid-flight, each beside the same stroke with nothing hidden.

Where the hidden span lies is fixed by the feed, the same for every agent: its middle is half of the time until the real
receiver hit that shuttle, or it lies anywhere in that time, after 60 ms. A stroke is played by an agent that has played
no other, so that a killed run goes on as if it had never stopped. Legend: N strokes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa import api
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import Court
from hjepa.evaluation.metrics import Interval, paired_bootstrap, rate, wilson
from hjepa.evaluation.results import StrokeResult, read_csv, write_csv
from robots.sim.world import SimulatedCourt

TICK_S = 0.01
SEEN_TICKS = 6  # before what is hidden anywhere
AGENTS = ("hjepa", "classical")
MIDDLE, ANYWHERE = "middle", "anywhere"


class Condition(NamedTuple):
    """What is hidden of every stroke."""

    hidden_ms: int
    place: str  # MIDDLE or ANYWHERE


PLAIN = Condition(0, MIDDLE)


def span(time_s: float, condition: Condition, share: float) -> tuple[tuple[float, float], ...]:
    """What is hidden of a stroke that is met after time_s, in whole ticks; () where nothing is.

    share: from 0, as early as may be, to 1, as late as may be, where it lies anywhere.
    """
    length, met = round(condition.hidden_ms / 1e3 / TICK_S), round(time_s / TICK_S)
    if condition.place == MIDDLE:
        first = max(0, round(0.5 * (met - length)))
    else:
        first = SEEN_TICKS + round(share * max(0, met - length - SEEN_TICKS))
    return ((first * TICK_S, (first + length) * TICK_S),) if length else ()


def spread_out(count: int, some: int) -> NDArray[np.int64]:
    """`some` of so many rows, evenly over all of them."""
    return np.unique(np.linspace(0, count - 1, min(some, count)).round().astype(np.int64))


def strokes(
    system: api.System,
    world: SimulatedCourt,
    condition: Condition,
    rows: NDArray[np.int64],
    folder: Path,
    progress: Callable[[int, int], None],
) -> list[StrokeResult]:
    """What came of the feed's rows (N,), played by the system's agent; those kept in `folder` are not played again."""
    c, feed = system.config, system.feed
    path = folder / f"play-{c.agent.name}-{condition.hidden_ms}-{condition.place}.csv"
    known = {r.id: r for r in read_csv(path)} if path.exists() else {}
    plain = world.config
    try:
        for done, i in enumerate(rows):
            progress(done, len(rows))
            if str(feed.id[i]) in known:
                continue
            share = float(np.random.default_rng([c.task.seed, int(feed.id[i]), 34]).random())
            world.config = replace(plain, hidden=span(float(feed.time_s[i]), condition, share))
            result = _one(system, world, int(i))
            known[result.id] = result
            _keep(path, list(known.values()))
    finally:
        world.config = plain
    progress(len(rows), len(rows))
    return [known[str(feed.id[i])] for i in rows]


def _one(system: api.System, world: Court, i: int) -> StrokeResult:
    """Stroke i of the feed, played by an agent that is new."""
    c, row = system.config, np.array([i])
    feed, starts, agent = system.feed.take(row), system.starts().take(row), system.agent(c.agent.name)
    return next(run(world, agent, feed, starts, replan_period_ms=c.low.replan_period_ms, seed=c.task.seed)).result


def _keep(path: Path, results: Sequence[StrokeResult]) -> None:
    """Write them whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    write_csv(part, results)
    part.replace(path)


def shares(results: Sequence[StrokeResult]) -> dict[str, Interval]:
    """Hit and return rates, and that of the strokes which an oracle returns."""
    return {
        "hit": rate(r.hit for r in results),
        "returned": rate(r.returned for r in results),
        "returned, feasible": rate(r.returned for r in results if r.feasible),
    }


def lost(hidden: Sequence[StrokeResult], plain: Sequence[StrokeResult], seed: int) -> dict[str, Interval]:
    """Percentage points that hiding costs, stroke by stroke.

    Intervals hold that of the bootstrap by match, which is empty where no stroke changed, and that of `newcombe`.
    """
    before = {r.id: r for r in plain}

    def points(value: Callable[[StrokeResult], bool]) -> Interval:
        rng = np.random.default_rng([seed, 33])
        drawn = paired_bootstrap(plain, hidden, lambda r: 100.0 * value(r), rng)
        pairs = [(value(before[r.id]), value(r)) for r in hidden]
        both, first, second = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True)))
        counted = newcombe(both, first, second, len(pairs))
        return Interval(drawn.value, min(drawn.lo, 100.0 * counted.lo), max(drawn.hi, 100.0 * counted.hi))

    return {"hit": points(lambda r: r.hit), "returned": points(lambda r: r.returned)}


def newcombe(both: int, first: int, second: int, n: int) -> Interval:
    """Difference of two shares of the same n, the first minus the second (Newcombe 1998, paired data, method 10).

    both, first, second: how many count in both, in the first only, in the second only.
    """
    neither = n - both - first - second
    one, other = wilson(both + first, n), wilson(both + second, n)
    product = math.prod((both + first, second + neither, both + second, first + neither))
    together = float(both * neither - first * second)
    if together > 0:  # a correction for continuity
        together = max(together - n / 2, 0.0)
    phi = together / math.sqrt(product) if product else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2.0 * phi * a * b + b * b, 0.0))

    gap = one.value - other.value
    low, high = reach(one.value - one.lo, other.hi - other.value), reach(one.hi - one.value, other.value - other.lo)
    return Interval(gap, gap - low, gap + high)
