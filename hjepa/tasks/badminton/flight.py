"""Shuttle flight: a point mass with quadratic drag, vectorised over shuttles.

    dv/dt = g - |v| v / L        (Cohen, Texier, Quere & Clanet, New J. Phys. 17 (2015) 063001; L = 2 m / (rho S C_D))

Flip and spin are left out: they matter within about 3 m of the racket only (same source). World frame, SI units.
Legend: B shuttles, T samples, ... any leading shape. L may be one number or one per shuttle (B,).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hjepa.types import Array

Index = NDArray[np.int64]

G = np.array([0.0, 0.0, -9.81])
G.setflags(write=False)
L_NOMINAL_M = 4.5759  # terminal speed 6.7 m/s

_SOLVER_STEPS = 64  # RK4 steps per shot: below 1e-4 m from the converged path for every launch up to 150 m/s
_SOLVER_ITERATIONS = 30
_SOLVER_TOLERANCE_M = 1e-6


class Landing(NamedTuple):
    """Where and how each shuttle meets the floor; nan where it did not within the time given."""

    xy_m: Array  # (B, 2)
    time_s: Array  # (B,)
    v_m_s: Array  # (B, 3)
    net_height_m: Array  # (B,) height above the floor when x changes sign; nan if it never does before landing
    net_y_m: Array  # (B,)
    net_time_s: Array  # (B,)
    apex_m: Array  # (B,) greatest height on the way


def acceleration(v_m_s: Array, drag_length_m: ArrayLike = L_NOMINAL_M) -> Array:
    """dv/dt (..., 3) of a shuttle at velocity v (..., 3); drag length scalar or broadcastable to (...,)."""
    speed = np.sqrt(np.einsum("...i,...i->...", v_m_s, v_m_s))
    return G - (speed / np.asarray(drag_length_m))[..., None] * v_m_s


def rk4_step(x_m: Array, v_m_s: Array, dt_s: ArrayLike, drag_length_m: ArrayLike = L_NOMINAL_M) -> tuple[Array, Array]:
    """One classical Runge-Kutta step of (x, v), both (..., 3); dt scalar or (...,)."""
    dt = np.asarray(dt_s, dtype=np.float64)[..., None]
    half = 0.5 * dt
    a1 = acceleration(v_m_s, drag_length_m)
    v2 = v_m_s + half * a1
    a2 = acceleration(v2, drag_length_m)
    v3 = v_m_s + half * a2
    a3 = acceleration(v3, drag_length_m)
    v4 = v_m_s + dt * a3
    a4 = acceleration(v4, drag_length_m)
    x_next = x_m + dt / 6.0 * (v_m_s + 2.0 * (v2 + v3) + v4)
    v_next = v_m_s + dt / 6.0 * (a1 + 2.0 * (a2 + a3) + a4)
    return x_next, v_next


def fly(x_m: Array, v_m_s: Array, *, dt_s: float, steps: int, L: ArrayLike = L_NOMINAL_M) -> tuple[Array, Array]:
    """Sampled path from x, v (B, 3): positions and velocities (B, steps + 1, 3), first sample at time 0; no floor."""
    x, v = np.asarray(x_m, dtype=np.float64), np.asarray(v_m_s, dtype=np.float64)
    xs = np.empty((*x.shape[:-1], steps + 1, 3))
    vs = np.empty_like(xs)
    xs[..., 0, :], vs[..., 0, :] = x, v
    for k in range(1, steps + 1):
        x, v = rk4_step(x, v, dt_s, L)
        xs[..., k, :], vs[..., k, :] = x, v
    return xs, vs


def fly_to(x_m: Array, v_m_s: Array, time_s: Array, L: ArrayLike = L_NOMINAL_M) -> tuple[Array, Array]:
    """Position and velocity (B, 3) each shuttle has time_s (B,) after x, v (B, 3); no floor."""
    x, v = np.asarray(x_m, dtype=np.float64), np.asarray(v_m_s, dtype=np.float64)
    dt = np.asarray(time_s, dtype=np.float64) / _SOLVER_STEPS
    for _ in range(_SOLVER_STEPS):
        x, v = rk4_step(x, v, dt, L)
    return x, v


def land(x_m: Array, v_m_s: Array, L: ArrayLike = L_NOMINAL_M, dt_s: float = 0.01, max_s: float = 4.0) -> Landing:
    """Fly x, v (B, 3) until z = 0; events between two steps are read off the step's cubic Hermite polynomial."""
    x, v = np.array(x_m, dtype=np.float64), np.array(v_m_s, dtype=np.float64)
    batch = x.shape[0]
    drag = np.broadcast_to(np.asarray(L, dtype=np.float64), (batch,))
    out = Landing(*(np.full(s, np.nan) for s in ((batch, 2), batch, (batch, 3), batch, batch, batch, batch)))
    apex = x[:, 2].copy()
    alive = np.arange(batch)
    for k in range(int(np.ceil(max_s / dt_s))):
        if not alive.size:
            break
        x1, v1 = rk4_step(x, v, dt_s, drag[alive])
        down = x1[:, 2] <= 0.0
        _note_net(out, alive, k * dt_s, dt_s, (x, v, x1, v1), down)
        apex[alive] = np.maximum(apex[alive], _step_apex(x, v, x1, v1, dt_s))
        if down.any():
            _note_floor(out, alive[down], k * dt_s, dt_s, (x[down], v[down], x1[down], v1[down]))
        keep = ~down
        alive, x, v = alive[keep], x1[keep], v1[keep]
    out.apex_m[:] = apex
    return out


def solve_launch(x0_m: Array, target_m: Array, time_s: Array, L: ArrayLike = L_NOMINAL_M) -> tuple[Array, Array]:
    """Launch velocity v0 (B, 3) that carries a shuttle from x0 to target (B, 3) in time_s (B,), and the miss (B,) in m.

    Without wind the path stays in one vertical plane, so this is Newton shooting in two unknowns (speed along the
    floor, speed upwards) with step halving, started from the drag-only solution of a flat shot.
    """
    x0, target = np.asarray(x0_m, dtype=np.float64), np.asarray(target_m, dtype=np.float64)
    t = np.asarray(time_s, dtype=np.float64)
    drag = np.broadcast_to(np.asarray(L, dtype=np.float64), t.shape)
    gap = target - x0
    reach = np.hypot(gap[:, 0], gap[:, 1])
    goal = np.stack([reach, gap[:, 2]], axis=-1)  # (B, 2)
    heading = np.divide(gap[:, :2], reach[:, None], out=np.zeros_like(gap[:, :2]), where=reach[:, None] > 1e-12)
    guess_u = drag / t * np.expm1(np.minimum(reach / drag, 6.0))
    stretch = np.maximum(guess_u * t / np.maximum(reach, 1e-9), 1.0)
    u = np.stack([guess_u, (gap[:, 2] + 4.905 * t**2 / np.sqrt(stretch)) / t * np.sqrt(stretch)], axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):  # an absurd trial overflows, is no better, and is halved
        u, miss = _newton(u, goal, t, drag)
    return np.concatenate([u[:, :1] * heading, u[:, 1:]], axis=-1), miss


def _newton(u: Array, goal: Array, t: Array, drag: Array) -> tuple[Array, Array]:
    """Damped Newton on (B, 2) plane speeds; stops early when every miss is below the tolerance."""
    error = _shoot(u, t, drag) - goal
    miss = np.linalg.norm(error, axis=-1)
    for _ in range(_SOLVER_ITERATIONS):
        todo = np.flatnonzero(miss > _SOLVER_TOLERANCE_M)
        if not todo.size:
            break
        step = _newton_step(u[todo], error[todo], goal[todo], t[todo], drag[todo])
        scale = np.ones(todo.size)
        best_u, best_e, best_m = u[todo].copy(), error[todo].copy(), miss[todo].copy()
        open_ = np.ones(todo.size, dtype=bool)
        for _ in range(8):
            i = np.flatnonzero(open_)
            trial = u[todo[i]] - scale[i, None] * step[i]
            e = _shoot(trial, t[todo[i]], drag[todo[i]]) - goal[todo[i]]
            m = np.linalg.norm(e, axis=-1)
            good = m < best_m[i]
            j = i[good]
            best_u[j], best_e[j], best_m[j] = trial[good], e[good], m[good]
            open_[j] = False
            scale *= 0.5
            if not open_.any():
                break
        u[todo], error[todo], miss[todo] = best_u, best_e, best_m
        if open_.all():
            break
    return u, miss


def _newton_step(u: Array, error: Array, goal: Array, t: Array, drag: Array) -> Array:
    """J^-1 error with J by forward differences, (B, 2)."""
    eps = 1e-5 * (1.0 + np.abs(u))
    columns = []
    for j in range(2):
        moved = u.copy()
        moved[:, j] += eps[:, j]
        columns.append((_shoot(moved, t, drag) - goal - error) / eps[:, j : j + 1])
    jac = np.stack(columns, axis=-1)  # (B, 2, 2)
    det = jac[:, 0, 0] * jac[:, 1, 1] - jac[:, 0, 1] * jac[:, 1, 0]
    det = np.where(np.abs(det) < 1e-12, 1e-12, det)
    return (
        np.stack(
            [
                jac[:, 1, 1] * error[:, 0] - jac[:, 0, 1] * error[:, 1],
                jac[:, 0, 0] * error[:, 1] - jac[:, 1, 0] * error[:, 0],
            ],
            axis=-1,
        )
        / det[:, None]
    )


def _shoot(u: Array, t: Array, drag: Array) -> Array:
    """Displacement (B, 2) along floor and height after t (B,) from plane speeds u (B, 2)."""
    v = np.stack([u[:, 0], np.zeros(u.shape[0]), u[:, 1]], axis=-1)
    x, _ = fly_to(np.zeros_like(v), v, t, drag)
    return x[:, [0, 2]]


def _hermite(s: Array, dt: float, p0: Array, m0: Array, p1: Array, m1: Array) -> Array:
    """Cubic Hermite value at s in 0..1 of a step dt with end values p and slopes m (all broadcastable)."""
    s2, s3 = s * s, s * s * s
    return (2 * s3 - 3 * s2 + 1) * p0 + (s3 - 2 * s2 + s) * dt * m0 + (3 * s2 - 2 * s3) * p1 + (s3 - s2) * dt * m1


def _crossing(dt: float, p0: Array, m0: Array, p1: Array, m1: Array) -> Array:
    """s in 0..1 where the Hermite polynomial with p0 and p1 on either side of 0 vanishes: bisection, 30 halvings."""
    low, high = np.zeros_like(p0), np.ones_like(p0)
    sign = np.where(p1 > 0, 1.0, -1.0)
    for _ in range(30):
        mid = 0.5 * (low + high)
        past = sign * _hermite(mid, dt, p0, m0, p1, m1) > 0
        high, low = np.where(past, mid, high), np.where(past, low, mid)
    return 0.5 * (low + high)


_Step = tuple[Array, Array, Array, Array]  # x, v at the start and x, v at the end of a step


def _step_apex(x: Array, v: Array, x1: Array, v1: Array, dt: float) -> Array:
    """Greatest height (B,) within a step: the vertical speed falls through 0 almost linearly inside 10 ms."""
    top = (v[:, 2] > 0) & (v1[:, 2] <= 0)
    s = np.divide(v[:, 2], v[:, 2] - v1[:, 2], out=np.zeros(x.shape[0]), where=top)
    inside = _hermite(s, dt, x[:, 2], v[:, 2], x1[:, 2], v1[:, 2])
    return np.where(top, inside, np.maximum(x[:, 2], x1[:, 2]))


def _note_net(out: Landing, ids: Index, t0: float, dt: float, step: _Step, down: NDArray[np.bool_]) -> None:
    """Record the first crossing of x = 0 by shuttles `ids`, if it comes before the floor."""
    x, v, x1, v1 = step
    cross = (np.sign(x[:, 0]) * np.sign(x1[:, 0]) < 0) & np.isnan(out.net_time_s[ids])
    if not cross.any():
        return
    x, v, x1, v1, who = x[cross], v[cross], x1[cross], v1[cross], ids[cross]
    s = _crossing(dt, x[:, 0], v[:, 0], x1[:, 0], v1[:, 0])
    height = _hermite(s, dt, x[:, 2], v[:, 2], x1[:, 2], v1[:, 2])
    above = (height > 0.0) | ~down[cross]
    who, s, x, v, x1, v1 = who[above], s[above], x[above], v[above], x1[above], v1[above]
    out.net_time_s[who] = t0 + s * dt
    out.net_height_m[who] = height[above]
    out.net_y_m[who] = _hermite(s, dt, x[:, 1], v[:, 1], x1[:, 1], v1[:, 1])


def _note_floor(out: Landing, ids: Index, t0: float, dt: float, step: _Step) -> None:
    """Record point, time and velocity of the floor contact of shuttles `ids`."""
    x, v, x1, v1 = step
    s = _crossing(dt, x[:, 2], v[:, 2], x1[:, 2], v1[:, 2])
    out.time_s[ids] = t0 + s * dt
    out.xy_m[ids] = _hermite(s[:, None], dt, x[:, :2], v[:, :2], x1[:, :2], v1[:, :2])
    out.v_m_s[ids] = v + s[:, None] * (v1 - v)
