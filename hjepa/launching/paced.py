"""A simulated court in processes of its own that plays without end, at the pace that whoever started it asks for.

`python -m hjepa.launching.paced`: lines of JSON. In: a `Job` first, then any of {"pause": true}, {"step": 0.05} (s),
{"speed": 0.5}; the end of the input ends it. Out: {"base": address} once all nodes run, then a `Played` a stroke.
Simulated time waits for real time, so a pause holds the world itself, and levels and robot with it.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec
import numpy as np

from hjepa import factories
from hjepa.bus.graph import Graph
from hjepa.bus.processes import EXIT_ERROR, ProcessGraph
from hjepa.config import Config
from hjepa.errors import HjepaError
from hjepa.evaluation.episodes import feed_of
from hjepa.evaluation.feasible import stand, stroke_seed
from hjepa.launching import runtime
from hjepa.launching.pacing import Job, Pace, Played, Told
from hjepa.tasks.badminton.feeds import type_name
from hjepa.types import RobotState
from robots.spec import load_spec

REST_S = 0.6  # between two strokes


def play(graph: Graph, config: Config, pace: Pace) -> Iterator[Played]:
    """Strokes of the configuration's feed, over and over, from where the real receiver stood."""
    feed, spec = feed_of(config), load_spec(config.robot.name)
    home = RobotState(spec.q_home_rad, np.zeros(spec.joints))
    for number in itertools.count():
        i = number % len(feed.id)
        start = stand(spec, home, feed.receiver_xy_m[i])
        episode = graph.play(start, feed.launch(i), stroke_seed(config.task.seed, int(feed.id[i])), pace=pace.ticks)
        ended = episode.outcome
        fault = "" if ended.returned else ended.fault or "miss"
        yield Played(number + 1, type_name(int(feed.type[i])), ended.returned, fault)
        pace.rest(REST_S)


@contextmanager
def _known(name: str, graph: ProcessGraph, config: Config) -> Iterator[None]:
    """While the block runs, other tools find the graph under that name."""
    if not name:
        yield
        return
    text = config.model_dump_json()
    bus = msgspec.to_builtins(graph.config)
    specs = {node: msgspec.to_builtins(spec) for node, spec in factories.node_specs(config).items()}
    entry: dict[str, Any] = {"base": graph.config.base, "pid": os.getpid(), "nodes": list(specs), "keys": ""}
    with runtime.registered(name, entry | {"config": text, "specs": specs, "bus": bus, "hosts": {}}):
        yield


def _listen(pace: Pace, lines: IO[bytes]) -> None:
    """Hand on what is asked for, until there is nothing more to come."""
    for line in lines:
        pace.tell(msgspec.json.decode(line, type=Told))
    pace.end()


def main() -> int:
    """Play as the first line says."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the simulator prints is no line of ours
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the end of the input ends us
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    config = Config.model_validate_json(job.config)
    period = config.low.replan_period_ms // 10
    pace = Pace()
    threading.Thread(target=_listen, args=(pace, sys.stdin.buffer), daemon=True).start()
    try:
        graph = ProcessGraph(
            factories.node_specs(config), clock="lockstep", low_period_ticks=period, high_period_ticks=period
        )
        with graph, _known(job.name, graph, config):
            out.write(msgspec.json.encode({"base": graph.config.base}) + b"\n")
            for played in play(graph, config, pace):
                out.write(msgspec.json.encode(played) + b"\n")
    except HjepaError as error:
        sys.stderr.write(f"hjepa: {error}\n")
        return EXIT_ERROR
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
