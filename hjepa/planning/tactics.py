"""The high level as a tactician: which shot, given the rally so far, what the opponent may answer, and what is covered.

Two strokes are looked ahead, in the rally level's latent, for every macro-action w inside the support:

    win(w) = sum over replies r of [over(s') wins(s') + (1 - over(s')) covered(r) (1 - their chance after r)] / K
    s' = P(s, w), replies r drawn from its readings, s'' = P(s', r), their chance = wins(s'')

covered(r) is the chance that the robot returns r from the place to which it anticipates, so the low level's reach is a
cost one stroke ahead (two-way hierarchy). The search itself is planning.hierarchy's. Frames: a stroke's own, its hitter
at x > 0. Legend: C candidates, K replies, D rally latent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hjepa.planning.anticipation import Anticipation, Replies
from hjepa.planning.hierarchy import Candidates, HighPlanner
from hjepa.types import Array

LONGEST = 32  # strokes of a rally that the rally level looks back on


class Seen(NamedTuple):
    """A stroke of the rally, as the robot knows it, in its hitter's frame; nan where it is not known yet."""

    type: int
    land_m: Array  # (2,) where it is met, or falls
    hitter_m: Array  # (2,)
    receiver_m: Array  # (2,)
    since_s: float  # since the hit before; 0 on the serve


class Play(Protocol):
    """What the tactician asks of a rally level."""

    def state(self, history: list[Seen]) -> Tensor: ...

    def after(self, s: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor: ...

    def reply(self, s: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]: ...

    def outlook(self, s: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class TacticsConfig:
    """How far the tactician looks."""

    replies: int = 24  # K of each candidate
    step_m: float = 0.9  # between places at which what is covered is looked at
    covers: bool = True  # what the robot can return counts; False: one-way hierarchy
    meets: float = 0.75  # share of a flight to the floor after which the opponent usually meets the shuttle
    cooperative: bool = False  # rallies as long as they can be, instead of points


class Tactician(HighPlanner):
    """A HighPlanner whose chance of winning comes from a rally level; it also says where to wait."""

    def __init__(self, *args: Any, play: Play, anticipation: Anticipation, tactics: TacticsConfig, **more: Any) -> None:
        self.play, self.anticipation, self.tactics = play, anticipation, tactics
        coarse = replace(anticipation.config, step_m=tactics.step_m)
        self._coarse = Anticipation(anticipation.cover, coarse)
        self.history: list[Seen] = []
        super().__init__(*args, **more)

    def begin_rally(self) -> None:
        """Forget the last rally."""
        self.history = []

    def saw(self, stroke: Seen) -> None:
        """A stroke was played."""
        self.history.append(stroke)

    def met(self, land_m: Array) -> None:
        """Where the last stroke was met after all."""
        self.history[-1] = self.history[-1]._replace(land_m=land_m)

    @torch.no_grad()
    def candidates(self, window: Array, mask: Array, feet_xy_m: Array | None = None) -> Candidates:
        """As a HighPlanner's, with chances of winning by the rally so far."""
        found = super().candidates(window, mask, feet_xy_m)
        if not self.history or feet_xy_m is None:
            return found
        return found._replace(win=self.chances(found, np.asarray(feet_xy_m)).clip(1e-4, 1 - 1e-4))

    @torch.no_grad()
    def chances(self, found: Candidates, feet_m: Array) -> Array:
        """Chances (C,) of winning; in a cooperative game, of the rally going on."""
        c, count, k = self.tactics, len(found.win), self.tactics.replies
        generator = torch.Generator().manual_seed(self._seed)
        w = torch.from_numpy(found.macro).float()
        s = self.play.state(self.history[-LONGEST:]).expand(count, -1)
        ahead = self.play.after(s, w[:, 0].long(), w[:, 1:3], c.meets * w[:, 3])
        many = ahead.repeat_interleave(k, 0)
        kind, land, tempo = self.play.reply(many, generator)
        covered = self._covered(feet_m, found, Replies(kind, land, tempo)) if c.covers else np.ones((count, k))
        over, wins = (x.double().numpy() for x in self.play.outlook(ahead))
        if c.cooperative:
            return (1.0 - over) * np.asarray(covered.mean(axis=1))
        _, theirs = self.play.outlook(self.play.after(many, kind, land, tempo))
        ours = covered * (1.0 - theirs.view(count, k).double().numpy())
        return over * wins + (1.0 - over) * np.asarray(ours.mean(axis=1))

    def _covered(self, feet_m: Array, found: Candidates, replies: Replies) -> Array:
        """Chances (C, K) of returning each candidate's replies from the best place for them."""
        c, count = self.tactics, len(found.win)
        out = np.empty((count, c.replies))
        for i in range(count):
            mine = slice(i * c.replies, (i + 1) * c.replies)
            some = Replies(*(x[mine] for x in replies))
            came = self._coarse.came(feet_m, c.meets * float(found.macro[i, 3]))
            chances = self._coarse.returned(came, some)
            out[i] = chances[int(chances.mean(axis=1).argmax())]
        return out

    @torch.no_grad()
    def wait_at(self, feet_m: Array, time_s: float, seed: int) -> Array:
        """The place (2,) to wait at after the robot's own stroke, the last of the history; they hit in time_s."""
        count = self.anticipation.config.replies
        s = self.play.state(self.history[-LONGEST:]).expand(count, -1)
        replies = Replies(*self.play.reply(s, torch.Generator().manual_seed(seed)))
        return self.anticipation.place(feet_m, time_s, replies)
