"""Episodes that a whole agent plays: the shuttle and the racket. Its surprise is at what followed the contact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hjepa import api, build
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config
from hjepa.errors import WeightsError
from hjepa.evaluation.feasible import stand
from hjepa.insight.sense.violations_pairs import Case
from hjepa.insight.sense.violations_watch import Traces
from hjepa.planning.context import SlowContext
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import NS, Outcome, RobotState
from robots.sim.world import SimulatedCourt, WorldConfig


class _Both(NamedTuple):
    agent: HierarchicalAgent
    low: StrokePlanner
    context: SlowContext


def play(cases: Sequence[Case], config: Config, seen: Callable[[], None] = lambda: None) -> Traces:
    """One surprise for each episode, after it; nan where the racket did not meet the shuttle. seen: called for each.

    Whatever the configuration plays: two levels that learn from outcomes, and know nothing of earlier strokes.
    """
    low = config.low.model_copy(update={"adapt": True})
    who = config.agent.model_copy(update={"name": "hjepa"})
    system = api.load(config.model_copy(update={"low": low, "agent": who}))
    planner = build.build_low(system.config, system.spec)
    if planner.context is None:
        raise WeightsError(
            "these weights learn nothing from outcomes (context 0): no surprise at a racket; train others"
        )
    agent = _Both(HierarchicalAgent(build.build_high(system.config), planner), planner, planner.context)
    scores = []
    with closing(system.world()) as world:
        for case in cases:
            scores.append(_surprise(world, agent, case, config.low.replan_period_ms * NS // 1000))
            seen()
    score = np.array(scores, dtype=np.float32).reshape(-1, 1)
    return Traces(score, np.full_like(score, np.nan), np.zeros(len(cases)))


def _surprise(world: SimulatedCourt, who: _Both, case: Case, period_ns: int) -> float:
    spec = world.spec
    world.config = replace(WorldConfig(), **case.sensors._asdict(), disturbance=case.disturbance)
    who.context.forget()
    who.agent.reset(case.seed)
    at_home = RobotState(spec.q_home_rad.copy(), np.zeros(spec.joints))
    seen = world.reset(stand(spec, at_home, case.receiver_xy_m), case.launch, case.seed)
    while not world.done:
        if seen.stamp_ns % period_ns == 0 and (command := who.agent.act(seen)) is not None:
            world.send(command)
        seen = world.tick()
    who.low.explain()  # learns from the stroke, if it has not yet
    return who.context.surprise if met(world.outcome(), spec.racket_semi_axes_m.tolist()) else np.nan


def met(outcome: Outcome, semi_axes_m: Sequence[float]) -> bool:
    """Whether the shuttle came to the racket's disc, be it only to pass through it."""
    x, y = outcome.offset_m.tolist()
    return outcome.hit or bool((x / semi_axes_m[0]) ** 2 + (y / semi_axes_m[1]) ** 2 <= 1.0)
