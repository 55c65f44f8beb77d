"""The physics oracle: knows the shuttle's path, inverts impact and kinematics, moves by two-phase motions.

It is the teacher of the learned levels and the upper bound in every results table; the learned agent does not import
it. Legend: N candidates, J joints, T path samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hjepa import motion
from hjepa.tasks.badminton.court import in_singles, net_height_at
from hjepa.tasks.badminton.flight import fly, land
from hjepa.tasks.badminton.returns import LaunchTable, inverse_impact
from hjepa.tasks.ik import solve_ik
from hjepa.tasks.kinematics import joint_frames, racket_jacobian
from hjepa.types import Array, RobotSpec

FIXED_TARGETS_M = np.array([[5.9, 1.8], [5.9, -1.8], [3.8, 0.0], [1.9, 1.7], [1.9, -1.7]])  # deep, middle, front


@dataclass(frozen=True)
class OracleConfig:
    """How hard the oracle searches and what it believes about the world."""

    drag_length_m: float = 4.576
    restitution: float = 0.55
    candidates: int = 1500  # drawn before the base pre-filter
    solved: int = 96  # kept for inverse kinematics
    contact_height_m: tuple[float, float] = (0.35, 2.35)
    elevation_deg: tuple[float, float] = (-12.0, 58.0)
    net_margin_m: float = 0.12
    limit: float = 0.97  # share of every speed and acceleration limit a plan may use


class Swing(NamedTuple):
    """A planned contact event: the joint state at the hit, when, and the shape of the way there."""

    q_hit_rad: Array  # (J,)
    dq_hit_rad_s: Array  # (J,)
    time_s: float  # from now
    before_s: Array  # (J,) switch of the two-phase motion, before the hit
    contact_m: Array  # (3,)
    normal: Array  # (3,)
    u_out_m_s: Array  # (3,)
    target_m: Array  # (2,)
    use: float  # largest share of a limit used


class Oracle:
    """Plans the swing that uses the smallest share of the robot's limits, for a known shuttle path."""

    def __init__(self, spec: RobotSpec, config: OracleConfig = OracleConfig()) -> None:  # noqa: B008 (frozen value)
        self.spec, self.config = spec, config
        self.table = LaunchTable(config.drag_length_m)

    def plan(
        self,
        q_rad: Array,
        dq_rad_s: Array,
        ddq_rad_s2: Array,
        x_m: Array,
        v_m_s: Array,
        targets_m: Array,
        rng: np.random.Generator,
        *,
        earliest_s: float = 0.12,
    ) -> Swing | None:
        """Best swing for a shuttle at x, v (3,) now and targets (K, 2), or None when none within limits was found."""
        batch = self.candidates(q_rad, dq_rad_s, ddq_rad_s2, x_m, v_m_s, targets_m, rng, earliest_s=earliest_s)
        if batch is None:
            return None
        score = np.where(batch.use <= self.config.limit, batch.score, np.inf)
        i = int(score.argmin())
        if not np.isfinite(score[i]):
            return None
        return batch.swing(i)

    def candidates(
        self,
        q_rad: Array,
        dq_rad_s: Array,
        ddq_rad_s2: Array,
        x_m: Array,
        v_m_s: Array,
        targets_m: Array,
        rng: np.random.Generator,
        *,
        earliest_s: float = 0.12,
    ) -> Candidates | None:
        """Solved candidates with the share of the limits each uses; None when the shuttle is never hittable."""
        c = self.config
        xs, vs = fly(x_m[None], v_m_s[None], dt_s=0.01, steps=240, L=c.drag_length_m)
        xs, vs = xs[0], vs[0]
        t_all = np.arange(len(xs)) * 0.01
        low, high = c.contact_height_m
        airborne = np.maximum.accumulate(xs[:, 2] <= 0.02) == 0
        ok = airborne & (xs[:, 2] > low) & (xs[:, 2] < high) & (xs[:, 0] < -0.25) & (t_all >= earliest_s)
        if not ok.any():
            return None
        n = c.candidates
        k = rng.choice(np.flatnonzero(ok), n)
        contact, u_in, t = xs[k], vs[k], t_all[k]
        azimuth, radius = rng.uniform(-np.pi, np.pi, n), rng.uniform(0.3, 1.2, n)
        base = contact[:, :2] - radius[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)
        # moving through the hit lengthens the reach: a share of the mean speed of the way
        v_base = (base - q_rad[:2]) / t[:, None] * rng.choice([0.0, 0.0, 0.5, 1.0], n)[:, None]
        before = np.repeat((t * rng.uniform(0.25, 0.75, n))[:, None], self.spec.joints, axis=1)
        use = self._base_use(q_rad, dq_rad_s, ddq_rad_s2, base, v_base, t, before[:, :2])
        keep = np.argsort(use)[: c.solved]
        keep = keep[use[keep] <= 1.0]
        if not keep.size:
            return None
        target = targets_m[rng.integers(len(targets_m), size=keep.size)]
        elevation = np.radians(rng.uniform(*c.elevation_deg, keep.size))
        return self._solve(
            (q_rad, dq_rad_s, ddq_rad_s2),
            contact[keep], u_in[keep], t[keep], base[keep], v_base[keep], before[keep], target, elevation, use[keep],
        )  # fmt: skip

    def _base_use(self, q: Array, dq: Array, ddq: Array, base: Array, v_base: Array, t: Array, before: Array) -> Array:
        """Share of the base's limits (N,): acceleration, speed, and the room left to brake after the hit."""
        s = self.spec
        m = motion.solve(q[:2], dq[:2], ddq[:2], base, v_base, t[:, None], before)
        a = np.maximum(np.abs(m.A1), np.abs(m.A2)) / s.ddq_max_rad_s2[:2]
        v = motion.peak_speed(m) / s.dq_max_rad_s[:2]
        stop = base + v_base * np.abs(v_base) / (2 * 0.8 * s.ddq_max_rad_s2[:2])
        off_rail = (
            (base < s.q_min_rad[:2]) | (base > s.q_max_rad[:2]) | (stop < s.q_min_rad[:2]) | (stop > s.q_max_rad[:2])
        ).any(-1)
        return np.maximum(a, v).max(-1) + np.where(off_rail, 10.0, 0.0)

    def _solve(
        self,
        state: tuple[Array, Array, Array],
        contact: Array,
        u_in: Array,
        t: Array,
        base: Array,
        v_base: Array,
        before: Array,
        target: Array,
        elevation: Array,
        use_base: Array,
    ) -> Candidates:
        """Inverse flight, inverse impact, inverse kinematics and joint speeds for N events."""
        s, c = self.spec, self.config
        u_out = self.table.launch(contact, target, elevation)
        bad = np.asarray(~np.isfinite(u_out).all(-1))
        u_out = np.where(bad[:, None], [1.0, 0.0, 1.0], u_out)
        flight = land(contact, u_out, c.drag_length_m, dt_s=0.02, max_s=3.0)
        bad |= ~(flight.net_height_m > net_height_at(flight.net_y_m) + c.net_margin_m)
        bad |= ~in_singles(np.nan_to_num(flight.xy_m, nan=99.0), 1)
        normal, v_n = inverse_impact(u_in, u_out, c.restitution)
        posture = solve_ik(s, contact, normal, base, s.q_home_rad)
        bad |= ~np.isfinite(posture.cost)
        q_hit = posture.q_rad
        linear, _ = racket_jacobian(s, joint_frames(s, q_hit))
        along = (linear * normal[:, :, None]).sum(1)  # (N, J) racket speed along the normal per joint speed
        arm = along[:, 2:] * s.dq_max_rad_s[2:]
        missing = v_n - (along[:, :2] * v_base).sum(-1)
        share = missing / (arm**2).sum(-1).clip(1e-6)
        dq_hit = np.concatenate([v_base, share[:, None] * arm * s.dq_max_rad_s[2:]], axis=-1)
        q, dq, ddq = state
        m = motion.solve(q, dq, ddq, q_hit, dq_hit, t[:, None], before)
        a = np.maximum(np.abs(m.A1), np.abs(m.A2)) / s.ddq_max_rad_s2
        v = motion.peak_speed(m) / s.dq_max_rad_s
        middle = motion.evaluate(m, m.switch_s)[0]
        out = ((middle < s.q_min_rad) | (middle > s.q_max_rad)).any(-1)
        use = np.maximum(np.maximum(a, v).max(-1), use_base) + np.where(bad | out, np.inf, 0.0)
        score = use + 0.1 * (a**2).sum(-1)
        return Candidates(q_hit, dq_hit, t, before, contact, normal, u_out, target, use, score)


class Candidates(NamedTuple):
    """N solved events; `use` is inf where an event breaks a rule, else the largest share of a limit."""

    q_hit_rad: Array
    dq_hit_rad_s: Array
    time_s: Array
    before_s: Array
    contact_m: Array
    normal: Array
    u_out_m_s: Array
    target_m: Array
    use: Array
    score: Array

    def swing(self, i: int) -> Swing:
        """Candidate i alone."""
        return Swing(
            self.q_hit_rad[i], self.dq_hit_rad_s[i], float(self.time_s[i]), self.before_s[i], self.contact_m[i],
            self.normal[i], self.u_out_m_s[i], self.target_m[i], float(self.use[i]),
        )  # fmt: skip
