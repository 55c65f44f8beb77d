"""Untrained levels, small and quick, with sensible statistics: what tests need that are not about being good."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from hjepa import build
from hjepa.config import load
from hjepa.models.high import HighConfig, HighModel, save_high
from hjepa.models.low import LowBundle, LowConfig, LowLevel, save_low
from hjepa.models.motor import MotorCodec, MotorConfig
from hjepa.models.proposal import Proposal
from hjepa.types import Observation
from robots.spec import load_spec

TICK_NS = 10_000_000
SPEC = load_spec("courtbot")
LOW = LowConfig(width=32, depth=1, latent=24)
HIGH = HighConfig(width=32, depth=1)


def flying(tick: int) -> Observation:
    """A shuttle on its way, seen from tick 0 on; the robot stands at home."""
    slots = np.arange(64)
    xyz = np.stack([3.0 - 0.05 * slots, 0.01 * slots, 2.0 + 0.0 * slots], axis=-1)
    stamps = (slots - 63 + tick) * TICK_NS
    return Observation(tick * TICK_NS, SPEC.q_home_rad, np.zeros(8), xyz, slots > 63 - tick, stamps)


def codec(seed: int = 0) -> MotorCodec:
    """A motor codec whose events lie around the home posture."""
    torch.manual_seed(seed)
    made = MotorCodec(MotorConfig(width=32, depth=1))
    made.q_mean.copy_(torch.tensor(SPEC.q_home_rad[2:]))
    made.q_std.fill_(0.3)
    return made.eval().requires_grad_(False)


@cache
def _shipped() -> LowBundle:
    return build.low_bundle(load("badminton"), SPEC)


def low(seed: int = 0) -> LowBundle:
    """A low level with its proposal; free flight it knows, as the shipped one does."""
    memory = (
        _shipped().level.encoder.memory.state_dict()
    )  # before the seed: to load it for the first time draws numbers
    motor = codec(seed)
    level = LowLevel(LOW, motor)
    level.encoder.memory.load_state_dict(memory)
    proposal = Proposal(LOW.state, LOW.goal, LOW.joints, motor.config.latent + 1, heads=4)
    for part in (level, proposal):
        part.eval().requires_grad_(False)
    return LowBundle(level, proposal, torch.eye(LOW.goal), SPEC.identity | {"seed": 7})


def high(seed: int = 0) -> HighModel:
    """A high level whose codebook covers the court."""
    torch.manual_seed(seed)
    made = HighModel(HIGH)
    n = HIGH.codes
    columns = torch.arange(n) % 10.0, -torch.linspace(0.6, 6.2, n), torch.linspace(-2.0, 2.0, n), torch.full((n,), 1.2)
    made.codebook.copy_(torch.stack(columns, dim=-1))
    return made.eval().requires_grad_(False)


def write_weights(folder: Path) -> Path:
    """Both levels' files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_low(folder / "low.safetensors", low())
    save_high(folder / "high.safetensors", high(), {})
    return folder
