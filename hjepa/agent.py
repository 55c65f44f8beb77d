"""The page: how an observation becomes a command. Everything else is a stage of this.

observation -> high: encode the incoming stroke, weigh macro-actions, predict the stroke to play  -> goal g
            -> low:  encode shuttle and body, propose, search |U(P(z, m)) - g|^2 + guards + effort -> motor latent m*
            -> motor.decode(m*) -> joint trajectory with an expiry
            <- low tells high what each candidate goal would cost (reachability)
"""

from __future__ import annotations

from typing import NamedTuple

from hjepa.diary import Diary
from hjepa.handover import Handover
from hjepa.protocols import Avoids, HighLevel, LowLevel
from hjepa.types import Array, Decision, Goal, JointTrajectory, Observation


class Thought(NamedTuple):
    """What one `act` decided: for logs, tables and tests."""

    goal: Goal | None
    command: JointTrajectory | None


class HierarchicalAgent:
    """Two levels over observations; the same objects serve as nodes on the bus."""

    def __init__(self, high: HighLevel, low: LowLevel) -> None:
        self.high, self.low, self.handover, self.diary = high, low, Handover(), Diary()
        self.thought = Thought(None, None)

    def reset(self, seed: int = 0) -> None:
        """Begin a stroke."""
        for part in (self.high, self.low):
            part.reset(seed)
        self.handover.reset()
        self.diary.reset()
        self.thought = Thought(None, None)

    def act(self, observation: Observation) -> JointTrajectory | None:
        """Joint trajectory for what is seen now; None while there is nothing to answer, or to keep the last one."""
        self.diary.begin()
        decided = self.high.decide(observation, lambda *goals: self.low.reachability(observation, *goals))
        self.diary.decided(decided)
        if decided:
            self.handover.offer(decided)
        goal = self.handover.at(observation.stamp_ns)
        command = self.low.plan(observation, goal) if goal else None
        self.diary.planned(goal, self.low, command)
        self.thought = Thought(goal, command)
        return command

    def avoid(self, zones: Array) -> None:
        """Zones (Z, 6) to keep out of, as protocols.Avoids has them."""
        if isinstance(self.low, Avoids):
            self.low.avoid(zones)

    @property
    def decision(self) -> Decision | None:
        """The latest decision, for the record."""
        return self.diary.decision
