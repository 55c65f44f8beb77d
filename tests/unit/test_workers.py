"""Workers, of this machine or of a Ray cluster, harm nobody when they die or fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hjepa.errors import DataError
from hjepa.tuning.workers import TRIES, Failure, Workers, processes


def act(shared: str, job: int) -> int:
    """Fails where the job is 1, kills its worker once where it is 2, always where it is 3."""
    once = Path(shared) / str(job)
    if job == 1:
        raise DataError("job 1 is wrong\nand more")
    if job == 6:
        Path(shared, "nowhere").read_text()
    if job == 3 or (job == 2 and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def collected(workers: Workers, jobs: list[int]) -> dict[int, Any]:
    waiting, out, busy = list(jobs), {}, 0
    while waiting or busy:
        while waiting and busy < workers.slots:
            job = waiting.pop()
            workers.submit(job, job)
            busy += 1
        tag, result = workers.done()
        busy -= 1
        out[tag] = result
    return out


def test_a_lost_worker_is_replaced_and_a_failure_harms_no_other_job(tmp_path: Path) -> None:
    with processes(act, str(tmp_path), 2) as workers:
        got = collected(workers, [0, 1, 2, 3, 4, 5, 6])
    assert got.pop(1) == Failure("DataError: job 1 is wrong")
    assert got.pop(3) == Failure(f"its worker ended {TRIES} times (exit code -9)")
    assert got.pop(6).reason.startswith("FileNotFoundError: ")
    assert got == {0: 0, 2: 2, 4: 4, 5: 5}


def test_a_ray_cluster_plays_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from hjepa.tuning.workers import on_ray

    with on_ray(act, str(tmp_path), "local", 2) as workers:
        got = collected(workers, [0, 1, 2, 4])
    assert got == {0: 0, 1: Failure("DataError: job 1 is wrong"), 2: 2, 4: 4}
