"""What the page shows at an instant, worked out from messages one by one: the same for a bus and for a recording.

Legend: J joints, S samples of the trail, C considered plans, G candidate shots, P points of a curve. World frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hjepa import stroke
from hjepa.types import NS, Alarm, Array, Goal, MotorPlan, Observation, RobotSpec
from hjepa.viewer.live import paths

TRAIL_S = 1.2
NOWHERE_3 = np.full(3, np.nan)
NOWHERE_2 = np.full(2, np.nan)
TOPICS = ("observation", "goal", "plan", "command", "ledger", "status", "weighed", "considered", "surprise")
_NONE_3 = np.zeros((0, 3))


class Shot(NamedTuple):
    """A candidate of the high level."""

    name: str
    target_xy_m: Array  # (2,)
    energy: float  # inf: out of reach; nan: not asked
    reach: float  # the low level's energy for it
    chosen: bool


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One instant. What is not known is nan, empty or ''."""

    stroke: int = 0  # counted from 1 since the viewer listens
    time_s: float = 0.0  # since the stroke began
    q_rad: Array = field(default_factory=lambda: np.zeros(0))  # (J,)
    shuttle_m: Array = field(default_factory=lambda: NOWHERE_3)  # (3,) newest tracked position
    trail_m: Array = field(default_factory=lambda: _NONE_3)  # (S, 3) oldest first
    opponent_xy_m: Array = field(default_factory=lambda: NOWHERE_2)  # (2,) where the shuttle came from
    target_xy_m: Array = field(default_factory=lambda: NOWHERE_2)  # (2,) committed by the high level
    shot: str = ""
    predicted_xy_m: Array = field(default_factory=lambda: NOWHERE_2)  # (2,) where the low level expects it to land
    flight_m: Array = field(default_factory=lambda: _NONE_3)  # (P, 3) drawn from predicted contact and landing
    fan_m: tuple[Array, ...] = ()  # C ways (P, 3) of the racket, best first
    fan_energies: Array = field(default_factory=lambda: np.zeros(0))  # (C,)
    fan_id: int = 0  # changes with the fan
    shots: tuple[Shot, ...] = ()  # least energy first
    energy: float = float("nan")  # of the plan in force
    plan_ms: float = float("nan")
    slowest_ms: float = float("nan")  # plan of this stroke
    candidates: int = 0
    surprise: float = float("nan")
    alarm: Alarm | None = None  # of the latest look in this stroke
    commands: int = 0  # since the viewer listens
    late: int = 0  # of them
    drops: Mapping[str, int] = field(default_factory=dict)  # by reason, since the viewer listens
    states: Mapping[str, str] = field(default_factory=dict)  # by node
    results: tuple[tuple[str, str], ...] = ()  # (what came, how it ended) of each stroke, where somebody tells


class Reducer:
    """Fed with decoded messages in the order in which they came; tells how things are."""

    def __init__(self, spec: RobotSpec, strokes: int = 0) -> None:
        """strokes: how many came before the first message."""
        self.spec = spec
        self.session = -1
        self._strokes = strokes
        self._commands = self._late = 0
        self._counts: dict[str, Counter[str]] = {}  # by node, of the session it is in
        self._before: Counter[str] = Counter()  # of sessions that are over
        self._sessions: dict[str, int] = {}  # by node, of its counts
        self._states: dict[str, str] = {}
        self._surprise = float("nan")
        self._fans = 0
        self._enter(-1)

    def feed(self, topic: str, header: Any, value: Any) -> None:
        """One message of a topic; those that say nothing to a viewer are skipped."""
        if topic == "status":
            self.status(value)
            return
        if header.session != self.session:
            if topic != "observation" and header.session < self.session:
                return  # a straggler of the stroke before
            self._enter(header.session)
        handle = getattr(self, f"_on_{header.kind}", None)
        if handle is not None:
            handle(value)

    def status(self, told: Any) -> None:
        """How a node says it is (see hjepa.bus.topics.Status)."""
        if self._sessions.get(told.node) not in (None, told.session):
            self._before.update(self._counts[told.node])
        self._sessions[told.node] = told.session
        self._counts[told.node] = Counter({name: n for name, n in told.counts.items() if _counted(name)})
        self._states[told.node] = told.state

    def silent(self, node: str) -> None:
        """A node did not answer."""
        self._states[node] = "no answer"

    def snapshot(self) -> Snapshot:
        """How things are now."""
        seen, plan, goal = self._observation, self._plan, self._goal
        counts = self._before + sum(self._counts.values(), Counter())
        drops = {name.removeprefix("dropped."): n for name, n in counts.items() if name.startswith("dropped.") and n}
        trail = self._trail()
        late_at = plan is not None and bool(np.isfinite(plan.target_xy_m).all())
        return Snapshot(
            stroke=self._strokes,
            time_s=0.0 if seen is None else (seen.stamp_ns - self._began_ns) / NS,
            q_rad=np.zeros(0) if seen is None else seen.q_rad,
            shuttle_m=trail[-1] if len(trail) else NOWHERE_3,
            trail_m=trail,
            opponent_xy_m=self._opponent,
            target_xy_m=plan.target_xy_m if late_at and plan else goal.target_xy_m if goal else NOWHERE_2,
            shot=goal.type if goal else "",
            predicted_xy_m=plan.predicted_xy_m if plan else NOWHERE_2,
            flight_m=self._flight,
            fan_m=self._fan,
            fan_energies=self._fan_energies,
            fan_id=self._fans,
            shots=self._shots,
            energy=plan.energy if plan else float("nan"),
            plan_ms=plan.plan_ms if plan else float("nan"),
            slowest_ms=self._slowest_ms,
            candidates=plan.candidates if plan else 0,
            surprise=self._surprise,
            alarm=self._alarm,
            commands=self._commands,
            late=self._late + counts["command.started_late"],
            drops=drops,
            states=dict(self._states),
        )

    def _enter(self, session: int) -> None:
        """A stroke begins: what belonged to the one before is forgotten."""
        self.session = session
        self._strokes += session >= 0
        self._began_ns = -1
        self._observation: Observation | None = None
        self._tracked: dict[int, Array] = {}  # stamp (ns) -> position (3,)
        self._opponent = NOWHERE_2
        self._goal: Goal | None = None
        self._plan: MotorPlan | None = None
        self._slowest_ms = float("nan")
        self._alarm: Alarm | None = None
        self._shots: tuple[Shot, ...] = ()
        self._fan: tuple[Array, ...] = ()
        self._fan_energies = np.zeros(0)
        self._flight = _NONE_3
        self._contact_ns = 0  # when the plan in force hits
        self._fans += 1

    # one kind of message each

    def _on_observation(self, seen: Observation) -> None:
        if self._began_ns < 0:
            self._began_ns = seen.stamp_ns
        self._observation = seen
        if self._fan and seen.stamp_ns > self._contact_ns:  # a way that lies behind is no plan any more
            self._fan, self._fan_energies = (), np.zeros(0)
            self._fans += 1
        for k in np.flatnonzero(seen.tracker_mask):
            self._tracked.setdefault(int(seen.tracker_stamp_ns[k]), seen.tracker_xyz_m[k])
        if self._tracked and not np.isfinite(self._opponent[0]):
            first = self._tracked[min(self._tracked)]
            self._opponent = first[:2] if first[0] > 0.0 else NOWHERE_2

    _on_last_observation = _on_observation

    def _on_goal(self, goal: Goal) -> None:
        self._goal = goal

    def _on_plan(self, plan: MotorPlan) -> None:
        self._plan = plan
        self._slowest_ms = float(np.fmax(self._slowest_ms, plan.plan_ms))

    def _on_command(self, _: Any) -> None:
        self._commands += 1

    def _on_ledger(self, ledger: Any) -> None:
        self._late += bool(ledger.late)

    def _on_weighed(self, weighed: Any) -> None:
        names = weighed.names.split("\n") if weighed.names else []
        chosen = int(np.nanargmin(weighed.energies)) if np.isfinite(weighed.energies).any() else -1
        rows = zip(names, weighed.target_xy_m, weighed.energies, weighed.reach)
        shots = [Shot(name, xy, float(e), float(r), k == chosen) for k, (name, xy, e, r) in enumerate(rows)]
        self._shots = tuple(sorted(shots, key=lambda shot: shot.energy if np.isfinite(shot.energy) else np.inf))

    def _on_surprise(self, alarm: Alarm) -> None:
        self._alarm = alarm

    def _on_considered(self, told: Any) -> None:
        if np.isfinite(told.surprise):
            self._surprise = told.surprise
        if self._observation is None or not len(told.energies):
            return
        seen = self._observation
        now = stroke.JointState(seen.q_rad, seen.dq_rad_s, np.zeros_like(seen.q_rad))
        ways = zip(told.q_rad, told.dq_rad_s, told.before_s, np.maximum(told.to_go_s, paths.STEP_S))
        events = [stroke.Event(q, dq, before_s, float(to_go_s)) for q, dq, before_s, to_go_s in ways]
        self._fan = tuple(paths.racket_ways(self.spec, now, events))
        self._fan_energies = told.energies
        self._contact_ns = told.stamp_ns + round(float(told.to_go_s[0]) * NS)
        self._fans += 1
        landing = told.landing_xy_m[0]
        known = np.isfinite(landing).all() and np.isfinite(told.contact_m[0]).all()
        self._flight = paths.flight_arc(told.contact_m[0], landing) if known else _NONE_3

    def _trail(self) -> Array:
        """Positions (S, 3) of the last TRAIL_S, oldest first."""
        if not self._tracked:
            return _NONE_3
        since = max(self._tracked) - TRAIL_S * NS
        return np.array([self._tracked[stamp] for stamp in sorted(self._tracked) if stamp >= since])


def _counted(name: str) -> bool:
    return name.startswith("dropped.") or name == "command.started_late"
