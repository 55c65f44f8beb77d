"""One shuttle's flight in plain floats: the simulator's fast path of `flight.py` (a test compares the two).

A state is (x, y, z, vx, vy, vz) in m and m/s, world frame.
"""

from __future__ import annotations

import math

State = tuple[float, float, float, float, float, float]
_GRAVITY = -9.81


def rk4(state: State, dt_s: float, drag_length_m: float, gravity_m_s2: float = _GRAVITY) -> State:
    """One classical Runge-Kutta step of dv/dt = g - |v| v / L."""
    x, y, z, a, b, c = state
    h = 0.5 * dt_s
    k = -math.sqrt(a * a + b * b + c * c) / drag_length_m
    a1, b1, c1 = k * a, k * b, k * c + gravity_m_s2
    p, q, r = a + h * a1, b + h * b1, c + h * c1
    k = -math.sqrt(p * p + q * q + r * r) / drag_length_m
    a2, b2, c2 = k * p, k * q, k * r + gravity_m_s2
    s, t, u = a + h * a2, b + h * b2, c + h * c2
    k = -math.sqrt(s * s + t * t + u * u) / drag_length_m
    a3, b3, c3 = k * s, k * t, k * u + gravity_m_s2
    d, e, f = a + dt_s * a3, b + dt_s * b3, c + dt_s * c3
    k = -math.sqrt(d * d + e * e + f * f) / drag_length_m
    a4, b4, c4 = k * d, k * e, k * f + gravity_m_s2
    w = dt_s / 6.0
    return (
        x + w * (a + 2.0 * (p + s) + d),
        y + w * (b + 2.0 * (q + t) + e),
        z + w * (c + 2.0 * (r + u) + f),
        a + w * (a1 + 2.0 * (a2 + a3) + a4),
        b + w * (b1 + 2.0 * (b2 + b3) + b4),
        c + w * (c1 + 2.0 * (c2 + c3) + c4),
    )


def between(start: State, end: State, dt_s: float, share: float) -> tuple[float, float, float]:
    """Position `share` (0..1) of the way through a step of dt: cubic Hermite in both ends' x and v."""
    s2 = share * share
    s3 = s2 * share
    h11 = s3 - s2
    h00, h01 = 1.0 - 3.0 * s2 + 2.0 * s3, 3.0 * s2 - 2.0 * s3
    m0, m1 = dt_s * (h11 - s2 + share), dt_s * h11
    return (
        h00 * start[0] + h01 * end[0] + m0 * start[3] + m1 * end[3],
        h00 * start[1] + h01 * end[1] + m0 * start[4] + m1 * end[4],
        h00 * start[2] + h01 * end[2] + m0 * start[5] + m1 * end[5],
    )


def share_at_zero(start: State, end: State, dt_s: float, axis: int) -> float:
    """Share (0..1) of a step at which coordinate `axis` (0 x, 2 z), of opposite signs at its ends, is 0: bisection."""
    low, high = 0.0, 1.0
    rising = end[axis] > 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if (between(start, end, dt_s, middle)[axis] > 0.0) == rising:
            high = middle
        else:
            low = middle
    return high
