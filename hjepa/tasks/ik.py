"""Closed-form inverse kinematics of a racket pose for arms like courtbot: base axes, three joints, a spherical wrist.

A racket is asked for five numbers (centre and face normal), so the spin about the normal is free: it is sampled, every
branch (shoulder, elbow, wrist, face) is solved for each spin, and the solution nearest a nominal posture is kept
(Pieper 1968 for the split into position and wrist). Used by the oracle and the teacher; the executed learned agent does
not import it. Legend: B poses, S spins x faces, J joints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import Array, RobotSpec


class Posture(NamedTuple):
    """The chosen solution of each pose."""

    q_rad: Array  # (B, J), base joints included
    cost: Array  # (B,) squared distance from the nominal posture, weighted; inf where no branch reaches the pose


class _Geometry(NamedTuple):
    shoulder_z: float
    shoulder_x: float
    upper: float
    fore_x: float
    fore_z: float
    R_flange_racket: Array  # (3, 3)
    wrist_to_racket: Array  # (3,) in the flange frame


def _geometry(spec: RobotSpec) -> _Geometry:
    """Link lengths; RobotError unless the chain is x, y, yaw, pitch, pitch, then roll, pitch, roll at a point."""
    axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    t = spec.T_parent_joint[:, :3, 3]
    if spec.axis.shape != axes.shape or not np.array_equal(spec.axis, axes) or np.any(t[7]):
        raise RobotError(f"'{spec.name}' has no closed-form inverse kinematics here: only courtbot's chain has")
    return _Geometry(
        t[2, 2] + t[3, 2],
        t[3, 0],
        t[4, 0],
        t[5, 0] + t[6, 0],
        t[5, 2] + t[6, 2],
        spec.T_joint_racket[:3, :3],
        spec.T_joint_racket[:3, 3],
    )


def _arm_to_wrist(g: _Geometry, wrist: Array) -> tuple[Array, Array]:
    """Joints a1..a3 for a wrist centre (..., 3) relative to the yaw axis: (..., 4, 3), nan where out of reach."""
    yaw = np.arctan2(wrist[..., 1], wrist[..., 0])
    radius = np.hypot(wrist[..., 0], wrist[..., 1])
    height = wrist[..., 2] - g.shoulder_z
    fore, beta = np.hypot(g.fore_x, g.fore_z), np.arctan2(g.fore_z, g.fore_x)
    branches = []
    for front in (1.0, -1.0):
        rho = front * radius - g.shoulder_x
        cosine = (rho**2 + height**2 - g.upper**2 - fore**2) / (2 * g.upper * fore)
        bend = np.arccos(np.where(np.abs(cosine) <= 1, cosine, np.nan))
        elevation = np.arctan2(height, rho)
        lift = np.arctan2(fore * np.sin(bend), g.upper + fore * np.cos(bend))
        a1 = yaw if front > 0 else np.arctan2(-wrist[..., 1], -wrist[..., 0])
        for elbow in (1.0, -1.0):
            branches.append(np.stack([a1, -(elevation + elbow * lift), elbow * bend + beta], axis=-1))
    arm = np.stack(branches, axis=-2)
    pitch = arm[..., 1] + arm[..., 2]
    c1, s1, cp, sp = np.cos(arm[..., 0]), np.sin(arm[..., 0]), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(c1)
    R = np.stack([c1 * cp, -s1, c1 * sp, s1 * cp, c1, s1 * sp, -sp, zero, cp], axis=-1)
    return arm, R.reshape(*c1.shape, 3, 3)


def _wrist_joints(R: Array) -> Array:
    """Joints a4..a6 with Rx(a4) Ry(a5) Rx(a6) = R (..., 3, 3), both branches: (..., 2, 3)."""
    a5 = np.arccos(R[..., 0, 0].clip(-1, 1))
    a6 = np.arctan2(R[..., 0, 1], R[..., 0, 2])
    a4 = np.arctan2(R[..., 1, 0], -R[..., 2, 0])
    flip = [np.stack([_wrap(a4 + np.pi), -a5, _wrap(a6 + np.pi)], axis=-1)]
    return np.stack([np.stack([a4, a5, a6], axis=-1), *flip], axis=-2)


def _wrap(angle: Array) -> Array:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _racket_rotations(normal: Array, spins: int) -> Array:
    """Racket rotations (B, S, 3, 3) whose face normal is +-normal, over `spins` directions of the shaft, both faces."""
    side = np.cross([0.0, 0.0, 1.0], normal)
    side /= np.linalg.norm(side, axis=-1, keepdims=True).clip(1e-6)
    up = np.cross(normal, side)
    angle = np.linspace(0, 2 * np.pi, spins, endpoint=False)[None, :, None]
    shaft = np.cos(angle) * up[:, None] + np.sin(angle) * side[:, None]  # (B, spins, 3)
    rotations = []
    for face in (1.0, -1.0):
        z = np.broadcast_to(face * normal[:, None], shaft.shape)
        rotations.append(np.stack([shaft, np.cross(z, shaft), z], axis=-1))
    return np.concatenate(rotations, axis=1)


def solve_ik(
    spec: RobotSpec,
    centre_m: Array,
    normal: Array,
    base_xy_m: Array,
    q_nominal_rad: Array,
    *,
    spins: int = 16,
    weight: Array | None = None,
    margin_rad: float = 0.05,
) -> Posture:
    """Joints for racket centres (B, 3) with face normals (B, 3) from given base positions (B, 2), world frame.

    `q_nominal_rad` (J,) or (B, J) is the posture to stay near, `weight` (J - 2,) says how much each arm joint counts;
    solutions within `margin_rad` of a joint limit are left out.
    """
    g = _geometry(spec)
    R_racket = _racket_rotations(normal, spins)  # (B, S, 3, 3)
    R_flange = R_racket @ g.R_flange_racket.T
    wrist = (
        centre_m[:, None]
        - (R_flange @ g.wrist_to_racket)
        - np.append(base_xy_m, np.zeros((len(base_xy_m), 1)), 1)[:, None]
    )
    arm, R_arm = _arm_to_wrist(g, wrist)  # (B, S, 4, 3), (B, S, 4, 3, 3)
    hand = _wrist_joints(R_arm.swapaxes(-1, -2) @ R_flange[:, :, None])  # (B, S, 4, 2, 3)
    q = np.concatenate([np.broadcast_to(arm[:, :, :, None], hand.shape), hand], axis=-1).reshape(len(centre_m), -1, 6)
    nominal = np.broadcast_to(np.atleast_2d(q_nominal_rad)[:, None, 2:], q.shape)
    turn = np.array([1, 0, 0, 1, 0, 1], dtype=bool)  # joints that may be a full turn nearer
    q = np.where(turn, q + 2 * np.pi * np.round((nominal - q) / (2 * np.pi)), q)
    low, high = spec.q_min_rad[2:] + margin_rad, spec.q_max_rad[2:] - margin_rad
    q = np.where(q > high, q - 2 * np.pi * turn, np.where(q < low, q + 2 * np.pi * turn, q))
    w = np.ones(6) if weight is None else weight
    cost = (w * (q - nominal) ** 2).sum(-1)
    cost = np.where(((q >= low) & (q <= high)).all(-1), cost, np.inf)
    cost = np.where(np.isnan(cost), np.inf, cost)
    pick = cost.argmin(-1)
    rows = np.arange(len(q))
    return Posture(np.concatenate([base_xy_m, np.nan_to_num(q[rows, pick])], axis=-1), cost[rows, pick])
