"""A tactician that is told what the opponent will answer: the upper bound of every upper level, for tables only.

    win(w) = (1 - err(w)) (1 if the opponent loses the rally with w, else covered(r) (1 - their chance after r))

r is the one true answer to the ideal shot w, where a Tactician averages over replies that it draws.
Legend: C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

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


Ask = Callable[[int, Array, Array, float, Array], Told]
"""What comes of a shot of a type, hit at (3,), that would fall at (2,) after so many s, the robot's feet at (2,)."""


class ToldTactician(Tactician):
    """A Tactician that asks the opponent."""

    def __init__(self, *args: Any, ask: Ask, **more: Any) -> None:
        self.ask = ask
        super().__init__(*args, **more)

    @torch.no_grad()
    def chances(self, found: Candidates, feet_m: Array) -> Array:
        """Chances (C,) of winning if the stroke comes off."""
        w = torch.from_numpy(found.macro).float()
        hit = self.model.read(torch.from_numpy(found.embeddings).float()).hit_m.double().numpy() * [-1.0, -1.0, 1.0]
        ahead = self.play.after(self.play.state(self.history[-LONGEST:]).expand(len(w), -1), *self.met_at(w, feet_m))
        out = np.ones(len(w))
        for i, (kind, *_, floor_s) in enumerate(found.macro):
            told = self.ask(int(kind), hit[i], found.target_xy_m[i], float(floor_s), feet_m)
            if told.lost:
                continue
            land, tempo = (torch.tensor(np.array(part)[None]).float() for part in (told.land_m, told.tempo_s))
            reply = Replies(torch.tensor([told.type]), land, tempo)
            covered = self._coarse.returned(self._coarse.came(feet_m, told.time_s), reply).max()
            _, theirs = self.play.outlook(self.play.after(ahead[i : i + 1], *reply))
            out[i] = covered * (1.0 - float(theirs))
        return out
