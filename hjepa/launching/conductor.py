"""The conductor's process: plays the strokes of the configuration, one after the other, on a graph that runs already.

`python -m hjepa.launching.conductor FILE`, as hjepa.launching.node. Writes strokes.csv after every stroke and
summary.json at the end. A level that dies meanwhile costs the stroke: the driver brakes, and the next one waits for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hjepa import api, build
from hjepa.bus.node import BusConfig
from hjepa.bus.processes import EXIT_ERROR
from hjepa.config import Config
from hjepa.errors import HjepaError
from hjepa.evaluation.metrics import summarise
from hjepa.evaluation.results import StrokeResult, write_csv
from hjepa.launching.node import read_job
from hjepa.launching.running import RunningGraph


def conduct(config: Config, bus: BusConfig, out: Path) -> list[StrokeResult]:
    """Play every stroke; its results, which are in `out` as well."""
    build.use_one_thread()
    system = api.System(config, acts=False)  # the graph's nodes do
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
