"""Real strokes in the context of their rallies: where the robot stands when the opponent hits, with foresight or not.

The robot has just played the stroke that the opponent is about to answer, from where the real player stood. It leaves
there at rest, for a place that it chooses, and has until the opponent's hit. Both ways of choosing start from the same
recorded states and face the same strokes. Legend: N strokes, K replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import api
from hjepa.covering import home_at, starts_of
from hjepa.evaluation.episodes import run
from hjepa.evaluation.results import StrokeResult
from hjepa.models.cover import CoverModel
from hjepa.models.rally import RallyModel
from hjepa.models.strokes import LEFT
from hjepa.planning.anticipation import Anticipation, AnticipationConfig, Replies, on_the_way
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.rallies import Rallies, from_strokes
from hjepa.tasks.badminton.strokes import StrokeTable
from hjepa.training.tactics import padded
from hjepa.types import Array

TURN = np.array([-1.0, -1.0])  # a hitter's frame to the other player's


class Contexts:
    """Strokes of a split, each with the rally before it. Rows are those of the stroke table."""

    def __init__(self, table: StrokeTable, split: str, rows: NDArray[np.int64]) -> None:
        self.table, self.rows = table, rows
        self._all = table.split_rows(split)
        self._rallies = from_strokes(table, split)
        self._place = {int(row): k for k, row in enumerate(self._all)}

    @cached_property
    def before(self) -> NDArray[np.int64]:
        """(N,) row of the robot's own stroke before; -1 where it receives the serve."""
        return self.table.previous[self.rows]

    @property
    def stood_m(self) -> Array:
        """(N, 2) where the robot was when it played that stroke, world; where it received the serve."""
        own = TURN * self.table.hitter_m[self.before]
        here = np.where((self.before >= 0)[:, None], own, self.table.receiver_m[self.rows])
        return np.where(np.isfinite(here), here, self.table.receiver_m[self.rows])

    @property
    def time_s(self) -> Array:
        """(N,) from that stroke to the opponent's hit; 0 where there was none."""
        gap = np.where(self.before >= 0, self.table.gap_s[self.before], 0.0)
        return np.where(np.isfinite(gap), gap, np.where(self.before >= 0, 0.9, 0.0))

    @torch.no_grad()
    def replies(self, model: RallyModel, count: int, seed: int) -> Iterator[Replies | None]:
        """What the opponent may play, as the rally level has it after the robot's own stroke; None on a serve."""
        states = self._states(model)
        for row in self.before:
            if row < 0:
                yield None
                continue
            generator = torch.Generator().manual_seed(seed * 1_000_003 + int(row))
            s = states[self._place[int(row)]].expand(count, -1)
            w = model.read.draw(s, torch.full((count,), LEFT), generator)
            yield Replies(w.type, w.land_m, w.tempo_s)

    def _states(self, model: RallyModel) -> Tensor:
        """State (M, D) after every stroke of the split; a rally's length is nobody's to know."""
        rallies: Rallies = self._rallies
        data = padded(rallies)
        s = model.encode(data.strokes)
        return s[torch.from_numpy(rallies.rally).long(), torch.from_numpy(rallies.shot).long()]

    def usual_time_s(self, train: StrokeTable) -> Array:
        """(N,) how long a stroke like the robot's own usually takes: the median of its type in the training matches."""
        rows = train.split_rows("train")
        kinds = train.type[rows]
        usual = np.array([np.nanmedian(train.gap_s[rows][kinds == k]) for k in range(kinds.max() + 1)])
        own = self.table.type[np.maximum(self.before, 0)]
        return np.where(self.before >= 0, usual[np.maximum(own, 0)], 0.0)


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
        base, _ = on_the_way(contexts.stood_m, place, contexts.time_s, config.speed_m_s, config.acceleration_m_s2)
        with torch.no_grad():
            p = torch.sigmoid(cover(torch.from_numpy(base[known]).float(), *real))
        chances.append(float(p.mean()))
    return np.asarray(planner.places[int(np.argmax(chances))])


def anticipated(
    cover: CoverModel, model: RallyModel, contexts: Contexts, config: AnticipationConfig, seed: int = 0
) -> Array:
    """The place (N, 2) that the predicted reply asks for; where the robot stands, on a serve."""
    planner, stood, usual = Anticipation(cover, config), contexts.stood_m, contexts.usual_time_s(contexts.table)
    places = stood.copy()
    for k, replies in enumerate(contexts.replies(model, config.replies, seed)):
        if replies is not None:
            places[k] = planner.place(stood[k], float(usual[k]), replies)
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
