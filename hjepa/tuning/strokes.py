"""Which strokes a study plays, and the playing of a few of them by one configuration: the work of a worker.

The strokes tuned on and the fresh ones are disjoint draws from the same matches; an oracle's judgement says which are
feasible, and only those are played. A block starts with a fresh agent, so that its outcome depends on configuration and
strokes alone: it may be played by any worker, at any time, again after a crash. Legend: N strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa import __version__, api, build, factories
from hjepa.config import Config, RobotSection
from hjepa.errors import DataError
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import Starts, judge
from hjepa.evaluation.results import StrokeResult
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tuning.blocks import Block

SPARE = 1.7  # strokes judged for each feasible one that is wanted
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
    first, second = (math.ceil(SPARE * n) + 8 for n in (tuned, fresh))
    if first + second > len(drawn):
        raise DataError(f"{tuned} strokes to tune on and {fresh} fresh ones; the {feed} matches have {len(drawn)}")
    with factories.build_world(Config(robot=RobotSection(name=config.robot.name))) as nominal:
        folder = api.cache_folder() / f"starts-{__version__}"

        def feasible(rows: NDArray[np.int64], wanted: int, seed: int) -> Strokes:
            pool = table.take(rows)
            starts = judge(nominal, pool, folder, progress=judging)
            kept = np.flatnonzero(starts.feasible)[:wanted]
            if len(kept) < wanted:
                raise DataError(
                    f"{len(kept)} of {len(rows)} strokes are feasible for {config.robot.name}, {wanted} are wanted: "
                    f"ask for fewer, or for another robot"
                )
            return Strokes(pool.take(kept), _taken(starts, kept), seed)

        return Ground(
            feasible(drawn[:first], tuned, seed), feasible(drawn[first : first + second], fresh, seed + 1_000_003)
        )


def _taken(starts: Starts, rows: NDArray[np.int64]) -> Starts:
    columns: list[Any] = [column[rows] for column in starts]
    return Starts(*columns)


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
            _taken(strokes.starts, rows),
            replan_period_ms=c.low.replan_period_ms,
            seed=strokes.seed,
            weights_seed=api.weights_seed(c),
        )
        return [one.result for one in played]
