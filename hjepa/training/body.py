"""Fits the motor codec in racket space: what a latent decodes to must put the racket where, how and as fast as asked.

Kinematics in torch lives here, in training only. Legend: B batch, J joints, M motor latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.motor import ARM, ContactEvent, MotorCodec, MotorConfig
from hjepa.training.teacher import Events
from hjepa.types import RobotSpec


@dataclass(frozen=True)
class BodyConfig:
    """Training of the codec."""

    steps: int = 5000
    batch: int = 512
    rate: float = 2e-3
    position_m: float = 0.01  # errors of this size cost 1
    normal: float = 0.012
    speed_m_s: float = 0.15
    joint: float = 0.1  # weight of the joint-space error, in standard deviations
    seed: int = 0


class RacketKinematics:
    """Differentiable racket pose and velocity of a RobotSpec."""

    def __init__(self, spec: RobotSpec) -> None:
        self.fixed = torch.tensor(spec.T_parent_joint, dtype=torch.float32)
        self.tool = torch.tensor(spec.T_joint_racket, dtype=torch.float32)
        self.prismatic = spec.prismatic
        self.axis = torch.tensor(spec.axis, dtype=torch.float32)
        skew = [[[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]] for a in spec.axis]
        self.skew = torch.tensor(skew, dtype=torch.float32)

    def __call__(self, q: Tensor, dq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centre (B, 3), face normal (B, 3) and velocity of the centre (B, 3)."""
        R = torch.eye(3).expand(len(q), 3, 3)
        p = torch.zeros(len(q), 3)
        origins, axes = [], []
        for j in range(len(self.axis)):
            p = p + (R @ self.fixed[j, :3, 3])
            axis = R @ self.axis[j]
            if self.prismatic[j]:
                p = p + axis * q[:, j : j + 1]
            else:
                s, c = torch.sin(q[:, j])[:, None, None], torch.cos(q[:, j])[:, None, None]
                R = R @ (torch.eye(3) + s * self.skew[j] + (1 - c) * (self.skew[j] @ self.skew[j]))
            origins.append(p)
            axes.append(axis)
        centre = p + R @ self.tool[:3, 3]
        v = torch.zeros_like(centre)
        for j, (origin, axis) in enumerate(zip(origins, axes, strict=True)):
            arm = axis if self.prismatic[j] else torch.cross(axis, centre - origin, dim=-1)
            v = v + arm * dq[:, j : j + 1]
        return centre, R @ self.tool[:3, 2], v


def _reading(racket: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Height, normal y, z, velocity: what the latent must show linearly, (B, 6)."""
    centre, normal, v = racket
    return torch.cat([centre[:, 2:], normal[:, 1:], v], dim=-1)


def _set_statistics(codec: MotorCodec, events: Events, spec: RobotSpec, racket: tuple[Tensor, Tensor, Tensor]) -> None:
    def t(x: np.ndarray) -> Tensor:
        return torch.tensor(x, dtype=torch.float32)

    codec.q_mean.copy_(t(events.q_hit_rad[:, ARM].mean(0)))
    codec.q_std.copy_(t(events.q_hit_rad[:, ARM].std(0)))
    codec.dq_std.copy_(t(events.dq_hit_rad_s.std(0)))
    codec.xy_mean.copy_(t(events.contact_m[:, :2].mean(0)))
    codec.xy_std.copy_(t(events.contact_m[:, :2].std(0)))
    log_before = np.log(events.before_s)
    codec.shape_mean.fill_(float(log_before.mean()))
    codec.shape_std.fill_(float(log_before.std()))
    codec.home_rad.copy_(t(spec.q_home_rad))
    codec.ddq_max.copy_(t(spec.ddq_max_rad_s2))
    reading = _reading(racket)
    codec.read_mean.copy_(reading.mean(0))
    codec.read_std.copy_(reading.std(0))


def fit_codec(
    events: Events,
    spec: RobotSpec,
    config: BodyConfig = BodyConfig(),  # noqa: B008 (frozen value)
    motor: MotorConfig = MotorConfig(),  # noqa: B008
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[MotorCodec, dict[str, float]]:
    """A frozen codec and its reconstruction error on held-out events (median, p90): metres, degrees, m/s."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(events.time_s))
    held, used = order[: len(order) // 10], order[len(order) // 10 :]
    kinematics = RacketKinematics(spec)
    codec = MotorCodec(motor)
    q_all = torch.tensor(events.q_hit_rad, dtype=torch.float32)
    dq_all = torch.tensor(events.dq_hit_rad_s, dtype=torch.float32)
    before = torch.tensor(events.before_s, dtype=torch.float32)[:, None]
    _set_statistics(codec, events, spec, kinematics(q_all[used], dq_all[used]))
    optimiser = torch.optim.AdamW(codec.parameters(), lr=config.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=config.steps, pct_start=0.1)
    for step in range(config.steps):
        i = torch.tensor(rng.choice(used, config.batch))
        q = q_all[i] + 0.1 * torch.randn(config.batch, q_all.shape[1])
        dq = dq_all[i] * (1 + 0.15 * torch.randn(config.batch, 1)) + 0.05 * codec.dq_std * torch.randn(config.batch, 8)
        loss, parts = _loss(codec, kinematics, q, dq, before[i], config)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if report and step % 50 == 0:
            report(step, parts | {"loss": float(loss.detach())})
    codec.eval().requires_grad_(False)
    _set_box(codec, kinematics, q_all[used], dq_all[used], before[used])
    return codec, evaluate_codec(codec, kinematics, q_all[held], dq_all[held], before[held])


def _loss(
    codec: MotorCodec, kinematics: RacketKinematics, q: Tensor, dq: Tensor, before: Tensor, c: BodyConfig
) -> tuple[Tensor, dict[str, float]]:
    centre, normal, v = kinematics(q, dq)
    m = codec.encode(q, dq, centre[:, :2], before)
    event = codec.decode(m + 0.02 * torch.randn_like(m))
    p, n, u = kinematics(event.q_rad, event.dq_rad_s)
    racket = (
        F.smooth_l1_loss(p / c.position_m, centre / c.position_m)
        + F.smooth_l1_loss(n / c.normal, normal / c.normal)
        + F.smooth_l1_loss(u / c.speed_m_s, v / c.speed_m_s)
    )
    joint = ((event.q_rad - q)[:, ARM] / codec.q_std).pow(2).mean() + ((event.dq_rad_s - dq) / codec.dq_std).pow(
        2
    ).mean()
    k = codec.config.arm_code
    reading = (_reading((centre, normal, v)) - codec.read_mean) / codec.read_std
    linear = F.mse_loss(codec.readout(m[:, :k]), reading)
    loss = racket + c.joint * 20 * joint + 20.0 * linear
    parts = {"racket": racket, "joint": joint, "readout": linear}
    return loss, {name: float(part.detach()) for name, part in parts.items()}


@torch.no_grad()
def _set_box(codec: MotorCodec, kinematics: RacketKinematics, q: Tensor, dq: Tensor, before: Tensor) -> None:
    m = codec.encode(q, dq, kinematics(q, dq)[0][:, :2], before)
    codec.low.copy_(torch.quantile(m, 0.003, dim=0))
    codec.high.copy_(torch.quantile(m, 0.997, dim=0))


@torch.no_grad()
def evaluate_codec(
    codec: MotorCodec, kinematics: RacketKinematics, q: Tensor, dq: Tensor, before: Tensor
) -> dict[str, float]:
    """Racket error of decode(encode(.)) at the event."""
    centre, normal, v = kinematics(q, dq)
    m = codec.encode(q, dq, centre[:, :2], before)
    event: ContactEvent = codec.decode(m)
    p, n, u = kinematics(event.q_rad, event.dq_rad_s)
    read = codec.read_racket(m)
    errors = {
        "position_m": (p - centre).norm(dim=-1),
        "normal_deg": torch.rad2deg(torch.acos((n * normal).sum(-1).clamp(-1, 1))),
        "speed_m_s": (u - v).norm(dim=-1),
        "read_height_m": (read[:, 2] - centre[:, 2]).abs(),
        "read_speed_m_s": (read[:, 5:] - v).norm(dim=-1),
    }
    out: dict[str, float] = {}
    for name, e in errors.items():
        out[name] = float(e.median())
        out[f"{name}_p90"] = float(e.quantile(0.9))
    return out
