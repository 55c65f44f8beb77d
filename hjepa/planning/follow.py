"""Following: the goal is what will be seen of the target, the motion is the one after which the tool is seen there.

    E(a) = 1/2 sum_k |root (see(P(z, a_1..a_k)) - g_k)|^2    goal, in the space of glimpses
           + guards                                          joint range, speed, acceleration, postures never babbled
           + effort                                          share of the joints' acceleration; distance from home

An action is the joints' speeds at the end of a chunk, reached linearly. What joints do in between is arithmetic; where
that brings the tool is the level's business. Legend: J joints, H chunks, D glimpse embedding, N candidates,
X = H J search variables, P past glimpses, W slots of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hjepa import stroke
from hjepa.planning.objectives import Limits
from hjepa.planning.protocols import Planner
from hjepa.protocols import Reachability
from hjepa.stroke import JointState
from hjepa.types import NS, Array, Goal, JointTrajectory, MotorPlan, Observation, RobotSpec

TICK_S = 0.01
_SLOT_NS = 10_000_000
FASTEST = 2.0  # standard deviations of the babbled speeds: beyond them nothing was learned
SPEED_USE, ACCELERATION_USE = 0.9, 0.85  # shares of the limits above which a motion costs


class Babbled(Protocol):
    """What following asks of a level."""

    config: Any
    dq_std: Tensor
    q_mean: Tensor
    q_std: Tensor
    root: Tensor

    def body(self, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor: ...

    def glimpse(self, window_m: Tensor, mask: Tensor) -> Tensor: ...

    def predict(self, z: Tensor, action: Tensor) -> Tensor: ...

    def see(self, z: Tensor) -> Tensor: ...

    def ahead(self, past: Tensor, known: Tensor, lead_s: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FollowConfig:
    """Budget, timing and weights."""

    latency_s: float = 0.03  # from an observation to the start of the command it led to
    chunks: int = 2  # H
    iterations: int = 3
    valid_s: float = 0.3
    tolerance: float = 0.02  # of the goal, in embedding units: costs 1/2
    effort: float = 0.3
    posture: float = 0.05
    limits: float = 1.0
    support: float = 1.0
    known: float = 2.2  # standard deviations of the babbling beyond which a posture costs
    far: float = 6.0  # a goal further than so many tolerances pulls no harder: guards and effort still count
    budget_s: float | None = None  # realtime: no iteration is begun that would end later


class Ahead:
    """The source of goals: what will be seen of the target when the motion's chunks end. No choice is made here."""

    def __init__(self, level: Babbled, config: FollowConfig) -> None:
        self.level, self.config = level, config
        c = level.config
        self._back = c.past_step * np.arange(c.past)[:, None] + np.arange(c.glimpse - 1, -1, -1)  # (P, W) slots
        weight: Array = level.root.numpy().astype(np.float64) / config.tolerance
        self._root: Array = np.kron(np.eye(config.chunks), weight).astype(np.float64)
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new target."""
        self._count = 0

    @torch.no_grad()
    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None:
        """The target's embedding at the end of each chunk; None while too little has been seen."""
        seen = np.flatnonzero(observation.tracker_mask)
        if len(seen) < self.level.config.glimpse:
            return None
        newest = int(seen[-1])
        slots = newest - self._back
        mask = np.where(slots >= 0, observation.tracker_mask[slots.clip(min=0)], False)
        window = _row(observation.tracker_xyz_m[slots.clip(min=0)])
        there = _row(mask)
        past, known = self.level.glimpse(window, there)[None], (there.sum(-1) > 0).float()[None]
        age_s = (observation.stamp_ns - int(observation.tracker_stamp_ns[newest])) / NS
        c, chunk_s = self.config, self.level.config.chunk_s
        lead = age_s + c.latency_s + chunk_s * torch.arange(1, c.chunks + 1, dtype=torch.float32)[:, None]
        many = past.expand(c.chunks, -1, -1), known.expand(c.chunks, -1)
        embedding = self.level.ahead(*many, lead)  # (H, D)
        self._count += 1
        where = observation.tracker_xyz_m[newest]
        return Goal(
            self._count, observation.stamp_ns, observation.stamp_ns, embedding.flatten().double().numpy(), self._root,
            where[:2].copy(), "follow", np.zeros((0, embedding.numel())), np.zeros(0),
        )  # fmt: skip


class FollowSituation(NamedTuple):
    """What a motion starts from, and what is to be seen after each chunk."""

    q: Tensor  # (1, J) commanded joints when the motion will start
    dq: Tensor  # (1, J)
    goal: Tensor  # (H, D)
    root: Tensor  # (H, D, D)


class FollowResidual:
    """Residuals of candidate motions in one situation."""

    def __init__(self, level: Babbled, limits: Limits, home: Tensor, config: FollowConfig, s: FollowSituation) -> None:
        self.level, self.limits, self.home, self.config, self.s = level, limits, home, config, s
        self.z = level.body(s.q, s.dq)
        most = (SPEED_USE * limits.dq_max / level.dq_std).clamp(max=FASTEST).repeat(config.chunks)
        self.low, self.high = -most, most

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R)."""
        c, level, lim, s = self.config, self.level, self.limits, self.s
        T = level.config.chunk_s
        z, q, dq = self.z.expand(x.shape[0], -1), s.q, s.dq
        parts = []
        for k, action in enumerate(x.unflatten(-1, (c.chunks, -1)).unbind(1)):
            z = level.predict(z, action)
            after = action * level.dq_std
            q, use = q + 0.5 * T * (dq + after), (after - dq) / (T * lim.ddq_max)
            dq = after
            stop = q + 0.5 * dq * dq.abs() / (0.5 * lim.ddq_max)
            outside = (stop - lim.q_max).clamp(min=0.0) + (lim.q_min - stop).clamp(min=0.0)
            strange = ((q - level.q_mean).abs() / level.q_std - c.known).clamp(min=0.0)
            parts += [
                _patient((level.see(z) - s.goal[k]) @ s.root[k].T, c.far),
                c.effort * use,
                c.limits / 0.04 * (use.abs() - ACCELERATION_USE).clamp(min=0.0),
                c.limits / 0.04 * (dq.abs() / lim.dq_max - SPEED_USE).clamp(min=0.0),
                c.limits / 0.03 * outside,
                c.support / 0.1 * strange,
            ]
        return torch.cat([*parts, c.posture * (q - self.home) / level.q_std], dim=-1)


def _patient(gap: Tensor, far: float) -> Tensor:
    """Residuals (N, D) whose sum of squares grows linearly, not quadratically, beyond |gap| = far (Huber 1964)."""
    size = gap.norm(dim=-1, keepdim=True).clamp(min=far)
    return gap * (far * (2.0 * size - far)).sqrt() / size


class FollowPlanner:
    """A LowLevel (see hjepa.protocols): from where the joints will be to where the target will be."""

    def __init__(self, level: Babbled, spec: RobotSpec, planner: Planner, config: FollowConfig) -> None:
        self.level, self.spec, self.planner, self.config = level, spec, planner, config
        limits = (spec.q_min_rad, spec.q_max_rad, spec.dq_max_rad_s, spec.ddq_max_rad_s2)
        self._limits = Limits(*(_row(x) for x in limits))
        self._home = _row(spec.q_home_rad)
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin an episode."""
        self.planner.reset(seed)
        self._command: JointTrajectory | None = None
        self._told = MotorPlan(0, np.zeros(0), float("nan"), 0, float("nan"))

    def plan(self, observation: Observation, goal: Goal) -> JointTrajectory | None:
        """The motion of least energy, from the state that the command in force will have reached."""
        c, J = self.config, self.spec.joints
        start_ns = observation.stamp_ns + round(c.latency_s * NS)
        now = self._state(observation, start_ns)
        H = c.chunks
        D = len(goal.embedding) // H
        root = np.stack([goal.root[k * D : (k + 1) * D, k * D : (k + 1) * D] for k in range(H)])
        q, dq = _row(now.q_rad)[None], _row(now.dq_rad_s)[None]
        situation = FollowSituation(q, dq, _row(goal.embedding).unflatten(0, (H, D)), _row(root))
        residual = FollowResidual(self.level, self._limits, self._home, c, situation)
        start = (dq / self.level.dq_std).repeat(1, H)  # going on as it goes
        found = self.planner.plan(residual, start, c.iterations, c.budget_s)
        speeds = found.x.unflatten(0, (H, J)) * self.level.dq_std
        command = motion(
            now, speeds.double().numpy(), self.level.config.chunk_s, self.spec, start_ns, round(c.valid_s * NS)
        )
        self._command = command
        self._told = MotorPlan(
            goal.id, found.x.double().numpy(), found.energy, found.evaluations, float("nan"), goal.target_xy_m
        )
        return command

    def reachability(self, observation: Observation, candidates: Array, roots: Array) -> Array:
        """Nobody chooses between goals here: all cost the same."""
        return np.zeros(len(candidates))

    def explain(self) -> MotorPlan:
        """What the latest plan chose."""
        return self._told

    def _state(self, observation: Observation, start_ns: int) -> JointState:
        """Commanded state at an instant while a command is in force and the joints are near it; else as measured."""
        c = self._command
        if c is not None and start_ns <= c.start_ns + c.valid_ns:
            there = stroke.state_at(c, observation.stamp_ns)
            if observation.stamp_ns < c.start_ns or np.abs(there.q_rad - observation.q_rad).max() < 0.05:
                return stroke.state_at(c, start_ns)
        return JointState(observation.q_rad, observation.dq_rad_s, np.zeros(self.spec.joints))


def motion(
    now: JointState, speeds_rad_s: Array, chunk_s: float, spec: RobotSpec, start_ns: int, valid_ns: int
) -> JointTrajectory:
    """From a state through speeds (H, J) at the chunks' ends, linearly; then braking to rest at half the limits."""
    steps = round(chunk_s / TICK_S)
    knots = np.concatenate([now.dq_rad_s[None], speeds_rad_s])
    share = np.arange(1, steps + 1)[None, :, None] / steps
    dq = (knots[:-1, None] + share * (knots[1:, None] - knots[:-1, None])).reshape(-1, spec.joints)
    brake = 0.5 * spec.ddq_max_rad_s2 * TICK_S
    last = int(np.ceil((np.abs(dq[-1]) / brake).max())) + 1
    slower = np.abs(dq[-1]) - brake * np.arange(1, last + 1)[:, None]
    dq = np.concatenate([now.dq_rad_s[None], dq, np.sign(dq[-1]) * slower.clip(min=0.0)])
    way = np.concatenate([np.zeros((1, spec.joints)), (0.5 * TICK_S * (dq[1:] + dq[:-1])).cumsum(axis=0)])
    return JointTrajectory(start_ns, TICK_S, now.q_rad + way, dq, valid_ns)


def _row(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float32)
