"""Where frames lie in each other, from points measured in both: tracker, robot, court.

    p = R q + t        q a point as the tracker says it, p the same point in the world; T_world_tracker = [R t; 0 1]

Points that do not fit the best triple are set aside (least median of squares, Rousseeuw 1984); of the others, least
squares over rotations (Kabsch 1976; Umeyama 1991 for the sign), then Gauss-Newton with each point's covariance. Sets
that cannot fix a frame are refused in words. Arithmetic only: who measured the points is not this module's business.
Legend: N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError
from hjepa.types import Array

LEAST = 4  # points: three fix a frame, the fourth can contradict
SPREAD_M = 0.03  # least extent (standard deviation) of the points along their second axis: below, a turn is not seen
SIGMA_M = 0.002  # of a coordinate, where nobody says
WORST_M = 0.02  # root mean square residual that is still a calibration
_OUTLIER = 4.0  # residual beyond so many robust standard deviations: set aside
_MOST_OUTLIERS = 0.3  # share of the points that may be set aside
_TRIPLES = 400  # looked at
_ROUNDS = 20
_STEPS = 50
_DONE = 1e-12


class Fit(NamedTuple):
    """A frame, and how well the points agree with it."""

    T_target_source: Array  # (4, 4)
    residual_m: Array  # (N,) distance of each point, outliers as well
    used: NDArray[np.bool_]  # (N,) False: set aside
    sigma_m: Array  # (3,) standard deviation of where the points' middle comes to lie, along the target's axes
    sigma_rad: Array  # (3,) standard deviation of the rotation about the target's axes

    @property
    def rms_m(self) -> float:
        """Root mean square residual of the points used."""
        return float(np.sqrt((self.residual_m[self.used] ** 2).mean()))

    @property
    def worst_m(self) -> float:
        """Largest residual of the points used."""
        return float(self.residual_m[self.used].max())


def apply(T: Array, xyz: Array) -> Array:
    """Points (..., 3) moved by a transform (4, 4)."""
    moved: Array = xyz @ T[:3, :3].T + T[:3, 3]
    return moved


def inverse(T: Array) -> Array:
    """Inverse of a rigid transform (4, 4)."""
    out = np.eye(4)
    out[:3, :3] = T[:3, :3].T
    out[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return out


def fit(
    source_m: Array,
    target_m: Array,
    covariance_m2: Array | None = None,
    *,
    worst_m: float = WORST_M,
    names: Sequence[str] = (),
) -> Fit:
    """T_target_source from the same N points in both frames, (N, 3) each.

    covariance_m2: (N, 3, 3) of the source points (None: 2 mm on every axis); it weighs them and rotates along.
    DataError in words: too few points, all on one line, far from fitting (root mean square above worst_m), too many
    that do not fit. names: of the points, for messages.
    """
    source, target, covariance = _checked(source_m, target_m, covariance_m2)
    _demand_spread(source, "source")
    _demand_spread(target, "target")
    used = _consensus(source, target, covariance)
    for _ in range(_ROUNDS):
        if used.sum() < max(LEAST, (1.0 - _MOST_OUTLIERS) * len(source)):
            raise DataError(_does_not_fit(_apart(source, target, used), names, len(source)))
        _demand_spread(source[used], "source")
        T, information = _refined(source[used], target[used], covariance[used])
        apart = np.linalg.norm(target - apply(T, source), axis=1)
        before, used = used, _fits(apart / _own(covariance), used)
        if (before == used).all():
            break
    used = before
    rms = float(np.sqrt((apart[used] ** 2).mean()))
    if rms > worst_m:
        raise DataError(
            f"the points miss each other by {1e3 * rms:.1f} mm (root mean square); allowed: {1e3 * worst_m:.1f} mm. "
            f"Farthest: {_named(int(np.argmax(np.where(used, apart, 0))), names)}, {1e3 * apart[used].max():.1f} mm"
        )
    return Fit(T, apart, used, *_doubt(information, apply(T, source[used]), apart[used] / _own(covariance[used])))


# parts of the fit


def _checked(source_m: Array, target_m: Array, covariance_m2: Array | None) -> tuple[Array, Array, Array]:
    source, target = np.array(source_m, dtype=np.float64), np.array(target_m, dtype=np.float64)
    if source.ndim != 2 or source.shape[1:] != (3,) or source.shape != target.shape:
        raise DataError(f"points have shapes {source.shape} and {target.shape}; allowed: (N, 3) both")
    n = len(source)
    if n < LEAST:
        raise DataError(f"{n} points; allowed: at least {LEAST}, not on one line")
    covariance = np.tile(SIGMA_M**2 * np.eye(3), (n, 1, 1)) if covariance_m2 is None else np.array(covariance_m2)
    if covariance.shape != (n, 3, 3):
        raise DataError(f"covariances have shape {covariance.shape}; allowed: ({n}, 3, 3)")
    if not all(np.isfinite(x).all() for x in (source, target, covariance)):
        raise DataError("points or covariances hold values that are not finite; allowed: finite numbers")
    symmetric = 0.5 * (covariance + covariance.swapaxes(1, 2))
    least = np.linalg.eigvalsh(symmetric)[:, 0]
    if (least <= 0).any():
        raise DataError(f"covariance of point {int(np.argmin(least)) + 1} is not positive; allowed: a variance above 0")
    return source, target, symmetric


def _demand_spread(points: Array, which: str) -> None:
    """The points must span a plane: on a line, any turn about it fits."""
    extent = np.linalg.svd(points - points.mean(0), compute_uv=False) / np.sqrt(len(points))
    if extent[1] < SPREAD_M:
        where = "in one place" if extent[0] < SPREAD_M else "on one line"
        raise DataError(
            f"the {which} points lie {where} (they spread {1e3 * extent[1]:.0f} mm across); "
            f"allowed: {1e3 * SPREAD_M:.0f} mm or more, so that every turn is seen"
        )


def _kabsch(source: Array, target: Array, weight: Array) -> Array:
    """Weighted least squares rotation and shift (..., 4, 4) of points (..., N, 3); never a reflection (Umeyama 1991,
    eq. 40 to 43). weight: (N,)."""
    share = (weight / weight.sum())[:, None]
    a, b = (share * source).sum(-2), (share * target).sum(-2)
    moment = np.swapaxes(share * (target - b[..., None, :]), -1, -2) @ (source - a[..., None, :])
    U, _, Vt = np.linalg.svd(moment)
    U[..., 2] *= np.sign(np.linalg.det(U @ Vt))[..., None]
    T = np.zeros((*moment.shape[:-2], 4, 4))
    T[..., :3, :3] = U @ Vt
    T[..., :3, 3] = b - (T[..., :3, :3] @ a[..., None])[..., 0]
    T[..., 3, 3] = 1.0
    return T


def _refined(source: Array, target: Array, covariance: Array) -> tuple[Array, Array]:
    """Minimise sum r' (R C R')^-1 r, r = p - R q - t, from Kabsch's answer on; the answer and its information (6, 6).

    A step is a turn and a shift on the left, T <- exp(x) T; the information is that of (turn, shift).
    """
    T = _kabsch(source, target, 1.0 / np.trace(covariance, axis1=1, axis2=2))
    information = np.eye(6)
    for _ in range(_STEPS):
        R = T[:3, :3]
        moved = apply(T, source)
        W = np.linalg.inv(R @ covariance @ R.T)  # (N, 3, 3)
        J = np.concatenate([-_cross(moved), np.tile(np.eye(3), (len(source), 1, 1))], axis=2)  # (N, 3, 6) of moved
        information = np.einsum("nia,nij,njb->ab", J, W, J)
        step = np.linalg.solve(information, np.einsum("nia,nij,nj->a", J, W, target - moved))
        T = _exp(step) @ T
        if np.abs(step).max() < _DONE:
            break
    return T, information


def _cross(v: Array) -> Array:
    """Matrices (..., 3, 3) with _cross(v) w = v x w."""
    x, y, z = np.moveaxis(v, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _exp(step: Array) -> Array:
    """Rigid transform (4, 4) of a small turn (3,) and shift (3,); Rodrigues (1840)."""
    turn, shift = step[:3], step[3:]
    angle = float(np.linalg.norm(turn))
    K = _cross(turn / angle) if angle > 0 else np.zeros((3, 3))
    T = np.eye(4)
    T[:3, :3] = np.eye(3) + np.sin(angle) * K + (1.0 - np.cos(angle)) * (K @ K)
    T[:3, 3] = shift
    return T


def _consensus(source: Array, target: Array, covariance: Array) -> NDArray[np.bool_]:
    """Points that agree with the triple of least median residual (Rousseeuw 1984), which bad points cannot pull."""
    triples = np.array(list(combinations(range(len(source)), 3)))
    if len(triples) > _TRIPLES:
        triples = triples[np.random.default_rng(0).choice(len(triples), _TRIPLES, replace=False)]
    corners = source[triples]  # (M, 3, 3)
    extent = np.linalg.svd(corners - corners.mean(1, keepdims=True), compute_uv=False)[:, 1] / np.sqrt(3)
    triples = triples[extent >= min(SPREAD_M / 3, extent.max())]
    T = _kabsch(source[triples], target[triples], np.ones(3))  # (M, 4, 4)
    moved = source @ np.swapaxes(T[:, :3, :3], 1, 2) + T[:, None, :3, 3]  # (M, N, 3)
    relative = np.linalg.norm(target - moved, axis=-1) / _own(covariance)
    middle = np.median(relative, axis=1)
    best = int(np.argmin(middle))
    agreeing: NDArray[np.bool_] = relative[best] <= _OUTLIER * max(1.0, 1.4826 * float(middle[best]))
    return agreeing


def _own(covariance: Array) -> Array:
    """Standard deviation of each point's distance (N,), from its covariance."""
    return np.sqrt(np.trace(covariance, axis1=1, axis2=2))


def _apart(source: Array, target: Array, used: NDArray[np.bool_]) -> Array:
    chosen = used if used.sum() >= 3 else np.ones_like(used)
    T = _kabsch(source[chosen], target[chosen], np.ones(int(chosen.sum())))
    return np.linalg.norm(target - apply(T, source), axis=1)


def _fits(relative: Array, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points lie within four standard deviations: their own, or more where the points in use scatter more."""
    scatter = float(np.sqrt((relative[used] ** 2).mean()))
    fitting: NDArray[np.bool_] = relative <= _OUTLIER * max(1.0, scatter)
    return fitting


def _does_not_fit(apart: Array, names: Sequence[str], n: int) -> str:
    far = np.argsort(-apart)[:3]
    told = ", ".join(f"{_named(int(i), names)} {1e3 * apart[i]:.0f} mm" for i in far)
    return f"too many of the {n} points do not fit the others (farthest: {told}); allowed: 3 in 10. Measure again"


def _named(i: int, names: Sequence[str]) -> str:
    return f"'{names[i]}'" if i < len(names) else f"point {i + 1}"


def _doubt(information: Array, moved: Array, relative: Array) -> tuple[Array, Array]:
    """How well the frame is known: at the middle of the points (3,), and about the axes (3,).

    Points that scatter more than their covariances say make it worse.
    """
    freedom = max(1, 3 * len(moved) - 6)
    scatter = max(1.0, float(3 * (relative**2).sum() / freedom))
    covariance = np.linalg.inv(information) * scatter
    J = np.concatenate([-_cross(moved.mean(0)), np.eye(3)], axis=1)
    return np.sqrt(np.diag(J @ covariance @ J.T)), np.sqrt(np.diag(covariance)[:3])
