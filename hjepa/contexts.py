"""Real strokes in the context of their rallies: where the robot was before, how long it has, what may be replied.

The robot has just played the stroke that the opponent is about to answer, from where the real player stood. Legend: N
strokes, K replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.models.rally import RallyModel
from hjepa.models.strokes import LEFT, Strokes
from hjepa.planning.anticipation import Replies
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.rallies import from_strokes
from hjepa.tasks.badminton.strokes import StrokeTable
from hjepa.training.tactics import padded
from hjepa.types import Array

TURN = np.array([-1.0, -1.0])  # a hitter's frame to the other player's
MET = 0.74  # share of a flight to the floor after which it is met: median of the training matches (quartiles .68, .80)
USUAL_FLOOR_S = 1.2  # of a stroke whose flight is not known


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
        for k, row in enumerate(self.before):
            if row < 0:
                yield None
                continue
            generator = torch.Generator().manual_seed(seed * 1_000_003 + int(row))
            s = states[k].expand(count, -1)
            w = model.read.draw(s, torch.full((count,), LEFT), generator)
            yield Replies(w.type, w.land_m, w.tempo_s)

    def _states(self, model: RallyModel) -> Tensor:
        """State (N, D) after the robot's own stroke. Nobody knows yet how long the rally will be, nor where and how
        that stroke will be met: it counts as met where one that flies so usually is."""
        rallies = self._rallies
        strokes = padded(rallies).strokes
        place = np.array([self._place[int(row)] for row in np.maximum(self.before, self._all[0])])
        these, shots = (torch.from_numpy(x[place]).long() for x in (rallies.rally, rallies.shot))
        mine = Strokes(*(part[these].clone() for part in strokes))
        n = torch.arange(len(place))
        mine.land_m[n, shots] = torch.from_numpy(self.guess_m).float()
        mine.marks[n, shots] = 0.0
        return model.encode(mine)[n, shots]  # what comes later in a rally changes nothing before it

    @property
    def guess_m(self) -> Array:
        """(N, 2) where the robot's own stroke is usually met, by its flight; as annotated, where there is none."""
        rows, table = np.maximum(self.before, 0), self.table
        known = table.valid[rows]
        x, _ = fly_to(table.hit_m[rows[known]], table.launch_m_s[rows[known]], MET * table.floor_s[rows[known]])
        out = np.array(table.meet_m[rows, :2], dtype=np.float64)
        out[known] = x[:, :2]
        return out

    @property
    def expected_s(self) -> Array:
        """(N,) how long the robot's own stroke will be in the air before it is met, by its flight; 0 on a serve."""
        rows = np.maximum(self.before, 0)
        flown = MET * np.where(self.table.valid[rows], self.table.floor_s[rows], USUAL_FLOOR_S)
        return np.where(self.before >= 0, flown, 0.0)
