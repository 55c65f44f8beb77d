"""Rivals of the learned agent: the physics oracle with perfect state, the classical pipeline, and a random agent.

`ClassicalAgent` is the real rival. It sees what the learned agent sees and knows what physics knows: the flight
equation with nominal drag and the impact law with nominal restitution. Each takes `latency_ms` for a decision, charged
to the clock, and re-plans whenever it is asked until shortly before the contact. Legend: J joints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hjepa import stroke
from hjepa.stroke import JointState
from hjepa.tasks.badminton.estimate import Estimate, FilterConfig, ShuttleFilter
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.oracle import FIXED_TARGETS_M, Oracle, OracleConfig, Swing
from hjepa.tasks.badminton.refine import choose, refine
from hjepa.types import NS, Array, Decision, JointTrajectory, Observation, RobotSpec

# a wider draw of places to stand than the teacher's: it costs 1 ms and finds strokes at the edge of the reach
SEARCH = OracleConfig(candidates=6000, solved=64)
Truth = Callable[[], tuple[Array, Array]]
"""True position and velocity (3,) of the shuttle now: `CourtWorld.shuttle`."""
Decode = Callable[[np.random.Generator], stroke.Event]
"""Draws a motor latent from the data's distribution and decodes it to a contact event (its to_go_s counts from now)."""


class Estimator(Protocol):
    """Says where the shuttle is."""

    def reset(self) -> None: ...

    def update(self, seen: Observation) -> Estimate | None: ...


@dataclass(frozen=True)
class ClassicalConfig:
    """When the classical agent decides and how hard it searches."""

    first_decision_s: float = 0.10  # after the launch
    latency_s: float = 0.02  # from an observation to the start of the command that answers it
    last_replan_s: float = 0.06  # before the contact; later the motion is left alone
    keep_m: float = 0.006  # a swing whose contact point is known to be no further off is left as it is
    restarts: int = 2  # draws of the candidates while no swing within the limits is known
    redraw_use: float = 0.97  # a refined swing that uses more of the limits is challenged by a fresh draw ...
    redraw_to_go_s: float = 0.35  # ... if there is still so much time
    use_max: float = 2.0  # nothing is begun that asks for more of the limits than this
    lost_rad: float = 0.01  # a joint (rad or m) this far from its command is planned from where it is measured ...
    lost_rad_s: float = 0.25  # ... or this much faster or slower


class PhysicsAgent:
    """Plans by inverse flight, inverse impact and inverse kinematics from an estimate of the shuttle, and re-plans.

    The first plan draws candidates (oracle.py); later ones carry its contact event along (refine.py), so that the
    motion is continuous: every command starts in the state that the one before commands at that instant.
    """

    def __init__(
        self,
        spec: RobotSpec,
        estimator: Estimator,
        config: ClassicalConfig = ClassicalConfig(),  # noqa: B008 (frozen value)
        oracle: OracleConfig = SEARCH,
        targets_m: Array = FIXED_TARGETS_M,
    ) -> None:
        """targets_m (K, 2): places it may aim at; it keeps the one of its first plan."""
        self.spec, self.estimator, self.config = spec, estimator, config
        self.oracle = Oracle(spec, oracle)
        self.targets_m = targets_m
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self.estimator.reset()
        self._rng = np.random.default_rng(seed)
        self._swing: Swing | None = None
        self._contact_ns = 0  # planned
        self._command: JointTrajectory | None = None
        self.decision: Decision | None = None

    @property
    def event(self) -> tuple[Swing, int] | None:
        """The swing in force and its contact time (ns); None before the first plan. Behaviour cloning learns it."""
        return None if self._swing is None else (self._swing, self._contact_ns)

    def act(self, observation: Observation) -> JointTrajectory | None:
        """A command while there is something to improve; the recovery is part of every command."""
        c = self.config
        start_ns = observation.stamp_ns + round(c.latency_s * NS)
        if self._swing is not None and start_ns > self._contact_ns - round(c.last_replan_s * NS):
            return None
        began = time.perf_counter()
        seen = self.estimator.update(observation)
        if seen is None or observation.stamp_ns < round(c.first_decision_s * NS):
            return None
        ahead = np.array([(start_ns - seen.stamp_ns) / NS])
        x, v = fly_to(seen.x_m[None], seen.v_m_s[None], ahead, seen.drag_length_m)
        state = self._state(observation, start_ns)
        swing, tried = self._plan(state, x[0], v[0], seen.drag_length_m, start_ns)
        if swing is None:
            return None
        kept = self._swing is not None and swing.q_hit_rad is self._swing.q_hit_rad
        self._swing = swing
        if not kept:
            self._contact_ns = start_ns + round(swing.time_s * NS)
            event = stroke.Event(swing.q_hit_rad, swing.dq_hit_rad_s, swing.before_s, swing.time_s)
            self._command = self._trajectory(state, event, start_ns)
        spent = 1e3 * (time.perf_counter() - began)
        # the launch is aimed with the believed flight: the place expected is the target
        self.decision = Decision(swing.target_m, "unknown", swing.target_m, swing.use, spent, tried)
        return None if kept else self._command

    def _plan(self, state: JointState, x: Array, v: Array, drag_m: float, start_ns: int) -> tuple[Swing | None, int]:
        """The swing to make from `state`, for a shuttle at x, v now; and how many candidates were looked at."""
        c, tried = self.config, 0
        best: Swing | None = None
        if self._swing is not None:
            left = (self._contact_ns - start_ns) / NS
            keep_m = c.keep_m if self._swing.use <= c.redraw_use else 0.0
            best = refine(self.oracle, self._swing._replace(time_s=left), state, x, v, drag_m, keep_m)
            tried += 1
            if best is not None and (best.use <= c.redraw_use or left < c.redraw_to_go_s):
                return best, tried
            if best is None and left < c.redraw_to_go_s:
                return None, tried
        targets = self.targets_m if self._swing is None else self._swing.target_m[None]
        for _ in range(c.restarts):
            drawn = self.oracle.candidates(*state, x, v, targets, self._rng)
            tried += self.oracle.config.solved
            found = None if drawn is None else choose(self.oracle, drawn, state)
            if found is not None and found.use <= c.use_max and (best is None or found.use < best.use):
                best = found
            if best is not None and best.use <= self.oracle.config.limit:
                break
        return best, tried

    def _state(self, observation: Observation, start_ns: int) -> JointState:
        """Where the joints will be when the command starts: where it was sent to, plus what it is off by now."""
        if self._command is not None:
            then, now = (stroke.state_at(self._command, ns) for ns in (start_ns, observation.stamp_ns))
            if observation.stamp_ns < self._command.start_ns:
                return then
            off, slip = observation.q_rad - now.q_rad, observation.dq_rad_s - now.dq_rad_s
            lost = (np.abs(off) > self.config.lost_rad) | (np.abs(slip) > self.config.lost_rad_s)
            return JointState(then.q_rad + lost * off, then.dq_rad_s + lost * slip, then.ddq_rad_s2)
        late_s = (start_ns - observation.stamp_ns) / NS
        return stroke.braked(observation.q_rad, observation.dq_rad_s, self.spec.ddq_max_rad_s2, late_s)

    def _trajectory(self, state: JointState, event: stroke.Event, start_ns: int) -> JointTrajectory:
        s = self.spec
        long_ns = round((event.to_go_s + stroke.RECOVERY_S + stroke.HOLD_S) * NS)
        return stroke.trajectory(state, event, s.q_home_rad, s.ddq_max_rad_s2, start_ns=start_ns, valid_ns=long_ns)


class ClassicalAgent(PhysicsAgent):
    """Kalman filter with drag in its state, then the physics above, from observations alone."""

    def __init__(
        self,
        spec: RobotSpec,
        config: ClassicalConfig = ClassicalConfig(),  # noqa: B008 (frozen value)
        oracle: OracleConfig = SEARCH,
        sight: FilterConfig = FilterConfig(),  # noqa: B008 (frozen value)
        targets_m: Array = FIXED_TARGETS_M,
    ) -> None:
        super().__init__(spec, ShuttleFilter(sight), config, oracle, targets_m)


class Truthful:
    """An estimator that is told the truth."""

    def __init__(self, truth: Truth, drag_length_m: float) -> None:
        self._truth, self._drag_length_m = truth, drag_length_m

    def reset(self) -> None:
        """Nothing to forget."""

    def update(self, seen: Observation) -> Estimate | None:
        """The true state at the observation's instant."""
        x, v = self._truth()
        return Estimate(seen.stamp_ns, x, v, self._drag_length_m)


class OracleAgent(PhysicsAgent):
    """The upper bound: perfect state of the shuttle, handed in; drag and restitution as `oracle` believes."""

    def __init__(
        self,
        spec: RobotSpec,
        truth: Truth,
        config: ClassicalConfig = ClassicalConfig(),  # noqa: B008 (frozen value)
        oracle: OracleConfig = SEARCH,
        targets_m: Array = FIXED_TARGETS_M,
    ) -> None:
        super().__init__(spec, Truthful(truth, oracle.drag_length_m), config, oracle, targets_m)


class RandomAgent:
    """One random motor latent from the data's distribution a stroke, drawn at the first decision."""

    def __init__(self, spec: RobotSpec, draw: Decode, config: ClassicalConfig = ClassicalConfig()) -> None:  # noqa: B008
        self.spec, self.config = spec, config
        self._draw = draw
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """A new stroke."""
        self._rng = np.random.default_rng(seed)
        self.decision: Decision | None = None

    def act(self, observation: Observation) -> JointTrajectory | None:
        """The motion once, then nothing."""
        if self.decision is not None or observation.stamp_ns < round(self.config.first_decision_s * NS):
            return None
        began = time.perf_counter()
        event = self._draw(self._rng)
        s, start_ns = self.spec, observation.stamp_ns + round(self.config.latency_s * NS)
        state = JointState(observation.q_rad, observation.dq_rad_s, np.zeros(s.joints))
        long_ns = round((event.to_go_s + stroke.RECOVERY_S + stroke.HOLD_S) * NS)
        command = stroke.trajectory(state, event, s.q_home_rad, s.ddq_max_rad_s2, start_ns=start_ns, valid_ns=long_ns)
        self.decision = Decision(None, "unknown", None, float("nan"), 1e3 * (time.perf_counter() - began), 1)
        return command
