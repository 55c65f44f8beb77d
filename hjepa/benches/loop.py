"""The whole graph in real time: driver with its simulated court, high and low level, a process each, over ipc.

    figures = run(load("badminton", ["run.clock=realtime", "low.replan_period_ms=20"]), minutes=10.0)

Strokes are fed one after the other. Every decision that was due is accounted for (benches.decisions), from what the
nodes say anyway: stamps, the driver's ledger, the levels' journals.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import zmq

from hjepa import api, factories
from hjepa.benches import decisions
from hjepa.benches.host import Spread, spread
from hjepa.bus.graph import Episode, Graph
from hjepa.bus.listen import Place, listen
from hjepa.bus.messages import unpack
from hjepa.bus.node import TICK_NS
from hjepa.bus.processes import NodeSpec, ProcessGraph
from hjepa.bus.topics import TOPICS
from hjepa.errors import ConfigError
from hjepa.evaluation.results import Played
from hjepa.launching.child import usage
from hjepa.types import NS

HEARD = ("ledger", "low-journal", "high-journal")
HOG = "import os\np = os.getppid()\nwhile os.getppid() == p:\n    for _ in range(1_000_000):\n        pass"
Report = Callable[[int, int, Mapping[str, float]], None]


class Reasons(NamedTuple):
    """Decisions that missed, by reason; one may have several."""

    superseded: int  # an observation was due and never planned for: a newer one had come
    goal_late: int  # the same, as the high level was late
    overlong: int  # the plan took longer than the period
    started_late: int  # the command was at the driver after its own start
    lost: int  # the command was sent and not accepted: expired, overtaken, refused


class Loop(NamedTuple):
    """What the loop did. Times are ms."""

    strokes: int
    returned: int
    simulated_s: float
    due: int  # decisions: the denominator
    reasons: Reasons
    missed: int  # decisions with any of them
    plan_ms: Spread
    searched_ms: Spread  # those plans that searched
    latency_ms: Spread  # observation published -> its command accepted, both by the driver
    alone_ms: Spread  # the same where the high level neither decided nor asked meanwhile
    searching_ms: Spread  # the same where the plan searched
    sent_ms: Spread  # observation published -> its command sent: without the wait for the driver's next tick
    legs_ms: dict[str, Spread]  # where that latency goes
    tick_late_ms: Spread  # observations published after their tick
    ticks_missed: int  # ticks that were due before the driver waited for them
    cpu: dict[str, float]  # share of a core by process
    counts: dict[str, int]  # the nodes' own, summed over strokes

    @property
    def misses_per_10000(self) -> float:
        """Missed of 10,000 due decisions; nan without any."""
        return 1e4 * self.missed / self.due if self.due else float("nan")


def run(
    system: api.System,
    minutes: float,
    *,
    hogs: int = 0,
    specs: Mapping[str, NodeSpec] | None = None,
    report: Report | None = None,
) -> Loop:
    """Play strokes until so many minutes were simulated, in real time; the last stroke is finished.

    hogs: busy processes beside it. specs: other ways to build some nodes. ConfigError in lockstep, or with one level.
    """
    c = system.config
    if c.run.clock != "realtime" or not system.two_levels:
        raise ConfigError(f"clock {c.run.clock}, agent {c.agent.name}; allowed: realtime, and an agent of two levels")
    ticks = c.low.replan_period_ms * 1_000_000 // TICK_NS
    built = factories.node_specs(c) | dict(specs or {})
    system.starts()
    timing: dict[str, Any] = {"clock": "realtime", "low_period_ticks": ticks, "high_period_ticks": ticks}
    with _busy(hogs), ProcessGraph(built, **timing, journal=True) as graph, _Ears(graph) as ears:
        record = _Record(ticks, round(1e6 * c.low.latency_ms))
        cpu = _Cpu({name: process.pid or 0 for name, process in graph.processes.items()} | {"conductor": os.getpid()})
        for episode, played in _strokes(graph, system):
            record.add(ears.heard(episode), played)
            if report is not None:
                total = round(60 * minutes)
                report(min(total, int(record.simulated_s)), total, {"missed": record.missed, "due": record.due})
            if record.simulated_s >= 60 * minutes:
                break
        return record.figures(cpu.shares())


def _strokes(graph: Graph, system: api.System) -> Iterator[tuple[Episode, Played]]:
    """The configuration's strokes, over and over."""
    return itertools.chain.from_iterable(api.episodes_over(graph, system) for _ in itertools.repeat(None))


class _Record:
    """Sums over strokes."""

    def __init__(self, period_ticks: int, latency_ns: int) -> None:
        self._period_ticks, self._latency_ns = period_ticks, latency_ns
        self.strokes = self.returned = self.due = self.missed = 0
        self.simulated_s = 0.0
        self._parts: list[decisions.Due] = []
        self._late: list[Any] = [np.zeros(0)]
        self._counts: Counter[str] = Counter()

    def add(self, said: decisions.Said, played: Played) -> None:
        """A stroke that is over."""
        observations = said.episode.messages["observation"]
        part = decisions.due(said, self._period_ticks, self._latency_ns, self._period_ticks * TICK_NS)
        self._parts.append(part)
        self._late.append(decisions.tick_late_ms(observations, TICK_NS))
        self.strokes += 1
        self.returned += played.result.returned
        self.simulated_s += observations[-1].value.stamp_ns / NS
        self.due += len(part.plan_ms)
        self.missed += int(part.missed.sum())
        for node, status in said.episode.status.items():
            self._counts.update({f"{node}: {name}": n for name, n in status.counts.items() if _counted(name)})
            worst = f"{node}: late_us.max"
            self._counts[worst] = max(self._counts[worst], status.counts.get("late_us.max", 0))

    def figures(self, cpu: dict[str, float]) -> Loop:
        """All of it."""
        all_due = decisions.joined(self._parts)
        legs = {
            "bus, to the low level": all_due.heard_ms,
            "goal in force": all_due.before_ms,
            "plan": np.where(np.isfinite(all_due.sent_ms), all_due.plan_ms, np.nan),
            "packing": all_due.sent_ms,
            "bus, and the driver's next tick": all_due.accepted_ms,
        }
        return Loop(
            self.strokes,
            self.returned,
            self.simulated_s,
            self.due,
            Reasons(*(int(flags.sum()) for flags in all_due[:5])),
            self.missed,
            spread(all_due.plan_ms),
            spread(all_due.plan_ms[all_due.searched]),
            spread(all_due.latency_ms),
            spread(all_due.latency_ms[all_due.alone]),
            spread(all_due.latency_ms[all_due.searched]),
            spread(all_due.latency_ms - all_due.accepted_ms),
            {name: spread(ms) for name, ms in legs.items()},
            spread(np.concatenate(self._late)),
            self._counts.get("driver: deadline.missed", 0),
            cpu,
            {name: n for name, n in sorted(self._counts.items()) if n},
        )


def _counted(name: str) -> bool:
    """Whether a node's count says that something went wrong, or is needed to judge how much."""
    return not name.startswith(("sent.", "subscribers.", "late_us", "loop."))


class _Ears:
    """Sockets for what a conductor does not hear: ledgers and journals."""

    def __init__(self, graph: Graph) -> None:
        place = Place(graph.config.base, graph.context)
        self._links = {topic: listen(place, topic) for topic in HEARD}
        self._graph = graph

    def __enter__(self) -> _Ears:
        deadline = time.monotonic() + 10.0
        while not all(self._connected(topic) for topic in HEARD) and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links.values():
            link.close()

    def _connected(self, topic: str) -> bool:
        return self._graph.status(TOPICS[topic].owner).counts[f"subscribers.{topic}"] > 0

    def heard(self, episode: Episode, timeout_s: float = 1.0) -> decisions.Said:
        """An episode with all that belongs to it."""
        session = episode.status["driver"].session
        kept: dict[str, list[Any]] = {topic: [] for topic in HEARD}
        deadline = time.monotonic() + timeout_s
        for topic, link in self._links.items():
            wanted = episode.status[TOPICS[topic].owner].counts[f"sent.{topic}"]
            while len(kept[topic]) < wanted and (left_s := deadline - time.monotonic()) > 0:
                if link.socket.poll(round(1e3 * left_s) + 1, zmq.POLLIN):
                    message = unpack(link.socket.recv())
                    if message.header.session == session:
                        kept[topic].append(message.value)
        return decisions.Said(episode, *(kept[topic] for topic in HEARD))


class _Cpu:
    """Shares of a core that processes use from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids, self._since = pids, time.monotonic()
        self._used = {name: usage(pid)[0] for name, pid in pids.items()}

    def shares(self) -> dict[str, float]:
        """1: a whole core."""
        spent_s = time.monotonic() - self._since
        return {name: (usage(pid)[0] - self._used[name]) / spent_s for name, pid in self._pids.items()}


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that compute all the time while the block runs; they end with their parent."""
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
