"""What a viewer costs the loop that it watches: python bench_view_cost.py --json OUT [--rounds 8] [--strokes 6].

One graph in real time, a process a node, plays strokes by turns with nobody watching, with `hjepa view --bus` and a
light client that drains its page, and with a browser that draws in software (`--browser`). Latency of a command:
observation sent to command sent, on the driver's clock, from its ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests.browser, from any folder
from hjepa import api, factories
from hjepa.benches import host
from hjepa.bus.graph import Graph
from hjepa.bus.listen import Place, listen
from hjepa.bus.messages import unpack
from hjepa.bus.processes import ProcessGraph
from hjepa.cli import files
from hjepa.config import load
from hjepa.launching import runtime
from hjepa.launching.child import usage
from hjepa.types import Array
from tests.browser import FLAGS, chromium, viewed
from tests.launched import HJEPA

DRAIN = """
import sys
from websockets.sync.client import connect
with connect(f"ws://127.0.0.1:{sys.argv[1]}", subprotocols=[sys.argv[2]], max_size=None) as page:
    for data in page:
        print(len(data), flush=True)
"""
DRAW = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as play:
    page = play.chromium.launch(executable_path=sys.argv[2], args=sys.argv[3:]).new_page()
    page.goto(f"http://127.0.0.1:{sys.argv[1]}")
    page.wait_for_selector("canvas")
    print("drawn", flush=True)
    page.wait_for_timeout(1e9)
"""


class Viewer:
    """`hjepa view` on a running graph, with somebody who looks at it."""

    def __init__(self, name: str, browser: bool) -> None:
        argv = [*HJEPA, "view", "--bus", name, "--port", "0", "--no-open"]
        self._view = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._view.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", self._view.stdout.readline())
        assert found, "no page"
        words = [DRAW, found[1], chromium(), *FLAGS] if browser else [DRAIN, found[1], _protocol()]
        idle = ["chrt", "--idle", "0"]  # who looks would do so on another machine
        self._client = subprocess.Popen([*idle, sys.executable, "-c", *words], stdout=subprocess.PIPE, text=True)
        assert self._client.stdout is not None
        assert self._client.stdout.readline(), "nobody looks"
        os.set_blocking(self._client.stdout.fileno(), False)
        self._since = usage(self._view.pid)[0], time.monotonic()

    def share(self) -> float:
        """Of a core that the viewer took."""
        used_s, begun_s = self._since
        return (usage(self._view.pid)[0] - used_s) / (time.monotonic() - begun_s)

    def received_kb(self) -> float:
        """What the light client got so far."""
        assert self._client.stdout is not None
        sizes = self._client.stdout.read() or ""
        return sum(int(size) for size in sizes.split() if size.isdecimal()) / 1e3

    def close(self) -> None:
        for process in (self._client, self._view):
            process.terminate()
            process.wait(30)


def _protocol() -> str:
    import viser

    return f"viser-v{viser.__version__}"


@contextlib.contextmanager
def graph_in_real_time(system: api.System, name: str) -> Iterator[Graph]:
    """Driver, high and low as processes, known to tools by a name."""
    c = system.config
    ticks = c.low.replan_period_ms // 10
    timing = {"clock": "realtime", "low_period_ticks": ticks, "high_period_ticks": ticks}
    with ProcessGraph(factories.node_specs(c), **timing) as graph:
        entry = {"base": graph.config.base, "pid": os.getpid(), "config": c.model_dump_json(), "hosts": {}}
        entry |= {"bus": msgspec.to_builtins(graph.config), "specs": {}}
        with runtime.registered(name, entry):
            yield graph


def latencies(graph: Graph, strokes: Iterator[object], count: int) -> Array:
    """Latency (N,), ms, of every command of the next strokes."""
    with listen(Place(graph.config.base, graph.context), "ledger") as link:
        for _ in range(count):
            next(strokes)
        found = []
        while link.socket.poll(200):
            told = unpack(link.socket.recv()).value
            found.append((told.command_ns - told.observed_ns) / 1e6)
    return np.array(found)


def ratio(with_viewer: Array, without: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """Ratio of the medians over rounds, and its 95 % interval (bootstrap over rounds, which are paired)."""
    picks = rng.integers(len(without), size=(4000, len(without)))
    drawn = np.median(with_viewer[picks], axis=1) / np.median(without[picks], axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.median(with_viewer) / np.median(without)), float(low), float(high)


def starts_s(count: int = 3) -> list[float]:
    """Seconds from the command to the first byte of its page, with a court of its own."""
    found = []
    for _ in range(count):
        begun_s = time.monotonic()
        with viewed(["badminton"]) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}") as page:
            page.read(1)
            found.append(time.monotonic() - begun_s)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--strokes", type=int, default=6, help="in each turn of a round")
    parser.add_argument("--browser", action="store_true", help="also with a browser on this machine")
    asked = parser.parse_args()
    changes = ["run.clock=realtime", "low.replan_period_ms=20", "low.budget_ms=8"]
    system, load_before = api.load(load("badminton", changes)), host.load()
    system.starts()
    name = f"view-cost-{os.getpid()}"
    ways = ["nobody", "viewer", *(["browser"] if asked.browser else [])]
    kept: dict[str, list[Array]] = {way: [] for way in ways}
    shares, kilobytes = [], []
    with graph_in_real_time(system, name) as graph:
        strokes = itertools.chain.from_iterable(api.episodes_over(graph, system) for _ in itertools.repeat(None))
        latencies(graph, strokes, 2)  # the first plans are slow: torch compiles
        for k in range(asked.rounds):
            for way in ways[k % len(ways) :] + ways[: k % len(ways)]:  # each comes first as often as the others
                viewer = Viewer(name, way == "browser") if way != "nobody" else None
                kept[way].append(latencies(graph, strokes, asked.strokes))
                if viewer is not None:
                    if way == "viewer":
                        shares.append(viewer.share())
                        kilobytes.append(viewer.received_kb())
                    viewer.close()
    rng = np.random.default_rng(0)
    figures: dict[str, object] = {"rounds": asked.rounds, "strokes": asked.strokes}
    figures["commands"] = {way: sum(map(len, rounds)) for way, rounds in kept.items()}
    print(f"{'':10} {'commands':>9} {'p50 ms':>8} {'p99 ms':>8}   p99 of nobody's (95 %)")
    for way, rounds in kept.items():
        p50, p99 = (np.array([np.quantile(r, q) for r in rounds]) for q in (0.5, 0.99))
        base = np.array([np.quantile(r, 0.99) for r in kept["nobody"]])
        times, low, high = ratio(p99, base, rng)
        figures[way] = {"p50_ms": p50.tolist(), "p99_ms": p99.tolist(), "p99_ratio": [times, low, high]}
        print(
            f"{way:10} {sum(map(len, rounds)):9} {np.median(p50):8.2f} {np.median(p99):8.2f}"
            f"   {times:.3f} ({low:.3f} to {high:.3f})"
        )
    figures["viewer_core_share"], figures["client_kb"] = shares, kilobytes
    print(f"viewer: {100 * np.median(shares):.0f} % of a core; its client got {np.median(kilobytes):.0f} kB a turn")
    figures["starts_s"] = starts_s()
    print(f"page answers {np.median(figures['starts_s']):.2f} s after the command")
    if asked.json is not None:
        files.write_text(asked.json, host.as_json("view_cost", figures, load_before))


if __name__ == "__main__":
    main()
