"""Rivals of the learned agent: one that holds still, and resolved-rate control that knows the arm's geometry.

`ResolvedRate` is the upper bound: it has the description's kinematics, and is told the target's true path. The executed
learned agent has neither. Legend: J joints, K instants.
"""

from __future__ import annotations

import numpy as np

from hjepa import stroke
from hjepa.stroke import JointState
from hjepa.tasks.kinematics import joint_frames, racket_jacobian
from hjepa.tasks.reach.target import Path
from hjepa.types import NS, Array, JointTrajectory, Observation, RobotSpec

TICK_S = 0.01
DAMPING_M = 0.02  # of the pseudo-inverse, in m per rad (Wampler 1986): what a singular posture may cost
GAIN_1_S = 6.0  # distance to speed
HOME_1_S = 0.3  # pull of the joints that are left free towards home
LOOK_S = 0.4  # length of a command


class HoldStill:
    """Sends nothing."""

    def reset(self, seed: int = 0) -> None:
        """Nothing to begin."""

    def act(self, observation: Observation) -> JointTrajectory | None:
        """Never a command."""
        return None


class ResolvedRate:
    """Joint speeds by the damped inverse of the Jacobian (Whitney 1969), integrated ahead along the true path."""

    def __init__(self, spec: RobotSpec, path: Path, latency_s: float) -> None:
        self.spec, self.path, self.latency_s = spec, path, latency_s
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin an episode."""
        self._command: JointTrajectory | None = None

    def act(self, observation: Observation) -> JointTrajectory | None:
        """The next 0.4 s of following."""
        start_ns = observation.stamp_ns + round(self.latency_s * NS)
        c = self._command
        if c is None:
            state = JointState(observation.q_rad, observation.dq_rad_s, np.zeros(self.spec.joints))
        else:
            state = stroke.state_at(c, start_ns)
        self._command = self._follow(state, start_ns)
        return self._command

    def _follow(self, state: JointState, start_ns: int) -> JointTrajectory:
        spec = self.spec
        q, dq = state.q_rad, state.dq_rad_s
        times: Array = start_ns / NS + TICK_S * np.arange(round(LOOK_S / TICK_S) + 1, dtype=np.float64)
        targets = self.path(times)
        rows = [(q, dq)]
        for now, then in zip(targets[:-1], targets[1:], strict=True):
            wanted = self._speeds(q, now, (then - now) / TICK_S)
            step = 0.9 * spec.ddq_max_rad_s2 * TICK_S
            most = 0.95 * spec.dq_max_rad_s
            after = np.clip(np.clip(wanted, dq - step, dq + step), -most, most)
            q, dq = np.clip(q + 0.5 * TICK_S * (dq + after), spec.q_min_rad, spec.q_max_rad), after
            rows.append((q, dq))
        qs, dqs = (np.array(column) for column in zip(*rows, strict=True))
        return JointTrajectory(start_ns, TICK_S, qs, dqs, round(LOOK_S * NS))

    def _speeds(self, q: Array, target_m: Array, v_m_s: Array) -> Array:
        frames = joint_frames(self.spec, q)
        J, _ = racket_jacobian(self.spec, frames)  # (3, J)
        v = v_m_s + GAIN_1_S * (target_m - frames[-1, :3, 3])
        inverse = J.T @ np.linalg.inv(J @ J.T + DAMPING_M**2 * np.eye(3))
        free = np.eye(self.spec.joints) - inverse @ J
        out: Array = inverse @ v + free @ (HOME_1_S * (self.spec.q_home_rad - q))
        return out
