"""A stroke as a joint trajectory: the way to the contact event, the follow-through, the recovery and the rest.

Shared by the agent (after motor.decode) and the oracle. Legend: J joints, H samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa import motion
from hjepa.types import NS, Array, JointTrajectory

RECOVERY_S = 0.80  # from the contact to rest on the way home; the next launch comes 0.9 s after a contact
USE = 0.95  # of the limits, where nothing is to be hit
HOLD_S = 0.5  # rest appended, so that an expiry decides when to brake, not the end of the samples


class JointState(NamedTuple):
    """Commanded joint state at an instant: position, velocity, acceleration, each (J,)."""

    q_rad: Array
    dq_rad_s: Array
    ddq_rad_s2: Array


class Event(NamedTuple):
    """A contact event in joint space and its time from now."""

    q_rad: Array  # (J,)
    dq_rad_s: Array  # (J,)
    before_s: Array  # (J,) or (1,): switch of the two-phase motion before the event
    to_go_s: float


def trajectory(
    state: JointState,
    event: Event,
    home_rad: Array,
    ddq_max_rad_s2: Array,
    *,
    start_ns: int,
    valid_ns: int,
    dt_s: float = 0.01,
) -> JointTrajectory:
    """Sampled command from `state` at start_ns through the event to rest, on the control grid."""
    way = motion.solve(*state, event.q_rad, event.dq_rad_s, np.array([event.to_go_s]), event.before_s)
    rest = _recovery(motion.evaluate(way, way.duration_s), home_rad, ddq_max_rad_s2)
    t = np.arange(0.0, event.to_go_s + RECOVERY_S + HOLD_S, dt_s)[:, None]  # (H, 1)
    q, dq, _ = motion.evaluate(way, t)
    after = (t - event.to_go_s).clip(0.0, RECOVERY_S)
    q_rest, dq_rest, _ = motion.evaluate(rest, after)
    late = t > event.to_go_s
    still = t - event.to_go_s > RECOVERY_S
    return JointTrajectory(
        start_ns, dt_s, np.where(late, q_rest, q), np.where(still, 0.0, np.where(late, dq_rest, dq)), valid_ns
    )


def recover(
    state: JointState,
    goal_rad: Array,
    dq_max_rad_s: Array,
    ddq_max_rad_s2: Array,
    *,
    start_ns: int,
    valid_ns: int,
    dt_s: float = 0.01,
) -> JointTrajectory:
    """From any state to rest at goal_rad (J,), every joint as quickly as USE of its limits allows."""
    q0, v0, _ = state
    limits = np.maximum(USE * dq_max_rad_s, abs(v0)), USE * ddq_max_rad_s2
    need_s = float(motion.quickest(q0, v0, goal_rad, *limits, np.zeros(1))[2].max())
    t = np.arange(0.0, need_s + HOLD_S, dt_s)[:, None]
    q, dq, _ = motion.quickest(q0, v0, goal_rad, *limits, t)
    return JointTrajectory(start_ns, dt_s, q, dq, valid_ns)


def _recovery(state: JointState | tuple[Array, Array, Array], home_rad: Array, ddq_max: Array) -> motion.TwoPhase:
    q, dq, ddq = state
    goal = motion.recovery_target(q, dq, home_rad, ddq_max, RECOVERY_S)
    return motion.solve(q, dq, ddq, goal, np.zeros_like(q), np.array([RECOVERY_S]), np.array([0.5 * RECOVERY_S]))


def braked(q_rad: Array, dq_rad_s: Array, ddq_max_rad_s2: Array, time_s: float) -> JointState:
    """Where joints will be that no command moves: the driver brakes them as hard as they can."""
    t = np.minimum(time_s, np.abs(dq_rad_s) / ddq_max_rad_s2)
    left = dq_rad_s - np.sign(dq_rad_s) * ddq_max_rad_s2 * t
    return JointState(q_rad + 0.5 * (dq_rad_s + left) * t, left, np.zeros_like(q_rad))


def resume(command: JointTrajectory, start_ns: int) -> JointTrajectory | None:
    """What is left of a command from start_ns on, with a new expiry; None once it has run out."""
    k = round((start_ns - command.start_ns) / (command.dt_s * NS))
    if k < 0 or k >= len(command.q_rad) - 1:
        return None
    return command._replace(start_ns=start_ns, q_rad=command.q_rad[k:], dq_rad_s=command.dq_rad_s[k:])


def state_at(command: JointTrajectory, stamp_ns: int) -> JointState:
    """The commanded state at an instant: samples interpolated, acceleration by difference; held past the end."""
    x = (stamp_ns - command.start_ns) / (command.dt_s * NS)
    last = len(command.q_rad) - 1
    k = int(np.clip(np.floor(x), 0, last - 1))
    f = float(np.clip(x - k, 0.0, 1.0))
    q = command.q_rad[k] + f * (command.q_rad[k + 1] - command.q_rad[k])
    dq = command.dq_rad_s[k] + f * (command.dq_rad_s[k + 1] - command.dq_rad_s[k])
    return JointState(q, dq, (command.dq_rad_s[k + 1] - command.dq_rad_s[k]) / command.dt_s)
