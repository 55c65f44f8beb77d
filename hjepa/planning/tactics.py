"""The high level as a tactician: which shot, given the rally so far, what the opponent may answer, and what is covered.

Two strokes are looked ahead, in the rally level's latent, for every macro-action w inside the support:

    win(w) = (1 - err(w)) (ends(w) + goes_on(w) sum over replies r of covered(r) (1 - their chance after r) / K)
    s' = P(s, w), replies r drawn from its readings, s'' = P(s', r), their chance = wins(s'')

covered(r) is the chance that the robot returns r from the place to which it anticipates, and err(w) that the stroke
goes wrong, given the low level's energy for it: the low level's reach counts now and one stroke ahead (two-way
hierarchy). Against people, ends(w) = over(s') wins(s') and goes_on(w) = 1 - over(s'), as real rallies went; against a
robot, goes_on(w) is the chance that one covers w from where it will stand. The search itself is planning.hierarchy's.
Frames: a stroke's own, its hitter at x > 0. Legend: C candidates, K replies, D rally latent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hjepa.planning.anticipation import Anticipation, Replies, on_the_way
from hjepa.planning.hierarchy import NET_M, Candidates, HighPlanner
from hjepa.types import Array

LONGEST = 32  # strokes of a rally that the rally level looks back on
HOME_M = np.array([-3.4, 0.0])  # where a robot waits that does not anticipate
USUAL_FLIGHT_S = 1.1  # of a stroke to the floor


class Seen(NamedTuple):
    """A stroke of the rally, as the robot knows it, in its hitter's frame; nan where it is not known yet."""

    type: int
    land_m: Array  # (2,) where it is met, or falls
    hitter_m: Array  # (2,)
    receiver_m: Array  # (2,)
    since_s: float  # since the hit before; 0 on the serve
    low: int = 0  # 1 met above net height, 2 below, 0 not known yet


class Play(Protocol):
    """What the tactician asks of a rally level."""

    def state(self, history: list[Seen]) -> Tensor: ...

    def after(self, s: Tensor, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Tensor: ...

    def reply(self, s: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]: ...

    def outlook(self, s: Tensor) -> tuple[Tensor, Tensor]: ...


class Errs(Protocol):
    """Logits (N,) that a stroke goes wrong: its type (N,), target (N, 2) in the world, and energy of the low level."""

    def __call__(self, kind: Tensor, target_m: Tensor, reach: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class TacticsConfig:
    """How far the tactician looks, and what it plays for."""

    replies: int = 24  # K of each candidate
    step_m: float = 0.9  # between places at which what is covered is looked at
    covers: bool = True  # what the robot can return, and what may go wrong, count; False: one-way hierarchy
    anticipates: bool = True  # wait where replies are expected; False: at home
    meets: float = 0.75  # share of a flight to the floor after which the opponent usually meets the shuttle
    met: float = 0.9  # share of its way that a shuttle has gone by then
    cooperative: bool = False  # rallies as long as they can be, instead of points
    robot: bool = False  # the opponent is a robot like this one
    win: float = 4.0  # weight of the chance of winning; what usual play is worth has the others'


class Tactician(HighPlanner):
    """A HighPlanner whose chance of winning comes from a rally level; it also says where to wait."""

    def __init__(
        self, *args: Any, play: Play, anticipation: Anticipation, errs: Errs, tactics: TacticsConfig, **more: Any
    ) -> None:
        self.play, self.anticipation, self.errs, self.tactics = play, anticipation, errs, tactics
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

    def met(self, hit_m: Array) -> None:
        """Where (3,) the last stroke was met after all, in its hitter's frame."""
        low = 1 + int(hit_m[2] < NET_M)
        self.history[-1] = self.history[-1]._replace(land_m=hit_m[:2], low=low)

    @torch.no_grad()
    def candidates(self, window: Array, mask: Array, feet_xy_m: Array | None = None) -> Candidates:
        """As a HighPlanner's, with chances of winning by the rally so far."""
        found = super().candidates(window, mask, feet_xy_m)
        if not self.history or feet_xy_m is None:
            return found
        return found._replace(win=self.chances(found, np.asarray(feet_xy_m)).clip(1e-4, 1 - 1e-4))

    @torch.no_grad()
    def terms(self, candidates: Candidates, reach: Array) -> dict[str, Array]:
        """As a HighPlanner's, with chances of winning that know what may go wrong."""
        if not self.history or not self.tactics.covers:
            return super().terms(candidates, reach)
        kind, target = (torch.from_numpy(x).float() for x in (candidates.macro[:, 0], candidates.target_xy_m))
        p = torch.sigmoid(self.errs(kind.long(), target, torch.from_numpy(reach).float())).double().numpy()
        return super().terms(candidates._replace(win=(candidates.win * (1.0 - p)).clip(1e-4, 1 - 1e-4)), reach)

    @torch.no_grad()
    def chances(self, found: Candidates, feet_m: Array) -> Array:
        """Chances (C,) of winning if the stroke comes off; in a cooperative game, of the rally going on."""
        c, count, k = self.tactics, len(found.win), self.tactics.replies
        generator = torch.Generator().manual_seed(self._seed)
        kind, land, tempo = self.met_at(torch.from_numpy(found.macro).float(), feet_m)
        s = self.play.state(self.history[-LONGEST:]).expand(count, -1)
        ahead = self.play.after(s, kind, land, tempo)
        many = ahead.repeat_interleave(k, 0)
        replies = self._replies(many, k, generator)
        covered = self._covered(feet_m, found, replies) if c.covers else np.ones((count, k))
        over, wins = (x.double().numpy() for x in self.play.outlook(ahead))
        goes_on, ends = 1.0 - over, over * wins
        if c.robot:
            goes_on = self._returned(kind, land, tempo)
            ends = 1.0 - goes_on
        if c.cooperative:
            return goes_on * np.asarray(covered.mean(axis=1))
        _, theirs = self.play.outlook(self.play.after(many, *replies))
        ours = covered * (1.0 - theirs.view(count, k).double().numpy())
        return ends + goes_on * np.asarray(ours.mean(axis=1))

    def _replies(self, s: Tensor, count: int, generator: torch.Generator) -> Replies:
        """Replies (N) to states (N, D), so many to each candidate; a robot does not play what it cannot play."""
        drawn = Replies(*self.play.reply(s, generator))
        if not self.tactics.robot:
            return drawn
        able = self._able[drawn.type].view(-1, count).float() + 1e-6
        pick = torch.multinomial(able, count, replacement=True, generator=generator)
        rows = (pick + count * torch.arange(len(pick))[:, None]).flatten()
        return Replies(*(part[rows] for part in drawn))

    def met_at(self, w: Tensor, feet_m: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Types (C,), where (C, 2) and when (C,) macro-actions (C, 4) are usually met, in the robot's canonical frame,
        if they are played from feet (2,), world."""
        c = self.tactics
        land = w[:, 1:3] + (1.0 - c.met) * (-torch.from_numpy(feet_m).float() - w[:, 1:3])
        return w[:, 0].long(), land, c.meets * w[:, 3]

    def _returned(self, kind: Tensor, land_m: Tensor, tempo_s: Tensor) -> Array:
        """Chances (C,) that a robot on the other side returns strokes, on its way home since its own hit."""
        motion, since = self.anticipation.config, self.tactics.meets * USUAL_FLIGHT_S
        start = -np.asarray(self.history[-1].hitter_m)  # its own frame
        came = on_the_way(start, HOME_M, since, motion.speed_m_s, motion.acceleration_m_s2)
        base, speed = (torch.from_numpy(x).float().expand(len(kind), -1) for x in came)
        return torch.sigmoid(self.anticipation.cover(base, speed, kind, land_m, tempo_s)).double().numpy()

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
        replies = self._replies(s, count, torch.Generator().manual_seed(seed))
        return self.anticipation.place(feet_m, time_s, replies)
