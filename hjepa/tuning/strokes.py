"""Which strokes a study plays, and the playing of a few of them by one configuration: the work of a worker.

The strokes tuned on and the fresh ones are disjoint draws from the same matches; an oracle's judgement says which are
feasible, and only those are played. A block starts with a fresh agent, so that its outcome depends on configuration and
strokes alone: it may be played by any worker, at any time, again after a crash. Legend: N strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa import __version__, api, build, factories
from hjepa.config import Config, RobotSection
from hjepa.errors import DataError
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import Court, Starts, judge
from hjepa.evaluation.results import StrokeResult
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tuning.blocks import Block

SPARE = 1.7  # strokes judged at a time for each feasible one that is wanted ...
MORE = 8  # ... and some more, not more than are wanted: most draws of a few hold enough
POOLS = 8  # so many times at most: robots that reach little find few
OTHER = 1_000_003  # between the seeds of tuned and fresh strokes
Judging = Callable[[int, int], None]


class Strokes(NamedTuple):
    """Feasible strokes with their start states, and the seed of sensors and agents."""

    feed: FeedTable
    starts: Starts
    seed: int


class Ground(NamedTuple):
    """What is played: the strokes tuned on, and others that no trial has seen."""

    tuned: Strokes
    fresh: Strokes


def choose(config: Config, feed: str, seed: int, tuned: int, fresh: int, judging: Judging | None = None) -> Ground:
    """So many feasible strokes of each kind, drawn with `seed`; the fresh ones are played with another seed."""
    table = load_feed(feed)
    drawn = np.random.default_rng([seed, 3]).permutation(len(table.id))
    with factories.build_world(Config(robot=RobotSection(name=config.robot.name))) as nominal:
        first, rest = _feasible(nominal, table, drawn, tuned, seed, judging)
        second, _ = _feasible(nominal, table, rest, fresh, seed + OTHER, judging)
    return Ground(first, second)


def _feasible(
    world: Court, table: FeedTable, drawn: NDArray[np.int64], wanted: int, seed: int, judging: Judging | None
) -> tuple[Strokes, NDArray[np.int64]]:
    """The first feasible strokes of a random order, judged a pool at a time; and the order's rest."""
    size, folder = math.ceil(SPARE * wanted) + min(MORE, wanted), api.cache_folder() / f"starts-{__version__}"
    kept: list[tuple[FeedTable, Starts]] = []
    found = 0
    for begin in range(0, POOLS * size, size):
        pool = table.take(drawn[begin : begin + size])
        if len(pool.id) < size:
            break
        starts = judge(world, pool, folder, progress=judging)
        rows = np.flatnonzero(starts.feasible)[: wanted - found]
        kept.append((pool.take(rows), starts.take(rows)))
        found += len(rows)
        if found == wanted:
            feeds, all_starts = zip(*kept, strict=True)
            joined = FeedTable(*_end_to_end(feeds)), Starts(*_end_to_end(all_starts))
            return Strokes(*joined, seed), drawn[begin + size :]
    judged = len(kept) * size
    raise DataError(
        f"{found} of {judged} strokes are feasible for {world.spec.name}; allowed: at most so many, not {wanted}"
    )


def _end_to_end(tables: Sequence[Sequence[Any]]) -> list[Any]:
    """Columns of several tables, joined."""
    return [np.concatenate(columns) for columns in zip(*tables, strict=True)]


def play(ground: Ground, block: Block) -> list[StrokeResult]:
    """The block's strokes in lockstep, in the order of its rows."""
    build.use_one_thread()
    strokes, c, rows = ground.fresh if block.fresh else ground.tuned, block.config, np.array(block.rows)
    with closing(factories.build_world(c, record=True)) as world:
        world.connect()
        agent = build.build_agent(c, c.agent.name, world.shuttle)
        played = run(
            world,
            agent,
            strokes.feed.take(rows),
            strokes.starts.take(rows),
            replan_period_ms=c.low.replan_period_ms,
            seed=strokes.seed,
            weights_seed=api.weights_seed(c),
        )
        return [one.result for one in played]
