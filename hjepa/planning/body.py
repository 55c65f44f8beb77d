"""The own body in space: where its parts are along a motion, and how far from each other, the net and people.

Geometry of the robot alone (its description, handed in as numbers); nothing here knows the shuttle or the game.
Legend: B rows, J joints, F frames of the arm, n points of a frame, C capsules, P pairs, Z zones, K instants.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hjepa import motion
from hjepa.stroke import RECOVERY_S
from hjepa.types import Array, RobotSpec

ZONES = 1  # people at most that a plan looks at, the nearest ones
ZONE = 6  # x, y, their speeds, radius, height
FAR_M = 1e3
AFTER_S = (0.1, 0.3, 0.55, 0.8)
GROWTH_M_S = 0.15  # a person may turn or walk faster: a zone grows by this much for each second ahead
STEP_S = 0.002
TAPE_M = 1.55  # the net's highest point
POSTURES, NEVER_M = 20_000, 0.02
POSTS_M = 3.05  # half its width
THIN_M = 0.05  # a part counts as thick as this beside the net: a racket's head is flat


class Body(NamedTuple):
    """A robot as tensors. Link k of the arm is moved by the k-th joint behind the leading linear axes."""

    rails: Tensor  # (3, J) what a leading linear axis moves everything by, in the world; zeros for the others
    constant: Tensor  # (F, 3, 4) frame k in its parent's = constant + f sine + g cosine,
    sine: Tensor  # f: sin q, or q of a linear axis
    cosine: Tensor  # g: cos q
    linear: Tensor  # (F, 1) 1 for a linear axis
    points: tuple[Tensor, ...]  # (3, n) of each frame: ends a, then b of what is fixed to it; the last one also has
    #                             the racket's centre, before them; the first ones, (3, n), are what the rails carry
    order: Tensor  # (2, C) where the ends a and b of each capsule come to lie
    radius: Tensor  # (C, 1)
    touch: Tensor  # (4, P) ends a, b, a, b of capsules that may touch, as in order
    lengths: Tensor  # (2, P, 1) squares of their lengths
    reach: Tensor  # (P, 1) their radii together
    speed_max: Tensor  # () m/s of the racket at the contact
    after_s: Tensor  # (K, 1, 1) instants of the follow-through and the recovery that are looked at, from the contact
    recovers: Tensor  # (K, 4) where joints are then, from their position, speed and acceleration at the contact and
    #                   from where they come to rest: in these a two-phase motion of fixed times is linear


class Placed(NamedTuple):
    """The ends of capsules in the world, components first: what is summed over lies outermost."""

    points: Tensor  # (3, 1 + 2 C, B) the racket's centre, and ends as Body.order finds them

    @property
    def centre(self) -> Tensor:
        """(3, B) of the racket."""
        return self.points[:, 0]

    def part(self, rows: slice) -> Placed:
        """Some of the joints that were placed."""
        return Placed(self.points[..., rows])


def body_of(spec: RobotSpec, parts: Any, speed_max_m_s: float, device: torch.device | None = None) -> Body:
    """parts: capsules with frame (C,) (a joint's number, J: the racket), a_m, b_m (C, 3), radius_m (C,), pairs (P, 2);
    those on linear axes on the last one."""
    lead = int(np.argmin(spec.prismatic))
    rails, T = np.zeros((3, spec.joints)), np.eye(4)
    for j in range(lead):
        T = T @ spec.T_parent_joint[j]
        rails[:, j] = T[:3, :3] @ spec.axis[j]
    constant, sine, cosine = np.zeros((3, spec.joints - lead, 4, 4))
    for k, j in enumerate(range(lead, spec.joints)):
        parent = T @ spec.T_parent_joint[j] if k == 0 else spec.T_parent_joint[j]
        constant[k], sine[k], cosine[k] = _local(parent, spec.axis[j], bool(spec.prismatic[j]))

    def t(x: Array) -> Tensor:
        return torch.tensor(x, dtype=torch.float32, device=device)

    points, order = _points(spec, parts, lead, T)
    first, second = parts.pairs.T
    squares = ((parts.b_m - parts.a_m) ** 2).sum(axis=1)
    linear = spec.prismatic[lead:, None].astype(np.float64)
    body = Body(
        t(rails), t(constant[:, :3]), t(sine[:, :3]), t(cosine[:, :3]), t(linear),
        tuple(t(p) for p in points), torch.tensor(order, device=device), t(parts.radius_m[:, None]),
        torch.tensor(np.concatenate([order[:, first], order[:, second]]), device=device),
        t(squares[parts.pairs.T][..., None]), t((parts.radius_m[first] + parts.radius_m[second])[:, None]),
        t(np.array(speed_max_m_s)), t(np.array(AFTER_S)[:, None, None]), t(_recovers()),
    )  # fmt: skip
    near = self_gap(body, place(body, t(_postures(spec)))).amin(1) < NEVER_M
    return body._replace(touch=body.touch[:, near], lengths=body.lengths[:, near], reach=body.reach[near])


def _recovers() -> Array:
    """Body.recovers, from the motion of each part alone, as stroke.trajectory has it."""
    q, v, a, goal = np.eye(4)
    way = motion.solve(q, v, a, goal, np.zeros(4), np.array([RECOVERY_S]), np.array([0.5 * RECOVERY_S]))
    path: Array = motion.evaluate(way, np.array(AFTER_S)[:, None])[0]
    return path


def _postures(spec: RobotSpec) -> Array:
    """All over the joints' ranges (J, B): parts that come near each other in none of them need no look."""
    share = np.random.default_rng(0).random((POSTURES, spec.joints))
    return (spec.q_min_rad + share * (spec.q_max_rad - spec.q_min_rad)).T


def _points(spec: RobotSpec, parts: Any, lead: int, T: Array) -> tuple[list[Array], Any]:
    """What is fixed to the rails and to each link, in its frame; where the ends of each capsule lie among them once
    they are listed from the racket down to the rails, as `place` does."""
    made, at = [], {}
    for frame in range(lead - 1, spec.joints):
        here = [c for c, f in enumerate(parts.frame) if f == frame or (f > frame == spec.joints - 1)]
        fixed = [np.eye(4)[:3, 3]] if frame == spec.joints - 1 else []
        names: list[tuple[int, int] | None] = [None] if fixed else []
        for end, ends in enumerate((parts.a_m, parts.b_m)):
            for c in here:
                fixed.append(ends[c])
                names.append((end, c))
        racket = np.array([n is None or parts.frame[n[1]] == spec.joints for n in names])
        p = np.array(fixed).reshape(-1, 3)
        p = np.where(racket[:, None], p @ spec.T_joint_racket[:3, :3].T + spec.T_joint_racket[:3, 3], p)
        made.append((p @ T[:3, :3].T + T[:3, 3] if frame == lead - 1 else p).T)
        at[frame] = names
    listed = [name for frame in range(spec.joints - 1, lead - 2, -1) for name in at[frame]]
    order = [[listed.index((end, c)) for c in range(len(parts.frame))] for end in (0, 1)]
    return made, np.array(order)


def _local(parent: Array, axis: Array, prismatic: bool) -> tuple[Array, Array, Array]:
    """Parent -> joint frame as constant, factor of sin q (or q), factor of cos q; Rodrigues (1840)."""
    if prismatic:
        shift = np.zeros((4, 4))
        shift[:3, 3] = axis
        return parent, parent @ shift, np.zeros((4, 4))
    K = np.zeros((4, 4))
    K[:3, :3] = [[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]
    return parent @ (np.eye(4) + K @ K), parent @ K, -parent @ K @ K


def place(body: Body, q: Tensor) -> Placed:
    """Capsules for joints (J, B): points are carried from the racket down to the rails, link by link."""
    links = body.constant.shape[0]
    arm = q[q.shape[0] - links :]  # (F, B)
    f, g = body.linear * arm + (1.0 - body.linear) * arm.sin(), arm.cos()
    local = (
        body.constant[..., None] + f[:, None, None] * body.sine[..., None] + g[:, None, None] * body.cosine[..., None]
    )
    turns, shifts = local[:, :, :3, None].unbind(), local[:, :, 3, None].unbind()
    p = body.points[-1][..., None].expand(-1, -1, q.shape[1])  # (3, n, B)
    for k in range(links - 1, -1, -1):
        turn, shift = turns[k], shifts[k]
        p = (turn * p).sum(1) + shift  # (3, 3, 1, B) by (3, n, B)
        if body.points[k].shape[1]:
            p = torch.cat([p, body.points[k][..., None].expand(-1, -1, q.shape[1])], dim=1)
    p = p + (body.rails @ q)[:, None]
    return Placed(p)


def ends(body: Body, placed: Placed) -> tuple[Tensor, Tensor]:
    """a and b of each capsule, (3, C, B)."""
    return placed.points[:, body.order[0]], placed.points[:, body.order[1]]


def self_gap(body: Body, placed: Placed) -> Tensor:
    """Distance of the surfaces of parts that may touch (P, B)."""
    a, b, c, d = placed.points[:, body.touch].unbind(1)
    return segment_distance(a, b, c, d, body.lengths) - body.reach


def beyond_net(body: Body, placed: Placed, clear_m: float) -> Tensor:
    """How deep the end of each part lies in the net or beyond it, below the tape (C, B), with a clearance; 0: free."""
    x, y, z = placed.points[:, body.order[1]].unbind()
    reach = body.radius.clamp(max=THIN_M) + clear_m
    depth = torch.minimum(x + reach, TAPE_M + reach - z)
    return torch.minimum(depth, POSTS_M + reach - y.abs()).clamp(min=0.0)


def zone_gap(body: Body, placed: Placed, zones: Tensor, ahead_s: Tensor) -> Tensor:
    """Distance (2 C, B) of both ends of each part to the nearest zone (Z, ZONE) so long (B,) after it was seen there. A
    zone is taken as endlessly high: nobody is reached over. (Between its ends a link comes 0.04 m nearer at most.)"""
    some = placed.points[:2, body.order.flatten()]  # (2, 2 C, B)
    grown = GROWTH_M_S * ahead_s.clamp(min=0.0)
    gaps = []
    for zone in zones[:ZONES].unbind():
        off = some - (zone[:2, None] + zone[2:4, None] * ahead_s)[:, None]
        gaps.append((off * off).sum(0).sqrt() - zone[4])
    near = gaps[0] if ZONES == 1 else torch.stack(gaps).amin(0)
    return near - body.radius.repeat(2, 1) - grown


def shaken(q: Tensor, dq: Tensor) -> Tensor:
    """Joints (J, 2 B) a millisecond before and after q, at speeds dq (J, B); see `speed_of`."""
    return torch.cat([q - 0.5 * STEP_S * dq, q + 0.5 * STEP_S * dq], dim=1)


def speed_of(centre: Tensor) -> Tensor:
    """Speed (B,) of the racket's centre (3, 2 B) placed for `shaken` joints."""
    before, after = centre.chunk(2, dim=1)
    return (after - before).norm(dim=0) / STEP_S


def segment_distance(a: Tensor, b: Tensor, c: Tensor, d: Tensor, squares: Tensor) -> Tensor:
    """Distance (...) of segments ab and cd, (3, ...) each, of known squared lengths (2, ...); Ericson (2004), Real-Time
    Collision Detection, 5.1.9."""
    u, v, w = b - a, d - c, a - c
    uu, vv = squares.clamp(min=1e-9).unbind()
    uv, uw, vw = (u * v).sum(0), (u * w).sum(0), (v * w).sum(0)
    s = ((uv * vw - vv * uw) / (uu * vv - uv * uv).clamp(min=1e-9)).clamp(0.0, 1.0)
    t = ((uv * s + vw) / vv).clamp(0.0, 1.0)
    s = ((uv * t - uw) / uu).clamp(0.0, 1.0)
    gap = w + s * u - t * v
    return (gap * gap).sum(0).sqrt()


def nobody(like: Tensor) -> Tensor:
    """Zones (ZONES, ZONE) so far away that they do not matter."""
    return torch.full((ZONES, ZONE), 0.0, device=like.device) + FAR_M * torch.eye(ZONE, device=like.device)[0]


def zones_of(seen: Array, like: Tensor) -> Tensor:
    """Zones (Z, ZONE), nearest first, as a program takes them: so many, filled up with far ones."""
    out = nobody(like)
    some = seen[:ZONES]
    out[: len(some)] = torch.tensor(some, dtype=torch.float32, device=like.device)
    return out
