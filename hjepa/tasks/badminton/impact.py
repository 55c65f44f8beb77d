"""Racket and shuttle: swept disc test and impact law, for one contact (plain floats, fast) and for batches (numpy).

Swept test: between two instants the signed distance of the shuttle to the racket plane changes sign; the crossing is
found by linear interpolation and is a hit if its in-plane offset lies inside the hitting ellipse. A shuttle that
moves 0.1 m in a millisecond is caught like a slow one (a contact solver would let it tunnel).
Impact: with the relative velocity w = u_in - V at the struck point (V = v + omega x r) and the face normal n,

    u_out = V + w - (1 + e) (w . n) n        Newton's law of restitution along n, tangential velocity kept

(the racket is taken as much heavier than the 5 g shuttle; e is the apparent coefficient, so the law is
u_out = e u_in + (1 + e) V along the normal). Both faces strike. Legend: B pairs, T instants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.types import Array

Vector = tuple[float, float, float]
RESTITUTION = 0.55  # nominal: a 95 m/s shuttle from a head speed of about 60 m/s (estimate)
NEAR_M = 1.2  # crossings further from the racket's centre are no attempt at the shuttle


class Pose(NamedTuple):
    """Racket frame at an instant, and its motion; `rotation` is row-major, its columns are shaft, in-plane, normal."""

    centre_m: Sequence[float]  # 3
    rotation: Sequence[float]  # 9
    v_m_s: Sequence[float]  # 3, of the centre
    w_rad_s: Sequence[float]  # 3


class Crossing(NamedTuple):
    """The shuttle in the racket plane, `fraction` of the way between two instants, at an offset along racket x, y."""

    fraction: float
    x_m: float
    y_m: float


class Contacts(NamedTuple):
    """For each pair the first hit, or on a miss the crossing nearest to the centre; nan where there is neither."""

    hit: NDArray[np.bool_]  # (B,)
    instant: NDArray[np.int64]  # (B,) before the crossing, -1 where there is none
    fraction: Array  # (B,) of the way to the next instant
    offset_m: Array  # (B, 2) along racket x, y
    point_m: Array  # (B, 3) world
    u_in_m_s: Array  # (B, 3) shuttle before
    struck_m_s: Array  # (B, 3) velocity V of the struck point
    u_out_m_s: Array  # (B, 3) shuttle after; also given on a miss, as if the disc were larger


def crossing(before: Pose, after: Pose, x0: Sequence[float], x1: Sequence[float]) -> Crossing | None:
    """Where the shuttle, going from x0 to x1 (3), crosses the moving racket plane; None if it stays on one side."""
    c0, r0, c1, r1 = before.centre_m, before.rotation, after.centre_m, after.rotation
    ax, ay, az = x0[0] - c0[0], x0[1] - c0[1], x0[2] - c0[2]
    bx, by, bz = x1[0] - c1[0], x1[1] - c1[1], x1[2] - c1[2]
    d0 = ax * r0[2] + ay * r0[5] + az * r0[8]
    d1 = bx * r1[2] + by * r1[5] + bz * r1[8]
    if (d0 > 0.0) == (d1 > 0.0):
        return None
    f = d0 / (d0 - d1)
    px0, px1 = ax * r0[0] + ay * r0[3] + az * r0[6], bx * r1[0] + by * r1[3] + bz * r1[6]
    py0, py1 = ax * r0[1] + ay * r0[4] + az * r0[7], bx * r1[1] + by * r1[4] + bz * r1[7]
    return Crossing(f, px0 + f * (px1 - px0), py0 + f * (py1 - py0))


def inside(offset: Crossing, semi_axes_m: Sequence[float]) -> bool:
    """True if the offset lies in the hitting ellipse."""
    return (offset.x_m / semi_axes_m[0]) ** 2 + (offset.y_m / semi_axes_m[1]) ** 2 <= 1.0


def struck_velocity(before: Pose, after: Pose, at: Crossing) -> tuple[Vector, Vector]:
    """(V, n): velocity of the struck point and face normal, both (3,), between the two instants."""
    f, g = at.fraction, 1.0 - at.fraction
    r0, r1 = before.rotation, after.rotation
    axes = [g * a + f * b for a, b in zip(r0, r1)]
    v = [g * a + f * b for a, b in zip(before.v_m_s, after.v_m_s)]
    w = [g * a + f * b for a, b in zip(before.w_rad_s, after.w_rad_s)]
    rx = axes[0] * at.x_m + axes[1] * at.y_m
    ry = axes[3] * at.x_m + axes[4] * at.y_m
    rz = axes[6] * at.x_m + axes[7] * at.y_m
    V = (v[0] + w[1] * rz - w[2] * ry, v[1] + w[2] * rx - w[0] * rz, v[2] + w[0] * ry - w[1] * rx)
    norm = math.sqrt(axes[2] ** 2 + axes[5] ** 2 + axes[8] ** 2)
    return V, (axes[2] / norm, axes[5] / norm, axes[8] / norm)


def rebound(u_in: Sequence[float], V: Sequence[float], n: Sequence[float], restitution: float) -> Vector:
    """Shuttle velocity (3,) after the racket: the law in the file's head."""
    k = (1.0 + restitution) * sum((u - s) * c for u, s, c in zip(u_in, V, n))
    return u_in[0] - k * n[0], u_in[1] - k * n[1], u_in[2] - k * n[2]


def rebound_batch(u_in: Array, V: Array, n: Array, restitution: float | Array) -> Array:
    """`rebound` for (..., 3) arrays; restitution a number or (...,)."""
    k = (1.0 + np.asarray(restitution)) * np.sum((u_in - V) * n, axis=-1)
    return u_in - k[..., None] * n


def contacts(
    centre_m: Array,
    rotation: Array,
    v_m_s: Array,
    w_rad_s: Array,
    shuttle_m: Array,
    shuttle_v_m_s: Array,
    semi_axes_m: Sequence[float] | Array,
    restitution: float | Array = RESTITUTION,
) -> Contacts:
    """Pair racket motions with flights sampled at the same T instants (1 ms apart, as in the simulator).

    centre (B, T, 3), rotation (B, T, 3, 3), v and w (B, T, 3); shuttle x and v (B, T, 3). B may be 1 on either side.
    """
    local = np.einsum("...i,...ij->...j", shuttle_m - centre_m, rotation)  # (B, T, 3) shuttle in the racket frame
    d0, d1 = local[:, :-1, 2], local[:, 1:, 2]
    crosses = (d0 > 0.0) != (d1 > 0.0)
    f = d0 / np.where(crosses, d0 - d1, 1.0)
    offset = local[:, :-1, :2] + f[..., None] * (local[:, 1:, :2] - local[:, :-1, :2])  # (B, T-1, 2)
    near = crosses & (np.hypot(offset[..., 0], offset[..., 1]) < NEAR_M)
    hits = near & (np.sum((offset / np.asarray(semi_axes_m)) ** 2, axis=-1) <= 1.0)
    hit = hits.any(axis=1)
    nearest = np.argmin(np.where(near, np.hypot(offset[..., 0], offset[..., 1]), np.inf), axis=1)
    index = np.where(hit, np.argmax(hits, axis=1), nearest)
    found = near.any(axis=1)
    row = np.arange(local.shape[0])

    def pick(values: Array) -> Array:
        """Values (B or 1, T, ...) at the crossing, interpolated: (B, ...)."""
        r = row if values.shape[0] == row.size else np.zeros_like(row)
        g = f[row, index].reshape((-1,) + (1,) * (values.ndim - 2))
        return values[r, index] + g * (values[r, index + 1] - values[r, index])

    chosen, axes = offset[row, index], pick(rotation)
    arm = np.einsum("bij,bj->bi", axes[..., :2], chosen)
    V = pick(v_m_s) + np.cross(pick(w_rad_s), arm)
    n = axes[..., 2] / np.linalg.norm(axes[..., 2], axis=-1, keepdims=True)
    u_in = pick(shuttle_v_m_s)
    values = (chosen, pick(shuttle_m), u_in, V, rebound_batch(u_in, V, n, restitution))
    blank = [np.where(found[:, None], v, np.nan) for v in values]
    return Contacts(hit, np.where(found, index, -1), np.where(found, f[row, index], np.nan), *blank)
