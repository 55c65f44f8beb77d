"""Bad frames among good ones: none is accepted, none moves the robot, each is counted under a reason that fits it."""

import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from hjepa.bus import security
from hjepa.bus.driver import DriverNode
from hjepa.bus.messages import pack
from hjepa.bus.node import BusConfig, Party
from hjepa.bus.topics import Empty, Reset
from hjepa.types import NS, JointTrajectory, Launch, RobotState
from robots.ideal import IdealRobot
from robots.spec import load_spec
from tests.fuzzed import KINDS, REASONS, Fuzzer

SPEC = replace(load_spec("courtbot"), control_rate_hz=200.0)
SESSION, WAIT_S = 5, 10.0


class Planner:
    """The planner's raw end of the bus, and a driver node in a thread."""

    def __init__(self, folder: Path) -> None:
        security.keygen(folder / "keys")
        key = security.command_key(folder / "keys")
        assert key is not None
        self.key = key
        # one process and one clock: inproc, so that no level has to answer for its time
        config = BusConfig(base="inproc://fuzz", clock="realtime", keys=str(folder / "keys"))
        self.context: zmq.Context[Any] = zmq.Context()
        self.robot, self.stop = IdealRobot(SPEC), threading.Event()
        self.party = Party("low", config, self.context)
        self.publisher = self.party.publisher("command")
        self.thread = threading.Thread(target=self._drive, args=(config,), daemon=True)
        self.thread.start()
        self.publisher.wait_subscribers(1, WAIT_S)
        self.control = self.party.requester("driver-control")
        start = RobotState(SPEC.q_home_rad, np.zeros(SPEC.joints))
        self.ask("reset", Reset(start, Launch(np.ones(3), np.ones(3)), 0))
        self.ask("start")
        self.sequence, self.good = 0, b""

    def _drive(self, config: BusConfig) -> None:
        with DriverNode(self.robot, config, context=self.context) as node:
            node.run(self.stop.is_set)

    def ask(self, kind: str, value: Any = None) -> Any:
        value = Empty() if value is None else value
        return self.control.request(kind, value, timeout_s=WAIT_S, session=SESSION).value

    def counts(self) -> dict[str, int]:
        return dict(self.ask("get_status").counts)

    def send_good(self) -> None:
        now = time.monotonic_ns()
        q = np.tile(SPEC.q_home_rad, (50, 1))
        command = JointTrajectory(now, 0.01, q, np.zeros_like(q), NS // 2)
        stamps = {"session": SESSION, "sequence": self.sequence, "stamp_ns": now, "valid_for_ns": NS // 2}
        self.good = bytes(pack("command", command, **stamps, key=self.key))
        self.publisher.socket.send(self.good)
        self.sequence += 1

    def settled(self, seen: int) -> dict[str, int]:
        """The counts, once so many frames were looked at."""
        deadline = time.monotonic() + WAIT_S
        while True:
            counts = self.counts()
            looked_at = counts["accepted.command"] + sum(
                n for k, n in counts.items() if k.startswith("dropped.command")
            )
            if looked_at + counts["superseded.command"] >= seen:
                return counts
            assert time.monotonic() < deadline, f"{looked_at} of {seen}: {counts}"
            time.sleep(0.005)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(WAIT_S)
        self.party.close()
        self.context.destroy(linger=0)


@pytest.fixture
def planner(tmp_path: Path) -> Any:
    made = Planner(tmp_path)
    yield made
    made.close()


def test_no_bad_frame_is_accepted_or_moves_the_robot_and_all_are_counted(planner: Planner) -> None:
    while planner.counts().get("command.disarmed", 0) < 5:
        planner.send_good()
        time.sleep(0.005)
    planner.ask("arm")
    wild = np.tile(SPEC.q_max_rad, (50, 1))
    far = JointTrajectory(0, 0.01, wild, np.tile(SPEC.dq_max_rad_s, (50, 1)), NS // 2)
    fuzzer = Fuzzer(planner.key, SESSION, far, np.random.default_rng(1))
    before = planner.settled(planner.sequence)
    sent, reasons = planner.sequence, Counter[str]()
    for kind in [*KINDS] * 4:
        planner.publisher.socket.send(fuzzer.frame(kind, planner.sequence, time.monotonic_ns(), planner.good))
        planner.send_good()
        sent += 2
        after = planner.settled(sent)
        drops = {k.removeprefix("dropped.command."): n - before.get(k, 0) for k, n in after.items() if "dropped.c" in k}
        new = {reason for reason, n in drops.items() if n}
        assert sum(drops.values()) == 1, (kind, drops)
        assert new <= REASONS[kind], (kind, drops)
        assert after["accepted.command"] == before["accepted.command"] + 1, kind
        reasons[new.pop()] += 1
        before = after
    assert np.abs(planner.robot.observe().q_rad - SPEC.q_home_rad).max() < 1e-9
    assert set(reasons) >= {"non_finite", "expired", "reordered", "old_session", "size", "version", "unauthenticated"}
