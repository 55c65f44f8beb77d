"""The behaviour-cloning baseline: a network of the low level's size that copies the classical agent's plans.

One forward pass reads the tracker window and the joints and names the contact event: joint positions and velocities,
when, and the shape of the way. No prediction of consequences, no search. Legend: B batch, K window slots, J joints.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hjepa import stroke
from hjepa.errors import WeightsError
from hjepa.models.checkpoint import check_robot, load, load_module, save
from hjepa.models.low import LowConfig, LowInput, ShuttleEncoder
from hjepa.types import NS, Decision, JointTrajectory, Observation, RobotSpec

FIRST_DECISION_S = 0.10  # after the launch, as the agent that is copied
LAST_REPLAN_S = 0.06  # before the contact


@dataclass(frozen=True)
class CloneConfig:
    """Sizes: those of the low level's encoder."""

    window: int = 64  # K
    joints: int = 8
    width: int = 160
    depth: int = 3

    @property
    def outputs(self) -> int:
        """Joint positions and velocities at the contact, time to it, switch of the motion before it."""
        return 2 * self.joints + 2


class PlanClone(nn.Module):
    """(window, mask, joints) -> the plan, (B, 2 J + 2): q_hit, dq_hit, to go, before."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: CloneConfig = CloneConfig()) -> None:  # noqa: B008 (frozen value)
        super().__init__()
        c = self.config = config
        sizes = LowConfig(window=c.window, joints=c.joints, latent=c.outputs, width=c.width, depth=c.depth)
        self.encoder = ShuttleEncoder(sizes)
        self.register_buffer("mean", torch.zeros(c.outputs))
        self.register_buffer("std", torch.ones(c.outputs))

    def whitened(self, x: LowInput) -> Tensor:
        """The plan in units of the data's spread (B, 2 J + 2)."""
        out: Tensor = self.encoder(x)[:, : self.config.outputs]  # the encoder appends where the shuttle is
        return out

    def forward(self, x: LowInput) -> Tensor:
        return self.whitened(x) * self.std + self.mean

    def describe(self) -> dict[str, int]:
        """Configuration as plain values, for the checkpoint."""
        return asdict(self.config)


def save_clone(path: Path, clone: PlanClone, spec: RobotSpec) -> None:
    """Write the network for a robot, whole or not at all."""
    header = {"clone": clone.describe()} | spec.identity
    save(path, {f"clone.{k}": v for k, v in clone.state_dict().items()}, header)


def load_clone(path: Path, spec: RobotSpec) -> PlanClone:
    """A frozen network; WeightsError if the file is missing, damaged, of another make or for another robot."""
    tensors, header = load(path)
    if "clone" not in header:
        raise WeightsError(f"'{path}' holds {', '.join(header) or 'nothing'}; allowed: weights of the agent `bc`")
    check_robot(path, header, spec, "hjepa train bc")
    clone = PlanClone(CloneConfig(**header["clone"]))
    load_module(clone, tensors, "clone")
    return clone.eval().requires_grad_(False)


class ClonedAgent:
    """An Agent that asks the network at every re-planning instant until shortly before the contact."""

    def __init__(self, spec: RobotSpec, clone: PlanClone, latency_s: float = 0.02) -> None:
        self.spec, self.clone, self.latency_s = spec, clone, latency_s
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new stroke (nothing here is random)."""
        self._command: JointTrajectory | None = None
        self._contact_ns = 0
        self.decision: Decision | None = None

    def act(self, observation: Observation) -> JointTrajectory | None:
        """A command while the contact is ahead."""
        start_ns = observation.stamp_ns + round(self.latency_s * NS)
        committed = self._command is not None and start_ns > self._contact_ns - round(LAST_REPLAN_S * NS)
        if committed or observation.stamp_ns < round(FIRST_DECISION_S * NS):
            return None
        began = time.perf_counter()
        event = self._event(observation)
        if event.to_go_s < LAST_REPLAN_S and self._command is not None:
            return None
        state = stroke.JointState(observation.q_rad, observation.dq_rad_s, np.zeros(self.spec.joints))
        if self._command is not None:
            state = stroke.state_at(self._command, start_ns)
        s = self.spec
        valid_ns = round((event.to_go_s + stroke.RECOVERY_S + stroke.HOLD_S) * NS)
        self._command = stroke.trajectory(
            state, event, s.q_home_rad, s.ddq_max_rad_s2, start_ns=start_ns, valid_ns=valid_ns
        )
        self._contact_ns = start_ns + round(event.to_go_s * NS)
        self.decision = Decision(None, "unknown", None, float("nan"), 1e3 * (time.perf_counter() - began), 1)
        return self._command

    @torch.no_grad()
    def _event(self, seen: Observation) -> stroke.Event:
        """The contact event, its time counted from the command's start; kept within the robot's limits."""
        y = self.clone(as_input(seen))[0].double().numpy()
        s, J = self.spec, self.spec.joints
        q = y[:J].clip(s.q_min_rad, s.q_max_rad)
        dq = y[J : 2 * J].clip(-s.dq_max_rad_s, s.dq_max_rad_s)
        to_go = float(y[2 * J]) - self.latency_s
        return stroke.Event(q, dq, y[2 * J + 1 :].clip(0.02, 1.0), max(to_go, 0.03))


def as_input(seen: Observation) -> LowInput:
    """One observation as a batch of one."""
    columns = (seen.tracker_xyz_m, seen.tracker_mask, seen.q_rad, seen.dq_rad_s)
    return LowInput(*(torch.tensor(np.asarray(column)[None], dtype=torch.float32) for column in columns))
