"""Small blocks both levels are made of. Legend: B batch, D features, K window slots."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


class GatedBlock(nn.Module):
    """Pre-norm residual gated linear unit (Shazeer 2020): x + W2 (silu(Wg x) * Wv x), (B, D) -> (B, D)."""

    def __init__(self, width: int, expand: float = 1.5) -> None:
        super().__init__()
        hidden = int(width * expand)
        self.norm = nn.LayerNorm(width)
        self.value_gate = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, width)
        nn.init.zeros_(self.out.bias)
        self.out.weight.data.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.value_gate(self.norm(x)).chunk(2, dim=-1)
        return x + self.out(F.silu(gate) * value)


class GatedMLP(nn.Module):
    """Linear in, `depth` gated blocks, linear out: (B, inputs) -> (B, outputs)."""

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(GatedBlock(width) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class ConditionedMLP(nn.Module):
    """Gated blocks, each scaled and shifted by a condition (FiLM; Perez et al. 2018), plus a linear way past them."""

    def __init__(self, inputs: int, condition: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs + condition, width)
        self.blocks = nn.ModuleList(GatedBlock(width) for _ in range(depth))
        self.film = nn.ModuleList(nn.Linear(condition, 2 * width) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))
        self.past = nn.Linear(inputs + condition, outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        both = torch.cat([x, condition], dim=-1)
        h = self.stem(both)
        for block, film in zip(self.blocks, self.film, strict=True):
            gain, shift = film(condition).chunk(2, dim=-1)
            h = block(h * (1 + 0.2 * gain) + 0.2 * shift)
        return self.head(h) + self.past(both)


class TransposedLinear(nn.Module):
    """A frozen nn.Linear whose weight lies as (inputs, outputs): a third faster for the few dozen rows of a search."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(plain.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = nn.Parameter(plain.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return torch.addmm(self.bias, x, self.weight) if x.ndim == 2 else x @ self.weight + self.bias

    def apart(self) -> tuple[Tensor, Tensor]:
        """Weight (inputs, outputs) and bias (outputs,), for planning.compiled."""
        return self.weight, self.bias


def for_search(module: M) -> M:
    """A frozen copy of a network for searches on the CPU: the same numbers up to rounding, linear layers transposed."""
    made = copy.deepcopy(module).eval().requires_grad_(False)
    for owner in [m for m in made.modules() if not isinstance(m, TransposedLinear)]:
        for name, layer in list(owner.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(owner, name, TransposedLinear(layer))
    return made


class WindowFit(nn.Module):
    """Masked least-squares polynomial through a window of samples: a linear smoother, no model of flight.

    (B, K, C) samples with mask (B, K) at fixed times (K,) -> coefficients (B, degree + 1, C) of powers of t / span,
    and the residuals (B, K, C), zero where masked. A ridge keeps short windows finite; it does not touch the mean.
    """

    basis: Tensor
    penalty: Tensor

    def __init__(self, times_s: Tensor, degree: int = 3, ridge: float = 3e-3) -> None:
        super().__init__()
        span = float(times_s.abs().max())
        self.register_buffer("basis", torch.stack([(times_s / span) ** k for k in range(degree + 1)], dim=-1))
        penalty = torch.full((degree + 1,), ridge)
        penalty[0] = 1e-6
        penalty[1] = ridge * 1e-2
        self.register_buffer("penalty", torch.diag(penalty))

    def forward(self, samples: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        basis = self.basis
        weighted = basis * mask[..., None]  # (B, K, P)
        gram = weighted.transpose(1, 2) @ basis + self.penalty  # (B, P, P)
        moment = weighted.transpose(1, 2) @ samples  # (B, P, C)
        coefficients = torch.linalg.solve(gram, moment)
        residual = (samples - basis @ coefficients) * mask[..., None]
        return coefficients, residual


def clean_mask(window: Tensor, mask: Tensor) -> Tensor:
    """Mask (B, K) without the samples from the floor or the net on: later ones are no free flight any more."""
    x, z = window[..., 0], window[..., 2]
    floor = z < 0.03
    hanging = (x.abs() < 0.06) & (z < 1.48)  # what a netted shuttle does; one that passes is higher
    later = ((floor | hanging) & mask.bool()).to(torch.int32).cummax(dim=1).values
    return mask.to(window.dtype) * (1 - later).to(window.dtype)
