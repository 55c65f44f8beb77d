"""What every collection needs: jobs dealt out to workers, shards kept, a world made where it is used.

Who deals is a `Spread`: processes of this machine here, a Ray cluster in spread_ray.py. What a worker makes may come
back as arrays and be written by who asked; such workers need no disk of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from hjepa.arrays import load_arrays
from hjepa.types import RobotSpec

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Done = TypeVar("Done")
Report = Callable[[int, int, Mapping[str, float]], None]


class Spread(Protocol):
    """Deals jobs out to workers: `work(shared, job)` of every job, as they are done, in any order.

    `shared` goes to a worker once, a job each time. An error of `work` ends it.
    """

    def __call__(self, work: Callable[[Shared, Job], Done], shared: Shared, jobs: Sequence[Job]) -> Iterator[Done]: ...


def processes(workers: int) -> Spread:
    """A Spread over that many spawned processes of this machine; 1: here."""

    def deal(work: Callable[[Shared, Job], Done], shared: Shared, jobs: Sequence[Job]) -> Iterator[Done]:
        if workers <= 1 or len(jobs) <= 1:
            yield from (work(shared, job) for job in jobs)
            return
        with get_context("spawn").Pool(workers, _engage, (work, shared)) as pool:
            yield from pool.imap_unordered(_do, jobs, chunksize=1)

    return deal


_engaged: list[tuple[Callable[[Any, Any], Any], Any]] = []  # of this worker process: its work, and what jobs share


def _engage(work: Callable[[Any, Any], Any], shared: Any) -> None:
    _engaged[:] = [(work, shared)]


def _do(job: Any) -> Any:
    work, shared = _engaged[0]
    return work(shared, job)


def spread(work: Callable[[Job], Done], jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    """`work` on every job, here or in that many spawned processes; results as they come, in any order."""
    return processes(workers)(_call, work, jobs)


def _call(work: Callable[[Job], Done], job: Job) -> Done:
    return work(job)


class Shard(NamedTuple):
    """A part of a collection: where it is kept, how much it holds, and what makes it."""

    path: Path
    size: int
    job: Any


def play_missing(work: Callable[[Any], int], shards: Sequence[Shard], workers: int, progress: Report | None) -> None:
    """`work` on the job of every shard that is not there yet; it writes the shard and says how much that holds."""
    todo = [shard for shard in shards if not shard.path.exists()]
    total = sum(shard.size for shard in shards)
    done = total - sum(shard.size for shard in todo)
    for count in spread(work, [shard.job for shard in todo], workers):
        done += count
        if progress:
            progress(done, total, {})


def joined(paths: Sequence[Path], names: Sequence[str]) -> list[Any]:
    """The named arrays of all shards, end to end."""
    parts = [load_arrays(path, names, "shard", "delete it and run again") for path in paths]
    return [np.concatenate([part[name] for part in parts]) for name in names]


@contextmanager
def connected(world: str, spec: RobotSpec) -> Iterator[Any]:
    """The World that 'module:Class' names, made for a robot, connected, and closed at the end."""
    module, _, name = world.partition(":")
    made = getattr(import_module(module), name)(spec)
    made.connect()
    try:
        yield made
    finally:
        made.close()
