"""The motor codec: a learned latent m that names a contact event, and its decoder to joint space.

m = [arm code (12), contact point x, y (world, whitened), shape (1: when the two-phase motion switches)]. The encoder
(training only) reads the joint state at the event; the decoder gives joint positions and velocities at the event, and
hjepa.motion fills the way there from any current state, boundary-exact. It is fitted in racket space (training/body.py)
and frozen before any swing is collected. Legend: B batch, J joints (2 base + 6 arm), M motor latent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hjepa import motion
from hjepa.models.layers import GatedMLP

ARM = slice(2, 8)


@dataclass(frozen=True)
class MotorConfig:
    """Sizes of the codec."""

    arm_code: int = 12
    width: int = 128
    depth: int = 3

    @property
    def latent(self) -> int:
        """M: arm code, contact x, contact y, shape."""
        return self.arm_code + 3


class ContactEvent(NamedTuple):
    """Joint state at the event, decoded."""

    q_rad: Tensor  # (B, J)
    dq_rad_s: Tensor  # (B, J)
    before_s: Tensor  # (B, 1) switch of the motion before the event


class MotorCodec(nn.Module):
    """Encoder and decoder of the motor latent; statistics of the joints are buffers."""

    q_mean: Tensor
    q_std: Tensor
    dq_std: Tensor
    read_mean: Tensor
    read_std: Tensor
    xy_mean: Tensor
    xy_std: Tensor
    shape_mean: Tensor
    shape_std: Tensor
    home_rad: Tensor
    ddq_max: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, config: MotorConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self.encoder = GatedMLP(6 + 8 + 2, c.width, c.depth, c.arm_code)
        self.decoder = GatedMLP(c.arm_code, c.width, c.depth, 6 + 8 + 2)
        self.readout = nn.Linear(c.arm_code, 6)  # height, normal y, z, velocity: the racket is a linear read-out of m
        self.whiten = nn.BatchNorm1d(c.arm_code, affine=False)
        for name, size in (("q_mean", 6), ("q_std", 6), ("dq_std", 8), ("read_mean", 6), ("read_std", 6)):
            self.register_buffer(name, torch.zeros(size) if name.endswith("mean") else torch.ones(size))
        self.register_buffer("xy_mean", torch.tensor([-3.0, 0.0]))
        self.register_buffer("xy_std", torch.tensor([1.5, 1.2]))
        self.register_buffer("shape_mean", torch.tensor([-1.0]))
        self.register_buffer("shape_std", torch.tensor([0.4]))
        self.register_buffer("home_rad", torch.zeros(8))
        self.register_buffer("ddq_max", torch.ones(8))
        self.register_buffer("low", torch.full((c.latent,), -3.0))  # box of the latents in the data (0.5 % quantiles)
        self.register_buffer("high", torch.full((c.latent,), 3.0))

    def encode(self, q_rad: Tensor, dq_rad_s: Tensor, contact_xy_m: Tensor, before_s: Tensor) -> Tensor:
        """Event state q, dq (B, J), contact point (B, 2), switch (B, 1) -> m (B, M)."""
        offset = contact_xy_m - q_rad[:, :2]
        x = torch.cat([(q_rad[:, ARM] - self.q_mean) / self.q_std, dq_rad_s / self.dq_std, offset], dim=-1)
        shape = (before_s.log() - self.shape_mean) / self.shape_std
        return torch.cat([self.whiten(self.encoder(x)), (contact_xy_m - self.xy_mean) / self.xy_std, shape], dim=-1)

    def decode(self, m: Tensor) -> ContactEvent:
        """m (B, M) -> the joint state at the event."""
        k = self.config.arm_code
        y = self.decoder(m[:, :k])
        contact = m[:, k : k + 2] * self.xy_std + self.xy_mean
        q = torch.cat([contact - y[:, 14:], y[:, :6] * self.q_std + self.q_mean], dim=-1)
        before = (m[:, k + 2 :] * self.shape_std + self.shape_mean).exp()
        return ContactEvent(q, y[:, 6:14] * self.dq_std, before.clamp(0.05, 1.0))

    def off_support(self, m: Tensor, event: ContactEvent) -> Tensor:
        """encode(decode(m)) - m for the arm code (B, 12): small on the data, large where the codec guesses."""
        k = self.config.arm_code
        contact = m[:, k : k + 2] * self.xy_std + self.xy_mean
        return self.encode(event.q_rad, event.dq_rad_s, contact, event.before_s)[:, :k] - m[:, :k]

    def read_racket(self, m: Tensor) -> Tensor:
        """Linear read-out (B, 8): contact x, y, height, face normal y, z, velocity x, y, z (m, 1, m/s)."""
        k = self.config.arm_code
        contact = m[:, k : k + 2] * self.xy_std + self.xy_mean
        return torch.cat([contact, self.readout(m[:, :k]) * self.read_std + self.read_mean], dim=-1)

    def approach(self, event: ContactEvent, q: Tensor, dq: Tensor, ddq: Tensor, to_go_s: Tensor) -> motion.TwoPhase:
        """The motion from the current state (B or 1, J) to the event, `to_go_s` (B, 1) from now."""
        return motion.solve(q, dq, ddq, event.q_rad, event.dq_rad_s, to_go_s, event.before_s)

    def describe(self) -> dict[str, int]:
        """Configuration as plain values, for the checkpoint."""
        return asdict(self.config)
