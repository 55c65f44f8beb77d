"""Decisions that need no robot: a shuttle flies by the book, the robot stands at home, an agent decides.

A bundle carries what the builder's agent decided; a controller must come to the same before it may move anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hjepa.agent import HierarchicalAgent
from hjepa.tasks.badminton import flight
from hjepa.types import NS, Array, Observation, RobotSpec

LAUNCHES = (  # opponent's contact point (m) and where the shuttle would meet the floor (m), after so many seconds
    ((4.5, 0.8, 1.9), (-4.6, -0.9, 0.0), 1.35),
    ((2.0, -1.2, 1.2), (-2.4, 0.6, 0.0), 0.95),
    ((5.6, 0.2, 2.3), (-5.8, 0.4, 0.0), 1.75),
)
SLOTS, SLOT_S, DELAY_SLOTS = 64, 0.01, 3
FIRST_S, EVERY_S, COUNT = 0.16, 0.04, 8


class Decided(NamedTuple):
    """What an agent decided at each observation; rows of nan where it decided nothing."""

    goal: Array  # (T, G) the embedding in force
    target_m: Array  # (T, 2)
    energy: Array  # (T,) of the low level's plan
    command: Array  # (T, J, 2) joint position and speed in the middle of the command


def observations(spec: RobotSpec, launch: int) -> Iterator[Observation]:
    """What would be seen of a launch."""
    start, floor, time_s = LAUNCHES[launch]
    x0 = np.array([start])
    v0, _ = flight.solve_launch(x0, np.array([floor]), np.array([time_s]))
    for k in range(COUNT):
        now_s = FIRST_S + k * EVERY_S
        age_s = SLOT_S * np.arange(SLOTS - 1, -1, -1)
        at_s = now_s - age_s
        mask = (at_s >= 0.0) & (age_s >= DELAY_SLOTS * SLOT_S)
        path = flight.fly_to(np.repeat(x0, SLOTS, 0), np.repeat(v0, SLOTS, 0), at_s.clip(min=0.0))[0]
        stamp_ns = round(now_s * NS)
        stamps = stamp_ns - np.round(age_s * NS).astype(np.int64)
        yield Observation(stamp_ns, spec.q_home_rad.copy(), np.zeros(spec.joints), path * mask[:, None], mask, stamps)


def rehearse(agent: HierarchicalAgent, spec: RobotSpec, launch: int) -> Decided:
    """Let an agent decide."""
    agent.reset(launch)
    goals, targets, energies, commands = [], [], [], []
    for seen in observations(spec, launch):
        agent.act(seen)
        goal, command, told = agent.thought.goal, agent.thought.command, agent.low.explain()  # type: ignore[attr-defined]
        nothing = np.full((spec.joints, 2), np.nan)
        goals.append(np.zeros(0) if goal is None else goal.embedding)
        targets.append(np.full(2, np.nan) if goal is None else goal.target_xy_m)
        energies.append(told.energy if goal is not None else np.nan)
        commands.append(nothing if command is None else _middle(command.q_rad, command.dq_rad_s))
    size = max(len(g) for g in goals)
    whole = np.stack([g if len(g) else np.full(size, np.nan) for g in goals])
    return Decided(whole, np.stack(targets), np.array(energies, dtype=np.float64), np.stack(commands))


def _middle(q_rad: Array, dq_rad_s: Array) -> Array:
    k = len(q_rad) // 4  # before the contact, where the motion is the plan's and not the way home
    return np.stack([q_rad[k], dq_rad_s[k]], axis=-1)
