"""The slow context, found by energy: what no window shows before contact, told by how past strokes came out; and what
windows show badly, told by all flights seen together.

    E(c) = 1/2 |c|^2 + sum over past strokes k, older ones fading, of  rho(1/2 |doubt (U(P(z_k | c, m_k)) - U(e_k))|^2)

z_k: what was seen last before the event, e_k: embedding of what followed it, rho: a heavy tail, so that one freak
stroke proves nothing. The same predictor that plans explains, and the context that explains the past at least energy is
the one plans are made in. A flight by itself says what its memory recalls of the context, with a doubt (`saw`): the
flight under way counts while it lasts, those before it for good. Two numbers are searched on a grid; the estimate is
the mean of exp(-E). Legend: S grid points, C context, G goal space, E outcome embedding.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

FREEDOM = 4.0  # degrees of freedom of the heavy tail (Student)
NOMINAL = 0.6  # share of worlds that are nominal in what flights show (the first number), as in training
SURE = 0.10  # doubt of what a flight says, at least: about a step of the grid
TRUST = 0.4  # of one stroke; set on validation strokes in odd worlds and in the nominal one (docs/log.md)


class Explaining(Protocol):
    """What is asked of a low level."""

    @property
    def config(self) -> Any: ...

    def in_context(self, z: Tensor, context: Tensor) -> Tensor: ...

    def foresee(self, z: Tensor, m: Tensor, to_go_s: Tensor) -> tuple[Tensor, Tensor]: ...

    def goal_of(self, outcome: Tensor) -> Tensor: ...


class SlowContext:
    """Belief over a grid of contexts; `estimate` is what plans are made in."""

    def __init__(self, level: Explaining, doubt: Tensor, *, reach: float = 2.0, steps: int = 17, fade: float = 0.97):
        """reach: the grid spans -reach .. reach in each number, twice as fine in the first one, which flights show;
        fade: weight of a past stroke after each new one."""
        self.level, self.doubt, self.fade = level, doubt, fade
        C = level.config.context
        axes = [
            torch.linspace(-reach, reach, 2 * steps - 1 if k == 0 else steps, device=doubt.device) for k in range(C)
        ]
        self.grid = torch.cartesian_prod(*axes).view(-1, C)  # (S, C)
        usual = (-0.5 * axes[0] ** 2).softmax(0) * (1.0 - NOMINAL)
        usual[steps - 1] += NOMINAL
        first = usual[torch.arange(len(self.grid), device=doubt.device) // steps ** (C - 1)].log()
        self._prior = 0.5 * (self.grid[:, 1:] ** 2).sum(-1) - first  # (S,)
        self.forget()

    def forget(self) -> None:
        """Nothing is known of the world but that it is usually the nominal one."""
        self.surprise = float("nan")  # of the last stroke learned from, see `learn`
        self._evidence = self.grid.new_zeros(len(self.grid))
        self._flight = self.grid.new_zeros(len(self.grid))  # of the flight under way
        self._set()

    @property
    def estimate(self) -> Tensor:
        """(1, C)."""
        return self._estimate

    def saw(self, context: Tensor, doubt: Tensor) -> None:
        """What the flight under way says by now: context and doubt (1, C), a prior of spread 1 being part of both."""
        told = (1.0 / doubt.clamp(max=0.999) ** 2 - 1.0).clamp(min=1e-6)  # without that prior
        middle = context / doubt**2 / told
        sure = 1.0 / (1.0 / told + SURE**2)
        self._flight = 0.5 * (sure * (self.grid - middle) ** 2).sum(-1)
        self._set()

    def landed(self) -> None:
        """The flight under way is over: what it said counts from now on."""
        self._evidence = self.fade * self._evidence + self._flight - self._flight.min()
        self._flight = torch.zeros_like(self._flight)
        self._set()

    def doubted(self) -> None:
        """The flight under way made no sense: what it said counts for nothing."""
        self._flight = torch.zeros_like(self._flight)
        self._set()

    def learn(self, z: Tensor, m: Tensor, to_go_s: Tensor, outcome: Tensor) -> None:
        """One stroke: z (1, Z), m (1, M), to go (1, 1), and what followed (1, E).

        Leaves in `surprise` how far that lay from what was expected: root mean square of G numbers, each in its doubt;
        about 1 in a world that is known.
        """
        n = len(self.grid)
        ahead, _ = self.level.foresee(
            self.level.in_context(z.expand(n, -1), self.grid), m.expand(n, -1), to_go_s.expand(n, 1)
        )
        gap = (self.level.goal_of(ahead) - self.level.goal_of(outcome)) @ self.doubt.T  # (S, G)
        G = gap.shape[1]
        self.surprise = float((self._belief() * (gap**2).mean(-1)).sum().sqrt())
        cost = TRUST * 0.5 * (FREEDOM + G) * torch.log1p((gap**2).sum(-1) / FREEDOM)
        self._evidence = self.fade * self._evidence + cost - cost.min()
        self._set()

    def _set(self) -> None:
        self._estimate = (self._belief()[:, None] * self.grid).sum(0, keepdim=True)

    def _belief(self) -> Tensor:
        """(S,)."""
        return torch.softmax(-self._prior - self._evidence - self._flight, dim=0)
