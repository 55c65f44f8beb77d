"""How unlikely the newest samples of a flight are, by what is recalled of the older ones.

Older samples make a memory, the learned flight carries it on, and the newest samples lie off that by so much: their
mean and their trend along each axis, in the doubt of memory and tracker, are chi-square with six degrees of freedom in
a world that goes on as it did. How noisy the tracker is says the older samples' scatter. The net may have stopped the
shuttle: both ways to go on are weighed. Legend: B batch, K window slots, S spans, P parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hjepa.models.flight import NOISE_M, FlightMemory

SPANS = (6, 12, 25)  # slots that are called new, S
OLD, NEW = 8, 4  # samples needed, older and new ones
MODEL_M, MODEL_SHARE = 0.002, 0.001  # what the learned flight may err, and per metre flown
NET_M, BEHIND_M = 1.524, -0.35  # height of the tape, and x of what has come through
STOPPED = 0.5  # above, a flight is thought to end at the net
UNLIKELY = 60.0  # -log p of what cannot be, at most
FLOOR_M = 0.10  # nothing is compared below


class Unlikely(NamedTuple):
    """What a window says."""

    score: Tensor  # (B,) -log of the probability of the newest samples, 0 where too little is seen
    stopped: Tensor  # (B,) probability that the net should have stopped it
    unseen: Tensor  # (B,) slots since the newest sample


class FlightSurprise(nn.Module):
    """Tracker windows (B, K, 3) and masks (B, K) -> Unlikely."""

    slot: Tensor
    spans: Tensor

    def __init__(self, memory: FlightMemory) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("slot", torch.arange(len(memory.age), dtype=torch.float32), persistent=False)
        self.register_buffer("spans", torch.tensor(SPANS, dtype=torch.float32), persistent=False)

    def forward(self, window_m: Tensor, mask: Tensor) -> Unlikely:
        newest = (mask * (self.slot + 1.0)).amax(dim=-1) - 1.0  # (B,) slot, -1: none
        S, K = len(SPANS), mask.shape[1]
        new = mask[:, None] * (self.slot > newest[:, None, None] - self.spans[:, None])  # (B, S, K)
        old = (mask[:, None] - new).flatten(0, 1)
        new = new.flatten(0, 1)
        window = window_m[:, None].expand(-1, S, -1, -1).flatten(0, 1)
        score, stopped = self._weigh(window, old, new)
        enough = (old.sum(dim=-1) >= OLD) & (new.sum(dim=-1) >= NEW)
        score = torch.where(enough, score, torch.zeros_like(score)).unflatten(0, (-1, S))
        stopped = torch.where(enough, stopped, torch.zeros_like(stopped)).unflatten(0, (-1, S))
        # what has hung in the net for a while is no flight to go by: the span that saw it come decides
        worst = torch.where(stopped.amax(dim=1) > STOPPED, stopped.argmax(dim=1), score.argmax(dim=1))[:, None]
        return Unlikely(score.gather(1, worst)[:, 0], stopped.gather(1, worst)[:, 0], K - 1.0 - newest)

    def _weigh(self, window_m: Tensor, old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of the new samples, and the probability that the net stops the flight before them."""
        m = self.memory(window_m * old[..., None], old)
        t = m.since_s[:, None] - self.memory.age  # of every slot, since the first old sample
        where, slope = self.memory.path(m.mean, t.clamp(min=0.0))
        noise = m.residual_m.clamp(min=0.8 * NOISE_M)
        covariance = torch.linalg.inv(m.precision) * (noise / NOISE_M)[:, None, None] ** 2
        new = new * (where[..., 2] > FLOOR_M)
        through = self._gets_through(m.mean, where, slope, covariance, new)
        gap = window_m - where
        free = _chance(self._distance(gap, slope, covariance, noise, t, where, new))
        beyond = (new * (window_m[..., 0] < BEHIND_M)).sum(dim=-1) > 0.5
        hung = torch.where(beyond, torch.full_like(free, -UNLIKELY), torch.zeros_like(free))
        both = torch.logaddexp(free + through.clamp(min=1e-26).log(), hung + (1.0 - through).clamp(min=1e-26).log())
        return (-both).clamp(0.0, UNLIKELY), 1.0 - through

    def _distance(
        self, gap: Tensor, slope: Tensor, covariance: Tensor, noise: Tensor, t: Tensor, where: Tensor, new: Tensor
    ) -> Tensor:
        """(B,) squared, in their doubt, of the new gaps' means and trends (6 numbers)."""
        count = new.sum(dim=-1, keepdim=True).clamp(min=1.0)
        middle = (t * new).sum(dim=-1, keepdim=True) / count
        lean = (t - middle) * new
        trend = lean / (lean * lean).sum(dim=-1, keepdim=True).sqrt().clamp(min=1e-3)
        basis = torch.stack([new / count.sqrt(), trend], dim=1)  # (B, 2, K), rows of unit length
        y = (basis @ gap).flatten(1)  # (B, 6)
        J = torch.einsum("bnk,bkip->bnip", basis, slope).flatten(1, 2)  # (B, 6, P)
        far = (where[:, -1] - where[:, 0]).norm(dim=-1)
        model = (MODEL_M + MODEL_SHARE * far) ** 2
        share = torch.stack([count[:, 0], 0.3 * count[:, 0]], dim=1).repeat_interleave(3, dim=1)
        own = noise[:, None] ** 2 + share * model[:, None]
        S = J @ covariance @ J.transpose(1, 2) + torch.diag_embed(own)
        return (y * torch.linalg.solve(S, y[..., None])[..., 0]).sum(-1)

    def _gets_through(self, mean: Tensor, where: Tensor, slope: Tensor, covariance: Tensor, new: Tensor) -> Tensor:
        """(B,) probability that the flight passes the tape, if it comes to the net by the newest new sample; else 1."""
        x, z = where[..., 0], where[..., 2]
        meets = (x[:, :-1] > 0.0) & (x[:, 1:] <= 0.0)
        k = meets.to(x.dtype).argmax(dim=1)
        latest = (new * self.slot).amax(dim=-1)
        comes = meets.any(dim=1) & (k < latest) & (mean[:, 0] > 0.0)
        row = torch.arange(len(k), device=k.device)
        f = x[row, k] / (x[row, k] - x[row, k + 1]).clamp(min=1e-6)
        height = z[row, k] + f * (z[row, k + 1] - z[row, k])
        slant = (z[row, k + 1] - z[row, k]) / (x[row, k + 1] - x[row, k]).clamp(max=-1e-6)
        j = slope[row, k, 2] - slant[:, None] * slope[row, k, 0]  # (B, P) of the height there
        sd = ((j[:, None] @ covariance @ j[..., None])[:, 0, 0] + MODEL_M**2).clamp(min=0.0).sqrt()
        passes = 0.5 * (1.0 + torch.erf((height - NET_M) / sd / math.sqrt(2.0)))
        return torch.where(comes, passes, torch.ones_like(passes))


def _chance(squared: Tensor) -> Tensor:
    """log P(chi-square with 6 degrees of freedom > squared)."""
    h = 0.5 * squared
    return -h + torch.log1p(h + 0.5 * h * h)
