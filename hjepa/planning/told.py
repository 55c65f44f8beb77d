"""A tactician that is told what the opponent will answer, luck included: no player can know that; for tables only.

    win(w) = (1 - err(w)) mean over tries of  1                                    if the opponent loses the rally
                                              covered(r) (1 - their chance after r)  if it answers r

r is the opponent's own answer to the shot w, where a Tactician draws replies. A stroke is not carried out as it was
meant, and an answer may turn on a hand's breadth: so the opponent is asked about w as it may come out, several times.
Legend: C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hjepa.planning.anticipation import Replies
from hjepa.planning.hierarchy import Candidates
from hjepa.planning.tactics import LONGEST, Tactician
from hjepa.types import Array


class Told(NamedTuple):
    """What comes of a shot, in the robot's world frame. The rest is of the answer, and says nothing if it is lost."""

    lost: bool  # the opponent loses the rally with it
    time_s: float = 0.0  # from the robot's hit to the answer's
    type: int = 0
    land_m: Array = np.zeros(2)  # (2,) where it is usually met
    tempo_s: float = 0.0  # until then


LOWEST_M = 0.2  # a shuttle is met above this
HIT_M, FALL_M = 0.35, 0.12  # per axis, between the shots asked about and those that were hit (validation matches)
Ask = Callable[[int, Array, Array, float, Array], Told]
"""What comes of a shot of a type, hit at (3,), that would fall at (2,) after so many s, the robot's feet at (2,)."""


class ToldTactician(Tactician):
    """A Tactician that asks the opponent, about the shortlist of what a Tactician would consider."""

    def __init__(self, *args: Any, ask: Ask, tries: int = 6, **more: Any) -> None:
        self.ask, self.tries = ask, tries
        super().__init__(*args, **more)

    @torch.no_grad()
    def chances(self, found: Candidates, feet_m: Array) -> Array:
        """Chances (C,) of winning if the stroke comes off."""
        usual = found._replace(win=super().chances(found, feet_m).clip(1e-4, 1 - 1e-4))
        asked = np.argsort(self.energies(usual, 0.0 * usual.win), kind="stable")[: self.config.shortlist]
        w = torch.from_numpy(found.macro).float()
        hit = self.model.read(torch.from_numpy(found.embeddings).float()).hit_m.double().numpy() * [-1.0, -1.0, 1.0]
        ahead = self.play.after(self.play.state(self.history[-LONGEST:]).expand(len(w), -1), *self.met_at(w, feet_m))
        rng, out = np.random.default_rng([self._seed, 3]), np.zeros(len(w))
        for i in asked:
            for _ in range(self.tries):
                start, goal = hit[i] + HIT_M * rng.standard_normal(3), FALL_M * rng.standard_normal(2)
                start = np.append(start[:2], max(start[2], LOWEST_M))
                told = self.ask(
                    int(found.macro[i, 0]), start, found.target_xy_m[i] + goal, float(found.macro[i, 3]), feet_m
                )
                out[i] += self._worth(told, ahead[i : i + 1], feet_m) / self.tries
        return out

    def _worth(self, told: Told, ahead: Tensor, feet_m: Array) -> float:
        """Chance of winning after what was told; ahead (1, D): the rally with the robot's stroke."""
        if told.lost:
            return 1.0
        land, tempo = (torch.tensor(np.array(part)[None]).float() for part in (told.land_m, told.tempo_s))
        reply = Replies(torch.tensor([told.type]), land, tempo)
        covered = float(self._coarse.returned(self._coarse.came(feet_m, told.time_s), reply).max())
        _, theirs = self.play.outlook(self.play.after(ahead, *reply))
        return covered * (1.0 - float(theirs))
