"""The two levels as nodes: each wraps an object of hjepa.protocols and talks to the others over the bus.

lockstep: for an observation at which it is due, a level always answers, with its value or with 'pass'; nobody moves on
before that, so the messages are those of the same objects called in one process:

    driver: zones and observation n -> high: asks low for reachability, goal n (or pass) -> low: plan,
    command n (or pass) -> driver: applies it, ticks, observation n + 1

realtime: nobody waits; a level works on the newest observation, the low one with the goal that is in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.bus.clock import VirtualClock
from hjepa.bus.messages import Message
from hjepa.bus.node import BusConfig, Context, Node, Reply
from hjepa.bus.scanned import Scanned
from hjepa.bus.topics import Empty, Energies, ReachRequest, Reset, Weights
from hjepa.errors import ConfigError, LinkError, WireError
from hjepa.handover import Handover
from hjepa.protocols import Considers, Explains, HighLevel, LowLevel, Repeats, Senses, Tunes, Weighs
from hjepa.types import GRADES, Array, Goal, JointTrajectory, Launch, MotorPlan, Observation, RobotState

RECONNECTED_S = 0.2  # twice the time within which zmq connects again


class Level(Node):
    """What both levels share: the newest observation, and whether it is time to look at it."""

    def __init__(self, name: str, config: BusConfig, context: Context, stopwatch_ns: Callable[[], int]) -> None:
        super().__init__(name, config, context, stopwatch_ns)
        self.observations = self._subscribe_to("observation", conflate=True)
        self._inputs[self.observations.socket] = self._observe

    def join(self, session: int, seed: int, sequence: int) -> None:
        """Enter a session that runs already, as a restarted level does; before `run`.

        sequence: of its first messages, beyond all that its earlier lives have sent in this session.
        """
        self._restart(session)
        nothing = np.zeros(0)
        self._handle("reset", Reset(RobotState(nothing, nothing), Launch(np.zeros(3), np.zeros(3), ""), seed))
        self.state = "running"
        for publisher in self._publishers.values():
            publisher.sequence = sequence

    def await_listeners(self, timeout_s: float) -> bool:
        """Until the journal's recorder is back after this level's earlier life: what is sent before does not reach it.

        Sockets come back one by one, so all is well once nobody new has come for a while. False: nobody came in time.
        """
        began, settled = time.monotonic(), time.monotonic()
        heard: list[int] = []
        journal = self._publishers.get(f"{self.name}-journal")
        while journal is not None and time.monotonic() - began < timeout_s:
            now = [publisher.subscribers() for publisher in self._publishers.values()]
            if now != heard:
                heard, settled = now, time.monotonic()
            if journal.subscribers() and time.monotonic() - settled > RECONNECTED_S:
                break
            time.sleep(0.005)
        return journal is None or journal.subscribers() > 0

    def _observe(self) -> None:
        message = self.observations.receive()
        if message is None:
            return
        if self.session == 0 and not self.config.lockstep:
            self._join(message.header.session)
        period = self.config.high_period_ticks if self.name == "high" else self.config.low_period_ticks
        before, self.sequence = self.sequence, message.header.sequence
        if isinstance(self.clock, VirtualClock):
            self.clock.advance_to(message.header.stamp_ns)
        over = message.header.kind == "last_observation"
        if (
            not over and self.sequence // period > before // period
        ):  # also when a due observation itself was conflated away
            self._due(message)

    def _join(self, session: int) -> None:
        """A level that was started again while the others run joins their session."""
        self._restart(session)
        self.state = "running"
        self.counts["joined"] += 1

    def _due(self, message: Message) -> None:
        """Work on an observation."""
        raise NotImplementedError

    def _tuned(self, level: Any, kind: str, value: Any) -> Reply:
        """Answer who asks for the weights of the level's energy, or changes some."""
        if kind not in ("get_weights", "tune"):
            raise self._unknown(kind)
        if not isinstance(level, Tunes):
            raise LinkError(f"the {self.name} level of this graph has no weights that can be changed")
        if kind == "get_weights":
            return "weights", Weights(level.tunable())
        try:
            level.tune(value.values)
        except ConfigError as error:
            raise LinkError(str(error)) from error
        self.counts["tuned"] += 1
        return "ok", Empty()


class HighNode(Level):
    """Decides goals; asks the low node what is reachable."""

    def __init__(
        self,
        high: HighLevel,
        config: BusConfig,
        *,
        context: Context = None,
        stopwatch_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__("high", config, context, stopwatch_ns)
        self.high = high
        self.goals, self.weighed = self._publish_on("goal"), self._publish_on("weighed")
        self.reach = self.party.requester("reachability", self._check_stop)
        if config.journal:
            self._keep_journal(observation=self.observations, high_control=self.control, reachability=self.reach)
        self._reach_timeout_s = config.answer_timeout_s / 4 if config.lockstep else config.reach_timeout_s

    def _due(self, message: Message) -> None:
        started = self.stopwatch_ns()
        try:
            goal = self.high.decide(message.value, lambda goals, roots: self._ask(message, goals, roots))
        except LinkError:
            self.counts["unreachable"] += 1  # the low node does not answer: the last goal stays in force
            goal = None
        self._timed(started)
        stamps: Any = {"stamp_ns": self.now_ns(), "answers": message.header.sequence}
        if goal is not None:
            try:
                self.goals.send("goal", goal, **stamps)
                self._tell(message)
                return
            except WireError as error:  # the last goal stays in force
                self.counts[f"goal.unsendable.{error.reason}"] += 1
        if self.config.lockstep:
            self.goals.send("pass", Empty(), **stamps)

    def _tell(self, message: Message) -> None:
        """What was weighed, for viewers; stamped as its observation is, since the clock's readings are journalled."""
        if isinstance(self.high, Weighs) and self.weighed.subscribers():
            told = self.high.weighed()
            if told is not None:
                self.weighed.send("weighed", told, stamp_ns=message.header.stamp_ns, answers=message.header.sequence)

    def _ask(self, seen: Message, candidates: Array, roots: Array) -> Array:
        """Energies (C,) of candidate goals (C, D), weighed by roots (C, D, D), from an observation and its zones."""
        reply = self.reach.request(
            "reach",
            ReachRequest(seen.value, candidates, roots),
            timeout_s=self._reach_timeout_s,
            session=self.session,
            stamp_ns=self.now_ns(),
            answers=seen.header.answers,
        )
        energies: Array = reply.value.energies
        return energies

    def _handle(self, kind: str, value: Any) -> Reply:
        if kind != "reset":
            return self._tuned(self.high, kind, value)
        self.high.reset(value.seed)
        return "ok", Empty()


class LowNode(Level):
    """Plans motions towards the goal in force; answers the high node's questions in between."""

    def __init__(
        self,
        low: LowLevel,
        config: BusConfig,
        *,
        context: Context = None,
        stopwatch_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__("low", config, context, stopwatch_ns)
        self.low = low
        self.plans, self.commands = self._publish_on("plan"), self._publish_on("command")
        self.considered, self.surprise = self._publish_on("considered"), self._publish_on("surprise")
        self.goals = self._subscribe_to("goal", conflate=False)
        self.reach = self.party.replier("reachability")
        zones = self._subscribe_to("zones", conflate=True)
        self.scanned = Scanned(low, zones, self.counts)
        self._inputs[zones.socket] = self._hear_zones
        self._inputs[self.goals.socket] = self._hear_goals
        self._inputs[self.reach.socket] = self._serve_reach
        if config.journal:
            inputs = {"observation": self.observations, "goal": self.goals, "zones": zones}
            self._keep_journal(**inputs, low_control=self.control, reachability=self.reach)
        self.handover = Handover()
        self._forget()

    def _forget(self) -> None:
        self.handover.reset()
        self.scanned.forget()
        self._waiting: Message | None = None  # lockstep: an observation that the high level has not answered yet
        self._waiting_since_ns = 0
        self._answered = -1  # sequence of the last observation that the high level answered
        self._high_silent = False
        self._heard_ns = 0  # own clock, when the waiting observation came
        self._goal_sent_ns: dict[int, int] = {}  # goal -> when the high level sent it

    def _handle(self, kind: str, value: Any) -> Reply:
        if kind != "reset":
            return self._tuned(self.low, kind, value)
        self._forget()
        self.low.reset(value.seed)
        return "ok", Empty()

    def _serve_reach(self) -> None:
        self.reach.serve(self._reachability, first=self._await_zones)

    def _reachability(self, message: Message) -> Reply:
        if message.header.kind != "reach" or message.header.session != self.session:
            self.counts["reach.refused"] += 1
            raise LinkError(f"'{message.header.kind}' of session {message.header.session} is not for this node now")
        return "energies", Energies(self.low.reachability(*message.value))

    def _await_zones(self, asked: Message) -> None:
        """lockstep: a question is answered by the zones of its own instant, as in one process. They are an input of
        their own in the journal, handled before the question."""
        scan, deadline = asked.header.answers, time.monotonic() + self.config.answer_timeout_s / 8
        while self.config.lockstep and asked.header.session == self.session and self.scanned.lacks(scan):
            if self.stopping or time.monotonic() > deadline:
                break
            if self._subscribers["zones"].socket.poll(20):
                self._hear_zones()
                if self.journal is not None:
                    self.journal.turn()

    def _hear_zones(self) -> None:
        self.scanned.hear()
        self._plan_if_ready()

    def _hear_goals(self) -> None:
        while (message := self.goals.receive()) is not None:
            self._answered, self._high_silent = message.header.answers, False
            if message.header.kind == "goal":
                self.handover.offer(message.value)
                self._goal_sent_ns[message.value.id] = message.header.stamp_ns
        self._plan_if_ready()

    def _due(self, message: Message) -> None:
        self._waiting, self._waiting_since_ns = message, time.monotonic_ns()
        self._heard_ns = self.now_ns()
        self._plan_if_ready()

    def _idle(self) -> None:
        if self._waiting is None:
            return
        waited_s = (time.monotonic_ns() - self._waiting_since_ns) / 1e9
        if waited_s > self.config.answer_timeout_s / 2:
            self.scanned.give_up(self._waiting.header.answers)
            if self._awaits_high(self._waiting):
                self._high_silent = True
                self.counts["high.silent"] += 1
            self._plan_if_ready()

    def _plan_if_ready(self) -> None:
        message = self._waiting
        if message is None:
            return
        if self.config.lockstep and (self._awaits_high(message) or self.scanned.lacks(message.header.answers)):
            return
        self._waiting = None
        self._plan(message)

    def _awaits_high(self, message: Message) -> bool:
        """lockstep: whether the high level has still to answer an observation."""
        sequence = message.header.sequence
        return sequence % self.config.high_period_ticks == 0 and not self._high_silent and self._answered < sequence

    def _plan(self, message: Message) -> None:
        observation: Observation = message.value
        goal = self._goal_for(observation)
        self.scanned.used(observation)
        started = self.stopwatch_ns()
        command = None if goal is None else self.low.plan(observation, goal)
        ms = self._timed(started) if goal is not None else 0.0
        if self.journal is not None and goal is not None and isinstance(self.low, Repeats):
            self.journal.scored = self.low.scored
        sent = command is not None and goal is not None and self._send(command, goal, message)
        if self.config.lockstep and not sent:
            self.commands.send("pass", Empty(), stamp_ns=self.now_ns(), answers=message.header.sequence)
        if goal is not None:
            plan = MotorPlan(goal.id, np.zeros(0), float("nan"), 0, ms)
            if isinstance(self.low, Explains):
                plan = self.low.explain()._replace(plan_ms=ms)
            self.plans.send("plan", plan, stamp_ns=self.now_ns(), answers=message.header.sequence)
            self._tell_surprise(message)
            self._tell(message)

    def _tell(self, message: Message) -> None:
        """What else could be done, for viewers; made only if somebody listens, and stamped as its observation is."""
        if isinstance(self.low, Considers) and self.considered.subscribers():
            told = self.low.considered()
            if told is not None:
                self.considered.send(
                    "considered", told, stamp_ns=message.header.stamp_ns, answers=message.header.sequence
                )

    def _tell_surprise(self, message: Message) -> None:
        """How surprising the latest look was; stamped as its observation is."""
        alarm = self.low.sensed() if isinstance(self.low, Senses) else None
        if alarm is None:
            return
        if alarm.grade > self.counts["surprise.grade"]:
            self.counts[f"surprise.{GRADES[alarm.grade]}"] += 1
        self.counts["surprise.grade"] = alarm.grade
        self.counts["surprise.p_ppm"] = round(1e6 * alarm.sensed.p)
        self.surprise.send("surprise", alarm, stamp_ns=message.header.stamp_ns, answers=message.header.sequence)

    def _goal_for(self, observation: Observation) -> Goal | None:
        """The goal in force, unless it has been for too long: then nothing is planned, and the driver brakes."""
        goal, valid_ms = self.handover.at(observation.stamp_ns), self.config.goal_valid_ms
        stale = goal is not None and valid_ms and not self.config.lockstep
        if goal is not None and stale and observation.stamp_ns - goal.start_ns > valid_ms * 1e6:
            self.counts["goal.expired"] += 1
            return None
        return goal

    def _send(self, command: JointTrajectory, goal: Goal, message: Message) -> bool:
        """Publish a command with what is left of it; False if nothing was sent."""
        latent_ns, seen = self.now_ns(), message.header
        # what is left, on this clock: the driver's stamp may be another host's, but observation and command share one
        valid_ns = command.start_ns + command.valid_ns - message.value.stamp_ns - (latent_ns - self._heard_ns)
        ledger = (seen.stamp_ns, self._goal_sent_ns.get(goal.id, 0), latent_ns)
        try:
            if valid_ns > 0:
                now_ns = self.now_ns()
                self.commands.send(
                    "command", command, stamp_ns=now_ns, valid_for_ns=valid_ns, answers=seen.sequence, ledger=ledger
                )
                return True
            self.counts["command.too_late"] += 1
        except WireError as error:
            self.counts[f"command.unsendable.{error.reason}"] += 1
        return False
