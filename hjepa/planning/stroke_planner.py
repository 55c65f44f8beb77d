"""The low level's decisions: propose, search, keep or change the motor latent, decode it to a joint trajectory.

Implements protocols.LowLevel with a level, a proposal and limits handed in. A motor latent names an event in the world
and does not change as time passes; each re-planning re-encodes what is seen, searches a few steps from the latent in
force and keeps it unless the energy falls by a margin. Legend: C candidates, H proposals, X search variables,
G goal space, J joints, M motor latent, F slots after the event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa import stroke
from hjepa.planning.body import Body, zones_of
from hjepa.planning.considering import considered
from hjepa.planning.context import SlowContext
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.guarding import Guarding
from hjepa.planning.held import (
    SHAPE,
    Committed,
    Decided,
    Found,
    Look,
    Scorer,
    as_array,
    half_square,
    latest_switch,
    limits_of,
    residual_count,
)
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
from hjepa.planning.protocols import Plan, Planner
from hjepa.planning.reacting import Reacting
from hjepa.planning.starts import Ranked, Ready, Starts, passed
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


@dataclass(frozen=True)
class LowPlanConfig:
    """Budget and timing of the low level."""

    latency_s: float = 0.03  # from an observation to the start of the command it led to
    goal_latency_s: float = 0.04  # what the high level takes: added when it asks what is reachable
    reach_iterations: int = 1  # for each candidate goal, when the high level asks what is reachable
    first_starts: int = 3
    first_iterations: int = 3
    first_kept: int = 1  # of the starts, after half of the iterations
    starts: int = 1
    iterations: int = 3
    accept_margin: float = 0.0
    alarm_energy: float = 8.0  # above this the proposals are asked again, and points far around them
    strayed: int = 48  # such points
    lost_energy: float = 150.0  # a plan for a flight that began in its midst is let go above this
    freeze_s: float = 0.06  # nearer to the event than this the latent stays
    valid_s: float = 0.5
    search: bool = True  # False: the proposal alone (mode 1), proposed again at every instant
    min_samples: int = 5  # tracker samples before anything is planned
    look_back_s: float = 0.50  # after an event it is known what followed
    future: int = 40  # F
    most: int = 0  # candidates scored a decision, reachability's included; 0: as many as it takes
    budget_s: float | None = None  # from the observation's arrival: no iteration is begun that would end later
    joint: bool = False  # True: propose for every candidate goal, not for the chosen one alone


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
        self.planner: Planner = planner or GaussNewton()
        self.device = level.codec.low.device
        self.limits, self._own = limits_of(spec, self.device), own_residuals(level.codec, spec.joints, body)
        self.programs, self.body = programs or plain(level, self.limits, body), body
        self.guarding = None if body is None else Guarding(body, spec, self._own)
        self._box, self._count = search_box(level.codec, self.limits), residual_count(level, self.programs, spec.joints)
        self.scored: tuple[int, ...] = ()  # candidates of each search of the latest plan
        self.budget_scored: tuple[int, ...] | None = None  # of the next plan: it repeats another one; None: budget_s
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Forget the last stroke; `seed` is that of a planner that draws random numbers."""
        self.planner.reset(seed)
        self.starts.reset(seed)
        if self.context is not None:
            (self.context.doubted if self.reacting.alarmed else self.context.landed)()
        self.reacting.reset()
        self.avoid(np.zeros((0, 6)))
        self._committed: Committed | None = None
        self._energy = float("nan")  # that the latest search ended at
        self._tally = 0  # candidates scored for the latest plan
        self._began = 0.0  # when the latest plan was asked for
        self._unread: tuple[int, Tensor, Found, int] | None = None  # the latest decision, before it was asked for
        self._decided: Decided | None = None
        self._look: Look | None = None
        self._past: tuple[Committed, Observation] | None = None  # an event that is over, and what is seen of it
        self._explained = MotorPlan(-1, np.empty(0), float("nan"), 0, 0.0)
        self._expected: Tensor | None = None

    @property
    def committed(self) -> Committed | None:
        """The plan in force."""
        return self._committed

    def explain(self) -> MotorPlan:
        """What the latest `plan` chose; the same value again when it decided nothing. Made when it is asked for, as is
        what past strokes teach: the command is not kept waiting."""
        self._learn()
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
    def _searching(self) -> bool:
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
            z, joints = self._encode(observation)
            goals, metric = self._tensor(candidates), self._tensor(roots)
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
        self._learn()
        self._began, self.scored, self._tally = time.monotonic(), (), 0
        observation = self.reacting.believed(observation)
        if self._blind(observation):
            return self._wait(observation)
        old = self._committed if self._committed and self._committed.goal_id == goal.id else None
        late = old is not None and old.event_ns - observation.stamp_ns < self.config.freeze_s * NS
        if old and late and not self.reacting.afresh:  # of a flight that broke off, no plan holds
            self._past = (old, observation)
            return self._keep(old, observation.stamp_ns)
        with torch.no_grad():
            z, joints = self._encode(observation)
            if self.reacting.look(observation, z, old.event_ns if old else None):
                observation = self.reacting.believed(observation)
                if self._blind(observation) or self.reacting.given_up:
                    return self._wait(observation)
                z, joints = self._encode(observation)
            self._look = Look(z, observation.stamp_ns)
            g = self._tensor(goal.candidates if self.config.joint else goal.embedding[None])
            situation = self._situation(observation, z, g[:1], self._tensor(goal.root[None]), self.config.latency_s)
            residual = self._residual(situation, self.term(goal) if self.term else None)
            fresh, self.reacting.afresh = self.reacting.afresh, False
            found = self._search(residual, z, g, joints, None if fresh else old, observation.stamp_ns)
        if self.reacting.let_go(found.energy > self.config.lost_energy):
            return self._wait(observation)
        self._decided = Decided(goal.id, observation.stamp_ns, residual, z, g[:1], joints, found)
        self._energy, self._unread = found.energy, (goal.id, z, found, self._tally)
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
            self._committed = self._look = None
            return self.reacting.retreat(old.command if old else None, observation, c.latency_s, c.valid_s)
        return self._keep(old, observation.stamp_ns) if old else None

    def objective(self, observation: Observation, goal: Goal) -> Scorer:
        """The energy that `plan` would minimise for the goal now; nothing is decided. Its x is a plan's latent and
        time to go / TIME_S."""
        self._learn()
        with torch.no_grad():
            z, _ = self._encode(observation)
            own = self._tensor(goal.embedding[None]), self._tensor(goal.root[None])
            situation = self._situation(observation, z, *own, self.config.latency_s)
            return self._residual(situation, self.term(goal) if self.term else None)

    def _descend(
        self, residual: Scorer, starts: Tensor, iterations: int, planner: Planner | None = None, spare: int = 0
    ) -> Plan:
        """A search in the time that is left, or as far as the one that is repeated; by another planner, if given.
        spare: candidates to leave for what comes after it."""
        left_s, budget = None, self._left(spare)
        if budget is not None:  # rather few starts that get somewhere
            starts = starts[: max(1, budget // (starts.shape[1] + 2))]
        if self.budget_scored is not None:
            budget = next(iter(self.budget_scored[len(self.scored) :]), None)
        elif self.config.budget_s is not None:
            left_s = self._began + self.config.budget_s - time.monotonic()
        found = (planner or self.planner).plan(residual, starts, iterations, left_s, budget)
        self.scored = (*self.scored, found.evaluations)
        self._tally += found.evaluations
        return found

    def _left(self, spare: int = 0) -> int | None:
        """Candidates that may still be scored; at least one."""
        return max(1, self.config.most - self._tally - spare) if self.config.most else None

    def _learn(self) -> None:
        """Look back at the latest plan that did not search, unless that has been done."""
        if self._past is not None:
            past, self._past = self._past, None
            self._look_back(*past)

    def _look_back(self, done: Committed, observation: Observation) -> None:
        """Once what followed the event has been seen, let the context learn from it. The commanded joints stand for
        the measured ones; the slot at the event itself is left out, as it may still belong to the incoming flight."""
        since_s = (observation.stamp_ns - done.event_ns) / NS
        if self.context is None or self._look is None or since_s < self.config.look_back_s or self.reacting.alarmed:
            return
        look, self._look = self._look, None
        first = int(np.searchsorted(observation.tracker_stamp_ns, done.event_ns))
        slots = slice(first, first + self.config.future)
        mask = observation.tracker_mask[slots].copy()
        if first == 0 or len(mask) < self.config.future or mask.sum() < self.config.future // 2:
            return
        mask[0] = False
        at = [stroke.state_at(done.command, done.event_ns + round(0.1 * k * NS)) for k in range(5)]
        q, dq = (np.stack([getattr(state, name) for state in at]) for name in ("q_rad", "dq_rad_s"))
        seen = observation.tracker_xyz_m[slots] * mask[:, None]
        with torch.no_grad():
            outcome = self.level.see_after(*(self._tensor(part[None]) for part in (seen, mask, q, dq)))
            to_go_s = look.z.new_tensor([[(done.event_ns - look.stamp_ns) / NS]])
            self.context.learn(look.z, done.x[None, :-1], to_go_s, outcome)

    def _search(
        self,
        residual: Scorer,
        z: Tensor,
        g: Tensor,
        joints: tuple[Tensor, Tensor],
        old: Committed | None,
        stamp_ns: int,
    ) -> Found:
        """What to do now: a new latent, or the one in force."""
        c = self.config
        if old is None or not self._searching:
            return self._first(residual, z, g, joints, stamp_ns)
        warm = passed(torch.cat([old.x[None], old.spares[1 : c.starts]]), stamp_ns - old.stamp_ns)
        residual.high[SHAPE] = torch.maximum(latest_switch(self.level.codec, warm[0, -1])[0], warm[0, SHAPE])
        if self._energy > c.alarm_energy:  # the last search ended high: look elsewhere too
            fresh, energy = self._ranked(residual, z, g, joints, stamp_ns)
            strayed, above = self._strayed(residual, fresh)
            others = torch.cat([fresh[:1], strayed[:1]])[torch.argsort(torch.cat([energy[:1], above[:1]]))]
            warm = torch.cat([warm[:1], others])
        plan = self._descend(residual, warm, c.iterations)
        # Going on as commanded: the outcome is foreseen anew, the way there is what it was. To solve the way again from
        # the present state would ask for ever more acceleration as time runs out.
        now = half_square(plan.begun[: -self._own]) + old.own
        if plan.energy > now * (1.0 - c.accept_margin):
            return Found(warm[0], now, old.own, warm, kept=True)
        own = half_square(plan.residuals[-self._own :])
        return Found(plan.x, plan.energy, own, plan.starts, residuals=plan.residuals)

    def _first(self, residual: Scorer, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor], stamp_ns: int) -> Found:
        """The first search of a goal; without search, the best proposal."""
        c = self.config
        proposals, energy = self._ranked(residual, z, g, joints, stamp_ns)
        residual.high[SHAPE] = latest_switch(self.level.codec, proposals[0, -1])[0]
        if not self._searching:
            rows = residual(proposals[:1])[0]
            return Found(proposals[0], float(energy[0]), half_square(rows[-self._own :]), proposals[:1], residuals=rows)
        half = c.first_iterations // 2  # all starts go half the way, the better ones the rest
        rough = self._descend(residual, proposals[: c.first_starts], half, spare=1)
        starts = rough.starts[: c.first_kept]
        if rough.energy > c.alarm_energy:  # none of the proposals leads anywhere: look far around them
            starts = torch.cat([starts, self._strayed(residual, proposals)[0]])
        plan = self._descend(residual, starts, c.first_iterations - half)
        own = half_square(plan.residuals[-self._own :])
        return Found(plan.x, plan.energy, own, plan.starts[: c.starts], residuals=plan.residuals)

    def _ranked(self, residual: Scorer, z: Tensor, g: Tensor, joints: tuple[Tensor, Tensor], stamp_ns: int) -> Ranked:
        found = self.starts.ranked(residual, z, g, joints, stamp_ns)
        self._tally += len(found.x)
        return found

    def _strayed(self, residual: Scorer, around: Tensor) -> Ranked:
        """The best few (first_kept) of many points far around (N, X); none if no candidates are left for that."""
        c, left = self.config, self._left()
        count = c.strayed if left is None else min(c.strayed, left - 2 * (around.shape[1] + 2))  # two starts, one step
        found = self.starts.strayed(residual, around, max(count, 0))
        self._tally += len(found.x)
        return Ranked(*(part[: c.first_kept] for part in found))

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

    def _tensor(self, x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device)

    def _encode(self, observation: Observation) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        seen = (observation.tracker_xyz_m, observation.tracker_mask, observation.q_rad, observation.dq_rad_s)
        window, mask, *own = (self._tensor(part[None]) for part in seen)
        joints = own[0], own[1]
        z = self.programs.see(window, mask, *joints)
        if self.context is None:
            return z, joints
        self.context.saw(*self.level.context_of(z))
        return self.level.in_context(z, self.context.estimate), joints

    def _situation(
        self, observation: Observation, z: Tensor, goal: Tensor, root: Tensor, latency_s: float
    ) -> Situation:
        if self._committed is None:
            state = stroke.braked(observation.q_rad, observation.dq_rad_s, self.spec.ddq_max_rad_s2, latency_s)
        else:
            state = stroke.state_at(self._committed.command, observation.stamp_ns + round(latency_s * NS))
        q, dq, ddq = (self._tensor(part[None]) for part in state)
        return Situation(z, q, dq, ddq, latency_s, goal, root, self._zones)
