"""The low level's energy: one sum of squares over predicted consequences.

    E(m, t) = 1/2 |root (U(P(z, m, t)) - g)|^2   goal (a GoalTerm), in the upper latent, by what it determines
            + guards                             contact, support, net, speed, acceleration, joint range, rails; with a
                                         body also: the arm off itself, the net and people, the racket not too fast
            + effort                             share of the joints' acceleration used

Search variables x = [m (M), t / TIME_S (1)]. Everything compared is predicted from the observation; the way there is
the own body's (motor.decode). Legend: N candidates, M motor latent, J joints, D latent, G goal space, X = M + 1,
R residuals.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hjepa import motion
from hjepa.planning.body import Body, beyond_net, nobody, place, self_gap, shaken, speed_of, zone_gap
from hjepa.stroke import RECOVERY_S

TIP_M = 0.15  # from the racket's centre to its tip
FOLLOW_S = 0.08  # a racket goes on for hardly more than this time at its speed (nine of ten recorded swings)
NET_CLEAR_M = 0.10
NET_MARGIN_M = 0.25  # three times the error of the predicted height at the net
WAY_SHARES = 7  # instants of the way looked at: 0.15 of it, 0.3, ... 0.9, and its end
LOOKED_AT = slice(3, 6, 2)  # of the way's instants, those at which the whole body is placed: 0.45, 0.75 of it, its end
RANGE_CLEAR = 0.02  # rad or m within a joint's range: instants between those looked at go a little further
SELF_CLEAR_M, SELF_TOL_M = 0.03, 0.02
TAPE_CLEAR_M, TAPE_TOL_M = 0.04, 0.03
ZONE_CLEAR_M, ZONE_TOL_M = 0.15, 0.05
SPEED_SHARE, SPEED_TOL_M_S = 0.97, 0.3
TIME_S = 0.2  # one search unit of time to go


class Predictive(Protocol):
    """What the objective asks of a low level."""

    @property
    def codec(self) -> Any: ...

    def foresee(self, z: Tensor, m: Tensor, to_go_s: Tensor, event: Any = None) -> tuple[Tensor, Tensor]: ...

    def goal_of(self, outcome: Tensor) -> Tensor: ...

    def read(self, outcome: Tensor) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class LowWeights:
    """Weights of the terms; guards in units of their own tolerance."""

    goal: float = 1.0
    contact: float = 1.0  # predicted shuttle at the predicted racket
    offset: float = 0.5
    support: float = 0.7  # latents the motor codec knows
    net: float = 1.0
    limits: float = 1.0
    effort: float = 0.15  # share of the acceleration limits
    haste: float = 0.9  # share of the speed limits at the contact: slow rackets err less and spend less
    prior: float = 0.05
    self_contact: float = 1.0  # parts of the body nearer to each other than SELF_CLEAR_M
    net_contact: float = 1.0  # parts of the body in the net, on the whole way, the follow-through and the recovery
    keep_out: float = 1.0  # parts of the body nearer to a person's zone than ZONE_CLEAR_M
    racket_speed: float = 1.0  # of the racket's centre at the contact, beyond what is allowed

    def tensor(self, device: torch.device | None = None) -> Tensor:
        """(W,) in the order of the fields, as programs take them."""
        return torch.tensor(astuple(self), dtype=torch.float32, device=device)


class Limits(NamedTuple):
    """A robot's limits as tensors (J,)."""

    q_min: Tensor
    q_max: Tensor
    dq_max: Tensor
    ddq_max: Tensor


class Situation(NamedTuple):
    """What a decision is made from: a batch of one, or of N rows in training."""

    z: Tensor  # (1 or N, D + 3)
    q: Tensor  # (1 or N, J) commanded joint state when the command will start
    dq: Tensor
    ddq: Tensor
    latency_s: float  # from the observation to that start
    goal: Tensor  # (1 or N, G)
    root: Tensor  # (1 or N, G, G): the goal costs 1/2 |root (U - goal)|^2
    zones: Tensor | None = None  # (Z, 6) to keep out of, as planning.body has them, at the observation; None: nobody


class GoalTerm(Protocol):
    """What predicted outcomes lack of what is wanted."""

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        """Outcome embeddings (N, E) and what the heads read of them -> residuals (N, R)."""
        ...


@dataclass(frozen=True, eq=False)
class EmbeddingGoal:
    """The design: the sub-goal is an embedding of the upper level, met through the bridge."""

    level: Predictive
    goal: Tensor  # (1 or N, G)
    root: Tensor  # (1 or N, G, G)

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        gap = self.level.goal_of(outcome) - self.goal
        return (self.root @ gap[..., None])[..., 0]


@dataclass(frozen=True, eq=False)
class PointGoal:
    """The coded-goal baseline: a point on the floor, met by the landing head; the net is a guard anyway."""

    xy_m: Tensor  # (1, 2) world
    tolerance_m: float = 0.10  # costs 1/2: what the landing head is uncertain of before contact

    def __call__(self, outcome: Tensor, read: dict[str, Tensor]) -> Tensor:
        return (read["landing_m"] - self.xy_m) / self.tolerance_m


def own_residuals(codec: Any, joints: int, body: Body | None = None) -> int:
    """How many of a StrokeResidual's last numbers concern the own body alone: the way there, the latent, the net."""
    arm: int = codec.config.arm_code
    space = 0 if body is None else len(body.reach) + len(body.radius) + 1
    return 5 * joints + 2 + space + 2 * arm + 1


def search_box(codec: Any, limits: Limits) -> tuple[Tensor, Tensor]:
    """Low and high (X,): the codec's data and a little more, contacts that the rails come near, 0.06 to 1.6 s to go."""
    low = torch.cat([codec.low.clamp(max=-1.5) * 1.1, codec.low.new_tensor([0.06 / TIME_S])])
    high = torch.cat([codec.high.clamp(min=1.5) * 1.1, codec.high.new_tensor([1.6 / TIME_S])])
    low[-4:-2] = (limits.q_min[:2] - 1.3 - codec.xy_mean) / codec.xy_std
    high[-4:-2] = (limits.q_max[:2] + 1.3 - codec.xy_mean) / codec.xy_std
    return low, high


class StrokeResidual:
    """Residuals of candidate strokes in one situation."""

    def __init__(
        self,
        level: Predictive,
        limits: Limits,
        weights: LowWeights,
        situation: Situation,
        goal: GoalTerm | None = None,
        box: tuple[Tensor, Tensor] | None = None,
        body: Body | None = None,
    ) -> None:
        """goal: what is wanted, if not the situation's embedding; box: search_box, if it was made before; body: what is
        kept off itself, the net and people (None: not looked at)."""
        self.body = body
        self.level, self.limits, self.weights, self.situation = level, limits, weights, situation
        self.goal: GoalTerm = goal or EmbeddingGoal(level, situation.goal, situation.root)
        self.low, self.high = search_box(level.codec, limits) if box is None else box

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R)."""
        s, w = self.situation, self.weights
        m, to_go = x[:, :-1], x[:, -1:] * TIME_S
        z = s.z.expand(x.shape[0], -1)
        event = self.level.codec.decode(m)
        outcome, contact_gap = self.level.foresee(z, m, to_go, event)
        read = self.level.read(outcome)
        parts = [
            w.goal * self.goal(outcome, read),
            w.contact / 0.06 * contact_gap,
            w.offset / 0.06 * read["offset_m"],
            w.net / 0.08 * (NET_MARGIN_M - read["net_m"]).clamp(min=0.0),
            *self._body(event, to_go - s.latency_s),
            w.support * self.level.codec.off_support(m, event),
            w.prior * m[:, :-3],
            w.limits * self._over_net(m),
        ]
        return torch.cat(parts, dim=-1)

    def energy(self, x: Tensor) -> Tensor:
        """(N, X) -> (N,)."""
        return 0.5 * (self(x) ** 2).sum(-1)

    def _over_net(self, m: Tensor) -> Tensor:
        """How far the racket's follow-through would reach over the net, in tolerances (N, 1); own body only."""
        racket = self.level.codec.read_racket(m)
        reach = racket[:, :1] + TIP_M + FOLLOW_S * racket[:, 5:6].clamp(min=0.0)
        return (reach + NET_CLEAR_M).clamp(min=0.0) / 0.05

    def _body(self, event: Any, duration_s: Tensor) -> list[Tensor]:
        """Guards and effort of the way to the event, (N, ...) each; people first, if the body is looked at."""
        s, lim = self.situation, self.limits
        way = motion.solve(s.q, s.dq, s.ddq, event.q_rad, event.dq_rad_s, duration_s, event.before_s)
        # the driver clips what leaves a joint's range, and the hit with it: the whole way counts, its ends included
        # made on the device: what is captured as a CUDA graph takes nothing from the host
        shares = (0.15 * torch.arange(1, WAY_SHARES + 1, device=duration_s.device)).clamp(max=1.0)
        times = torch.cat([(way.switch_s + 0.5 * way.ramp_s)[None], shares[:, None, None] * way.duration_s])
        path, speed, _ = motion.evaluate(way, times)  # (W + 1, N, J)
        use_v = torch.maximum(speed[0].abs(), speed[-1].abs()) / lim.dq_max  # the peak, as in motion.peak_speed
        if self.body is None:
            return self._limits(way, event, use_v, path)
        after = self._recovery(way, event)
        limits = self._limits(way, event, use_v, torch.cat([path, after]))
        looked_at = torch.cat([path[LOOKED_AT], path[-1:], after])
        ahead_s = torch.cat([times[LOOKED_AT], times[-1:], way.duration_s + self.body.after_s]) + s.latency_s
        people, *space = self._space(self.body, looked_at, ahead_s, event)
        return [people, *limits, *space]

    def _recovery(self, way: motion.TwoPhase, event: Any) -> Tensor:
        """Joints (K, N, J) at the body's `after_s`, as stroke.trajectory takes them home."""
        assert self.body is not None
        q, dq, a_max = event.q_rad, event.dq_rad_s, self.limits.ddq_max
        goal = motion.recovery_target(q, dq, self.level.codec.home_rad, a_max, RECOVERY_S)
        parts = torch.stack([q, dq, way.A2, goal]).flatten(1)  # (4, N J)
        return (self.body.recovers @ parts).unflatten(1, q.shape)

    def _space(self, body: Body, path: Tensor, ahead_s: Tensor, event: Any) -> list[Tensor]:
        """People (N, 2 C), itself and the net (N, P + C), the racket's speed (N, 1), along joints (W, N, J)."""
        w, (W, N, J) = self.weights, path.shape
        moves = shaken(event.q_rad.T, event.dq_rad_s.T)
        everything = place(body, torch.cat([path.permute(2, 0, 1).reshape(J, W * N), moves], dim=1))
        placed = everything.part(slice(W * N))
        fast = speed_of(everything.part(slice(W * N, None)).centre) - SPEED_SHARE * body.speed_max

        zones = nobody(path) if self.situation.zones is None else self.situation.zones
        near = ZONE_CLEAR_M - zone_gap(body, placed, zones, ahead_s.reshape(W * N))
        rows = torch.cat(
            [
                w.keep_out / ZONE_TOL_M * near,
                w.self_contact / SELF_TOL_M * (SELF_CLEAR_M - self_gap(body, placed)),
                w.net_contact / TAPE_TOL_M * beyond_net(body, placed, TAPE_CLEAR_M),
            ]
        )
        worst = rows.clamp(min=0.0).unflatten(1, (W, N)).amax(1).T  # (N, 2 C + P + C)
        people = near.shape[0]
        too_fast = w.racket_speed / SPEED_TOL_M_S * fast.clamp(min=0.0)[:, None]
        return [worst[:, :people], worst[:, people:], too_fast]

    def _limits(self, way: motion.TwoPhase, event: Any, use_v: Tensor, path: Tensor) -> list[Tensor]:
        """Joint limits and effort of a way."""
        w, lim = self.weights, self.limits
        use_a = torch.maximum(way.A1.abs(), way.A2.abs()) / lim.ddq_max
        outside = torch.maximum(path - lim.q_max, lim.q_min - path).amax(dim=0) + RANGE_CLEAR
        v_base = event.dq_rad_s[:, :2]
        stop = event.q_rad[:, :2] + v_base * v_base.abs() / (1.4 * lim.ddq_max[:2])
        overrun = (stop - lim.q_max[:2]).clamp(min=0.0) + (lim.q_min[:2] - stop).clamp(min=0.0)
        return [
            w.limits / 0.04 * (use_a - 0.90).clamp(min=0.0),
            w.limits / 0.04 * (use_v - 0.92).clamp(min=0.0),
            w.limits / 0.05 * overrun,
            w.limits / 0.03 * outside.clamp(min=0.0),
            w.effort * use_a,
            w.haste * event.dq_rad_s / lim.dq_max,
        ]
