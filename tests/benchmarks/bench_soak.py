"""Half an hour of the demo graph in real time, with nodes killed at random.

    python tests/benchmarks/bench_soak.py --minutes 30 --every 20 --json runs/bench/soak.json

`hjepa launch` runs robot, levels, recorder and a conductor that plays stroke after stroke; every so many seconds a
level is killed or stopped dead (SIGKILL, SIGSTOP). Told at the end: log records that are missing though their sender
lived, processes and files left over, memory of every node early and late, and for each loss of the low level in
mid-stroke the time to braking. Bound: expiry + 2 periods of the simulated driver (10 ms).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from hjepa.bus.logfile import Log
from hjepa.bus.messages import unpack
from tests.launched import Launched, exists

EXPIRY_MS = 150.0
BOUND_MS = EXPIRY_MS + 20.0
MAIN = "from hjepa.cli import main; main()"
GRAPH = f"""
name: soak
config: badminton
clock: realtime
expiry_ms: {EXPIRY_MS}
bus: {{journal: true}}
nodes:
  driver: {{role: driver}}
  high: {{role: high, needs: [driver], restart: always, hang_s: 5, backoff: {{give_up_after: 10000, max_s: 1}}}}
  low: {{role: low, needs: [driver], restart: always, hang_s: 5, backoff: {{give_up_after: 10000, max_s: 1}}}}
  recorder:
    role: recorder
    command: [{sys.executable}, -c, "{MAIN}", bus, record, "{{logs}}/run.mcap", --at, "{{base}}"]
    needs: [driver, high, low]
    stop_s: 30
  conductor: {{role: conductor, needs: [recorder], out: out}}
"""


class Kill(NamedTuple):
    at_ns: int
    node: str
    how: str


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Reads what the supervisor says, kills now and then, samples memory."""

    def __init__(self, launched: Launched, every_s: float) -> None:
        self.launched, self.every_s = launched, every_s
        self.kills: list[Kill] = []
        self.memory: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.rng = np.random.default_rng(0)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.launched.process.stdout is not None
        while data := os.read(self.launched.process.stdout.fileno(), 4096):
            self.launched.said += data.decode()

    def run(self, seconds: float) -> None:
        begun, due = time.monotonic(), time.monotonic() + 40.0
        while (now := time.monotonic()) - begun < seconds and self.launched.process.poll() is None:
            for name in ("driver", "high", "low", "recorder", "conductor"):
                pids = self.launched.pids(name)
                if pids and exists(pids[-1]):
                    self.memory[name].append((now - begun, resident_mib(pids[-1])))
            if now > due:
                due = now + self.every_s
                self._kill()
            sys.stderr.write(f"\r{now - begun:.0f} s, {len(self.kills)} kills ")
            time.sleep(0.5)

    def _kill(self) -> None:
        node = ("low", "low", "high")[int(self.rng.integers(3))]
        how = ("SIGKILL", "SIGSTOP")[int(self.rng.integers(2))]
        pids = self.launched.pids(node)
        if pids and exists(pids[-1]):
            time.sleep(float(self.rng.uniform(0.0, 2.0)))
            self.kills.append(Kill(time.monotonic_ns(), node, how))
            os.kill(pids[-1], getattr(signal, how))


def braking(file: Path, kills: list[Kill]) -> list[float]:
    """Milliseconds from each loss of the low level in mid-stroke to the driver's `holding`."""
    applied: list[int] = []
    states: list[tuple[int, str]] = []
    for entry in Log(file):
        if entry.topic == "ledger":
            applied.append(unpack(entry.frame).value.actuated_ns)
        elif entry.topic == "status":
            message = unpack(entry.frame)
            states.append((message.header.stamp_ns, message.value.state))
    found = []
    for kill in kills:
        before = [t for t in applied if kill.at_ns - 100_000_000 < t <= kill.at_ns]
        after = next(((t, state) for t, state in states if t > kill.at_ns), None)
        if kill.node == "low" and before and after is not None and after[1] == "holding":
            found.append((after[0] - kill.at_ns) / 1e6)
    return found


def flat(samples: list[tuple[float, float]], lives: int) -> dict[str, float]:
    """Memory in the second and in the last fifth (MiB); a node that was started again begins anew each time."""
    n = max(1, len(samples) // 5)
    values = [mib for _, mib in samples]
    return {
        "second_fifth": float(np.median(values[n : 2 * n])),
        "last_fifth": float(np.median(values[-n:])),
        "lives": lives,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty folder for logs and recording; without it they go")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = str(options.keep) if options.keep else stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).mkdir(parents=True, exist_ok=True)
        words = ["--set", "task.strokes=1300", "task.seed=13", "--logs", "logs"]  # the start states are judged already
        with Launched(Path(folder), GRAPH, *words) as launched:
            watch = Watch(launched, options.every)
            watch.run(60.0 * options.minutes)
            ended_early = launched.process.poll()
            launched.process.send_signal(signal.SIGINT)
            launched.process.wait(120.0)
        file = next(Path(folder).glob("logs/soak/*/run.mcap"))
        log = Log(file)
        list(log)
        times = braking(file, watch.kills)
        rows: dict[str, Any] = {
            "minutes": options.minutes, "kills": len(watch.kills), "ended_early": ended_early,
            "log_mb": file.stat().st_size / 1e6, "lost_records": log.lost, "left_over": not launched.leaves_nothing(),
            "stops": len(times), "stop_p50_ms": float(np.median(times)) if times else None,
            "stop_max_ms": max(times, default=None), "bound_ms": BOUND_MS,
            "within_bound": float(np.mean([t <= BOUND_MS for t in times])) if times else None,
            "memory_mib": {name: flat(s, len(launched.pids(name))) for name, s in watch.memory.items()},
            "load": os.getloadavg(),
        }  # fmt: skip
    print("\n" + json.dumps(rows, indent=1))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
