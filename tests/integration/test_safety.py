"""What may move a robot, and what stops it: arming, expiry, emergency stop, shadow, keys, clocks of other hosts."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from hjepa.bus import security
from hjepa.bus.driver import DriverNode
from hjepa.bus.estop import ask as ask_estop
from hjepa.bus.link import Publisher, Replier, Requester
from hjepa.bus.node import BusConfig, Party
from hjepa.bus.topics import Empty, Reset, Time, address
from hjepa.errors import LinkError
from hjepa.types import NS, JointTrajectory, Launch, RobotState
from robots.ideal import IdealRobot
from robots.spec import load_spec

SPEC = replace(load_spec("courtbot"), control_rate_hz=250.0)
WAIT_S = 30.0  # a busy machine
SESSION = 7
AXIS = np.eye(SPEC.joints)[1]


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)
    return found


class Bench:
    """A driver node in a thread of its own, and a planner's end of the bus."""

    def __init__(self, folder: Path, tells_time: bool = True, **config: Any) -> None:
        """tells_time: somebody answers for the low level's clock, as its node would."""
        self.tells_time = tells_time
        self.config = BusConfig(base=f"ipc://{folder}", clock="realtime", **config)
        self.robot = IdealRobot(SPEC)
        self.stop = threading.Event()
        self.context: zmq.Context[Any] = zmq.Context()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.party = Party("low", self.config, self.context)
        self.commands: Publisher = self.party.publisher("command")
        self.control: Requester = self.party.requester("driver-control")
        self.clock = threading.Thread(target=self._tell_time, daemon=True)
        self.ledger = self.party.subscriber("ledger", conflate=False)

    def _run(self) -> None:
        with DriverNode(self.robot, self.config) as node:
            node.run(self.stop.is_set)

    def _tell_time(self) -> None:
        with Replier(address(self.config.base, "low-control")) as clock:
            while not self.stop.is_set():
                clock.serve(lambda message: ("time", Time(time.monotonic_ns())), 0.02)

    def __enter__(self) -> "Bench":
        if self.tells_time:
            self.clock.start()
        self.thread.start()
        self.commands.wait_subscribers(1, WAIT_S)
        start = RobotState(SPEC.q_home_rad, np.zeros(SPEC.joints))
        self.ask("reset", Reset(start, Launch(np.ones(3), np.ones(3)), 0))
        self.commands.restart(SESSION)
        self.ask("start")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(WAIT_S)
        if self.tells_time:
            self.clock.join(WAIT_S)
        self.party.close()
        self.context.destroy(linger=0)

    def ask(self, kind: str, value: Any = None) -> Any:
        value = Empty() if value is None else value
        return self.control.request(kind, value, timeout_s=WAIT_S, session=SESSION).value

    def state(self) -> str:
        return str(self.ask("get_status").state)

    def count(self, name: str) -> int:
        return int(self.ask("get_status").counts.get(name, 0))

    def send(self, speed: float = 0.2, valid_s: float = 0.5, age_ns: int = 0) -> None:
        now = time.monotonic_ns()
        t = np.arange(100) * 0.01
        q = self.robot.observe().q_rad + speed * t[:, None] * AXIS
        command = JointTrajectory(now, 0.01, q, np.tile(speed * AXIS, (100, 1)), round(valid_s * NS))
        stamp = now - age_ns
        self.commands.send("command", command, stamp_ns=stamp, valid_for_ns=round(valid_s * NS), ledger=(stamp,) * 3)

    def speed(self) -> float:
        return float(np.abs(self.robot.observe().dq_rad_s).max())

    def send_in_turn(self, count: int, noted_as: str) -> None:
        """At least so many, as a planner would: one after the other (of several that wait the newest counts)."""
        wanted = self.count(noted_as) + count
        until(lambda: (self.send(), self.count(noted_as) >= wanted)[1])

    def arm(self) -> None:
        self.send_in_turn(self.config.arm_commands, "command.disarmed")
        self.ask("arm")

    def moving(self) -> bool:
        self.send()
        return self.speed() > 0.1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    with contextlib.ExitStack() as stack:
        yield lambda **config: stack.enter_context(Bench(tmp_path, **config))


def test_a_robot_moves_only_after_fresh_commands_and_a_deliberate_act(bench: Callable[..., Bench]) -> None:
    b = bench()
    assert b.state() == "disarmed"
    with pytest.raises(LinkError, match="arming needs 5 in a row"):
        b.ask("arm")
    b.send_in_turn(5, "command.disarmed")
    assert b.speed() == 0.0
    b.ask("arm")
    until(b.moving)
    assert b.state() == "running"


def test_commands_that_run_out_brake_the_robot_and_it_stays_held(bench: Callable[..., Bench]) -> None:
    b = bench(expiry_ms=100.0)
    b.arm()
    until(b.moving)
    until(lambda: b.speed() == 0.0)  # nothing is sent any more
    until(lambda: b.state() == "holding")
    b.send_in_turn(5, "command.disarmed")
    assert b.speed() == 0.0
    b.ask("arm")
    until(b.moving)


def test_the_graphs_expiry_counts_from_when_a_command_was_sent(bench: Callable[..., Bench]) -> None:
    b = bench(expiry_ms=100.0)
    b.arm()
    applied = b.count("command.applied")
    until(lambda: b.speed() == 0.0)
    b.send(age_ns=150_000_000)  # would be valid for 500 ms by itself
    until(lambda: b.count("dropped.command.expired") == 1)
    assert b.count("command.applied") == applied


def test_without_knowing_the_planners_clock_nothing_moves(bench: Callable[..., Bench]) -> None:
    b = bench(tells_time=False, expiry_ms=100.0)
    b.send()
    until(lambda: b.count("dropped.command.unsynchronised") == 1)
    with pytest.raises(LinkError, match="0 fresh commands"):
        b.ask("arm")


def test_an_emergency_stop_is_acknowledged_latched_and_released_by_hand(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.arm()
    until(b.moving)
    took_ms = ask_estop(b.config, context=b.context)
    assert took_ms < 1000.0
    until(lambda: (b.send(), b.speed() == 0.0)[1])
    until(lambda: b.state() == "stopped")
    b.send_in_turn(6, "command.disarmed")
    with pytest.raises(LinkError, match="emergency stop is latched"):
        b.ask("arm")
    ask_estop(b.config, "release", context=b.context)
    assert b.speed() == 0.0
    until(lambda: b.state() == "disarmed")
    b.arm()
    until(b.moving)


def test_an_emergency_stop_does_not_wait_for_a_stuck_loop(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.arm()
    until(b.moving)
    stuck, go_on = threading.Event(), threading.Event()
    observe = b.robot.observe

    def sticks() -> Any:
        if threading.current_thread() is b.thread:
            stuck.set()
            go_on.wait(WAIT_S)
        return observe()

    b.robot.observe = sticks  # type: ignore[method-assign]
    assert stuck.wait(WAIT_S)
    try:
        assert ask_estop(b.config, context=b.context) < 1000.0
        until(lambda: b.speed() == 0.0)
    finally:
        go_on.set()


def test_without_a_driver_an_emergency_stop_says_to_use_the_hardware(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="USE THE HARDWARE EMERGENCY STOP"):
        ask_estop(BusConfig(base=f"ipc://{tmp_path}", clock="realtime"))


def test_in_shadow_commands_are_counted_and_nothing_moves(bench: Callable[..., Bench]) -> None:
    b = bench(shadow=True)
    b.arm()
    b.send_in_turn(20, "command.shadowed")
    assert b.speed() == 0.0


def test_each_command_is_accounted_for(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.arm()
    until(b.moving)
    message = until(lambda: (b.send(), b.ledger.receive())[1])  # what was told before anybody heard is lost
    told = message.value
    assert told.observed_ns <= told.command_ns <= told.actuated_ns <= time.monotonic_ns()
    assert told.late == (told.actuated_ns > told.due_ns)


def test_commands_without_the_key_move_nothing(tmp_path: Path) -> None:
    keys, sockets = tmp_path / "keys", tmp_path / "bus"
    sockets.mkdir()
    security.keygen(keys)
    with Bench(sockets, keys=str(keys)) as b:
        b.arm()
        until(b.moving)
        until(lambda: b.speed() == 0.0)  # ran out
        b.commands._key = bytes(32)
        for _ in range(6):
            b.send()
        until(lambda: b.count("dropped.command.unauthenticated") == 6)
        with pytest.raises(LinkError, match="0 fresh commands"):
            b.ask("arm")
        plain = Requester(address(b.config.base, "driver-control"), context=b.context)
        assert plain.request("get_status", Empty(), timeout_s=WAIT_S).value.node == "driver"  # looking is free
        with pytest.raises(LinkError, match="no answer"):
            plain.request("arm", Empty(), timeout_s=0.2, session=SESSION)
        plain.close()
