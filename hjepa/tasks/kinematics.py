"""Forward kinematics of a serial robot, vectorised over any leading batch shape.

Used by the oracle, by training (labels and the body schema), by rendering and by tests; the executed learned agent
does not import it. Legend: J joints, ... any batch shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.types import Array, RobotSpec


class RacketMotion(NamedTuple):
    """Racket frame and its motion in the world."""

    centre_m: Array  # (..., 3) centre of the hitting ellipse
    rotation: Array  # (..., 3, 3) columns: shaft, in-plane, face normal
    v_m_s: Array  # (..., 3) velocity of the centre
    w_rad_s: Array  # (..., 3) angular velocity


def _motion(spec: RobotSpec, j: int, q: Array) -> Array:
    """Joint motion as a homogeneous transform (..., 4, 4); Rodrigues (1840) for a revolute joint."""
    T = np.zeros(q.shape + (4, 4))
    T[..., 3, 3] = 1.0
    axis = spec.axis[j]
    if spec.prismatic[j]:
        T[..., :3, :3] = np.eye(3)
        T[..., :3, 3] = q[..., None] * axis
        return T
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    s, c = np.sin(q)[..., None, None], np.cos(q)[..., None, None]
    T[..., :3, :3] = np.eye(3) + s * K + (1 - c) * (K @ K)
    return T


def joint_frames(spec: RobotSpec, q_rad: Array) -> Array:
    """World frames of all joints, then of the racket: (..., J + 1, 4, 4) for q (..., J)."""
    T = np.broadcast_to(np.eye(4), q_rad.shape[:-1] + (4, 4))
    frames = []
    for j in range(spec.joints):
        T = T @ spec.T_parent_joint[j] @ _motion(spec, j, q_rad[..., j])
        frames.append(T)
    frames.append(T @ spec.T_joint_racket)
    return np.stack(frames, axis=-3)


def racket_jacobian(spec: RobotSpec, frames: Array) -> tuple[Array, Array]:
    """Linear and angular Jacobians of the racket centre, each (..., 3, J), from `joint_frames`."""
    centre = frames[..., -1, :3, 3]
    linear, angular = [], []
    for j in range(spec.joints):
        axis = frames[..., j, :3, :3] @ spec.axis[j]
        if spec.prismatic[j]:
            linear.append(axis)
            angular.append(np.zeros_like(axis))
        else:
            linear.append(np.cross(axis, centre - frames[..., j, :3, 3]))
            angular.append(axis)
    return np.stack(linear, axis=-1), np.stack(angular, axis=-1)


def racket_motion(spec: RobotSpec, q_rad: Array, dq_rad_s: Array) -> RacketMotion:
    """Racket frame and velocities for q, dq of shape (..., J)."""
    frames = joint_frames(spec, q_rad)
    linear, angular = racket_jacobian(spec, frames)
    dq = dq_rad_s[..., None]
    return RacketMotion(frames[..., -1, :3, 3], frames[..., -1, :3, :3], (linear @ dq)[..., 0], (angular @ dq)[..., 0])
