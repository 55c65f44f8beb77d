"""The strokes of `probe guards`: each played with the planner's guardrails off and on; kept as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hjepa.api import System, load
from hjepa.config import Config
from hjepa.evaluation.episodes import run
from hjepa.evaluation.feasible import stroke_seed
from hjepa.insight.sense.asked import Asked
from hjepa.insight.sense.parts import Parts, key_of
from hjepa.types import Array
from robots.sim.person import Person
from robots.sim.world import SimulatedCourt

SIDES = ("off", "on")
KINDS = ("driver", "torque", "self", "net", "person", "speed")
TOUCH_M = 0.002  # less than this counts as numbers' noise
SIDE_LINES_M, DEPTH_M = 3.05, (1.0, 6.2)  # where people come in
FAR_M = 2.0  # from the robot, at least, where somebody comes in
STRAY_M, WAIT_S = 0.6, 0.6  # spread of where people walk to, around the robot; how late they come in


class Row(NamedTuple):
    """One stroke on one side."""

    id: str
    person: bool  # somebody walked in
    feasible: bool  # for the oracle, without a person
    returned: bool
    gave_up: bool  # the last plan was not played: it broke a guard
    broke: dict[str, int]  # by KINDS, 0 or 1
    plan_ms: float  # median of the stroke's plans


def play(asked: Asked, count: int) -> tuple[list[Row], list[Row]]:
    """Both sides of the first `count` strokes of the configuration's feed."""
    task = asked.config.task.model_copy(update={"strokes": count})
    config = asked.config.model_copy(update={"task": task})
    made: list[list[Row]] = []
    for k, side in enumerate(SIDES):
        low = config.low.model_copy(update={"guards": side == "on"})
        own = config.model_copy(update={"low": low})
        kept = Parts(asked.out / "guards_parts", key_of(own, Row._fields)).rows(side)
        rows = [Row(**row) for row in kept.rows]
        for row in _strokes(own, len(rows), count):
            rows.append(row)
            kept.keep(row._asdict())
            asked.progress("strokes", k * count + len(rows), len(SIDES) * count)
        made.append(rows)
    return made[0], made[1]


def _strokes(config: Config, first: int, count: int) -> Iterator[Row]:
    if first >= count:
        return
    system = load(config)
    system.starts()
    with closing(system.world()) as world:
        for i in range(first, count):
            yield _stroke(system, world, i)


def _stroke(system: System, world: SimulatedCourt, i: int) -> Row:
    c = system.config
    at, starts, agent = np.array([i]), system.starts(), system.agent(c.agent.name)
    seed = stroke_seed(c.task.seed, int(system.feed.id[i]))
    person = walker(starts.q_rad[i, :2], np.random.default_rng([seed, 7])) if i % 2 else None
    world.config = replace(world.config, person=person)
    (played,) = run(
        world, agent, system.feed.take(at), starts.take(at), replan_period_ms=c.low.replan_period_ms, seed=c.task.seed
    )
    seen, result = world.witnessed(), played.result
    plan: Any = agent.low.explain()  # type: ignore[attr-defined]
    broke = {
        "driver": seen.interventions > 0,
        "torque": seen.saturated > 0,
        "self": seen.self_clearance_m < -TOUCH_M,
        "net": seen.touched_net,
        "person": seen.person_clearance_m < -TOUCH_M,
        "speed": seen.racket_speed_m_s > c.low.racket_speed_max_m_s,
    }
    return Row(
        result.id, person is not None, result.feasible, result.returned, not plan.feasible,
        {kind: int(broke[kind]) for kind in KINDS}, float(np.median(result.plan_ms_low or [np.nan])),
    )  # fmt: skip


def walker(robot_m: Array, rng: np.random.Generator) -> Person:
    """Somebody who comes over a side line towards where a robot at x, y stands, not beside it."""
    while True:
        side = SIDE_LINES_M if rng.random() < 0.5 else -SIDE_LINES_M
        start = np.array([-rng.uniform(*DEPTH_M), side])
        if np.linalg.norm(start - robot_m) >= FAR_M:
            break
    to = robot_m + STRAY_M * rng.standard_normal(2)
    return Person((float(start[0]), float(start[1])), (float(to[0]), float(to[1])), float(rng.uniform(0.0, WAIT_S)))
