"""Mode 1: proposals of the low level, several at once, from what is seen and what is wanted.

Legend: B batch, D latent, G goal space, J joints, H heads, M motor latent, X = M + 1 search variables.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hjepa.models.layers import GatedMLP


class Proposal(nn.Module):
    """(z, goal, joints) -> H candidates x = [m, time to go / 0.2 s], (B, H, X), in the box of the motor codec."""

    def __init__(self, latent: int, goal: int, joints: int, search: int, heads: int = 8, width: int = 160) -> None:
        super().__init__()
        self.latent, self.heads, self.search = latent, heads, search
        self.net = GatedMLP(latent + goal + 2 * joints, width, 3, heads * search)
        self.register_buffer("centre", torch.cat([torch.zeros(search - 1), torch.tensor([4.0])]))
        self.spread = nn.Parameter(0.3 * torch.randn(heads, search))

    def forward(self, z: Tensor, goal: Tensor, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        """z may go on after the D numbers that count here."""
        x = self.net(torch.cat([z[:, : self.latent], goal, q_rad, dq_rad_s / 5.0], dim=-1))
        return x.unflatten(-1, (self.heads, self.search)) + self.spread + self.centre
