"""From surprise to what is done about it: a ladder of grades, each for a rarer or a longer surprise.

    0 calm      the plan goes on
    1 re-plan   the flight has broken off: memory carries it on until the tracker makes sense again; if that is of a new
                flight, what was seen before is forgotten, and the search begins anew (breaks.py)
    2 mode 1    the model's predictions are not trusted: its proposal is played, without a search
    3 abandon   no swing any more in this stroke: the body recovers
    4 hold      nothing seen is believed: the body brakes, no command follows, and the driver holds

A look (one re-planning instant) is alarming for a grade if its p is at most the grade's; a grade is reached after so
many alarming looks, and left after some calm ones. What is abandoned or held stays so until the next stroke. Legend:
N measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from hjepa import motion, stroke
from hjepa.planning.breaks import Breaks
from hjepa.planning.surprise import Watcher
from hjepa.types import ABANDON, CALM, GRADES, HOLD, NS, REPLAN, Alarm, JointTrajectory, Observation, RobotSpec, Sensed

BELIEVED_S = 0.08  # an expectation this old was formed before what is found surprising now
FLOWN = ("flight", "net")  # causes that a new flight explains: there is something new to look at
LOST = 3  # plans in a row for a new flight that lead nowhere: it is let go
GENTLE = 0.4  # of the joints' speed limits, on the way back from a swing that was abandoned


class Step(NamedTuple):
    """What it takes to reach a grade."""

    p: float  # a look is alarming at this p or less
    looks: int  # so many alarming looks


@dataclass(frozen=True)
class ReactConfig:
    """The ladder, and which of its rungs are acted upon."""

    steps: tuple[Step, ...] = (Step(1e-3, 1), Step(3e-4, 2), Step(1e-4, 3), Step(1e-4, 5))  # of grades 1 to 4
    calm_looks: int = 3  # in a row, after which a grade below 'abandon' is left
    reactions: tuple[str, ...] = GRADES[1:]


class Ladder:
    """Grades from a sequence of looks."""

    def __init__(self, config: ReactConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        self.grade, self._calm = CALM, 0
        self._alarming = [0] * len(self.config.steps)

    def climb(self, sensed: Sensed) -> int:
        """The grade after one more look; one at which nothing was expected yet says nothing."""
        if not sensed.cause:
            return self.grade
        alarming = [sensed.p <= step.p for step in self.config.steps]
        self._alarming = [n + yes for n, yes in zip(self._alarming, alarming, strict=True)]
        self._calm = 0 if any(alarming) else self._calm + 1
        if self._calm >= self.config.calm_looks and self.grade < ABANDON:
            self.reset()
        reached = [k + 1 for k, step in enumerate(self.config.steps) if self._alarming[k] >= step.looks]
        self.grade = max([self.grade, *reached])
        return self.grade


class _Look(NamedTuple):
    stamp_ns: int
    z: Tensor  # (1, Z)


class Reacting:
    """What a stroke planner asks: what may be believed of what is seen, how bad it is, and how to get away."""

    def __init__(
        self,
        watcher: Watcher | None,
        level: Any,
        spec: RobotSpec,
        config: ReactConfig = ReactConfig(),  # noqa: B008
    ) -> None:
        """watcher: None: nobody watches, and nothing is ever surprising; level: whose expectations are broken."""
        self.watcher, self.spec, self.config, self.breaks = watcher, spec, config, Breaks(level)
        self.ladder = Ladder(config)
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        if self.watcher is not None:
            self.watcher.reset()
        self.ladder.reset()
        self.breaks.reset()
        self.afresh = False  # a search from nothing is due
        self._lost = 0  # plans in a row that led nowhere
        self._looks: list[_Look] = []  # the calm ones
        self._retreat: tuple[int, JointTrajectory] | None = None  # the grade it was made for
        self._until_ns: int | None = None
        self._told: Alarm | None = None

    def believed(self, observation: Observation) -> Observation:
        """The observation without what is not believed."""
        if self.breaks.settle(observation) and self.watcher is not None:
            self.watcher.reset()
            self._looks, self.afresh = [], True
        return self.breaks.believed(observation)

    @property
    def since_ns(self) -> int | None:
        """When the flight that is believed began; None: with the stroke."""
        return self.breaks.since_ns

    def look(self, observation: Observation, z: Tensor, until_ns: int | None) -> bool:
        """Watch; whether anything is to be done about it. z (1, Z): the level's state from the observation.

        until_ns: the flight is expected to end then (the planned contact); None: as was said last.
        """
        self._until_ns = self._until_ns if until_ns is None else until_ns
        if self.watcher is None or (self._until_ns is not None and observation.stamp_ns >= self._until_ns):
            return self.given_up
        sensed = self.watcher.see(observation, self._until_ns)
        grade = self.ladder.climb(sensed)
        self._told = Alarm(sensed, grade)
        alarming = bool(sensed.cause) and sensed.p <= max(step.p for step in self.config.steps)
        act, doubted = self._acted(grade), self.breaks.in_doubt
        if alarming and act >= REPLAN and sensed.cause in FLOWN:
            self._begin_anew(observation)
        elif alarming and act >= REPLAN:
            self.afresh = True
        elif not alarming:
            self._looks.append(_Look(observation.stamp_ns, z))
        return self.afresh or self.given_up or self.breaks.in_doubt > doubted

    def let_go(self, nowhere: bool) -> bool:
        """Whether the stroke is given up since a new flight cannot be reached: better no swing than one at nothing.

        nowhere: the latest plan leads nowhere.
        """
        self._lost = self._lost + 1 if nowhere and self.since_ns is not None else 0
        if self._lost >= LOST and self.ladder.grade < ABANDON and GRADES[ABANDON] in self.config.reactions:
            self.ladder.grade = ABANDON
            self._told = None if self._told is None else self._told._replace(grade=ABANDON)
        return self.given_up

    @property
    def acting(self) -> int:
        """The grade that is acted by."""
        return self._acted(self.ladder.grade)

    @property
    def given_up(self) -> bool:
        """Whether the stroke is over, whatever the shuttle does."""
        return self.acting >= ABANDON

    @property
    def alarmed(self) -> bool:
        """Whether anything in this stroke was surprising: nothing is to be learned from it."""
        return self.ladder.grade > CALM or self.since_ns is not None or self.breaks.in_doubt

    def told(self) -> Alarm | None:
        """The latest look; None if it has been asked for already."""
        told, self._told = self._told, None
        return told

    def retreat(
        self, command: JointTrajectory | None, observation: Observation, latency_s: float, valid_s: float
    ) -> JointTrajectory | None:
        """The way out of a stroke that is given up; command: what is followed now, if anything. None: none is needed
        any more; when the last one has run out the driver brakes and holds."""
        start_ns, grade = observation.stamp_ns + round(latency_s * NS), self.acting
        if self._retreat is not None and self._retreat[0] == grade:
            return stroke.resume(self._retreat[1], start_ns) if grade == ABANDON else None
        command = command or (self._retreat[1] if self._retreat else None)
        if command is None:
            state = stroke.braked(observation.q_rad, observation.dq_rad_s, self.spec.ddq_max_rad_s2, latency_s)
        else:
            state = stroke.state_at(command, start_ns)
        made = (_braking if grade == HOLD else _recovery)(state, self.spec, start_ns, round(valid_s * NS))
        self._retreat = grade, made
        return made

    def _acted(self, grade: int) -> int:
        """The highest rung up to a grade that is switched on."""
        return max([CALM, *(k for k in range(1, grade + 1) if GRADES[k] in self.config.reactions)])

    def _begin_anew(self, observation: Observation) -> None:
        """A flight has broken off."""
        old = [look for look in self._looks if observation.stamp_ns - look.stamp_ns >= BELIEVED_S * NS]
        if old:
            self.breaks.found(old[-1].z, old[-1].stamp_ns, observation)


def _recovery(state: stroke.JointState, spec: RobotSpec, start_ns: int, valid_ns: int) -> JointTrajectory:
    """Towards home, as after any stroke, but without haste."""
    goal = motion.recovery_target(state.q_rad, state.dq_rad_s, spec.q_home_rad, spec.ddq_max_rad_s2, stroke.RECOVERY_S)
    limits = GENTLE * spec.dq_max_rad_s, spec.ddq_max_rad_s2
    return stroke.recover(state, goal, *limits, start_ns=start_ns, valid_ns=valid_ns)


def _braking(state: stroke.JointState, spec: RobotSpec, start_ns: int, valid_ns: int) -> JointTrajectory:
    """To rest as soon as the joints can, and no longer valid than that takes: then the driver holds."""
    a = stroke.USE * spec.ddq_max_rad_s2
    goal = state.q_rad + 0.5 * state.dq_rad_s * abs(state.dq_rad_s) / a
    made = stroke.recover(state, goal, spec.dq_max_rad_s, spec.ddq_max_rad_s2, start_ns=start_ns, valid_ns=valid_ns)
    moving_s = max(float((abs(state.dq_rad_s) / a).max()), made.dt_s)
    return made._replace(valid_ns=min(valid_ns, round(moving_s * NS)))
