"""A planned swing, adjusted to what is known now: same time give or take, same way of standing, a better-known shuttle.

Re-planning from scratch would jump between postures; here the contact event is carried along by Newton steps in joint
space from the last one (damped least squares, Nakamura & Hanafusa 1986), weighted so that a joint moves in proportion
to what its drive can do. Used by the classical rival and the oracle baseline. Legend: N candidates, J joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hjepa import motion
from hjepa.stroke import RECOVERY_S, JointState
from hjepa.tasks.badminton.court import HALF_DOUBLES_M, NET_HEIGHT_POST_M, net_height_at
from hjepa.tasks.badminton.flight import fly, rk4_step
from hjepa.tasks.badminton.oracle import Candidates, Oracle, Swing
from hjepa.tasks.badminton.returns import inverse_impact
from hjepa.tasks.kinematics import joint_frames, racket_jacobian
from hjepa.types import Array, RobotSpec

Mask = NDArray[np.bool_]
SHIFTS_S = np.array([0.0, -0.01, 0.01, -0.02, 0.02, -0.04, 0.04, 0.07, 0.1])  # of the contact time
SHIFT_SHARE = 0.06, 0.2  # largest share of the time left; and where the swing asks for more than the limits
FOLLOW_S = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8])[:, None, None]  # instants (T, 1, 1) after the hit, to rest
WAY_SHARES = np.linspace(0.1, 0.9, 9)[:, None, None]  # instants (T, 1, 1) of the way that are looked at
NET_GAP_M = 0.05  # the racket stays so far from the net's plane
TILTS_RAD = np.radians([0.0, -4.0, 4.0])  # of the launch elevation
NET_MARGIN_M = 0.08  # less than the first plan's: the shot is committed
CENTRE_TOLERANCE_M, NORMAL_TOLERANCE_RAD = 0.004, 0.01
_NEWTON_STEPS = 3


def refine(
    oracle: Oracle, last: Swing, state: JointState, x_m: Array, v_m_s: Array, drag_length_m: float, keep_m: float = 0.0
) -> Swing | None:
    """`last` (its time_s counted from now) adjusted to a shuttle at x, v (3,) now; None where no adjustment is sound.

    It stays as it is while the shuttle is expected within keep_m of where the racket is going to be at that time.
    The result may use more than the limits (`use` says so): the caller decides whether that is better than nothing.
    """
    shift, tilt = (grid.ravel() for grid in np.meshgrid(SHIFTS_S, TILTS_RAD))
    # a shift of the time moves the hit along the path; the less time is left, the less of that can be followed
    near = np.abs(shift) <= SHIFT_SHARE[int(last.use > oracle.config.limit)] * last.time_s
    shift, tilt = shift[near], tilt[near]
    t = last.time_s + shift
    contact, u_in = _at(x_m, v_m_s, t, drag_length_m)
    if np.linalg.norm(contact[0] - last.contact_m) < keep_m:  # the first candidate changes nothing but the shuttle
        return last
    low, high = oracle.config.contact_height_m
    elevation = np.arctan2(last.u_out_m_s[2], np.hypot(*last.u_out_m_s[:2])) + tilt
    target = np.repeat(last.target_m[None], len(t), axis=0)
    u_out = oracle.table.launch(contact, target, elevation)
    sound: Mask = np.isfinite(u_out).all(-1) & (contact[:, 2] > low - 0.1) & (contact[:, 2] < high + 0.1)
    u_out = np.where(sound[:, None], u_out, [5.0, 0.0, 5.0])
    sound &= clearance(contact, u_out, oracle.config.drag_length_m) > NET_MARGIN_M
    normal, v_n = inverse_impact(u_in, u_out, oracle.config.restitution)
    q_hit, reached, along = _follow(oracle.spec, last.q_hit_rad, contact, normal)
    dq_hit = _hit_speed(oracle.spec, along, v_n, last.dq_hit_rad_s)
    use, effort = _use(oracle.spec, state, q_hit, dq_hit, t, last.before_s)
    use = np.where(sound & reached, use, np.inf)
    use = use + np.where(trouble(oracle.spec, state, q_hit, dq_hit, t, last.before_s), 1.0, 0.0)
    score = np.maximum(use, 0.8) + 0.02 * effort + 3.0 * np.abs(shift) + 0.5 * np.abs(tilt)
    i = int(np.argmin(score))
    if not np.isfinite(score[i]):
        return None
    return Swing(
        q_hit[i], dq_hit[i], float(t[i]), last.before_s, contact[i], normal[i], u_out[i], last.target_m, float(use[i])
    )


def clearance(contact_m: Array, u_out_m_s: Array, drag_length_m: float) -> Array:
    """Height over the tape (N,) when shuttles leaving contact (N, 3) with u_out cross the net; -inf if not in 2 s."""
    xs, _ = fly(contact_m, u_out_m_s, dt_s=0.04, steps=50, L=drag_length_m)
    over = xs[..., 0] > 0.0
    k = over.argmax(axis=1).clip(1)
    rows = np.arange(len(xs))
    a, b = xs[rows, k - 1], xs[rows, k]
    share = (-a[:, 0] / (b[:, 0] - a[:, 0]).clip(1e-9))[:, None]
    at = a + share * (b - a)
    return np.where(over.any(axis=1), at[:, 2] - net_height_at(at[:, 1]), -np.inf)


def trouble(spec: RobotSpec, state: JointState, q_hit: Array, dq_hit: Array, t_s: Array, before_s: Array) -> Mask:
    """True (N,) where the way to a hit or the recovery would leave a joint's range, or the recovery touch the net.

    The driver would clip such a motion, and the hit with it. Looked at in instants, so between them a little may pass.
    """
    way = motion.solve(*state, q_hit, dq_hit, t_s[:, None], before_s)
    approach = motion.evaluate(way, WAY_SHARES * way.duration_s)[0]  # (T, N, J)
    goal = motion.recovery_target(q_hit, dq_hit, spec.q_home_rad, spec.ddq_max_rad_s2, RECOVERY_S)
    whole = np.array([RECOVERY_S])
    rest = motion.solve(q_hit, dq_hit, np.zeros_like(q_hit), goal, np.zeros_like(q_hit), whole, 0.5 * whole)
    follow = motion.evaluate(rest, FOLLOW_S)[0]
    q = np.concatenate([approach, follow])
    out = ((q < spec.q_min_rad) | (q > spec.q_max_rad)).any(axis=(0, 2))
    return np.asarray(out | at_net(spec, joint_frames(spec, follow)[..., -1, :, :]).any(axis=0))


def at_net(spec: RobotSpec, T_world_racket: Array) -> Mask:
    """True (...,) where a racket (..., 4, 4) reaches the net's plane, centre or tip, below the tape."""
    T = T_world_racket
    ends = np.stack([T[..., :3, 3], T[..., :3, 3] + spec.racket_semi_axes_m[0] * T[..., :3, 0]])
    over = (ends[..., 0] > -NET_GAP_M) & (ends[..., 2] < NET_HEIGHT_POST_M + NET_GAP_M)
    return np.asarray((over & (np.abs(ends[..., 1]) < HALF_DOUBLES_M)).any(axis=0))


def choose(oracle: Oracle, drawn: Candidates, state: JointState) -> Swing | None:
    """Of what lies within the limits the best score, else the least use; what makes `trouble` comes last."""
    usable = np.flatnonzero(np.isfinite(drawn.use))
    if not usable.size:
        return None
    within = drawn.use <= oracle.config.limit
    order = usable[np.argsort(np.where(within, drawn.score, 100.0 * drawn.use)[usable])][:12]
    some = Candidates(*(column[order] for column in drawn))
    bad = trouble(oracle.spec, state, some.q_hit_rad, some.dq_hit_rad_s, some.time_s, some.before_s)
    return some.swing(int(bad.argmin()))


def _at(x_m: Array, v_m_s: Array, t_s: Array, drag_length_m: float) -> tuple[Array, Array]:
    """Position and velocity (N, 3) of the shuttle at times (N,) from now."""
    steps = np.floor(t_s / 0.01 + 1e-9).astype(np.int64).clip(0)
    xs, vs = fly(x_m[None], v_m_s[None], dt_s=0.01, steps=int(steps.max()), L=drag_length_m)
    return rk4_step(xs[0, steps], vs[0, steps], t_s - 0.01 * steps, drag_length_m)


def _follow(spec: RobotSpec, q_rad: Array, centre_m: Array, normal: Array) -> tuple[Array, Mask, Array]:
    """Joints (N, J) near q (J,) that put the racket at centre (N, 3), face along normal (N, 3); which got there (N,);
    racket speed along the normal per joint speed (N, J)."""
    q = np.repeat(q_rad[None], len(centre_m), axis=0)
    weight = (spec.ddq_max_rad_s2 / spec.ddq_max_rad_s2.max()) ** 2
    for step in range(_NEWTON_STEPS + 1):
        frames = joint_frames(spec, q)
        linear, angular = racket_jacobian(spec, frames)
        face = frames[:, -1, :3, 2]
        side = np.sign((face * normal).sum(-1, keepdims=True))
        gap = centre_m - frames[:, -1, :3, 3]
        turn = np.cross(face, side * normal)
        if step == _NEWTON_STEPS:
            break
        J = np.concatenate([linear, angular - face[:, :, None] * (face[:, None] @ angular)], axis=1)  # (N, 6, J)
        JW = J * weight
        gram = JW @ J.swapaxes(1, 2) + 1e-7 * np.eye(6)
        q = q + (JW.swapaxes(1, 2) @ np.linalg.solve(gram, np.concatenate([gap, turn], axis=1)[..., None]))[..., 0]
    reached = (np.linalg.norm(gap, axis=-1) < CENTRE_TOLERANCE_M) & (
        np.linalg.norm(turn, axis=-1) < NORMAL_TOLERANCE_RAD
    )
    reached &= ((q > spec.q_min_rad + 0.02) & (q < spec.q_max_rad - 0.02)).all(-1)
    return q, reached, (linear * normal[:, :, None]).sum(1)


def _hit_speed(spec: RobotSpec, along: Array, v_n: Array, last_rad_s: Array) -> Array:
    """Joint speeds (N, J) at the hit: the last ones, corrected in the arm so that the racket meets v_n (N,)."""
    arm = along[:, 2:] * spec.dq_max_rad_s[2:]
    missing = v_n - along @ last_rad_s
    share = missing / (arm**2).sum(-1).clip(1e-6)
    change = share[:, None] * arm * spec.dq_max_rad_s[2:]
    return last_rad_s + np.concatenate([np.zeros((len(along), 2)), change], axis=-1)


def _use(
    spec: RobotSpec, state: JointState, q_hit: Array, dq_hit: Array, t_s: Array, before_s: Array
) -> tuple[Array, Array]:
    """Largest share (N,) of a speed or acceleration limit, inf out of range on the way; summed squared shares (N,)."""
    way = motion.solve(*state, q_hit, dq_hit, t_s[:, None], before_s)
    a = np.maximum(np.abs(way.A1), np.abs(way.A2)) / spec.ddq_max_rad_s2
    v = motion.peak_speed(way) / spec.dq_max_rad_s
    middle = motion.evaluate(way, way.switch_s)[0]
    out = ((middle < spec.q_min_rad) | (middle > spec.q_max_rad)).any(-1)
    return np.maximum(a, v).max(-1) + np.where(out, np.inf, 0.0), (a**2).sum(-1)
