"""Two-phase motion: the fixed smooth basis below the learned motor decoder, shared with the oracle.

Each joint accelerates with A1, then with A2, so that it meets a position and a velocity at an exact time. Ramps of
acceleration join the phases, and the start matches position, velocity and acceleration (boundary-exact). Among
two-piece accelerations this needs the least peak: 4 D / T^2 from rest to rest, where a quintic needs 5.77 D / T^2
(Biagiotti & Melchiorri 2008, ch. 2-3), and reach is what limits a racket robot. The switch is named as a time before
the event, so that re-planning on the way reproduces the same motion.

Every function is plain arithmetic and works on numpy arrays and torch tensors alike, broadcasting over any shape.
"""

from __future__ import annotations

from typing import Any, NamedTuple

RAMP_S = 0.04  # length of an acceleration ramp
SHORT_S = 0.02  # shortest time to go that is solved for; nearer than that the motion is left alone


class TwoPhase(NamedTuple):
    """A motion from (q0, v0, a0) at t = 0; accelerations A1 until `switch_s`, then A2, until `duration_s`."""

    q0: Any
    v0: Any
    a0: Any
    A1: Any
    A2: Any
    switch_s: Any
    ramp_s: Any
    duration_s: Any


def _ramps(t: Any, r: Any) -> tuple[Any, Any, Any]:
    """The ramp clip(t / r, 0, 1), its integral and its second integral."""
    c, past = (t / r).clip(0.0, 1.0), (t - r).clip(0.0)
    rcc = r * c * c
    return c, 0.5 * rcc + past, rcc * r * c / 6.0 + 0.5 * past * (past + r)


def solve(q0: Any, v0: Any, a0: Any, q1: Any, v1: Any, duration_s: Any, before_s: Any) -> TwoPhase:
    """The two-phase motion that reaches q1, v1 after `duration_s`, switching `before_s` before that.

    When less than `before_s` is left (the switch has passed), it switches half-way: an undisturbed plan then keeps A2.
    """
    T = duration_s.clip(SHORT_S)
    early = T - before_s
    switch = early * (early > 0.25 * T) + 0.5 * T * (early <= 0.25 * T)
    r = (0.25 * T).clip(None, RAMP_S)
    rest = T - switch
    # q(T) = q0 + v0 T + a0 (T^2/2 - R2(T)) + A1 (R2(T) - R2(rest)) + A2 R2(rest); v(T) is its derivative
    (_, d1, p1), (_, d2, p2) = _ramps(T, r), _ramps(rest, r)
    dq = q1 - q0 - v0 * T - a0 * (0.5 * T * T - p1)
    dv = v1 - v0 - a0 * (T - d1)
    m11, m12, m21, m22 = p1 - p2, p2, d1 - d2, d2
    det = m11 * m22 - m12 * m21
    return TwoPhase(q0, v0, a0, (dq * m22 - dv * m12) / det, (dv * m11 - dq * m21) / det, switch, r, T)


def evaluate(motion: TwoPhase, t: Any) -> tuple[Any, Any, Any]:
    """Position, velocity and acceleration at time t from the start (t <= duration; A2 goes on beyond it)."""
    q0, v0, a0, A1, A2, s, r, _ = motion
    (c1, d1, p1), (c2, d2, p2) = _ramps(t, r), _ramps(t - s, r)
    q = q0 + v0 * t + a0 * (0.5 * t * t - p1) + A1 * (p1 - p2) + A2 * p2
    v = v0 + a0 * (t - d1) + A1 * (d1 - d2) + A2 * d2
    a = a0 * (1.0 - c1) + A1 * (c1 - c2) + A2 * c2
    return q, v, a


def peak_speed(motion: TwoPhase) -> Any:
    """Bound of |velocity| that is exact up to the ramps: the larger of the speeds at the start, switch and end."""
    v_switch = evaluate(motion, motion.switch_s + 0.5 * motion.ramp_s)[1]
    v_end = evaluate(motion, motion.duration_s)[1]
    return 0.5 * (abs(v_switch) + abs(v_end) + abs(abs(v_switch) - abs(v_end)))


def recovery_target(q: Any, v: Any, home: Any, a_max: Any, duration_s: float) -> Any:
    """Where to recover to within `duration_s` at 70 % of a_max: home, or as far towards it as that allows (rest there).

    Braking alone ends near q + v |v| / (2 a); from there a rest-to-rest two-phase motion covers a T^2 / 4.
    """
    a = 0.7 * a_max
    brake = q + 0.5 * v * duration_s * ((abs(v) / (a * duration_s)).clip(0.0, 1.0))
    reach = (0.25 * a * duration_s * duration_s - abs(v) * duration_s * 0.5).clip(0.05)
    step = home - brake
    return brake + step * (reach / abs(step).clip(1e-6)).clip(0.0, 1.0)


def quickest(q0: Any, v0: Any, q1: Any, v_max: Any, a_max: Any, t: Any) -> tuple[Any, Any, Any]:
    """Position and speed at time t of the quickest motion from q0, v0 to rest at q1, and how long it takes; every part
    on its own: speed up, cruise, brake (Kroeger 2010, ch. 3). |v0| <= v_max.

    What cannot be stopped before q1 goes beyond it and comes back.
    """
    way = q1 - q0
    ahead = 1.0 - 2.0 * (way < v0 * abs(v0) / (2.0 * a_max))  # +1: the place to brake for still lies ahead
    d, v = ahead * way, ahead * v0
    peak = (a_max * d + 0.5 * v * v).clip(0.0) ** 0.5
    peak = peak * (peak <= v_max) + v_max * (peak > v_max)
    up_s = ((peak - v) / a_max).clip(0.0)
    down_s = peak / a_max
    flat_s = ((d - 0.5 * (peak + v) * up_s - 0.5 * peak * down_s) / peak.clip(1e-9)).clip(0.0)
    up, flat, down = t.clip(0.0, up_s), (t - up_s).clip(0.0, flat_s), (t - up_s - flat_s).clip(0.0, down_s)
    gone = v * up + 0.5 * a_max * up * up + peak * (flat + down) - 0.5 * a_max * down * down
    speed = v + a_max * (up - down)
    return q0 + ahead * gone, ahead * speed, up_s + flat_s + down_s
