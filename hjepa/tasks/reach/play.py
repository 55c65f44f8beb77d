"""Follows a target: the learned agent over the bus (robot, goals and level are nodes), a rival in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hjepa.bus.graph import Graph, Listener
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.processes import NodeSpec, ProcessGraph
from hjepa.errors import ConfigError
from hjepa.protocols import Agent
from hjepa.tasks.kinematics import joint_frames
from hjepa.tasks.reach import nodes
from hjepa.tasks.reach.figures import Following, Trace, settled
from hjepa.tasks.reach.rivals import HoldStill, ResolvedRate
from hjepa.tasks.reach.settings import ReachSettings
from hjepa.tasks.reach.target import Path, target_path
from hjepa.types import NS, Array, Launch, Observation, RobotSpec, RobotState
from robots.spec import load_spec

NOTHING = Launch(np.zeros(3), np.zeros(3), "none")  # the bus's reset speaks of a launch
Watcher = Callable[[float, float, float], None]
"""Told the time (s), the distance (m) and what the latest plan took (ms; nan: none yet) while a target is followed."""


class Followed(NamedTuple):
    """A run: its figures and what happened."""

    figures: Following
    trace: Trace


def path_of(config: ReachSettings, spec: RobotSpec) -> Path:
    """The target's true path: the world's, for metrics and the rival that is told the truth."""
    centre = joint_frames(spec, spec.q_home_rad)[-1, :3, 3]
    c = config.task
    return target_path(centre, np.array(c.half_m), c.speed_m_s, c.seed, c.path)


def follow(
    config: ReachSettings, *, processes: bool = False, gui: bool = False, watcher: Watcher | None = None
) -> Followed:
    """One run from home. WeightsError and RobotError say what is missing."""
    check(config, processes)
    spec = load_spec(config.robot.name)
    if config.agent.name == "hjepa":
        return _over_bus(config, spec, processes, gui, watcher)
    return _rival(config, spec, gui, watcher)


def check(config: ReachSettings, processes: bool = False) -> None:
    """What is wrong with robot, weights and choices, said before anything is started."""
    spec = load_spec(config.robot.name)
    if spec.prismatic.any():
        raise ConfigError(f"robot.name: {spec.name} moves on rails; allowed: a fixed-base arm, such as panda or iiwa")
    path_of(config, spec)
    if config.agent.name == "hjepa":
        nodes.level(config)
    elif processes:
        raise ConfigError(f"agent '{config.agent.name}' is one object; over processes follows: hjepa")


def _graph(config: ReachSettings, processes: bool, gui: bool) -> Graph:
    text = config.model_dump_json()
    period = config.low.replan_period_ms // 10
    timing: dict[str, Any] = {"clock": config.run.clock, "low_period_ticks": period, "high_period_ticks": period}
    if not processes:
        return InprocGraph(nodes.make_world(text, gui), nodes.make_high(text), nodes.make_low(text), **timing)
    made = {"driver": NodeSpec("hjepa.tasks.reach.nodes:make_world", {"config": text, "gui": gui})}
    made |= {n: NodeSpec(f"hjepa.tasks.reach.nodes:make_{n}", {"config": text}) for n in ("high", "low")}
    return ProcessGraph(made, **timing)


def _listener(config: ReachSettings, spec: RobotSpec, watcher: Watcher | None) -> Listener | None:
    if watcher is None:
        return None
    path, plan_ms = path_of(config, spec), float("nan")

    def listen(topic: str, message: Any) -> None:
        nonlocal plan_ms
        if topic == "plan":
            plan_ms = message.value.plan_ms
        elif topic == "observation":
            watcher(*_distance(spec, path, message.value), plan_ms)

    return listen


def _distance(spec: RobotSpec, path: Path, seen: Observation) -> tuple[float, float]:
    time_s = seen.stamp_ns / NS
    gap = joint_frames(spec, seen.q_rad)[-1, :3, 3] - path(np.array([time_s]))[0]
    return time_s, float(np.linalg.norm(gap))


def _over_bus(config: ReachSettings, spec: RobotSpec, processes: bool, gui: bool, watcher: Watcher | None) -> Followed:
    start = RobotState(spec.q_home_rad, np.zeros(spec.joints))
    with _graph(config, processes, gui) as graph:
        episode = graph.play(start, NOTHING, config.task.seed, listener=_listener(config, spec, watcher), record=True)
    assert episode.record is not None
    counts = episode.status["driver"].counts
    spent = episode.wall_ms("low") + (episode.wall_ms("high")[-len(episode.wall_ms("low")) :])
    misses = counts.get("command.started_late", 0) + counts.get("dropped.command.expired", 0)
    arrays = episode.record.arrays
    trace = Trace(arrays["stamp_ns"] / NS, arrays["q_rad"], arrays["tool_m"], arrays["target_m"])
    return _measured(
        config, spec, trace, arrays["dq_rad_s"], spent, episode.outcome.effort_j, misses, len(episode.commands)
    )


def _rival(config: ReachSettings, spec: RobotSpec, gui: bool, watcher: Watcher | None) -> Followed:
    path, commands = path_of(config, spec), 0
    agent: Agent = (
        HoldStill() if config.agent.name == "still" else ResolvedRate(spec, path, config.low.latency_ms / 1e3)
    )
    period = config.low.replan_period_ms // 10
    world = nodes.make_world(config.model_dump_json(), gui)
    with world:
        seen = world.reset(RobotState(spec.q_home_rad, np.zeros(spec.joints)), NOTHING, config.task.seed)
        tick = 0
        while not world.done:
            command = agent.act(seen) if tick % period == 0 else None
            if command is not None:
                world.send(command)
                commands += 1
            if watcher is not None:
                watcher(*_distance(spec, path, seen), float("nan"))
            seen = world.tick()
            tick += 1
        log, effort_j = world.log(), world.outcome().effort_j
    trace = Trace(log.stamp_ns / NS, log.q_rad, log.tool_m, log.target_m)
    return _measured(config, spec, trace, log.dq_rad_s, np.full(1, np.nan), effort_j, 0, commands)


def _measured(
    config: ReachSettings, spec: RobotSpec, trace: Trace, dq_rad_s: Array, spent_ms: Array, effort_j: float,
    misses: int, commands: int,
) -> Followed:  # fmt: skip
    late, whole = settled(trace), trace.distance_m
    figures = Following(
        robot=spec.name,
        agent=config.agent.name,
        seconds=config.task.seconds,
        seed=config.task.seed,
        speed_m_s=config.task.speed_m_s,
        clock=config.run.clock,
        median_m=float(np.median(late)),
        p90_m=float(np.percentile(late, 90)),
        worst_m=float(late.max()),
        median_all_m=float(np.median(whole)),
        p90_all_m=float(np.percentile(whole, 90)),
        start_m=float(whole[0]),
        plan_p50_ms=float(np.percentile(spent_ms, 50)),
        plan_p99_ms=float(np.percentile(spent_ms, 99)),
        speed_use=float((np.abs(dq_rad_s) / spec.dq_max_rad_s).max()),
        effort_j=effort_j,
        deadline_misses=misses,
        commands=commands,
    )
    return Followed(figures, trace)
