"""The low level's decisions: propose, search, keep or change the motor latent, decode it to a joint trajectory.

Implements protocols.LowLevel with a level, a proposal and limits handed in. A motor latent names an event in the world
and does not change as time passes; each re-planning re-encodes what is seen, searches a few steps from the latent in
force and keeps it unless the energy falls by a margin. Legend: C candidates, H proposals, X search variables,
G goal space, J joints, M motor latent, F slots after the event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjepa import stroke
from hjepa.planning.body import Body, zones_of
from hjepa.planning.considering import considered
from hjepa.planning.context import SlowContext
from hjepa.planning.encoding import Encoding
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.guarding import Guarding
from hjepa.planning.held import (
    SHAPE,
    Committed,
    Decided,
    Found,
    Scorer,
    as_array,
    latest_switch,
    limits_of,
    residual_count,
)
from hjepa.planning.hindsight import Hindsight
from hjepa.planning.objectives import (
    TIME_S,
    GoalTerm,
    LowWeights,
    Situation,
    StrokeResidual,
    own_residuals,
    search_box,
)
from hjepa.planning.programs import Fused, LowPrograms, plain
from hjepa.planning.protocols import Planner
from hjepa.planning.reacting import Reacting
from hjepa.planning.searching import LowPlanConfig, Searching
from hjepa.planning.starts import Ready, Starts
from hjepa.planning.tuned import check_weights
from hjepa.types import (
    MODE_1,
    NS,
    Alarm,
    Array,
    Considered,
    Goal,
    JointTrajectory,
    MotorPlan,
    Observation,
    RobotSpec,
)

Joints = tuple[Tensor, Tensor]
"""Positions and speeds (1, J)."""


class StrokePlanner:
    """One stroke at a time; `reset` forgets the last one, but not what it told about the world (`context`)."""

    def __init__(
        self,
        level: Any,
        proposal: Any,
        spec: RobotSpec,
        config: LowPlanConfig = LowPlanConfig(),  # noqa: B008 (frozen value)
        weights: LowWeights = LowWeights(),  # noqa: B008
        planner: Planner | None = None,
        term: Callable[[Goal], GoalTerm] | None = None,
        flop: float = 0.0,
        context: SlowContext | None = None,
        programs: LowPrograms | None = None,
        body: Body | None = None,
        reacting: Reacting | None = None,
    ) -> None:
        """term: what a goal asks for, if not its embedding; flop: operations per scored candidate, for the record;
        context: what learns from past strokes (None: the nominal world for ever); programs: what the level computes
        with these weights and the robot's limits (None: plainly); body: what they keep off itself, the net and people
        (None: nothing); reacting: what is done about surprise (None: nobody watches)."""
        self.level, self.starts, self.spec = level, Starts(proposal), spec
        self.term, self.flop, self.context = term, flop, context
        self.config, self.weights, self.reacting = config, weights, reacting or Reacting(None, level, spec)
        self._scale = weights.tensor(level.codec.low.device)
        self.device = level.codec.low.device
        self.limits, self._own = limits_of(spec, self.device), own_residuals(level.codec, spec.joints, body)
        self.programs, self.body = programs or plain(level, self.limits, body), body
        self.guarding = None if body is None else Guarding(body, spec, self._own)
        self._box, self._count = search_box(level.codec, self.limits), residual_count(level, self.programs, spec.joints)
        self.encoding = Encoding(level, self.programs, context)
        self.hindsight = Hindsight(self.encoding, config.look_back_s, config.future)
        self.searching = Searching(config, planner or GaussNewton(), self.starts, level.codec, self._own)
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Forget the last stroke; `seed` is that of a planner that draws random numbers."""
        self.searching.reset(seed)
        self.hindsight.reset(doubted=self.reacting.alarmed)
        self.reacting.reset()
        self.avoid(np.zeros((0, 6)))
        self._committed: Committed | None = None
        self._unread: tuple[int, Tensor, Found, int] | None = None  # the latest decision, before it was asked for
        self._decided: Decided | None = None
        self._explained = MotorPlan(-1, np.empty(0), float("nan"), 0, 0.0)
        self._expected: Tensor | None = None

    @property
    def committed(self) -> Committed | None:
        """The plan in force."""
        return self._committed

    def explain(self) -> MotorPlan:
        """What the latest `plan` chose; the same value again when it decided nothing. Made when it is asked for, as is
        what past strokes teach: the command is not kept waiting."""
        self.hindsight.learn(self.reacting.alarmed)
        if self._unread is not None:
            goal_id, z, found, scored = self._unread
            self._unread = None
            with torch.no_grad():
                self._expected, landing = self.programs.foresee(z, found.x[None])
            m, xy = as_array(found.x[:-1]), as_array(landing[0])
            mflop = self.flop * scored / 1e6
            self._explained = MotorPlan(goal_id, m, found.energy, scored, 0.0, xy, mflop)
            guards = None if self._committed is None else self._committed.guards
            if guards is not None:
                self._explained = self._explained._replace(guards=guards, feasible=not np.nansum(guards) > 0.0)
        return self._explained

    @property
    def expected(self) -> Tensor | None:
        """Outcome embedding (1, E) that the latest decision expects; None before the first."""
        self.explain()
        return self._expected

    def sensed(self) -> Alarm | None:
        """How surprising the latest look was; None if it has been asked for already, or nobody watches."""
        return self.reacting.told()

    @property
    def scored(self) -> tuple[int, ...]:
        """Candidates of each search of the latest plan."""
        return self.searching.scored

    @property
    def budget_scored(self) -> tuple[int, ...] | None:
        """Of the next plan, which repeats another one; None: it has the time of its configuration."""
        return self.searching.budget_scored

    @budget_scored.setter
    def budget_scored(self, scored: tuple[int, ...] | None) -> None:
        self.searching.budget_scored = scored

    @property
    def _trusted(self) -> bool:
        """Whether the model is trusted to search with (mode 2)."""
        return self.config.search and self.reacting.acting < MODE_1

    def considered(self) -> Considered | None:
        """The latest plan beside mode 1's proposals; None if it has been asked for already."""
        said, self._decided = self._decided, None
        if said is None:
            return None
        with torch.no_grad():
            others = self.starts.propose(said.z, said.goal, said.joints).flatten(0, 1)
        return considered(
            self.level, said.residual, said.z, said.found.x, said.found.energy, others, goal_id=said.goal_id,
            stamp_ns=said.stamp_ns, surprise=float("nan") if self.context is None else self.context.surprise,
        )  # fmt: skip

    def tunable(self) -> dict[str, float]:
        """Weights of the energy by name."""
        return asdict(self.weights)

    def tune(self, values: dict[str, float]) -> None:
        """Other weights; the plan in force is weighed by them too, so the next search may replace it at any energy."""
        known = self.tunable()
        check_weights(values, known)
        self.weights = replace(self.weights, **values)
        self._scale = self.weights.tensor(self.device)
        if self._committed is not None:
            self._committed = self._committed._replace(own=float("inf"))

    def reachability(self, observation: Observation, candidates: Array, roots: Array) -> Array:
        """Energy (C,) of a short search for each candidate goal (C, G), weighed by roots (C, G, G)."""
        with torch.no_grad():
            z, joints = self.encoding.encode(observation)
            goals, metric = self.encoding.tensor(candidates), self.encoding.tensor(roots)
            latency = self.config.latency_s + self.config.goal_latency_s
            residual = self._residual(self._situation(observation, z, goals, metric, latency))
            proposals = self.starts.propose(z, goals, joints)  # (C, H, X)
            if self.config.most:
                proposals = proposals[:, : max(1, self.config.most // len(goals))]
            energy, best = residual.energy(proposals.flatten(0, 1)).view(len(goals), -1).min(dim=1)
            x = proposals[torch.arange(len(goals)), best]
            c, left = (
                self.config,
                self.config.most - proposals.shape[0] * proposals.shape[1] if self.config.most else None,
            )
            if c.search and c.reach_iterations and (left is None or left >= len(goals)):
                residual.high = residual.high.repeat(len(goals), 1)
                residual.high[:, SHAPE] = latest_switch(self.level.codec, x[:, -1])
                found = GaussNewton().descend(residual, x, c.reach_iterations, budget=left)
                x, energy = found.x, found.energy
                self.starts.ready = Ready(goals, x, observation.stamp_ns)
            return as_array(energy)

    def avoid(self, zones: Array) -> None:
        """Zones (Z, 6) to keep out of, as protocols.Avoids has them, where they are now."""
        self._zones = zones_of(zones, self.level.codec.low) if len(zones) else None

    def plan(self, observation: Observation, goal: Goal) -> JointTrajectory | None:
        """Trajectory for the goal from what is seen now; None: the last command stays in force."""
        return self._cleared(self._decide(observation, goal), observation.stamp_ns)

    def _decide(self, observation: Observation, goal: Goal) -> JointTrajectory | None:
        """As if nobody stood in the way of it."""
        self.hindsight.learn(self.reacting.alarmed)
        self.searching.begin(self.config)
        observation = self.reacting.believed(observation)
        if self._blind(observation):
            return self._wait(observation)
        old = self._committed if self._committed and self._committed.goal_id == goal.id else None
        late = old is not None and old.event_ns - observation.stamp_ns < self.config.freeze_s * NS
        if old and late and not self.reacting.afresh:  # of a flight that broke off, no plan holds
            self.hindsight.over(old, observation)
            return self._keep(old, observation.stamp_ns)
        with torch.no_grad():
            z, joints = self.encoding.encode(observation)
            if self.reacting.look(observation, z, old.event_ns if old else None):
                observation = self.reacting.believed(observation)
                if self._blind(observation) or self.reacting.given_up:
                    return self._wait(observation)
                z, joints = self.encoding.encode(observation)
            self.hindsight.looked(z, observation.stamp_ns)
            g = self.encoding.tensor(goal.candidates if self.config.joint else goal.embedding[None])
            situation = self._situation(
                observation, z, g[:1], self.encoding.tensor(goal.root[None]), self.config.latency_s
            )
            residual = self._residual(situation, self.term(goal) if self.term else None)
            fresh, self.reacting.afresh = self.reacting.afresh, False
            found = self._search(residual, z, g, joints, None if fresh else old, observation.stamp_ns)
        if self.reacting.let_go(found.energy > self.config.lost_energy):
            return self._wait(observation)
        self._decided = Decided(goal.id, observation.stamp_ns, residual, z, g[:1], joints, found)
        self.searching.energy, self._unread = found.energy, (goal.id, z, found, self.searching.tally)
        if found.kept and old:
            return self._keep(old, observation.stamp_ns)
        return self._commit(found, observation.stamp_ns, goal.id, situation)

    def _blind(self, observation: Observation) -> bool:
        """Whether too little is seen, of a stroke or of the flight that is believed now, to plan anything."""
        few = int(observation.tracker_mask.sum()) < self.config.min_samples
        return few and (self._committed is None or self.reacting.since_ns is not None)

    def _wait(self, observation: Observation) -> JointTrajectory | None:
        """Without a plan: go on as commanded, or away from a stroke that is given up."""
        old, c = self._committed, self.config
        if self.reacting.given_up:
            self._committed = None
            self.hindsight.abandoned()
            return self.reacting.retreat(old.command if old else None, observation, c.latency_s, c.valid_s)
        return self._keep(old, observation.stamp_ns) if old else None

    def objective(self, observation: Observation, goal: Goal) -> Scorer:
        """The energy that `plan` would minimise for the goal now; nothing is decided. Its x is a plan's latent and
        time to go / TIME_S."""
        self.hindsight.learn(self.reacting.alarmed)
        with torch.no_grad():
            z, _ = self.encoding.encode(observation)
            own = self.encoding.tensor(goal.embedding[None]), self.encoding.tensor(goal.root[None])
            situation = self._situation(observation, z, *own, self.config.latency_s)
            return self._residual(situation, self.term(goal) if self.term else None)

    def _search(
        self, residual: Scorer, z: Tensor, g: Tensor, joints: Joints, old: Committed | None, stamp_ns: int
    ) -> Found:
        """What to do now: a new latent, or the one in force."""
        return self.searching.search(residual, z, g, joints, old, stamp_ns, self._trusted)

    def _commit(self, found: Found, stamp_ns: int, goal_id: int, situation: Situation) -> JointTrajectory:
        x = found.x
        q, dq, before = (as_array(part[0]) for part in self.programs.decode(x[None, :-1]))
        to_go_s = float(x[-1]) * TIME_S
        start_ns = stamp_ns + round(situation.latency_s * NS)
        state = stroke.JointState(*(as_array(part[0]) for part in (situation.q, situation.dq, situation.ddq)))
        command = stroke.trajectory(
            state,
            stroke.Event(q, dq, before, to_go_s - situation.latency_s),
            self.spec.q_home_rad,
            self.spec.ddq_max_rad_s2,
            start_ns=start_ns,
            valid_ns=round(self.config.valid_s * NS),
        )
        event_ns = stamp_ns + round(to_go_s * NS)
        own, guards = found.own, None
        if self.guarding is not None and found.residuals is not None:
            guards = self.guarding.report(found.residuals, self.weights)
            if np.nansum(guards) > 0.0:  # whatever is found next replaces what is done instead
                command, own = self._instead(state, q, start_ns, stamp_ns), float("inf")
        self._committed = Committed(goal_id, x, stamp_ns, event_ns, command, own, found.spares, guards)
        return command

    def _instead(self, state: stroke.JointState, q: Array | None, start_ns: int, seen_ns: int) -> JointTrajectory:
        assert self.guarding is not None
        zones = self._zones if self.weights.keep_out else None
        return self.guarding.instead(state, q, zones, start_ns, seen_ns, round(self.config.valid_s * NS))

    def _cleared(self, command: JointTrajectory | None, stamp_ns: int) -> JointTrajectory | None:
        """The command, or another one where it (or the one in force) would take the body into a person's zone."""
        old = self._committed
        if self.guarding is None or self._zones is None or not self.weights.keep_out or old is None:
            return command
        start_ns = stamp_ns + round(self.config.latency_s * NS)
        followed = command or stroke.resume(old.command, start_ns)
        if followed is not None and not self.guarding.trespass([followed], self._zones, stamp_ns)[1][0]:
            return command
        evasion = self._instead(stroke.state_at(old.command, start_ns), None, start_ns, stamp_ns)
        self._committed = old._replace(command=evasion, own=float("inf"))
        return evasion

    def _residual(self, situation: Situation, term: GoalTerm | None = None) -> Scorer:
        if term is None:
            return Fused(self.programs, self._box, self._count, self._scale, situation)
        return StrokeResidual(self.level, self.limits, self.weights, situation, term, body=self.body)

    def _keep(self, old: Committed, stamp_ns: int) -> JointTrajectory | None:
        """The same motion, sent again from now on, so that its expiry moves with the planner's life."""
        return stroke.resume(old.command, stamp_ns + round(self.config.latency_s * NS))

    def _situation(
        self, observation: Observation, z: Tensor, goal: Tensor, root: Tensor, latency_s: float
    ) -> Situation:
        q, dq, ddq = self.encoding.begins(self._committed, observation, self.spec.ddq_max_rad_s2, latency_s)
        return Situation(z, q, dq, ddq, latency_s, goal, root, self._zones)
