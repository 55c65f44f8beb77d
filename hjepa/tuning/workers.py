"""Who plays: processes of this machine, or of a Ray cluster. They only play; the study is written by its one parent.

A worker that dies takes its job with it; the job is dealt again. An error of the job itself comes back as a `Failure`
and harms no other job. Workers of a parent that was killed see their pipe close and end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hjepa.errors import HjepaError

if TYPE_CHECKING:
    from hjepa.training.spread_ray import Cluster

TRIES = 3  # times a job is dealt before the loss of its workers is its failure
_SAID = 200  # characters kept of an error
# what a combination of values can raise somewhere below; ours are named one by one
_MISTAKES = (
    *(HjepaError, ArithmeticError, AssertionError, ImportError, LookupError),
    *(OSError, RuntimeError, TypeError, ValueError),
)
Work = Callable[[Any, Any], Any]


class Failure(NamedTuple):
    """Why a job has no result."""

    reason: str


class Workers(Protocol):
    """Takes jobs and gives their results as they come, in any order."""

    slots: int  # jobs that are done at the same time

    def submit(self, tag: int, job: Any) -> None:
        """Take a job; never more than `slots` at a time."""

    def done(self) -> tuple[int, Any]:
        """Wait for the next result: the job's tag, and what `work(shared, job)` returned, or a Failure."""


def attempt(work: Work, shared: Any, job: Any) -> Any:
    """The work, or why it failed."""
    try:
        return work(shared, job)
    except _MISTAKES as error:
        said = (str(error).splitlines() or [""])[0]
        return Failure(f"{type(error).__name__}: {said}"[:_SAID])


def _serve(pipe: connection.Connection, work: Work, shared: Any) -> None:
    """A worker process: jobs in, results out, until the parent is gone."""
    with suppress(EOFError, OSError):
        while True:
            pipe.send(attempt(work, shared, pipe.recv()))


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started in the block do not hear Ctrl-C, from their first instant on: it is for the parent."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no thread but the main one may say so
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Hand(NamedTuple):
    """A worker process, and our end of its pipe."""

    process: Any
    pipe: connection.Connection


class Processes:
    """Spawned processes of this machine."""

    def __init__(self, work: Work, shared: Any, slots: int) -> None:
        self.slots = slots
        self._given = (work, shared)
        self._hands = [self._hire() for _ in range(slots)]
        self._busy: dict[int, tuple[int, Any, int]] = {}  # hand -> tag, job, tries

    def submit(self, tag: int, job: Any) -> None:
        self._give(next(k for k in range(self.slots) if k not in self._busy), tag, job, 1)

    def done(self) -> tuple[int, Any]:
        while True:
            ready = connection.wait([self._hands[k].pipe for k in self._busy])
            k = next(k for k in self._busy if self._hands[k].pipe in ready)
            tag, job, tries = self._busy.pop(k)
            try:
                return tag, self._hands[k].pipe.recv()
            except (EOFError, OSError):
                code = self._replace(k)
            if tries == TRIES:
                return tag, Failure(f"its worker ended {TRIES} times (exit code {code})")
            self._give(k, tag, job, tries + 1)

    def close(self) -> None:
        """End the workers, also in the middle of a job."""
        for hand in self._hands:
            hand.pipe.close()
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join()

    def _hire(self) -> _Hand:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, *self._given), daemon=True)
        with _deaf():
            process.start()
        theirs.close()  # so that a worker's death closes the pipe
        return _Hand(process, ours)

    def _replace(self, k: int) -> int | None:
        hand = self._hands[k]
        hand.pipe.close()
        hand.process.join()
        code: int | None = hand.process.exitcode
        self._hands[k] = self._hire()
        return code

    def _give(self, k: int, tag: int, job: Any, tries: int) -> None:
        self._busy[k] = (tag, job, tries)
        with suppress(OSError):  # it died meanwhile: `done` finds out
            self._hands[k].pipe.send(job)


@contextmanager
def processes(work: Work, shared: Any, slots: int) -> Iterator[Workers]:
    """So many spawned processes, ended with the block; each has one thread for its networks."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    hands = Processes(work, shared, slots)
    try:
        yield hands
    finally:
        hands.close()


@contextmanager
def on_ray(work: Work, shared: Any, address: str, slots: int) -> Iterator[Workers]:
    """A Ray cluster, as many jobs at a time as it has cores.

    address: 'local' (of so many `slots`), 'auto', HOST:PORT or ray://HOST:PORT, as in training.spread_ray.
    """
    from hjepa.training.spread_ray import cluster

    with cluster(address, slots) as joined:
        yield _OnRay(joined, work, shared)


class _OnRay:
    """One Ray task a job."""

    def __init__(self, joined: Cluster, work: Work, shared: Any) -> None:
        self.slots = joined.cores()
        self._joined, self._start = joined, joined.remote(_attempt_given, (work, shared))
        self._busy: dict[Any, tuple[int, Any, int]] = {}  # task -> tag, job, tries

    def submit(self, tag: int, job: Any) -> None:
        self._busy[self._start(job)] = (tag, job, 1)

    def done(self) -> tuple[int, Any]:
        from hjepa.training.spread_ray import LostWorker

        while True:
            task = self._joined.first(list(self._busy))
            tag, job, tries = self._busy.pop(task)
            try:
                return tag, self._joined.get(task)
            except LostWorker as lost:
                if tries == TRIES:
                    return tag, Failure(f"its worker was lost {TRIES} times ({lost})")
                self._busy[self._start(job)] = (tag, job, tries + 1)


def _attempt_given(given: tuple[Work, Any], job: Any) -> Any:
    """On a worker of the cluster: the same as here."""
    return attempt(*given, job)
