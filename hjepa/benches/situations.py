"""What the low level of badminton really searches: the first search of each of some real strokes, kept while playing.

Legend: C starts, X search variables, N strokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hjepa import api
from hjepa.agent import HierarchicalAgent
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import Starts
from hjepa.planning.protocols import Plan, Residual
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.tasks.badminton.feeds import FeedTable


class Situation(NamedTuple):
    """A search as it begins."""

    residual: Residual
    starts: Tensor  # (C, X) least energy first
    ready_s: float  # CPU-seconds in which the starts were proposed and ranked


class _Kept:
    """A planner that keeps what its first search of a stroke begins with, and passes it on; a proposal likewise."""

    def __init__(self, low: StrokePlanner) -> None:
        self._planner, self._proposal = low.searching.planner, low.starts.proposal
        self.taken: list[tuple[Residual, Tensor, tuple[Tensor, ...]]] = []
        self._first = True
        self._asked: tuple[Tensor, ...] = ()
        low.searching.planner, low.starts.proposal = self, self.propose

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self._planner.reset(seed)
        self._first = True

    def propose(self, *asked: Tensor) -> Tensor:
        """As the proposal itself."""
        self._asked = asked
        out: Tensor = self._proposal(*asked)
        return out

    def plan(self, residual: Residual, starts: Tensor, *rest: Any) -> Plan:
        """As the planner itself."""
        if self._first:
            self.taken.append((residual, starts.clone(), self._asked))
        self._first = False
        return self._planner.plan(residual, starts, *rest)

    def ready_s(self, residual: Residual, asked: tuple[Tensor, ...]) -> float:
        """CPU-seconds of proposing and ranking, the median of three."""
        taken = []
        for _ in range(3):
            began = process_time()
            starts = self._proposal(*asked).flatten(0, 1)
            torch.argsort(0.5 * (residual(starts) ** 2).sum(-1))
            taken.append(process_time() - began)
        return float(np.median(taken))


def feasible_strokes(system: api.System, count: int) -> tuple[FeedTable, Starts]:
    """The first so many feasible strokes of a configuration's feed."""
    starts = system.starts()
    rows = np.flatnonzero(starts.feasible)[:count]
    return system.feed.take(rows), starts.take(rows)


def first_searches(count: int, overrides: Sequence[str] = ()) -> list[Situation]:
    """Of about so many feasible strokes of the validation matches, as the shipped agent meets them in lockstep."""
    settings = ["task.feed=val", f"task.strokes={2 * count + 20}", *overrides]
    system = api.load("badminton", settings)
    feed, starts = feasible_strokes(system, count)
    agent = system.agent("hjepa")
    kept = _Kept(low_of(agent))
    with closing(system.world()) as world:
        period = system.config.low.replan_period_ms
        for _ in run(world, agent, feed, starts, replan_period_ms=period, seed=system.config.task.seed):
            pass
    with torch.no_grad():
        return [Situation(residual, starts, kept.ready_s(residual, asked)) for residual, starts, asked in kept.taken]


def low_of(agent: Any) -> StrokePlanner:
    """The low level of an agent of two levels."""
    assert isinstance(agent, HierarchicalAgent) and isinstance(agent.low, StrokePlanner)
    return agent.low
