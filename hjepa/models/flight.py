"""What a level knows of free flight, learned from flights, and the memory that rests on it.

    F(velocity, c, t) -> where a shuttle gets to in t                learned; the same from anywhere, in any direction
    memory = argmin over (x0, v0, c) of  sum over samples |seen - F|^2 / noise^2 + |c|^2

The memory of a flight is the state that explains at least energy all that was seen of it. Hidden samples just do not
count, so a shuttle that is not seen goes on existing. No flight equation is inside. Legend: B batch, K window slots,
C context, P = 6 + C parameters: position and velocity at the first sample seen, context.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE_M = 0.010  # of a tracked position, in the memory's energy
STEPS = 4  # of Gauss-Newton: the start is a fit to the first samples
_NUDGE = (0.02, 0.02, 0.05)  # of the differences: m/s, m/s, context
_LEAP = (5.0, 30.0, 1.5)  # largest step: m, m/s, context
_START_S = 0.08  # samples count for the start as they fade in this time
USUAL_DELAY_S = 0.03  # younger samples are usually still on their way
_WIDE_M_S = 60.0  # spread of launch velocities, before anything is seen


class LearnedFlight(nn.Module):
    """Horizontal speed, vertical speed, context and time -> way along the heading and upwards, (...,) each.

    As a share of what no drag and no gravity would give, which is what keeps millimetres over seconds.
    """

    def __init__(self, context: int, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6 + context, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3)
        )

    def forward(self, along_m_s: Tensor, up_m_s: Tensor, context: Tensor, t_s: Tensor) -> tuple[Tensor, Tensor]:
        """Speeds and time (...,), context (..., C) -> two of (...,), m."""
        speed = torch.sqrt(along_m_s * along_m_s + up_m_s * up_m_s + 1e-6)
        far = torch.log1p(speed * t_s / 5.0)
        seen = [far, t_s, along_m_s / speed, up_m_s / speed, torch.log1p(speed / 5.0), 0.5 * t_s * t_s]
        out = self.net(torch.cat([torch.stack(seen, dim=-1), context], dim=-1))
        rate = F.softplus(out + 0.54)
        slowed = torch.exp(-far[..., None] * rate[..., :2])
        return along_m_s * t_s * slowed[..., 0], up_m_s * t_s * slowed[..., 1] - 4.9 * t_s * t_s * rate[..., 2]


class Memory(NamedTuple):
    """A belief about one flight: normal, over its parameters at the first sample seen."""

    mean: Tensor  # (B, P)
    precision: Tensor  # (B, P, P)
    since_s: Tensor  # (B,) from that sample to the window's end
    residual_m: Tensor  # (B,) root mean square of what the samples seen lie off, per axis


class FlightMemory(nn.Module):
    """Tracker window -> Memory, by Gauss-Newton on what the learned flight explains."""

    age: Tensor
    nudge: Tensor
    leap: Tensor
    prior: Tensor

    def __init__(self, window: int, context: int, slot_s: float) -> None:
        super().__init__()
        self.flight, self.context = LearnedFlight(context), context
        self.register_buffer("age", torch.arange(window - 1, -1, -1, dtype=torch.float32) * slot_s, persistent=False)
        prior = torch.tensor([1e-6] * 3 + [_WIDE_M_S**-2] * 3 + [1.0] * context)
        self.register_buffer("prior", torch.diag(prior), persistent=False)
        self.register_buffer("nudge", torch.tensor([*_NUDGE[:2], *[_NUDGE[2]] * context]), persistent=False)
        leap = torch.tensor([_LEAP[0]] * 3 + [_LEAP[1]] * 3 + [_LEAP[2]] * context)
        self.register_buffer("leap", leap, persistent=False)

    def forward(self, window_m: Tensor, mask: Tensor) -> Memory:
        """Samples (B, K, 3), mask (B, K) -> what is believed."""
        since = (mask * self.age).amax(dim=-1)
        t = (since[:, None] - self.age).clamp(min=0.0)
        mean = torch.cat([*self._start(window_m, mask, t), window_m.new_zeros(len(mask), self.context)], dim=-1)
        for _ in range(STEPS):
            gap, precision, step = self._step(mean, window_m, mask, t, len(self.leap))
            mean = mean + step
        count = (3.0 * mask.sum(dim=-1) - 6.0).clamp(min=3.0)
        residual = torch.sqrt(((gap**2).sum(-1) * mask).sum(-1) / count)
        return Memory(mean, precision, since, residual)

    def recall(self, window_m: Tensor, mask: Tensor) -> Tensor:
        """What z keeps of it (B, R): position and velocity at the first sample in the nominal context (6), what each
        number of the context would take off them (6 C), the context by this flight alone and its doubt (2 C), and how
        long ago that sample was (1)."""
        m = self(window_m, mask)
        bend = torch.linalg.solve(m.precision[:, :6, :6], m.precision[:, :6, 6:])  # (B, 6, C)
        c = m.mean[:, 6:]
        start = m.mean[:, :6] + (bend @ c[..., None])[..., 0]
        nominal = torch.cat([start, torch.zeros_like(c)], dim=-1)
        t = (m.since_s[:, None] - self.age).clamp(min=0.0)
        # the belief is normal only nearly: once more, where it is used most
        start = start + self._step(nominal, window_m, mask, t, 6)[2]
        eye = torch.eye(6 + self.context, dtype=c.dtype, device=c.device)[:, 6:]
        doubt = torch.linalg.solve(m.precision, eye.expand(len(c), -1, -1))[:, 6:].diagonal(dim1=1, dim2=2).sqrt()
        return torch.cat([start, bend.flatten(1), c, doubt, m.since_s[:, None]], dim=-1)

    def where(self, recalled: Tensor, context: Tensor, t_s: Tensor) -> Tensor:
        """What `recall` gave (B, R), context (B, C), times from the window's end on (B, 1) -> positions (B, 3)."""
        bend = recalled[:, 6 : 6 + 6 * self.context].unflatten(-1, (6, self.context))
        start = recalled[:, :6] - (bend @ context[..., None])[..., 0]
        return self._along(start, context, recalled[:, -1:] + t_s)[:, 0]

    def filled(self, window_m: Tensor, mask: Tensor, recalled: Tensor) -> tuple[Tensor, Tensor]:
        """The window (B, K, 3) and its mask (B, K) with what the memory knows in place of samples that should have
        been there: those since the first one that usually have arrived by now."""
        t = recalled[:, -1:] - self.age
        way = self._along(recalled[:, :6], t.new_zeros(len(t), self.context), t.clamp(min=0.0))
        due = (t > 0.0) & (self.age >= USUAL_DELAY_S - 1e-4)
        known = torch.maximum(mask, due.to(mask.dtype))
        seen = mask[..., None]
        return (seen * window_m + (1.0 - seen) * way) * known[..., None], known

    def _along(self, start: Tensor, context: Tensor, t_s: Tensor) -> Tensor:
        """Position and velocity at the first sample (B, 6), context (B, C), times since (B, T) -> places (B, T, 3)."""
        along, up, heading = split(start[:, 3:])
        T = t_s.shape[1]
        speeds = (speed[:, None].expand(-1, T) for speed in (along, up))
        forward, upward = self.flight(*speeds, context[:, None].expand(-1, T, -1), t_s)
        return start[:, None, :3] + torch.cat([forward[..., None] * heading[:, None], upward[..., None]], dim=-1)

    def _step(
        self, mean: Tensor, window_m: Tensor, mask: Tensor, t: Tensor, free: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gaps (B, K, 3), precision (B, free, free) and the step (B, free) of one iteration over the first `free`
        parameters of mean (B, P), the others held."""
        where, slope = self.path(mean, t)
        gap, slope, leap = window_m - where, slope[..., :free], self.leap[:free]
        weighed = slope * (mask / NOISE_M**2)[..., None, None]
        precision = torch.einsum("bkip,bkiq->bpq", weighed, slope) + self.prior[:free, :free]
        pull = torch.einsum("bkip,bki->bp", weighed, gap) - (mean * self._own_prior())[:, :free]
        step = torch.linalg.solve(precision, pull[..., None])[..., 0]
        return gap, precision, torch.minimum(torch.maximum(step, -leap), leap)

    def _own_prior(self) -> Tensor:
        """(P,) of what has a value to be drawn to: the context alone."""
        return torch.cat([self.prior.new_zeros(6), self.prior.diagonal()[6:]])

    def _start(self, window_m: Tensor, mask: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Position and velocity (B, 3) at the first sample, by a parabola through the first ones."""
        weight = mask * torch.exp(-t / _START_S)
        basis = torch.stack([torch.ones_like(t), t, t * t], dim=-1)
        weighed = basis * weight[..., None]
        ridge = torch.diag(basis.new_tensor([1e-6, 1e-6, 1e-4]))
        fit = torch.linalg.solve(weighed.transpose(1, 2) @ basis + ridge, weighed.transpose(1, 2) @ window_m)
        return fit[:, 0], fit[:, 1]

    def path(self, mean: Tensor, t_s: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (B, P), times since the first sample (B, T) -> positions (B, T, 3), and their slopes in the
        parameters (B, T, 3, P)."""
        v = mean[:, 3:6]
        along, up, heading = split(v)
        c = mean[:, 6:]
        n = 2 + self.context
        speeds = torch.stack([along, up], dim=-1)
        at = torch.cat([speeds, c], dim=-1)[:, None, :].expand(-1, n + 1, -1)  # itself, then each nudged
        at = at + F.pad(torch.diag(self.nudge), (0, 0, 1, 0))
        T = t_s.shape[1]
        each = at[:, :, None, :].expand(-1, -1, T, -1)
        times = t_s[:, None, :].expand(-1, n + 1, -1)
        forward, upward = self.flight(each[..., 0], each[..., 1], each[..., 2:], times)  # (B, n + 1, T)
        d, h = forward[:, 0], upward[:, 0]
        dd = ((forward[:, 1:] - forward[:, :1]) / self.nudge[:, None]).transpose(1, 2)  # (B, T, n)
        dh = ((upward[:, 1:] - upward[:, :1]) / self.nudge[:, None]).transpose(1, 2)
        e = heading[:, None, :]
        where = mean[:, None, :3] + torch.cat([d[..., None] * e, h[..., None]], dim=-1)
        turn = d / along[:, None]  # what a metre per second across moves
        across = torch.stack([-heading[:, 1], heading[:, 0]], dim=-1)
        ee = heading[:, :, None] * heading[:, None, :]
        aa = across[:, :, None] * across[:, None, :]
        flat = dd[..., :1, None] * ee[:, None] + turn[..., None, None] * aa[:, None]  # (B, T, 2, 2) xy in vxy
        place = torch.eye(3, dtype=t_s.dtype, device=t_s.device).expand(len(mean), T, 3, 3)
        by_flat = torch.cat([flat, dh[..., None, :1] * e[..., None, :]], dim=-2)  # (B, T, 3, 2)
        rest_xy = dd[..., None, 1:] * e[..., :, None]  # (B, T, 2, n - 1): by vz, then the context
        rest = torch.cat([rest_xy, dh[..., None, 1:]], dim=-2)
        return where, torch.cat([place, by_flat, rest], dim=-1)


def recalled_size(context: int) -> int:
    """R."""
    return 6 + 6 * context + 2 * context + 1


def split(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Velocities (B, 3) -> horizontal and vertical speed (B,), heading (B, 2) of unit length."""
    along = torch.sqrt((v[:, :2] ** 2).sum(-1) + 1e-4)
    return along, v[:, 2], v[:, :2] / along[:, None]
