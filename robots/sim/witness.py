"""What a robot did in an episode that it must not: told by the simulator, from true joints and the robot's geometry.

Privileged, for metrics: no agent is told. Written apart from what planners predict with, so that neither checks itself.
Legend: N instants, C capsules, P pairs, J joints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.tasks.kinematics import joint_frames
from hjepa.types import Array, RobotSpec
from robots.capsules import Capsules, capsules
from robots.sim.person import Person


class Witnessed(NamedTuple):
    """Of one episode so far."""

    touched_net: bool  # the racket, below the tape
    self_clearance_m: float  # least distance of two parts that may touch; negative: they do
    person_clearance_m: float  # least distance to the person's zone; infinite without a person
    interventions: int  # ticks in which the driver's guard changed what was asked
    saturated: int  # ticks in which a drive was at its largest torque
    racket_speed_m_s: float  # of the racket's centre when it met the shuttle (or was nearest); nan: neither


class Body:
    """A robot's capsules in the world."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec, self.parts = spec, capsules(spec)

    def ends(self, q_rad: Array) -> tuple[Array, Array]:
        """Both ends (N, C, 3) for joints (N, J)."""
        frames = joint_frames(self.spec, q_rad)[:, self.parts.frame]  # (N, C, 4, 4)
        R, p = frames[..., :3, :3], frames[..., :3, 3]
        a, b = ((R @ end[:, :, None])[..., 0] + p for end in (self.parts.a_m, self.parts.b_m))
        return a, b

    def self_clearance(self, q_rad: Array) -> Array:
        """Least distance of parts that may touch (N,)."""
        a, b = self.ends(q_rad)
        i, k = self.parts.pairs.T
        radii = self.parts.radius_m[i] + self.parts.radius_m[k]
        gaps: Array = (segment_distance(a[:, i], b[:, i], a[:, k], b[:, k]) - radii).min(axis=1)
        return gaps

    def zone_clearance(self, q_rad: Array, zones: Array) -> Array:
        """Least distance (N,) of any part to a vertical cylinder of each instant, (N, 6) as Person.zone gives it."""
        a, b = self.ends(q_rad)
        parts: Capsules = self.parts
        floor = np.concatenate([zones[:, :2], np.zeros((len(zones), 1))], axis=1)[:, None]
        top = floor + np.array([0.0, 0.0, 1.0]) * zones[:, None, 5:6]
        gaps = segment_distance(a, b, np.broadcast_to(floor, a.shape), np.broadcast_to(top, a.shape))
        near: Array = (gaps - parts.radius_m - zones[:, None, 4]).min(axis=1)
        return near


def person_clearance(body: Body, q_rad: Array, times_s: Array, person: Person | None) -> float:
    """Least distance of any part to the person's zone; infinite where nobody came."""
    seen = [] if person is None else [(k, person.zone(float(t))) for k, t in enumerate(times_s)]
    there = [(k, zone[0]) for k, zone in seen if len(zone)]
    if not there:
        return float("inf")
    rows, zones = zip(*there, strict=True)
    return float(body.zone_clearance(q_rad[list(rows)], np.stack(zones)).min())


def segment_distance(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Distance (...) of segments ab and cd, (..., 3) each; Ericson (2004), Real-Time Collision Detection, 5.1.9."""
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = ((x * y).sum(-1) for x, y in ((u, u), (v, v), (u, v)))
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    det = uu * vv - uv * uv
    s = np.where(det > 1e-12, (uv * vw - vv * uw) / np.maximum(det, 1e-12), 0.0).clip(0.0, 1.0)
    t = ((uv * s + vw) / np.maximum(vv, 1e-12)).clip(0.0, 1.0)
    s = ((uv * t - uw) / np.maximum(uu, 1e-12)).clip(0.0, 1.0)
    gap: Array = np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)
    return gap
