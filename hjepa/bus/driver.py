"""The driver as a node: owns the robot (or the simulated world), publishes what it observes, applies commands.

A command is applied once, in order, while it is fresh; everything else is dropped and counted. When none is left in
force the driver itself brakes and holds (see JointTrajectory); the node says so in its state, `holding`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.bus.clock import Rate, VirtualClock
from hjepa.bus.messages import Message
from hjepa.bus.node import TICK_NS, BusConfig, Context, Node, Reply
from hjepa.bus.topics import Empty, Record, Tick, Ticked
from hjepa.errors import CommandError, LinkError, RobotError, WireError
from hjepa.protocols import Driver
from hjepa.types import NS, JointTrajectory, Observation

_POLL_S = 0.05


class DriverNode(Node):
    """Runs a World in lockstep (a `tick` request lets time pass) or a World or Driver in real time at 100 Hz."""

    def __init__(
        self,
        driver: Driver,
        config: BusConfig,
        *,
        context: Context = None,
        stopwatch_ns: Callable[[], int] = time.perf_counter_ns,
        connect: bool = True,
    ) -> None:
        """connect: this node connects the driver and closes it; False: it is connected already, and stays so."""
        super().__init__("driver", config, context, stopwatch_ns)
        self.driver: Any = driver
        self.simulated = hasattr(type(driver), "tick")
        self._connect = connect
        self.observations = self._publish_on("observation")
        self.reports = self._publish_on("status")
        # not conflated: a bad frame must not displace a good command
        self.commands = self._subscribe_to("command", conflate=False)
        self.rate = Rate(self.clock, TICK_NS)
        self._forget()

    # life cycle

    def run(self, stop: Callable[[], bool] | None = None) -> None:
        """Serve until stopped; then brake, hold, and close the driver."""
        self.stop = stop or self.stop
        if self._connect:
            self.driver.connect()
        try:
            while not self.stopping:
                if self.config.lockstep or self.state not in ("running", "holding"):
                    self._serve(_POLL_S)
                else:
                    self._real_time()
        finally:
            if self.sequence >= 0:
                self.driver.hold()
            if self._connect:
                self.driver.close()

    def _forget(self) -> None:
        self._observation: Observation | None = None
        self._held: JointTrajectory | None = None  # newest command applied
        self._silent = False  # lockstep: the low node did not answer in time

    # requests

    def _handle(self, kind: str, value: Any) -> Reply:
        simple = {"start": self._start, "hold": self.driver.hold, "rearm": self._rearm}
        if kind == "reset":
            return self._reset(value)
        if kind == "tick" and self.config.lockstep:
            return self._ticks(value)
        if kind == "get_outcome" and self.simulated:
            return "outcome", self.driver.outcome()
        if kind == "get_record" and hasattr(self.driver, "log"):
            return "record", record(self.driver.log())
        if kind in simple and not (kind == "start" and self.config.lockstep):
            simple[kind]()
            return "ok", Empty()
        raise self._unknown(kind)

    def _reset(self, value: Any) -> Reply:
        self._forget()
        self.state = "idle"
        if self.simulated:
            self._observation = self.driver.reset(value.start, value.launch, value.seed)
            if self.config.lockstep:
                self._publish(self._observation)
        self._enter("ready")
        return "ticked", self._ticked()

    def _start(self) -> None:
        if self.state != "ready":
            raise LinkError(f"driver is {self.state}; allowed: reset before each start")
        self.rate.restart()
        self._publish(self._observation if self._observation is not None else self.driver.observe())
        self._enter("running")

    def _rearm(self) -> None:
        if not hasattr(self.driver, "rearm"):
            raise RobotError(f"driver of {self.driver.spec.name} has no rearm; allowed: reset")
        self.driver.rearm()

    def _ticks(self, value: Tick) -> Reply:
        if self._observation is None:
            raise LinkError("driver has no episode; allowed: reset before tick")
        for _ in range(value.ticks):
            if self.driver.done or self.stopping:
                break
            if self.sequence % self.config.low_period_ticks == 0:
                self._await_command()
            self._tick()
        return "ticked", self._ticked()

    def _ticked(self) -> Ticked:
        stamp_ns = 0 if self._observation is None else self._observation.stamp_ns
        return Ticked(max(self.sequence, 0), stamp_ns, self.simulated and bool(self.driver.done))

    # time

    def _tick(self) -> None:
        self._publish(self.driver.tick() if self.simulated else self.driver.observe())
        if self.simulated and self.driver.done:
            self._enter("done")
        elif self._expired():
            if self.state != "holding":
                self.counts["expired.in_force"] += 1
                if self.config.latch and not self.config.lockstep:
                    self.driver.hold()
            self._enter("holding")
        else:
            self._enter("running")

    def _real_time(self) -> None:
        self._serve()
        due = self.rate.wait()
        self.counts["deadline.missed"] = self.rate.misses
        self.counts["late_us.max"] = self.rate.late_ns // 1000
        message = self.commands.latest(0.0, self.clock.now_ns())
        if message is not None:
            self._apply(message)
        for _ in range(due if self.simulated else 1):  # a simulated world catches up with the clock
            if self.state == "done":
                break
            self._tick()

    def _publish(self, observation: Observation) -> None:
        if isinstance(self.clock, VirtualClock):
            self.clock.advance_to(observation.stamp_ns)
        self._observation = observation
        self.sequence = self.observations.sequence
        kind = "last_observation" if self.simulated and self.driver.done else "observation"
        self.observations.send(kind, observation, stamp_ns=self.clock.now_ns())

    def _enter(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.reports.send("status", self.status(), stamp_ns=self.clock.now_ns())

    # commands

    def _await_command(self) -> None:
        """Lockstep: wait for the low node's answer to the last observation, and apply it."""
        deadline = time.monotonic() + (0.0 if self._silent else self.config.answer_timeout_s)
        while not self.stopping:
            left_s = deadline - time.monotonic()
            message = self.commands.receive(min(max(left_s, 0.0), _POLL_S), self.clock.now_ns())
            if message is None:
                if left_s > 0:
                    continue
                self.counts["low.silent"] += not self._silent
                self._silent = True
                return
            self._silent = False
            self._apply(message)
            if message.header.answers >= self.sequence:
                return
            self.counts["answer.late"] += 1
            deadline = time.monotonic() + self.config.answer_timeout_s

    def _apply(self, message: Message) -> None:
        if message.header.kind != "command":
            return
        command: JointTrajectory = message.value
        now_ns = 0 if self._observation is None else self._observation.stamp_ns
        reason = self._refuse(command, now_ns)
        if reason:
            self.commands.drops[reason] += 1
            return
        try:
            self._held = self.driver.send(command)
        except CommandError:
            self.commands.drops["refused"] += 1  # by the driver's own guard
            return
        self.counts["command.applied"] += 1
        self.counts["command.started_late"] += command.start_ns < now_ns

    def _refuse(self, command: JointTrajectory, now_ns: int) -> str:
        if command.q_rad.shape[1] != self.driver.spec.joints:
            return "shape"
        if command.start_ns + command.valid_ns <= now_ns:
            return "expired"
        if self._held is not None and command.start_ns < self._held.start_ns:
            return "reordered"
        return ""

    def _expired(self) -> bool:
        """True when a command was followed and has run out."""
        command, seen = self._held, self._observation
        if command is None or seen is None:
            return False
        last_ns = round((len(command.q_rad) - 1) * command.dt_s * NS)
        return seen.stamp_ns > command.start_ns + min(command.valid_ns, last_ns)


def record(log: Any) -> Record:
    """A world's log (a NamedTuple): its arrays as they are, everything else as JSON."""
    fields = log._asdict()
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    try:
        rest = json.dumps({name: value for name, value in fields.items() if name not in arrays})
    except TypeError as error:
        raise WireError(f"log cannot be sent: {error}", "shape") from error
    return Record(arrays, rest)
