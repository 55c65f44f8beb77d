"""Bad frames among good ones, and more commands than a driver can use.

    python tests/benchmarks/bench_fuzz.py --n 10000 --json runs/bench/fuzz.json
    python tests/benchmarks/bench_fuzz.py --flood 20

--n: so many fuzzed frames (nan, inf, stale, replayed, truncated, oversize, wrong version, random, ...) interleaved with
as many valid ones into a 500 Hz driver: none of the bad may be accepted or cause motion, every good one must be read
within two periods, each bad one is counted under its reason. --flood: 13,000 commands a second for so many seconds:
age of the applied command, and memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
import numpy as np
import zmq

from hjepa.bus import security
from hjepa.bus.driver import DriverNode
from hjepa.bus.link import Replier
from hjepa.bus.messages import pack
from hjepa.bus.node import BusConfig, Party
from hjepa.bus.topics import Empty, Reset, Time, address
from hjepa.types import NS, JointTrajectory, Launch, RobotState
from robots.ideal import IdealRobot
from robots.spec import load_spec
from tests.fuzzed import KINDS, Fuzzer

RATE_HZ = 500.0
SPEC = replace(load_spec("courtbot"), control_rate_hz=RATE_HZ)
VALID_NS = NS // 2
SESSION = 5


def home(now_ns: int, samples: int = 60) -> JointTrajectory:
    """Stay where you are."""
    q = np.tile(SPEC.q_home_rad, (samples, 1))
    return JointTrajectory(now_ns, 0.01, q, np.zeros_like(q), VALID_NS)


def wild() -> JointTrajectory:
    """Go far away, fast."""
    q = np.tile(SPEC.q_max_rad, (60, 1))
    return JointTrajectory(0, 0.01, q, np.tile(SPEC.dq_max_rad_s, (60, 1)), VALID_NS)


def drive(text: str) -> None:
    """Body of the driver's process."""
    with DriverNode(IdealRobot(SPEC), msgspec.json.decode(text, type=BusConfig)) as node:
        node.run()


class Rig:
    """A driver in a process of its own, the planner's raw end of the command topic here."""

    def __init__(self, folder: Path) -> None:
        security.keygen(folder / "keys")
        key = security.command_key(folder / "keys")
        assert key is not None
        self.key = key
        self.config = BusConfig(base=f"ipc://{folder}", clock="realtime", keys=str(folder / "keys"))
        text = msgspec.json.encode(self.config).decode()
        self.process = multiprocessing.get_context("spawn").Process(target=drive, args=(text,), daemon=True)
        self.context: zmq.Context[Any] = zmq.Context()
        self.party = Party("low", self.config, self.context)
        self.publisher = self.party.publisher("command")
        self.publisher.socket.sndhwm = 0
        self.control = self.party.requester("driver-control")
        self.clock = threading.Thread(target=self._tell_time, daemon=True)
        self.stop = threading.Event()
        self.clock.start()
        self.seen = self.party.subscriber("observation", conflate=False, queue=0)
        self.process.start()
        self.publisher.wait_subscribers(1, 10.0)
        start = RobotState(SPEC.q_home_rad, np.zeros(SPEC.joints))
        self.ask("reset", Reset(start, Launch(np.ones(3), np.ones(3)), 0))
        self.ask("start")
        self.sequence = 0
        self.good = b""
        while self.ask("get_status").counts.get("command.disarmed", 0) < 5:
            self.send_good()
            time.sleep(0.01)
        self.ask("arm")

    def _tell_time(self) -> None:
        with Replier(address(self.config.base, "low-control")) as clock:
            while not self.stop.is_set():
                clock.serve(lambda message: ("time", Time(time.monotonic_ns())), 0.02)

    def ask(self, kind: str, value: Any = None) -> Any:
        return self.control.request(kind, Empty() if value is None else value, timeout_s=10.0, session=SESSION).value

    def send_good(self) -> None:
        now = time.monotonic_ns()
        self.good = bytes(
            pack(
                "command", home(now), session=SESSION, sequence=self.sequence, stamp_ns=now, valid_for_ns=VALID_NS,
                ledger=(now,) * 3, key=self.key,
            )
        )  # fmt: skip
        self.publisher.socket.send(self.good)
        self.sequence += 1

    def close(self) -> None:
        self.ask("stop")
        self.process.join(10.0)
        self.stop.set()
        self.clock.join(10.0)
        self.party.close()
        self.context.destroy(linger=0)


def fuzz(rig: Rig, n: int, seed: int = 0) -> dict[str, Any]:
    """n bad frames, each followed by a good one."""
    rng = np.random.default_rng(seed)
    fuzzer = Fuzzer(rig.key, SESSION, wild(), rng)
    before = rig.ask("get_status").counts
    ledger, sent, worst = rig.party.subscriber("ledger", conflate=False, queue=0), Counter[str](), 0.0
    time.sleep(0.2)
    for k in range(n):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        rig.publisher.socket.send(fuzzer.frame(kind, rig.sequence, time.monotonic_ns(), rig.good))
        sent[kind] += 1
        rig.send_good()
        time.sleep(1.0 / RATE_HZ)
        while (seen := rig.seen.receive(0.0)) is not None:
            worst = max(worst, float(np.abs(seen.value.q_rad - SPEC.q_home_rad).max()))
        if k % 200 == 0:
            sys.stderr.write(f"\r{k}/{n} ")
    time.sleep(0.5)
    ages = []
    while (message := ledger.receive(0.0)) is not None:
        ages.append((message.value.actuated_ns - message.value.command_ns) / 1e6)
    after = rig.ask("get_status").counts
    drops = {k.removeprefix("dropped.command."): after[k] - before.get(k, 0) for k in after if "dropped.command" in k}
    accepted = after["accepted.command"] - before["accepted.command"]
    return {
        "bad": n, "good": n, "accepted": accepted, "bad_accepted": accepted - n,
        "superseded": after["superseded.command"] - before["superseded.command"],
        "dropped": drops, "counted": sum(drops.values()), "sent": dict(sent), "moved_rad": worst,
        "age_p99_ms": float(np.quantile(ages, 0.99)), "age_max_ms": float(np.max(ages)), "applied": len(ages),
        "crashed": "no" if rig.process.is_alive() else f"exit code {rig.process.exitcode}",
    }  # fmt: skip


def resident_mib(pid: int | None) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def flood(rig: Rig, seconds: float, rate_hz: float = 13_000.0) -> dict[str, Any]:
    """More than anybody can use: what is applied must be fresh all the same."""
    ledger = rig.party.subscriber("ledger", conflate=False, queue=0)
    time.sleep(0.2)
    rig.send_good()
    frame_now = home(0, 5)
    begun, count, memory = time.monotonic(), 0, []
    while (passed := time.monotonic() - begun) < seconds:
        while count < passed * rate_hz:
            now = time.monotonic_ns()
            rig.publisher.socket.send(
                pack(
                    "command", frame_now._replace(start_ns=now), session=SESSION, sequence=rig.sequence, stamp_ns=now,
                    valid_for_ns=VALID_NS, ledger=(now,) * 3, key=rig.key,
                )
            )  # fmt: skip
            rig.sequence += 1
            count += 1
        memory.append(resident_mib(rig.process.pid))
        time.sleep(0.0005)
    ages = []
    while (message := ledger.receive(0.2)) is not None:
        ages.append((message.value.actuated_ns - message.value.command_ns) / 1e6)
    return {
        "sent_per_s": count / seconds, "applied": len(ages), "age_p50_ms": float(np.median(ages)),
        "age_p99_ms": float(np.quantile(ages, 0.99)), "age_max_ms": float(np.max(ages)),
        "memory_growth_mib": float(np.mean(memory[-50:]) - np.mean(memory[len(memory) // 4 :][:50])),
        "must_p99_ms": 1e3 / RATE_HZ + 1.0,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--flood", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for name, wanted, run in (("fuzz", options.n, fuzz), ("flood", options.flood, flood)):
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig(Path(folder))
            found[name] = run(rig, wanted)  # type: ignore[operator]
            rig.close()
        print(f"\n{name}: " + json.dumps(found[name], indent=1))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
