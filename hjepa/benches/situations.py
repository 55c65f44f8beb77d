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
from hjepa.planning.protocols import Plan, Planner, Residual
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.tasks.badminton.feeds import FeedTable


class Situation(NamedTuple):
    """A search as it begins."""

    residual: Residual
    starts: Tensor  # (C, X) least energy first
    ready_s: float  # CPU-seconds in which the starts were proposed and ranked


class _Kept:
    """A planner that keeps what its first search of a stroke begins with, and passes it on."""

    def __init__(self, inner: Planner) -> None:
        self.inner, self.taken = inner, list[tuple[Residual, Tensor]]()
        self._first = True

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self.inner.reset(seed)
        self._first = True

    def plan(self, residual: Residual, starts: Tensor, *rest: Any) -> Plan:
        """As the planner itself."""
        if self._first:
            self.taken.append((residual, starts.clone()))
        self._first = False
        return self.inner.plan(residual, starts, *rest)


def feasible_strokes(system: api.System, count: int) -> tuple[FeedTable, Starts]:
    """The first so many feasible strokes of a configuration's feed."""
    starts = system.starts()
    rows = np.flatnonzero(starts.feasible)[:count]
    return system.feed.take(rows), Starts(*(column[rows] for column in starts))


def first_searches(count: int, overrides: Sequence[str] = ()) -> list[Situation]:
    """Of about so many feasible strokes of the validation matches, as the shipped agent meets them in lockstep."""
    settings = ["task.feed=val", f"task.strokes={2 * count + 20}", *overrides]
    system = api.load("badminton", settings)
    feed, starts = feasible_strokes(system, count)
    agent = system.agent("hjepa")
    low = low_of(agent)
    kept, proposal = _Kept(low.planner), low.proposal
    asked: list[tuple[Tensor, ...]] = []

    def proposing(*inputs: Tensor) -> Tensor:
        if len(asked) == len(kept.taken):
            asked.append(inputs)
        asked[-1] = inputs if kept._first else asked[-1]
        out: Tensor = proposal(*inputs)
        return out

    low.planner, low.proposal = kept, proposing
    with closing(system.world()) as world:
        period = system.config.low.replan_period_ms
        for _ in run(world, agent, feed, starts, replan_period_ms=period, seed=system.config.task.seed):
            pass
    with torch.no_grad():
        return [
            Situation(residual, first, _ready_s(proposal, residual, inputs))
            for (residual, first), inputs in zip(kept.taken, asked, strict=False)
        ]


def low_of(agent: Any) -> StrokePlanner:
    """The low level of an agent of two levels."""
    assert isinstance(agent, HierarchicalAgent) and isinstance(agent.low, StrokePlanner)
    return agent.low


def _ready_s(proposal: Any, residual: Residual, inputs: tuple[Tensor, ...]) -> float:
    """Time of proposing and ranking, the best of three."""
    taken = []
    for _ in range(3):
        began = process_time()
        starts = proposal(*inputs).flatten(0, 1)
        torch.argsort(0.5 * (residual(starts) ** 2).sum(-1))
        taken.append(process_time() - began)
    return float(np.median(taken))
