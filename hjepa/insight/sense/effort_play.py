"""Strokes played to see what they cost: joint energy of the motion, compute of the decisions.

A part is one agent with one setting over all strokes: the same strokes, start states and seeds for each of them. Parts
are kept in a folder, so that a run that was killed goes on with the next one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from hjepa import api, build
from hjepa.agent import HierarchicalAgent
from hjepa.benches import host
from hjepa.benches.energy import PackageMeter
from hjepa.config import Config
from hjepa.evaluation.episodes import run
from hjepa.evaluation.results import NAN
from hjepa.insight import origin
from hjepa.insight.sense.parts import Parts, key_of
from hjepa.planning.hierarchy import HighPlanner
from hjepa.planning.spent import Spent
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.protocols import Agent, Reachability, World
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Decision, Goal, JointTrajectory, Observation


class Stroke(NamedTuple):
    """What one stroke cost, and what came of it."""

    id: str
    match: str
    feasible: bool
    hit: bool
    returned: bool
    effort_j: float  # sum over joints of |torque x speed| dt, to the end of the episode
    before_j: float  # of it until the contact, or the plane's crossing on a miss: what the planner weighs
    racket_m_s: float  # at the contact; nan without one
    low_ms: tuple[float, ...]  # wall time of each decision
    high_ms: tuple[float, ...]
    mflop: float  # a low-level decision, mean
    cpu_s: float  # of this process while the agent acted
    package_j: float  # of the processor's packages meanwhile, whoever used them; nan: not readable


class Setting(NamedTuple):
    """A part: an agent, and what of its configuration is changed."""

    name: str  # also its file's
    agent: str
    effort: float = 1.0  # factor on low.weights.effort
    haste: float = 1.0  # on low.weights.haste

    def of(self, config: Config) -> Config:
        """The configuration with this setting."""
        weights = config.low.weights
        changed = {"effort": self.effort * weights.effort, "haste": self.haste * weights.haste}
        low = config.low.model_copy(update={"weights": weights.model_copy(update=changed)})
        agent = config.agent.model_copy(update={"name": self.agent})
        return config.model_copy(update={"low": low, "agent": agent})


def kept(folder: Path, setting: Setting, config: Config, played: Callable[[], list[Stroke]]) -> list[Stroke]:
    """The part as it lies in a folder, if it is of the same configuration and weights; else it is played."""
    own = setting.of(config)
    parts = Parts(folder, key_of(own, Stroke._fields, levels=origin.levels(own)))
    rows = parts.value(setting.name, lambda: host.plain([list(stroke) for stroke in played()]))
    return [_stroke(row) for row in rows]


def _stroke(row: list[Any]) -> Stroke:
    cells: list[Any] = [tuple(cell) if isinstance(cell, list) else NAN if cell is None else cell for cell in row]
    return Stroke(*cells)


def play(setting: Setting, config: Config, progress: Callable[[int, int], None]) -> list[Stroke]:
    """Every stroke of the configuration with a setting, in lockstep."""
    c = setting.of(config)
    build.use_one_thread()
    system = api.System(c, acts=False)
    starts = system.starts(judging=progress)
    with closing(system.world()) as world:
        agent, bill = Metered(system.agent(setting.agent)), Bill(world)
        made = []
        strokes = run(
            world,
            agent,
            system.feed,
            starts,
            replan_period_ms=c.low.replan_period_ms,
            seed=c.task.seed,
            weights_seed=api.weights_seed(c),
            carry_over=c.task.start == "carried",
            progress=progress,
        )
        for r, _ in strokes:
            outcome = (r.id, r.match, r.feasible, r.hit, r.returned, r.effort_j, bill.before_j, r.racket_speed_m_s)
            made.append(Stroke(*outcome, r.plan_ms_low, r.plan_ms_high, r.mflop, agent.cpu_s, agent.package_j))
    return made


class Bill:
    """The joint energy of a stroke until its contact, noted tick by tick while somebody plays in a world."""

    def __init__(self, world: World) -> None:
        self.before_j = 0.0
        tick = world.tick

        def noted() -> Observation:
            seen, now = tick(), world.outcome()
            if math.isnan(now.contact_s):
                self.before_j = now.effort_j
            return seen

        world.tick = noted  # type: ignore[method-assign]


class Metered:
    """An agent, and what its `act` has cost since the stroke began."""

    def __init__(self, agent: Agent, meter: PackageMeter | None = None) -> None:
        self._agent, self._meter = agent, meter or PackageMeter()
        self.cpu_s = self.package_j = 0.0

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self._agent.reset(seed)
        self.cpu_s = self.package_j = 0.0

    def act(self, observation: Observation) -> JointTrajectory | None:
        """The agent's command."""
        spent_j, began_s = self._meter.spent_j(), time.process_time()
        command = self._agent.act(observation)
        self.cpu_s += time.process_time() - began_s
        self.package_j += self._meter.spent_j() - spent_j
        return command

    @property
    def decision(self) -> Decision | None:
        """The agent's."""
        return getattr(self._agent, "decision", None)


class Operations(NamedTuple):
    """Of high-level decisions, in millions: two for each weight that is touched."""

    own: list[float]  # its networks
    asked: list[float]  # what the low level spends on its questions


def operations(config: Config, name: str) -> Operations:
    """Counted while an agent of two levels plays the strokes of the configuration."""
    c = Setting("", name).of(config)
    build.use_one_thread()
    system = api.System(c, acts=False)
    low = build.build_low(c, system.spec, name)
    # networks of its own: whoever else plays with the same weights is neither counted nor slowed down
    high = HighPlanner(copy.deepcopy(build.high_model(c)), TYPES, build.high_settings(c, name))
    counted = Counted(high, low)
    starts = system.starts()
    with closing(system.world()) as world:
        agent = HierarchicalAgent(counted, low)
        for _ in run(world, agent, system.feed, starts, replan_period_ms=c.low.replan_period_ms, seed=c.task.seed):
            pass
    return counted.operations


class Counted:
    """A high level whose operations are counted decision by decision; the low level is the one that it asks."""

    def __init__(self, high: HighPlanner, low: StrokePlanner) -> None:
        self._high, self._own, self._asked = high, Spent(), Spent()
        self._own.networks(high.model)  # type: ignore[arg-type]  # known here as more than its protocol
        self._asked.motions(low)
        self.operations = Operations([], [])

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self._high.reset(seed)

    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None:
        """The high level's decision."""
        self._own.flop = self._asked.flop = 0.0
        goal = self._high.decide(observation, reachability)
        if goal is not None:
            self.operations.own.append(1e-6 * self._own.flop)
            self.operations.asked.append(1e-6 * self._asked.flop)
        return goal
