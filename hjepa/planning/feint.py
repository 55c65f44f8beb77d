"""A stroke that hides its intent: until the hinge, 0.16 s before the contact, the body moves for another place.

The high level draws a shot, as ever, and names other places that the same shot may still be turned to (Goal.late). The
body sets out for the first one. Once that is under way, the low level searches every late goal with its usual energy,
the motion to it beginning at the hinge of the one in force, and one of those that can be reached is drawn:

    v = argmin E(v from the hinge) - surprise |A(motion shown) - place of v| - mixing Gumbel noise

A is an observer that has watched the robot play and says where its shot will fall. From then on v is the goal; what was
shown goes on until the hinge, and every re-planning searches v from there. If none can be reached, the first shot is
played after all. Legend: V late goals, X search variables, J joints, T instants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import stroke
from hjepa.planning.gradient import Descent, GaussNewton
from hjepa.planning.held import Committed, Found, Scorer
from hjepa.planning.objectives import LowWeights, Situation
from hjepa.planning.programs import Fused
from hjepa.planning.starts import passed
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import NS, Array, Goal, JointTrajectory, MotorPlan, Observation


@dataclass(frozen=True)
class FeintConfig:
    """When a feint is played, and what for."""

    hinge_s: float = 0.16  # before the contact: what an observer sees until 0.15 s before it is what is shown
    surprise: float = 2.0  # energy that a metre of the observer's error is worth
    spare: float = 5.0  # energy up to which a late goal counts as reached
    mixing: float = 1.0  # Gumbel noise: a mixed strategy, which tells least to who knows it
    effort: float = 1.5  # weight of the joints' acceleration while late goals are searched: a way that is within limits
    iterations: int = 6
    again: int = 3  # of them, once one was found
    polish: int = 2  # iterations with the usual energy, from there
    trust: float = 1.2
    at_once: int = 5  # late goals looked at in one plan: a plan must be as quick as any
    tries: int = 8  # plans in which some are looked at


class Watches(Protocol):
    """An observer: where (2,) it expects a shot to fall, from joints (T, J) and their speeds seen so far."""

    instants: int  # T
    every_s: float

    def __call__(self, q_rad: Array, dq_rad_s: Array) -> Array: ...


class Hidden(NamedTuple):
    """A feint in force."""

    shown: Committed  # the plan that the body follows until the hinge
    goal: Goal  # the late one


class FeintPlanner(StrokePlanner):
    """A StrokePlanner whose strokes begin as others, where the goal names late ones."""

    def __init__(
        self,
        *args: Any,
        observer: Watches,
        feint: FeintConfig = FeintConfig(),
        **more: Any,
    ) -> None:  # noqa: B008
        self.observer, self.feint = observer, feint
        super().__init__(*args, **more)

    def _soft(self, situation: Situation) -> Fused:
        gentle = softened(self.weights, self.feint).tensor(self.device)
        return Fused(self.programs, self._box, self._count, gentle, situation)

    def reset(self, seed: int = 0) -> None:
        """Forget the last stroke."""
        super().reset(seed)
        self._hidden: Hidden | None = None
        self._tries = 0
        self._target_m: Array | None = None  # what is known to be aimed at
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._hinge_ns: int | None = None  # where the motion that is searched for begins; None: as soon as it can

    @property
    def hidden(self) -> Goal | None:
        """The late goal of the stroke since the last reset; None if its first goal was played."""
        return self._hidden.goal if self._hidden is not None else None

    def explain(self) -> MotorPlan:
        """As a StrokePlanner's, with the target of the late goal; of the first one, once no late one is looked for."""
        told = super().explain()
        return told if self._target_m is None else told._replace(target_xy_m=self._target_m)

    def plan(self, observation: Observation, goal: Goal) -> JointTrajectory | None:
        """As a StrokePlanner's; the second plan of a goal also looks for a late one."""
        old = self._committed if self._committed is not None and self._committed.goal_id == goal.id else None
        if old is None:
            self._hidden, self._tries = None, 0
            self._order = torch.randperm(len(goal.late), generator=self.starts.generator).numpy()
        elif self._hidden is not None and self._ahead(observation) and self.searching.energy > self.feint.spare:
            old, self._hidden = self._hidden.shown, None  # what was shown can still be played
            self._committed = old._replace(own=float("inf"))
        if old is not None and self._hidden is None and len(goal.late) and self._tries < self.feint.tries:
            self._tries += 1
            with torch.no_grad():
                self._hide(observation, goal, old)
        self._hinge_ns = None
        if self._hidden is not None:
            self._hinge_ns = self._hinge() if self._ahead(observation) else None
            goal = self._hidden.goal
        given_up = self._tries >= self.feint.tries or (old is not None and not self._ahead(observation))
        self._target_m = goal.target_xy_m if self._hidden is not None or given_up else None
        return super().plan(observation, goal)

    def _hinge(self) -> int:
        """When what is shown has to end."""
        assert self._committed is not None
        return self._committed.event_ns - round(self.feint.hinge_s * NS)

    def _ahead(self, observation: Observation) -> bool:
        """True while a command can still begin before the hinge."""
        return self._hinge() > observation.stamp_ns + round(self.config.latency_s * NS)

    def _situation(
        self, observation: Observation, z: Tensor, goal: Tensor, root: Tensor, latency_s: float
    ) -> Situation:
        """While the hinge lies ahead, the motion that is searched for begins there."""
        if self._hidden is None or self._hinge_ns is None:
            return super()._situation(observation, z, goal, root, latency_s)
        return self._from_hinge(observation, z, goal, root, self._hidden.shown.command, self._hinge_ns)

    def _from_hinge(
        self, observation: Observation, z: Tensor, goal: Tensor, root: Tensor, shown: JointTrajectory, hinge_ns: int
    ) -> Situation:
        q, dq, ddq = (torch.from_numpy(x).float()[None] for x in stroke.state_at(shown, hinge_ns))
        self._turns = Situation(z, q, dq, ddq, (hinge_ns - observation.stamp_ns) / NS, goal, root, self._zones)
        return self._turns

    def _search(
        self, residual: Scorer, z: Tensor, g: Tensor, joints: Any, old: Committed | None, stamp_ns: int
    ) -> Found:
        """While the hinge lies ahead: gently first, as in the search of late goals."""
        if self._hidden is None or self._hinge_ns is None or old is None:
            return super()._search(residual, z, g, joints, old, stamp_ns)
        soft, newton = self._soft(self._turns), GaussNewton(trust=self.feint.trust)
        rough = self.searching.descend(soft, passed(old.x, stamp_ns - old.stamp_ns)[None], self.feint.again, newton)
        plan = self.searching.descend(residual, rough.starts, self.feint.polish, newton)
        own = 0.5 * float((plan.residuals[-self._own :] ** 2).sum())
        return Found(plan.x, plan.energy, own, plan.starts, residuals=plan.residuals)

    def _commit(self, found: Found, stamp_ns: int, goal_id: int, situation: Situation) -> JointTrajectory:
        command = super()._commit(found, stamp_ns, goal_id, situation)
        if self._hidden is None or self._hinge_ns is None or self._committed is None:
            return command
        command = spliced(self._hidden.shown.command, command, stamp_ns + round(self.config.latency_s * NS))
        self._committed = self._committed._replace(command=command)
        return command

    def _hide(self, observation: Observation, goal: Goal, old: Committed) -> None:
        """Draw a late goal that is reached from the hinge of the motion in force, and let it be the goal."""
        c = self.feint
        hinge_ns = self._hinge()
        if not self._ahead(observation):
            return
        some = np.resize(np.roll(self._order, -c.at_once * self._tries), min(c.at_once, len(self._order)))
        goal = goal._replace(late=goal.late[some], late_roots=goal.late_roots[some], late_xy_m=goal.late_xy_m[some])
        found = self._late(observation, goal, old, hinge_ns)
        wrong = torch.from_numpy(np.linalg.norm(self._told(old.command, hinge_ns) - goal.late_xy_m, axis=1))
        noise = -torch.empty(len(wrong)).exponential_(generator=self.starts.generator).log()
        price = found.energy - c.surprise * wrong - c.mixing * noise
        best = int(torch.where(found.energy < c.spare, price, torch.inf).argmin())
        if not float(found.energy[best]) < c.spare:
            return
        late = goal._replace(
            embedding=goal.late[best], root=goal.late_roots[best], target_xy_m=goal.late_xy_m[best],
            candidates=goal.late[best : best + 1], energies=np.zeros(1),
        )  # fmt: skip
        self._hidden = Hidden(old, late)
        x = passed(found.x[best], old.stamp_ns - observation.stamp_ns)
        self._committed = old._replace(x=x, own=float("inf"), spares=x[None])  # it has to be sent, whatever it costs

    def _late(self, observation: Observation, goal: Goal, old: Committed, hinge_ns: int) -> Descent:
        """Each late goal (V), searched from the hinge, beginning at the event in force."""
        z, _ = self.encoding.encode(observation)
        many = len(goal.late)
        goals, roots = (torch.from_numpy(x).float() for x in (goal.late, goal.late_roots))
        at = self._from_hinge(observation, z, goals, roots, old.command, hinge_ns)
        x = passed(old.x, observation.stamp_ns - old.stamp_ns).expand(many, -1)
        rough = GaussNewton(trust=self.feint.trust).descend(self._soft(at), x, self.feint.iterations)
        return GaussNewton().descend(self._residual(at), rough.x, self.feint.polish)

    def _told(self, shown: JointTrajectory, until_ns: int) -> Array:
        """What the observer makes of a motion, seen until then: (2,). Before it began nothing moved."""
        ages = range(self.observer.instants - 1, -1, -1)
        stamps = [until_ns - round(self.observer.every_s * k * NS) for k in ages]
        states = [stroke.state_at(shown, max(stamp, shown.start_ns)) for stamp in stamps]
        return self.observer(np.stack([s.q_rad for s in states]), np.stack([s.dq_rad_s for s in states]))


def softened(weights: LowWeights, feint: FeintConfig = FeintConfig()) -> LowWeights:  # noqa: B008
    """The weights with which late goals are searched."""
    return replace(weights, effort=feint.effort)


def spliced(first: JointTrajectory, then: JointTrajectory, start_ns: int) -> JointTrajectory:
    """One command from about start_ns on: `first` until `then` begins. Same steps."""
    step_ns = round(first.dt_s * NS)
    count = max(0, -(-(then.start_ns - start_ns) // step_ns))
    begins_ns = then.start_ns - count * step_ns
    states = [stroke.state_at(first, begins_ns + k * step_ns) for k in range(count)]
    q = np.concatenate([*(s.q_rad[None] for s in states), then.q_rad])
    dq = np.concatenate([*(s.dq_rad_s[None] for s in states), then.dq_rad_s])
    return JointTrajectory(begins_ns, first.dt_s, q, dq, then.valid_ns)
