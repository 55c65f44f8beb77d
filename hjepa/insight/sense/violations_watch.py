"""Episodes as a watcher sees them: fly, encode, ask for the surprise. Legend: N episodes, T instants (every 20 ms)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hjepa.insight.sense.violations_pairs import Case
from hjepa.types import NS, Array, Observation, RobotSpec, Sensed
from robots.sensors import Sensors
from robots.sim.disturbed import DisturbedReferee
from robots.sim.referee import Referee
from robots.sim.world import WorldConfig

SLOT_S, STRIDE = 0.01, 2  # of the tracker; slots from one look to the next
ARRIVAL_S = 0.06  # what was measured before the end has arrived by then


class Watching(Protocol):
    """What is asked of a watcher (planning.surprise)."""

    def reset(self) -> None: ...

    def see(self, observation: Observation, until_ns: int | None = None) -> Sensed: ...


class Traces(NamedTuple):
    """How surprising each instant of each episode was; nan after its end."""

    score: NDArray[np.float32]  # (N, T)
    p: NDArray[np.float32]  # (N, T)
    at_s: Array  # (N,) from here on the score counts

    def highest(self) -> Array:
        """(N,) score of each episode; nan where there is none."""
        return np.fmax.reduce(self._counted(self.score), axis=1).astype(np.float64)

    def rarest(self) -> Array:
        """(N,) least p of each episode; nan where there is none."""
        return np.fmin.reduce(self._counted(self.p), axis=1).astype(np.float64)

    def _counted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(times_s(values.shape[1]) >= self.at_s[:, None] - 1e-9, values, np.float32(np.nan))

    @property
    def minutes(self) -> Array:
        """(N,) watched."""
        return np.isfinite(self.score).sum(axis=1) * SLOT_S * STRIDE / 60.0


def times_s(count: int) -> Array:
    """Instants (T,) from the launch on."""
    return SLOT_S * STRIDE * np.arange(count, dtype=np.float64)


Look = Callable[[Sequence[Observation], int], Sequence[Sensed]]
"""Surprise at each of T observations, in order; until_ns: the flight is expected to end then."""


def through(watcher: Watching) -> Look:
    """How a watcher looks at an episode."""

    def look(observations: Sequence[Observation], until_ns: int) -> list[Sensed]:
        watcher.reset()
        return [watcher.see(seen, until_ns) for seen in observations]

    return look


def watch(cases: Sequence[Case], look: Look, spec: RobotSpec, seen: Callable[[], None] = lambda: None) -> Traces:
    """What is made of each episode. seen: called for each."""
    traces = []
    for case in cases:
        traces.append(look(fly(case, spec), round(case.until_s * NS)))
        seen()
    longest = max((len(trace) for trace in traces), default=0)
    score, p = (np.full((len(traces), longest), np.nan, dtype=np.float32) for _ in range(2))
    for i, trace in enumerate(traces):
        score[i, : len(trace)] = [sensed.score for sensed in trace]
        p[i, : len(trace)] = [sensed.p for sensed in trace]
    return Traces(score, p, np.array([case.at_s for case in cases]))


def fly(case: Case, spec: RobotSpec) -> list[Observation]:
    """T observations of a shuttle that nobody hits, by a robot that stands at home where the receiver stood."""
    world = WorldConfig()
    x, v = case.launch.x_m.tolist(), case.launch.v_m_s.tolist()
    physics = ((*x, *v), world.drag_length_m, world.restitution, spec.racket_semi_axes_m.tolist(), 0.0)
    odd = case.disturbance
    referee = Referee(*physics) if odd is None else DisturbedReferee(*physics, odd, case.seed)
    slots = round((case.until_s + ARRIVAL_S) / SLOT_S)
    fault = None if odd is None else odd.fault(case.seed)
    sensors = Sensors(case.sensors, spec.joints, slots, np.random.default_rng(case.seed), fault)
    q, still = spec.q_home_rad.copy(), np.zeros(spec.joints)
    q[:2] = np.clip(case.receiver_xy_m, spec.q_min_rad[:2], spec.q_max_rad[:2])
    made = []
    for slot in range(slots + 1):
        referee.fly(slot * SLOT_S)
        made.append(sensors.observe(slot, referee.state[:3], q, still))
    return made[::STRIDE]
