"""What every collection in spawned processes needs: the jobs dealt out, and a world made where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeVar

from hjepa.types import RobotSpec

Job = TypeVar("Job")
Done = TypeVar("Done")


def spread(work: Callable[[Job], Done], jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    """`work` on every job, here or in that many spawned processes; results as they come, in any order."""
    if workers <= 1 or len(jobs) <= 1:
        yield from map(work, jobs)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(work, jobs, chunksize=1)


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
