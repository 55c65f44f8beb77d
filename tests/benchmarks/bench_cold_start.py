"""From `hjepa deploy run BUNDLE` to the first command of the low level at a driver that waits already.

python tests/benchmarks/bench_cold_start.py [--bundle FOLDER] [--trust FILE.pub] [--runs 5] [--json FILE]

Driver and conductor run before, in a graph of their own, over TCP on this machine; the controller's two levels are
started afterwards, as after a power cut. Without --bundle a recorded one is built, which takes a few seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from rich.console import Console
from rich.table import Table

from hjepa import config as settings
from hjepa.benches import host
from hjepa.bus.node import BusConfig, Party
from hjepa.bus.topics import Status
from hjepa.deploy import building, signing
from hjepa.launching.node import ask_status

ROOT = Path(__file__).parents[2]
HJEPA = (sys.executable, "-c", "from hjepa.cli import main; main()")
PORTS = 16  # of a graph, from its base
WAIT_S, LOOK_S, ASK_S = 120.0, 0.005, 0.05
GRAPH = """\
name: waiting
config: badminton
clock: realtime
bus: {{base: 'tcp://127.0.0.1:{port}'}}
nodes:
  driver: {{role: driver}}
  high: {{role: high, needs: [driver], host: remote}}
  low: {{role: low, needs: [driver], host: remote}}
  conductor: {{role: conductor, needs: [driver]}}
"""
MARKS = {
    "started": "both processes started",
    "checked": "bundle checked, rehearsed, warm",
    "answers": "both levels answer on the bus",
    "moving": "the stroke begins",
    "command": "first command at the driver",
}


class Run(NamedTuple):
    """Seconds since the command line was started."""

    started: float
    checked: float
    answers: float
    moving: float
    command: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--trust", type=Path, default=[], nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    load = host.load()
    with tempfile.TemporaryDirectory() as name:
        bundle, trust = options.bundle, options.trust
        if bundle is None:
            secret, public = signing.keygen(Path(name) / "builder")
            bundle, trust = Path(name) / "bundle", [public]
            building.make(settings.load("badminton"), bundle, compile_programs=False, key=secret)
        runs = [once(Path(name) / str(k), bundle.resolve(), trust) for k in range(options.runs)]
    table = Table("s after the command line was started", "median", "least", "most", box=None, pad_edge=False)
    for mark, said in MARKS.items():
        times = np.array([getattr(run, mark) for run in runs])
        table.add_row(said, *(f"{value:.2f}" for value in (np.median(times), times.min(), times.max())))
    Console().print(table)
    print(f"{len(runs)} runs; load {load:.1f} before, {host.load():.1f} after; {host.processor()}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"bundle": str(options.bundle or "recorded"), "runs": [run._asdict() for run in runs]}
        options.json.write_text(host.as_json("cold_start", figures, load) + "\n", encoding="utf-8")


def once(folder: Path, bundle: Path, trust: list[Path]) -> Run:
    """One cold start; everything is stopped afterwards."""
    folder.mkdir()
    port = free_port()
    (folder / "graph.yaml").write_text(GRAPH.format(port=port), encoding="utf-8")
    bus = BusConfig(base=f"tcp://127.0.0.1:{port}", clock="realtime")

    def status(role: str) -> Status | None:
        return ask_status(Party("tools", bus, None, guarded=True), role, ASK_S)

    def has(role: str, count: str) -> bool:
        told = status(role)
        return told is not None and told.counts.get(count, 0) > 0

    with started(folder, "launch", "graph.yaml", "--set", "task.strokes=1"):
        until(lambda: has("driver", "subscribers.observation"), "a conductor that waits")
        time.sleep(1.0)  # it has imported everything, and looks for the levels again and again
        words = [word for file in trust for word in ("--trust", str(file.resolve()))]
        began = time.monotonic()
        with started(folder, "deploy", "run", str(bundle), "--graph", "graph.yaml", *words, "--set", "graph.name=cold"):
            logs = folder / "runs/launch/cold/latest"

            def said(file: str, text: str, times: int = 1) -> bool:
                with contextlib.suppress(OSError):
                    return (logs / file).read_text(encoding="utf-8").count(text) >= times
                return False

            def mark(true: Callable[[], bool], what: str) -> float:
                until(true, what)
                return time.monotonic() - began

            return Run(
                mark(lambda: said("graph.log", ": started, pid", 2), "two processes"),
                mark(lambda: said("low.log", "ready in") and said("high.log", "ready in"), "two levels"),
                mark(lambda: status("low") is not None and status("high") is not None, "answers"),
                mark(lambda: has("driver", "sent.observation"), "a stroke"),
                mark(lambda: has("driver", "accepted.command"), "a command"),
            )


@contextlib.contextmanager
def started(folder: Path, *words: str) -> Iterator[None]:
    """A command line that runs in a folder while the block does."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / f"{words[0]}.txt").open("w") as out:
        process = subprocess.Popen([*HJEPA, *words], cwd=folder, env=environment, stdout=out, stderr=out)
        try:
            yield
        except AssertionError:
            print((folder / f"{words[0]}.txt").read_text(encoding="utf-8"), file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)


def until(true: Callable[[], bool], what: str) -> None:
    """Look again and again."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S:g} s"
        time.sleep(LOOK_S)


def free_port() -> int:
    """The first of some ports that nobody uses now."""
    for port in range(20000, 60000, PORTS):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for k in range(PORTS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + k))
            return port
    raise AssertionError("no free ports")


if __name__ == "__main__":
    main()
