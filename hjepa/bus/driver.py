"""The driver as a node: owns the robot (or the simulated world), publishes what it observes, applies commands.

A command is applied once, in order, while it is fresh; everything else is dropped and counted. When none is left in
force the driver itself brakes and holds (see JointTrajectory); the node says so in its state, `holding`. A robot that
is not simulated starts disarmed, and so does any robot after an emergency stop: commands are then counted, and
followed only after `arm`. States: idle, ready, disarmed, running, holding, stopped, done.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hjepa.bus.arming import Arming
from hjepa.bus.clock import Rate, VirtualClock
from hjepa.bus.estop import EmergencyStop
from hjepa.bus.messages import Message
from hjepa.bus.node import TICK_NS, BusConfig, Context, Node, Reply
from hjepa.bus.timesync import ClockProbe
from hjepa.bus.topics import Empty, Ledger, Record, Status, Tick, Ticked, Zones
from hjepa.errors import CommandError, LinkError, RobotError, WireError
from hjepa.protocols import Driver, Scans
from hjepa.types import NS, JointTrajectory, Observation

_POLL_S = 0.05
_STOP_WAIT_S = 0.1  # an emergency stop waits so long for the driver's loop, then goes past it
LIVE = ("disarmed", "running", "holding", "stopped")


class DriverNode(Node):
    """Runs a World in lockstep (a `tick` request lets time pass), or a World or Driver in real time."""

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
        self.reports, self.ledger = self._publish_on("status"), self._publish_on("ledger")
        self.zones, self._scans = self._publish_on("zones"), isinstance(driver, Scans)
        # not conflated: a bad frame must not displace a good command
        self.commands = self._subscribe_to("command", conflate=False, check=self._misshapen)
        self.period_ns = TICK_NS if self.simulated else round(NS / driver.spec.control_rate_hz)
        self.rate = Rate(self.clock, self.period_ns)
        self.arming = Arming(config.arm_commands)
        self.probes = {} if config.shares_clock else {n: self._probe(n) for n in ("low", "high")}
        self._lock = threading.RLock()  # between the loop and the emergency stop
        self._estop = EmergencyStop(config, context, self._stop_now, self._release)
        self._emergency = False
        self._up = not connect
        self._forget()

    def _probe(self, node: str) -> ClockProbe:
        # never waits for a node that is not there: the driver's loop asks
        return ClockProbe(self.party.requester(f"{node}-control", patient=False))

    # life cycle

    def run(self, stop: Callable[[], bool] | None = None) -> None:
        """Serve until stopped; then brake, hold, and close the driver."""
        self.stop = stop or self.stop
        if self._connect:
            self.driver.connect()
        self._up = True
        try:
            self._estop.start()
            while not self.stopping:
                if self.config.lockstep or self.state not in LIVE:
                    self._serve(_POLL_S)
                    self.commands.poke()
                else:
                    self._real_time()
        finally:
            if self.sequence >= 0:
                self.driver.hold()
            self._estop.close()
            self._up = not self._connect
            if self._connect:
                self.driver.close()

    def _forget(self) -> None:
        self._observation: Observation | None = None
        self._held: JointTrajectory | None = None  # newest command applied
        self._silent = False  # lockstep: the low node did not answer in time
        self._turns = 0

    # emergency stop: called from its own thread

    def _stop_now(self) -> None:
        self._emergency = True
        waited = self._lock.acquire(timeout=_STOP_WAIT_S)
        try:
            self.arming.disarm()
            if self._observation is not None or not self.simulated:
                self.driver.hold()
        finally:
            if waited:
                self._lock.release()

    def _release(self) -> None:
        self._emergency = False

    # requests

    def _handle(self, kind: str, value: Any) -> Reply:
        simple = {"start": self._start, "hold": self._hold, "arm": self._arm}
        if kind == "reset":
            return self._reset(value)
        if kind == "tick" and self.config.lockstep:
            return self._ticks(value)
        if kind == "get_outcome" and self.simulated:
            return "outcome", self.driver.outcome()
        if kind == "get_record" and hasattr(self.driver, "log"):
            return "record", record(self.driver.log())
        if kind in simple and not (kind == "start" and self.config.lockstep):
            with self._lock:
                simple[kind]()
            return "ok", Empty()
        raise self._unknown(kind)

    def _reset(self, value: Any) -> Reply:
        self._refuse_while_stopped()
        self._forget()
        self.state = "idle"
        self.arming.disarm()
        if self.simulated:
            self._observation = self.driver.reset(value.start, value.launch, value.seed)
            self.arming.armed = True  # a simulated robot is put at its start by hand: that is the deliberate act
            if self.config.lockstep:
                self._publish(self._observation)
        self._enter("ready")
        return "ticked", self._ticked()

    def _start(self) -> None:
        if self.state != "ready":
            raise LinkError(f"driver is {self.state}; allowed: reset before each start")
        self.rate.restart()
        self._publish(self._observation if self._observation is not None else self.driver.observe())
        self._enter("running" if self.arming.armed else "disarmed")

    def _hold(self) -> None:
        self.driver.hold()
        if not self.config.lockstep:
            self.arming.disarm()

    def _arm(self) -> None:
        self._refuse_while_stopped()
        if not hasattr(self.driver, "rearm"):
            raise RobotError(f"driver of {self.driver.spec.name} has no rearm; allowed: reset")
        self.arming.arm(self.clock.now_ns())
        self.driver.rearm()
        self._held = None
        self.counts["armed"] += 1

    def _refuse_while_stopped(self) -> None:
        if self._emergency:
            raise LinkError("emergency stop is latched; allowed: release it first (hjepa robots release)")

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

    def status(self) -> Status:
        """How the node is, and how its robot's control loop keeps its time."""
        told = super().status()
        if hasattr(self.driver, "report") and self._up:
            told.counts.update({f"loop.{name}": n for name, n in self.driver.report()._asdict().items()})
        return told

    # time

    def _tick(self) -> None:
        with self._lock:
            self._publish(self.driver.tick() if self.simulated else self.driver.observe())
        if self.simulated and self.driver.done:
            self._enter("done")
        elif self._emergency:
            self._enter("stopped")
        elif not self.arming.armed:
            self._enter("disarmed" if self.state != "holding" else "holding")
        elif self._expired():
            if self.state != "holding":
                self.counts["expired.in_force"] += 1
                if not self.config.lockstep and (self.config.latch or not self.simulated):
                    self._hold()
            self._enter("holding")
        else:
            self._enter("running")

    def _real_time(self) -> None:
        self._serve()
        due = self.rate.wait()
        self.counts["deadline.missed"] = self.rate.misses
        self.counts["late_us.max"] = self.rate.late_ns // 1000
        for probe in self.probes.values():
            probe.poll(self.clock.now_ns)
        message = self.commands.latest(0.0, self._now_of("low", worst=True))
        if message is not None:
            self._apply(message)
        self._turns += 1
        if not self.simulated:
            if self._turns % max(1, round(TICK_NS / self.period_ns)) == 0:
                self._tick()
            return
        for _ in range(due):  # a simulated world catches up with the clock
            if self.state == "done":
                break
            self._tick()

    def _now_of(self, node: str, worst: bool = False) -> int:
        """Another node's clock now, as far as it is known; worst: as late as it may be."""
        now_ns = self.clock.now_ns()
        offset_ns, bound_ns = self._offset(node, now_ns)
        return now_ns + offset_ns + (bound_ns if worst else 0)

    def _offset(self, node: str, now_ns: int) -> tuple[int, int]:
        known = self.probes[node].offset.at(now_ns) if node in self.probes else None
        return known or (0, 0)

    def _unsure(self) -> bool:
        """True while the low level's clock is not known well enough to tell the age of its commands."""
        if "low" not in self.probes or not self.config.expiry_ms:
            return False
        known = self.probes["low"].offset.at(self.clock.now_ns())
        return known is None or known[1] > 0.25e6 * self.config.expiry_ms

    def _publish(self, observation: Observation) -> None:
        if isinstance(self.clock, VirtualClock):
            self.clock.advance_to(observation.stamp_ns)
        scan = self._publish_zones(observation.stamp_ns)
        self._observation = observation
        self.sequence = self.observations.sequence
        kind = "last_observation" if self.simulated and self.driver.done else "observation"
        self.observations.send(kind, observation, stamp_ns=self.clock.now_ns(), answers=scan)

    def _publish_zones(self, stamp_ns: int) -> int:
        """What the driver's safety scanner sees now; the message's number, which the observation names. -1: nothing
        new, and what was heard before stays in force."""
        if not self._scans:
            return -1
        scan = self.zones.sequence
        try:
            self.zones.send("zones", Zones(stamp_ns, self.driver.zones()), stamp_ns=self.clock.now_ns())
        except WireError as error:
            self.counts[f"zones.unsendable.{error.reason}"] += 1
            return -1
        return scan

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
        now_ns = self._robot_ns()
        command = self._in_time(message, now_ns)
        reason = self._refuse(command, now_ns)
        if reason:
            self.commands.drops[reason] += 1
            self.arming.lost()
            return
        if not self.arming.armed or self.config.shadow or self._emergency:
            self.arming.heard(self.clock.now_ns())
            self.counts["command.shadowed" if self.arming.armed else "command.disarmed"] += 1
            return
        try:
            with self._lock:
                self._held = self.driver.send(command)
        except CommandError:
            self.commands.drops["refused"] += 1  # by the driver's own guard
            return
        self.counts["command.applied"] += 1
        late = command.start_ns < now_ns
        self.counts["command.started_late"] += late
        if not self.config.lockstep:
            self._account(message, command.start_ns - now_ns, late)

    def _robot_ns(self) -> int:
        """Now, on the clock of the driver's stamps: simulated, or the host's."""
        if not self.simulated:
            return self.clock.now_ns()
        return 0 if self._observation is None else self._observation.stamp_ns

    def _in_time(self, message: Message, now_ns: int) -> JointTrajectory:
        """The command with its validity cut to what the graph allows, counted from when it was sent."""
        command: JointTrajectory = message.value
        if not self.config.expiry_ms or self.config.lockstep:
            return command
        age_ns = max(0, self._now_of("low", worst=True) - message.header.stamp_ns)
        end_ns = now_ns + round(1e6 * self.config.expiry_ms) - age_ns
        return command._replace(valid_ns=min(command.valid_ns, end_ns - command.start_ns))

    def _misshapen(self, message: Message) -> str:
        """A command for a robot with other joints is dropped before it counts as seen."""
        wrong = message.header.kind == "command" and message.value.q_rad.shape[1] != self.driver.spec.joints
        return "shape" if wrong else ""

    def _refuse(self, command: JointTrajectory, now_ns: int) -> str:
        if command.start_ns + command.valid_ns <= now_ns:
            return "expired"
        if self._held is not None and command.start_ns < self._held.start_ns:
            return "reordered"
        return "unsynchronised" if self._unsure() else ""

    def _account(self, message: Message, lead_ns: int, late: bool) -> None:
        """Publish what became of a command, on this clock; lead_ns: from now to when it should have been followed."""
        now_ns = self.clock.now_ns()
        to_low, to_high = -self._offset("low", now_ns)[0], -self._offset("high", now_ns)[0]
        header = message.header
        observed_ns, goal_ns, latent_ns = header.ledger if len(header.ledger) == 3 else (0, 0, 0)
        value = Ledger(
            header.sequence, observed_ns, goal_ns + to_high, latent_ns + to_low, header.stamp_ns + to_low, now_ns,
            now_ns + lead_ns, late,
        )  # fmt: skip
        self.ledger.send("ledger", value, stamp_ns=now_ns, answers=header.sequence)

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
