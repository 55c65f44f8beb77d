"""Real strokes in the context of their rallies: where the robot stands when the opponent hits, with foresight or not.

The robot has just played the stroke that the opponent is about to answer, from where the real player stood. It leaves
there at rest, for a place that it chooses, and has until the opponent's hit. Both ways of choosing start from the same
recorded states and face the same strokes. Legend: N strokes, K replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch

from hjepa import api
from hjepa.contexts import Contexts
from hjepa.covering import home_at, starts_of
from hjepa.evaluation.episodes import run
from hjepa.evaluation.results import StrokeResult
from hjepa.models.cover import CoverModel
from hjepa.models.rally import RallyModel
from hjepa.planning.anticipation import Anticipation, AnticipationConfig, Replies, on_the_way
from hjepa.tasks.badminton.flight import fly_to
from hjepa.types import Array


class Chosen(NamedTuple):
    """Where the base goes, and where it is when the opponent hits."""

    place_m: Array  # (N, 2)
    base_m: Array  # (N, 2)
    speed_m_s: Array  # (N, 2)


def best_fixed(cover: CoverModel, contexts: Contexts, config: AnticipationConfig) -> Array:
    """The place (2,) from which most of these strokes are returned, whatever the rally: the rival of foresight."""
    planner, table, rows = Anticipation(cover, config), contexts.table, contexts.rows
    met, _ = fly_to(table.hit_m[rows], table.launch_m_s[rows], table.time_s[rows])
    known = table.type[rows] >= 0
    real = Replies(
        torch.from_numpy(table.type[rows]).long()[known], torch.from_numpy(met[:, :2]).float()[known],
        torch.from_numpy(table.time_s[rows]).float()[known],
    )  # fmt: skip
    chances = []
    for place in planner.places:
        came = on_the_way(contexts.stood_m, place, contexts.time_s, config.speed_m_s, config.acceleration_m_s2)
        with torch.no_grad():
            p = torch.sigmoid(cover(*(torch.from_numpy(x[known]).float() for x in came), *real))
        chances.append(float(p.mean()))
    return np.asarray(planner.places[int(np.argmax(chances))])


def anticipated(
    cover: CoverModel, model: RallyModel, contexts: Contexts, config: AnticipationConfig, seed: int = 0
) -> Array:
    """The place (N, 2) that the predicted reply asks for; where the robot stands, on a serve."""
    planner, stood, expected = Anticipation(cover, config), contexts.stood_m, contexts.expected_s
    places = stood.copy()
    for k, replies in enumerate(contexts.replies(model, config.replies, seed)):
        if replies is not None:
            places[k] = planner.place(stood[k], float(expected[k]), replies)
    return places


def moved(contexts: Contexts, place_m: Array, config: AnticipationConfig) -> Chosen:
    """Where the base is when the opponent hits."""
    serve = (contexts.before < 0)[:, None]
    goal = np.where(serve, contexts.stood_m, place_m)
    base, speed = on_the_way(contexts.stood_m, goal, contexts.time_s, config.speed_m_s, config.acceleration_m_s2)
    return Chosen(goal, base, speed)


def play_from(system: api.System, chosen: Chosen) -> Iterator[StrokeResult]:
    """The strokes of the system's feed, each from the chosen state."""
    states = [home_at(system.spec, xy, v) for xy, v in zip(chosen.base_m, chosen.speed_m_s, strict=True)]
    c = system.config
    with closing(system.world()) as world:
        agent = system.agent(c.agent.name)
        period = c.low.replan_period_ms
        for played in run(world, agent, system.feed, starts_of(states), replan_period_ms=period, seed=c.task.seed):
            yield played.result
