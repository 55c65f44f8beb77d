"""What every collection in spawned processes needs: jobs dealt out, shards kept, a world made where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hjepa.arrays import load_arrays
from hjepa.types import RobotSpec

Job = TypeVar("Job")
Done = TypeVar("Done")
Report = Callable[[int, int, Mapping[str, float]], None]


def spread(work: Callable[[Job], Done], jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    """`work` on every job, here or in that many spawned processes; results as they come, in any order."""
    if workers <= 1 or len(jobs) <= 1:
        yield from map(work, jobs)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(work, jobs, chunksize=1)


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
