"""Jobs dealt out over a Ray cluster: workers on other machines, which share no disk with this one.

A worker that dies, or whose machine does, takes its job with it; the job is dealt again, and counted. As many jobs are
under way as the cluster has cores, and as many again, so that results do not pile up in Ray's store.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hjepa import __version__
from hjepa.errors import HjepaError, WorkerError, extra
from hjepa.training.shards import Done, Job, Shared, Spread

AHEAD = 2  # jobs under way for each core
TRIES = 4  # times a job is dealt before its loss is an error
REACH_S = 5.0  # to wait for a head that does not answer; Ray itself would wait for minutes
_ENVIRONMENT = {"env_vars": {"OMP_NUM_THREADS": "1"}}  # as many small networks as cores
_ALLOWED = "local, auto, HOST:PORT or ray://HOST:PORT of a `ray start --head`, with its token in RAY_AUTH_TOKEN"


@contextmanager
def ray_workers(address: str, workers: int = 2, on_loss: Callable[[str], None] | None = None) -> Iterator[Spread]:
    """A Spread over the Ray cluster at `address`, left when the block ends.

    address: as for `cluster`. `on_loss` is told of every job that was lost and dealt again.
    """
    with cluster(address, workers) as joined:
        yield partial(_deal, joined, on_loss or (lambda told: None))


@contextmanager
def cluster(address: str, workers: int = 2) -> Iterator[Cluster]:
    """The Ray cluster at `address`, left when the block ends.

    address: 'local' (a cluster of `workers` on this machine, for as long as the block runs), 'auto' (the one that runs
    here), 'HOST:PORT' of a head, or 'ray://HOST:PORT'. WorkerError if nobody answers there; ConfigError without the
    package.
    """
    with extra("cluster"):
        import ray
    check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_ENVIRONMENT, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkerError(f"no Ray cluster at '{address}' ({_line(error)}); allowed: {_ALLOWED}") from error
    try:
        yield Cluster()
    finally:
        ray.shutdown()


class Cluster:
    """The Ray cluster that this process has joined. A task is one job on one core."""

    def cores(self) -> int:
        """Of all machines now: they come and go."""
        import ray

        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def remote(self, work: Callable[[Shared, Job], Done], shared: Shared) -> Callable[[Job], Any]:
        """Starts `work(shared, job)` somewhere, by the same version of hjepa; returns the task."""
        import ray

        # a lost one is dealt again by who asked and not by Ray, which would not tell
        task = ray.remote(num_cpus=1, max_retries=0)(_checked)
        return partial(task.remote, ray.put((work, __version__, shared)))

    def first(self, tasks: Sequence[Any]) -> Any:
        """Waits for one of them."""
        import ray

        return ray.wait(list(tasks))[0][0]

    def get(self, task: Any) -> Any:
        """What it returned. LostWorker where its worker died; an error of the work is raised as itself."""
        import ray
        from ray import exceptions as e

        try:
            return ray.get(task)
        except e.RayTaskError as error:
            raise _mistake(error) from None
        except (
            *(e.WorkerCrashedError, e.NodeDiedError, e.ObjectLostError),
            *(e.OutOfMemoryError, e.LocalRayletDiedError),
        ) as error:
            raise LostWorker(type(error).__name__, _line(error)) from error


class LostWorker(Exception):
    """A worker died, or its machine: the job may be dealt again."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def check_address(address: str) -> None:
    """WorkerError unless somebody listens there; a cluster on this machine is not looked for."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("local", "auto"):
        return
    if not (host and colon and port.isdecimal()):
        raise WorkerError(f"--ray {address}: no address; allowed: {_ALLOWED}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise WorkerError(f"no Ray cluster at '{address}' ({_line(error)}); allowed: {_ALLOWED}") from error


def _deal(
    joined: Cluster,
    on_loss: Callable[[str], None],
    work: Callable[[Shared, Job], Done],
    shared: Shared,
    jobs: Sequence[Job],
) -> Iterator[Done]:
    start = joined.remote(work, shared)
    waiting, tries = list(range(len(jobs)))[::-1], [0] * len(jobs)
    under_way: dict[Any, int] = {}
    while waiting or under_way:
        most = AHEAD * joined.cores()
        while waiting and len(under_way) < most:
            i = waiting.pop()
            tries[i] += 1
            under_way[start(jobs[i])] = i
        task = joined.first(list(under_way))
        i = under_way.pop(task)
        try:
            done = joined.get(task)
        except LostWorker as lost:
            if tries[i] == TRIES:
                raise WorkerError(f"job {i} lost its worker {TRIES} times, last: {lost}") from lost
            on_loss(f"job {i} lost its worker ({lost.kind}) and is dealt again")
            waiting.append(i)
        else:
            yield done


def _checked(common: tuple[Callable[[Any, Any], Any], str, Any], job: Any) -> Any:
    """On the worker: the work, by the same version of hjepa."""
    work, version, shared = common
    if version != __version__:
        raise WorkerError(f"a worker has hjepa {__version__} installed; allowed: {version}, as here")
    return work(shared, job)


def _mistake(error: Any) -> Exception:
    """What to raise for an error of the work itself (a RayTaskError): a user's mistake without Ray's traceback."""
    missing = re.search(r"No module named '([^']+)'", str(error))
    if missing:
        return WorkerError(f"a worker lacks the package '{missing[1]}': pip install 'hjepa[learn,sim,cluster]' there")
    return error.cause if isinstance(error.cause, HjepaError) else error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
