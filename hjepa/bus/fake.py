"""A point robot and two toy levels, for tests of the bus and for trying a graph without a simulator or weights.

The robot is a point on a plane (J = 2 prismatic joints, x and y); a shuttle falls towards it; the high level picks
where to be (D = 2: the place itself), the low level a straight way there. Both levels draw random numbers at every
call, so that a graph that called them in another order, or once more, would not repeat a run.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from hjepa.errors import CommandError
from hjepa.protocols import Reachability
from hjepa.types import NS, Array, Goal, JointTrajectory, Launch, MotorPlan, Observation, Outcome, RobotSpec, RobotState

DT_S = 0.01
_TICK_NS = 10_000_000
_SLOTS = 64
_REACH_M = 0.3


def point_spec() -> RobotSpec:
    """Two prismatic axes, 5 m/s, 20 m/s^2, ten metres each way."""
    frames = np.tile(np.eye(4), (2, 1, 1))
    return RobotSpec(
        name="point",
        joint_names=("x", "y"),
        prismatic=np.array([True, True]),
        q_min_rad=np.full(2, -10.0),
        q_max_rad=np.full(2, 10.0),
        dq_max_rad_s=np.full(2, 5.0),
        ddq_max_rad_s2=np.full(2, 20.0),
        tau_max_nm=np.full(2, 100.0),
        T_parent_joint=frames,
        axis=np.eye(3)[:2],
        T_joint_racket=np.eye(4),
        racket_semi_axes_m=np.array([0.14, 0.11]),
        q_home_rad=np.zeros(2),
        control_rate_hz=100.0,
    )


class PointLog(NamedTuple):
    """What a PointWorld recorded. N ticks."""

    q_rad: Array  # (N, 2)
    dq_rad_s: Array  # (N, 2)
    events: tuple[str, ...]


class PointWorld:
    """A World: follows the trajectory in force at limited acceleration, brakes when it has run out."""

    def __init__(self, ticks: int = 80, noise_m: float = 0.01) -> None:
        self.spec = point_spec()
        self.ticks, self.noise_m = ticks, noise_m
        self.connected = self.held = False
        self.effort_j = 0.0

    def connect(self) -> None:
        self.connected = True

    def close(self) -> None:
        self.connected = False

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation:
        self.q, self.dq = start.q_rad.copy(), start.dq_rad_s.copy()
        self.x, self.v = np.array(launch.x_m, dtype=float), np.array(launch.v_m_s, dtype=float)
        self.rng = np.random.default_rng(seed)
        self.tick_count, self.effort_j, self.held = 0, 0.0, False
        self.commands: list[JointTrajectory] = []
        self.seen = np.zeros((_SLOTS, 3))
        self.mask = np.zeros(_SLOTS, dtype=bool)
        self.rows = [(self.q, self.dq)]
        return self._measure()

    def tick(self) -> Observation:
        wanted = self._wanted()
        step = self.spec.ddq_max_rad_s2 * DT_S
        change = np.clip(wanted - self.dq, -step, step)
        self.effort_j += float(np.abs(change).sum())
        self.dq = self.dq + change
        self.q = self.q + self.dq * DT_S
        self.v = self.v + np.array([0.0, 0.0, -9.81]) * DT_S
        self.x = self.x + self.v * DT_S
        self.tick_count += 1
        self.rows.append((self.q, self.dq))
        return self._measure()

    def _wanted(self) -> Array:
        """Speed (2,) that the trajectory in force asks for; zero when there is none or it has run out."""
        now = self.tick_count * _TICK_NS
        started = [c for c in self.commands if c.start_ns <= now]
        if self.held or not started:
            return np.zeros(2)
        c = started[-1]
        i = round((now - c.start_ns) / (c.dt_s * NS))
        if now > c.start_ns + c.valid_ns or i >= len(c.q_rad):
            return np.zeros(2)
        wanted: Array = c.dq_rad_s[i] + 5.0 * (c.q_rad[i] - self.q)
        return np.clip(wanted, -self.spec.dq_max_rad_s, self.spec.dq_max_rad_s)

    def _measure(self) -> Observation:
        self.seen = np.vstack([self.seen[1:], self.x + self.rng.normal(0.0, self.noise_m, 3)])
        self.mask = np.append(self.mask[1:], True)
        self.now = Observation(
            self.tick_count * _TICK_NS,
            self.q + self.rng.normal(0.0, 1e-4, 2),
            self.dq.copy(),
            self.seen.copy(),
            self.mask.copy(),
            (np.arange(_SLOTS) - _SLOTS + 1 + self.tick_count) * _TICK_NS,
        )
        return self.now

    def observe(self) -> Observation:
        return self.now

    def send(self, command: JointTrajectory) -> JointTrajectory:
        if self.held:
            raise CommandError("command refused: the robot is held; allowed: rearm() or reset() first")
        self.commands.append(command)
        return command

    def hold(self) -> None:
        self.held = True

    def rearm(self) -> None:
        self.held = False

    @property
    def done(self) -> bool:
        return self.tick_count >= self.ticks

    def outcome(self) -> Outcome:
        away = self.x[:2] - self.q
        hit = bool(np.linalg.norm(away) < _REACH_M)
        nan, nowhere = float("nan"), np.full(3, np.nan)
        fault = "" if hit else "miss"
        return Outcome(
            hit, nan, away, nowhere, self.v, nowhere, nan, self.x[:2], nan, nan, hit, fault, float(self.effort_j)
        )

    def log(self) -> PointLog:
        """Every tick so far."""
        q, dq = zip(*self.rows, strict=True)
        return PointLog(np.array(q), np.array(dq), ("launch",))


class PointHigh:
    """Goes where the shuttle will be when the episode ends, or to what is easier to reach nearby."""

    def __init__(
        self, candidates: int = 8, every: int = 3, latency_ns: int = 50_000_000, decide_s: float = 0.0
    ) -> None:
        """every: calls from one decision to the next; decide_s: wall time that a decision wastes."""
        self.candidates, self.every, self.latency_ns, self.decide_s = candidates, every, latency_ns, decide_s
        self.reset()

    def reset(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.calls = self.decisions = 0

    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None:
        self.calls += 1
        if (self.calls - 1) % self.every:
            return None
        time.sleep(self.decide_s)
        seen = observation.tracker_xyz_m[observation.tracker_mask][-1, :2]
        places = seen + self.rng.normal(0.0, 0.2, (self.candidates, 2))
        energies = reachability(places, np.tile(np.eye(2), (len(places), 1, 1)))
        best = places[int(np.argmin(energies))]
        self.decisions += 1
        start = observation.stamp_ns + self.latency_ns
        return Goal(
            self.decisions, observation.stamp_ns, start, best, np.eye(2), best.copy(), "drive", places, energies
        )


class PointLow:
    """A straight line to the goal, with a random detour as its motor latent."""

    def __init__(self, horizon: int = 20, latency_ns: int = 20_000_000, plan_s: float = 0.0, die_at: int = -1) -> None:
        """horizon: samples of a command; plan_s: wall time that a plan wastes; die_at: the call that raises."""
        self.horizon, self.latency_ns, self.plan_s, self.die_at = horizon, latency_ns, plan_s, die_at
        self.reset()

    def reset(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng([seed, 2])
        self.plans = 0
        self.plan_made = MotorPlan(0, np.zeros(2), 0.0, 0, 0.0)

    def reachability(self, observation: Observation, candidates: Array, roots: Array) -> Array:
        away = np.linalg.norm(candidates - observation.q_rad, axis=-1)
        noisy: Array = away + self.rng.normal(0.0, 0.05, len(candidates))
        return noisy

    def plan(self, observation: Observation, goal: Goal) -> JointTrajectory | None:
        self.plans += 1
        if self.plans == self.die_at:
            raise RuntimeError("toy level told to die")
        time.sleep(self.plan_s)
        m = self.rng.normal(0.0, 0.01, (16, 2))
        energy = np.linalg.norm(goal.embedding + m - observation.q_rad, axis=-1)
        best = int(np.argmin(energy))
        self.plan_made = MotorPlan(goal.id, m[best], float(energy[best]), len(m), 0.0)
        target = goal.embedding + m[best]
        dq = np.clip((target - observation.q_rad) / 0.3, -4.0, 4.0)
        s = np.arange(self.horizon)[:, None] * DT_S
        q = observation.q_rad + dq * s
        valid = round(self.horizon * DT_S * NS)
        start = observation.stamp_ns + self.latency_ns
        return JointTrajectory(start, DT_S, q, np.tile(dq, (self.horizon, 1)), valid)

    def explain(self) -> MotorPlan:
        """What the latest plan chose."""
        return self.plan_made
