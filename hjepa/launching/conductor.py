"""The conductor's process: plays the strokes of the configuration, one after the other, on a graph that runs already.

`python -m hjepa.launching.conductor FILE`, as hjepa.launching.node. Writes strokes.csv after every stroke and
summary.json at the end. A level that dies meanwhile costs the stroke: the driver brakes, and the next one waits for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import zmq

from hjepa import api
from hjepa.bus.graph import REQUEST_S, SUBSCRIBERS, Graph
from hjepa.bus.node import BusConfig
from hjepa.bus.processes import EXIT_ERROR
from hjepa.bus.topics import Reset, Status
from hjepa.config import Config
from hjepa.errors import HjepaError, LinkTimeout, NodeDied
from hjepa.evaluation.metrics import summarise
from hjepa.evaluation.results import StrokeResult, write_csv
from hjepa.launching.node import read_job

READY_S = 120.0  # a level that is being restarted imports torch, perhaps more than once
_ASK_S = 0.5
_LOOK_S = 0.02


class RunningGraph(Graph):
    """Driver, high and low that somebody else has started and watches over."""

    def __init__(self, config: BusConfig, ready_s: float = READY_S) -> None:
        super().__init__(config, zmq.Context())
        self._ready_s = ready_s
        self._session = 0

    def start(self) -> None:
        """Connect, and wait until all are there."""
        self._connect()
        self.await_ready()

    def dead(self) -> dict[str, NodeDied]:
        """None that is known of: the supervisor acts when a process ends."""
        return {}

    def close(self) -> None:
        """Disconnect; the nodes go on."""
        self._disconnect()
        self.context.destroy(linger=0)

    def await_ready(self) -> None:
        """Until every node answers and hears every other; LinkTimeout when that takes too long."""
        deadline = time.monotonic() + self._ready_s
        for node, wanted in SUBSCRIBERS.items():
            while True:
                try:
                    counts = super().status(node, _ASK_S).counts
                    if all(counts[f"subscribers.{topic}"] >= count for topic, count in wanted.items()):
                        break
                except LinkTimeout:
                    counts = {}
                if time.monotonic() > deadline:
                    said = f"is not heard by everybody: {counts}" if counts else "does not answer"
                    raise LinkTimeout(f"node {node} {said} after {self._ready_s:g} s")
                time.sleep(_LOOK_S)

    def status(self, node: str, timeout_s: float = REQUEST_S) -> Status:
        """How a node is; NodeDied when the driver has lost the session, since it was started again."""
        found = super().status(node, timeout_s)
        if node == "driver" and self._session and found.session != self._session:
            raise NodeDied(f"the driver is in session {found.session}, not {self._session}: it was started again", 1)
        return found

    def _begin(self, reset: Reset) -> int:
        """A new session; a level that dies at this very moment is waited for once more."""
        for last in (False, True):
            self.await_ready()
            self._session = 0
            try:
                self._session = super()._begin(reset)
                break
            except LinkTimeout:
                if last:
                    raise
        return self._session


def conduct(config: Config, bus: BusConfig, out: Path) -> list[StrokeResult]:
    """Play every stroke; its results, which are in `out` as well."""
    system = api.load(config)
    system.starts()
    out.mkdir(parents=True, exist_ok=True)
    results: list[StrokeResult] = []
    begun = time.monotonic()
    with RunningGraph(bus) as graph:
        for played in api.play_over(graph, system, finish=True):
            results.append(played.result)
            _write(out / "strokes.csv", results)
            sys.stdout.write(_line(len(results), played.result) + "\n")
    reference = api.reference()
    summary = summarise(
        results,
        clock=config.run.clock,
        wall_s=time.monotonic() - begun,
        classifier_accuracy=reference.classifier_accuracy,
        humans_entropy=reference.humans_entropy,
    )
    (out / "summary.json").write_text(summary.to_json(), encoding="utf-8")
    return results


def _write(path: Path, results: Sequence[StrokeResult]) -> None:
    """All strokes so far, in one step: whoever looks finds a whole file."""
    part = path.with_name(f".{path.name}.part")
    write_csv(part, results)
    part.replace(path)


def _line(number: int, result: StrokeResult) -> str:
    how = "returned" if result.returned else result.fault or "missed"
    late = f", {result.deadline_misses} deadlines missed" if result.deadline_misses else ""
    return f"stroke {number}: {result.feed_type} -> {result.commanded_type or 'no shot'}: {how}{late}"


def main(arguments: Sequence[str]) -> int:
    """Play as the job says."""
    job = read_job(arguments[0])
    try:
        conduct(Config.model_validate_json(job.config), job.bus, Path(job.out))
    except HjepaError as error:
        sys.stderr.write(f"{job.name}: {error}\n")
        return EXIT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
