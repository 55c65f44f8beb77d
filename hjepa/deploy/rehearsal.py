"""Decisions that need no robot: a shuttle flies by the book, the robot stands at home, an agent decides.

A bundle carries what the builder's agent decided; a controller must come to the same before it may move anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from hjepa.errors import BundleError
from hjepa.handover import Handover
from hjepa.protocols import Explains, HighLevel, LowLevel
from hjepa.tasks.badminton import flight
from hjepa.types import NS, Array, Goal, Observation, RobotSpec

Ask = Callable[[Observation, Array, Array], Array]


class Explaining(LowLevel, Explains, Protocol):
    """A low level that says what it chose."""


LAUNCHES = (  # opponent's contact point (m) and where the shuttle would meet the floor (m), after so many seconds
    ((4.5, 0.8, 1.9), (-4.6, -0.9, 0.0), 1.35),
    ((2.0, -1.2, 1.2), (-2.4, 0.6, 0.0), 0.95),
    ((5.6, 0.2, 2.3), (-5.8, 0.4, 0.0), 1.75),
)
SLOTS, SLOT_S, DELAY_SLOTS = 64, 0.01, 3
FIRST_S, EVERY_S, COUNT = 0.16, 0.04, 8


class Asked(NamedTuple):
    """What the high level asked the low one, and was told."""

    candidates: Array  # (C, G)
    roots: Array  # (C, G, G)
    energies: Array  # (C,)


class Rehearsed(NamedTuple):
    """What two levels decided about one launch."""

    at: int  # at which observation the high level decided
    asked: Asked
    goal: Goal
    energy: Array  # (T,) of the low level's plan at each observation; nan before the goal is in force
    command: Array  # (T, J, 2) joint position and speed early in the command; nan where none was given


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


def decide(high: HighLevel, spec: RobotSpec, launch: int, ask: Ask) -> tuple[int, Goal] | None:
    """At which observation a high level decides, and what; `ask` as Reachability, with the observation before it."""
    high.reset(launch)
    for k, seen in enumerate(observations(spec, launch)):
        goal = high.decide(seen, partial(ask, seen))
        if goal is not None:
            return k, goal
    return None


def follow(low: Explaining, spec: RobotSpec, launch: int, at: int, asked: Asked, goal: Goal) -> Rehearsed:
    """What a low level answers and plans for a goal that was decided at observation `at`."""
    low.reset(launch)
    handover = Handover()
    told, energy, command = asked, [], []
    nothing = np.full((spec.joints, 2), np.nan)
    for k, seen in enumerate(observations(spec, launch)):
        if k == at:
            told = asked._replace(energies=low.reachability(seen, asked.candidates, asked.roots))
            handover.offer(goal)
        now = handover.at(seen.stamp_ns)
        made = low.plan(seen, now) if now is not None else None
        energy.append(low.explain().energy if now is not None else np.nan)
        command.append(nothing if made is None else _early(made.q_rad, made.dq_rad_s))
    return Rehearsed(at, told, goal, np.array(energy, dtype=np.float64), np.stack(command))


def rehearse(high: HighLevel, low: Explaining, spec: RobotSpec, launch: int) -> Rehearsed:
    """Both levels, the high one answered by the low one. BundleError if nothing is decided."""
    heard: list[Asked] = []

    def ask(seen: Observation, candidates: Array, roots: Array) -> Array:
        heard.append(Asked(candidates, roots, low.reachability(seen, candidates, roots)))
        return heard[-1].energies

    low.reset(launch)
    decided = decide(high, spec, launch, ask)
    if decided is None or not heard:
        raise BundleError("the high level decides nothing about a plain launch: it cannot be rehearsed")
    return follow(low, spec, launch, decided[0], heard[-1], decided[1])


def _early(q_rad: Array, dq_rad_s: Array) -> Array:
    k = len(q_rad) // 4  # before the contact, where the motion is the plan's and not the way home
    return np.stack([q_rad[k], dq_rad_s[k]], axis=-1)
