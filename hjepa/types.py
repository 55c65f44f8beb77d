"""Values that cross borders: frozen, numpy only, units in field names.

Legend: J joints (base axes first, then arm), K tracker slots, H trajectory samples.
World frame: origin on the floor under the middle of the net, x towards the opponent, y left, z up; the robot plays
x < 0. A joint quantity is in rad, rad/s, rad/s^2, Nm for a revolute and m, m/s, m/s^2, N for a prismatic joint; the
names say rad because six of courtbot's eight are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NS = 1_000_000_000  # nanoseconds in a second
_NOWHERE_M: Array = np.full(2, np.nan)
_NOWHERE_M.setflags(write=False)
GUARD_NAMES = (
    *("acceleration (of its limit)", "speed (of its limit)", "range (rad or m)", "keep out (m)"),
    *("self contact (m)", "net contact (m)", "racket speed (m/s)"),
)
"""What plans are looked at for, with units: G guards."""
_UNGUARDED: Array = np.full(len(GUARD_NAMES), np.nan)
_UNGUARDED.setflags(write=False)


@dataclass(frozen=True, eq=False)
class RobotSpec:
    """What a robot is. Limits are stated here once; the guard enforces them, planners and the oracle read them.

    The chain is serial: frame_j = frame_(j-1) @ T_parent_joint[j] @ motion(axis[j], q[j]); the first parent is world.
    """

    name: str
    joint_names: tuple[str, ...]
    prismatic: NDArray[np.bool_]  # (J,)
    q_min_rad: Array  # (J,)
    q_max_rad: Array  # (J,)
    dq_max_rad_s: Array  # (J,)
    ddq_max_rad_s2: Array  # (J,)
    tau_max_nm: Array  # (J,)
    T_parent_joint: Array  # (J, 4, 4) at q = 0
    axis: Array  # (J, 3) unit, in the joint frame
    T_joint_racket: Array  # (4, 4) last joint frame -> racket: origin = centre of the hitting ellipse, x = shaft
    #                        towards the tip, z = face normal; a robot without a racket: its tool, x = its direction
    racket_semi_axes_m: Array  # (2,) of the hitting ellipse, along racket x and y; zeros without a racket
    q_home_rad: Array  # (J,)
    control_rate_hz: float  # rate at which set-points reach the joints
    source: str = ""  # the description it was read from: a robot's name, or a file; no part of what it is

    @property
    def joints(self) -> int:
        """Number of joints J."""
        return len(self.joint_names)

    @property
    def identity(self) -> dict[str, str]:
        """Name and fingerprint, as trained weights carry them: what was learned on one robot moves no other one."""
        return {"robot": self.name, "robot_sha256": self.fingerprint}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every number and name here: another limit or another link length is another robot."""
        digest = hashlib.sha256()
        for field in fields(self):
            if field.name == "source":
                continue
            value = getattr(self, field.name)
            numbers = isinstance(value, np.ndarray)
            content = np.ascontiguousarray(value, dtype=np.float64).tobytes() if numbers else repr(value).encode()
            digest.update(f"{field.name}:{len(content)}:".encode() + content)
        return digest.hexdigest()


class Observation(NamedTuple):
    """What an agent may see: raw stamped tracker positions with a mask, and joint readings. No estimate, no truth.

    The tracker window is a grid of K slots 10 ms apart, oldest first, ending at `stamp_ns`. A slot whose measurement
    has not arrived (delay), was dropped, or lies before the shuttle's launch is masked and holds zeros.
    """

    stamp_ns: int
    q_rad: Array  # (J,)
    dq_rad_s: Array  # (J,)
    tracker_xyz_m: Array  # (K, 3) world frame
    tracker_mask: NDArray[np.bool_]  # (K,) True where measured
    tracker_stamp_ns: NDArray[np.int64]  # (K,)


class JointTrajectory(NamedTuple):
    """A command: joint positions and velocities on a grid, first sample at `start_ns`, with an expiry.

    A driver follows the trajectory it holds until a later one's `start_ns` comes; past `start_ns + valid_ns`, or past
    the last sample, it brakes within limits and holds.
    """

    start_ns: int
    dt_s: float
    q_rad: Array  # (H, J)
    dq_rad_s: Array  # (H, J)
    valid_ns: int


class Goal(NamedTuple):
    """What the high level asks of the low one: a sub-goal in the upper latent. D upper latent, C candidates.

    In force from `start_ns` (the decision's own time is charged to the clock) until a later goal's `start_ns`.
    """

    id: int  # grows with each decision of an episode; a plan names the goal it serves
    stamp_ns: int  # observation it was decided on
    start_ns: int  # in force from
    embedding: Array  # (D,) predicted embedding of the state to bring about
    root: Array  # (D, D) what counts: an outcome s costs 1/2 |root (s - embedding)|^2
    target_xy_m: Array  # (2,) readable form of the goal, world: for display and metrics only
    type: str  # shot type, readable
    candidates: Array  # (C, D) embeddings that were considered; C may be 0
    energies: Array  # (C,) their energies
    late: Array = np.zeros((0, 0))  # (V, D) sub-goals of the same shot elsewhere, one of which may be played instead
    late_roots: Array = np.zeros((0, 0, 0))  # (V, D, D)
    late_xy_m: Array = np.zeros((0, 2))  # (V, 2) world


class MotorPlan(NamedTuple):
    """What the low level chose. M numbers in a motor latent."""

    goal_id: int
    m: Array  # (M,) motor latent; empty when the level does not say
    energy: float  # nan when the level does not say
    candidates: int  # motor latents scored
    plan_ms: float  # wall time spent; measured by whoever called `plan`
    predicted_xy_m: Array = _NOWHERE_M  # (2,) where it expects the shot to land, world; nan when the level does not say
    mflop: float = 0.0  # million floating point operations; 0 where not counted
    target_xy_m: Array = _NOWHERE_M  # (2,) of the late goal that it serves instead, world; nan: none, or none yet
    guards: Array = _UNGUARDED  # (G,) what it is predicted to break, as GUARD_NAMES; 0: kept; nan: not looked at
    feasible: bool = True  # False: it breaks a guard, and is not played


class Weighed(NamedTuple):
    """What the high level weighed before its latest goal, for viewers: C candidates, and the terms of their energies,
    weights included."""

    goal_id: int
    names: str  # shot type of each candidate, a line each
    target_xy_m: Array  # (C, 2) world
    energies: Array  # (C,) the terms together
    win: Array  # (C,)
    support: Array  # (C,)
    name: Array  # (C,)
    reach: Array  # (C,) the low level's energy for it, weighed
    mixing: Array  # (C,) the draw of the mixed strategy


class Considered(NamedTuple):
    """The plan in force beside the low level's own proposals (mode 1), for viewers. Row 0 is the plan, the others come
    cheapest first. Each is a contact in the world and the way that stroke.trajectory takes to it."""

    goal_id: int
    stamp_ns: int  # observation it was made from
    energies: Array  # (C,)
    to_go_s: Array  # (C,) from the observation to the contact
    q_rad: Array  # (C, J) at the contact
    dq_rad_s: Array  # (C, J)
    before_s: Array  # (C, J or 1) as stroke.Event has it
    contact_m: Array  # (C, 3) racket centre at the contact, world
    landing_xy_m: Array  # (C, 2) where the shot is expected to land, world
    surprise: float  # how far the last stroke's outcome lay from what was expected, in its own doubt; nan: not known


class Sensed(NamedTuple):
    """How surprising what was seen by an instant is, beside what had been expected of it."""

    stamp_ns: int  # of the observation
    score: float  # grows with surprise; comparable within one set of weights
    p: float  # share of normal strokes in which surprise ever gets so high (conformal, its tail an exponential)
    cause: str  # whose expectation was broken most: 'flight', 'unseen', 'net'; '' nothing was expected yet


GRADES = ("calm", "re-plan", "mode 1", "abandon", "hold")  # what a low level does about surprise, by grade
CALM, REPLAN, MODE_1, ABANDON, HOLD = range(len(GRADES))


class Alarm(NamedTuple):
    """How surprising the latest look was, and how far up the ladder of reactions a low level is with it."""

    sensed: Sensed
    grade: int  # index in GRADES


class Decision(NamedTuple):
    """What an agent decided last, for the record: frozen, read by evaluation and viewers, never by the agent."""

    target_xy_m: Array | None  # (2,) where the shot is meant to land, world; None where the agent names no place
    type: str  # commanded shot type; 'unknown' where the agent names none
    predicted_xy_m: Array | None  # (2,) where it expects the shot to land
    energy: float  # of the chosen motion; nan where the agent has none
    plan_ms: float  # wall time of the low-level plan; nan if there was none this time
    candidates: int  # motions scored
    high_ms: float = float("nan")  # wall time of the high-level decision; nan if there was none this time
    mflop: float = 0.0  # million floating point operations of the low-level plan; 0 where not counted


class RobotState(NamedTuple):
    """Joint state at an instant: where a stroke starts."""

    q_rad: Array  # (J,)
    dq_rad_s: Array  # (J,)


class Launch(NamedTuple):
    """A shuttle leaving the opponent's racket (a feed) at simulated time 0."""

    x_m: Array  # (3,) world
    v_m_s: Array  # (3,)
    type: str = "unknown"


class Outcome(NamedTuple):
    """What the simulator saw of one stroke. Privileged: for metrics and labels, never for an executed agent."""

    hit: bool
    contact_s: float  # time of the racket contact, or of the plane crossing nearest the racket on a miss; nan if none
    offset_m: Array  # (2,) in-plane offset from the racket centre at that time (racket x, y); nan if none
    contact_m: Array  # (3,) where
    u_in_m_s: Array  # (3,) shuttle velocity just before
    u_out_m_s: Array  # (3,) just after; nan on a miss
    racket_speed_m_s: float  # |velocity of the struck point|; nan on a miss
    landing_m: Array  # (2,) where the shuttle meets the floor after its last event
    landing_s: float
    net_height_m: float  # height above the floor at x = 0 on the way back; nan if it never gets there
    returned: bool  # hit once, crossed the net, landed in the opponent's singles court, no fault
    fault: str  # '', 'miss', 'net', 'out', 'own side', 'touched net'
    effort_j: float  # sum |torque * joint speed| dt over all joints, launch to the end of the episode
