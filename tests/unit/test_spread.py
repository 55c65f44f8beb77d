"""Both ways to deal out jobs, processes and Ray, keep the same promises: every job once, what is shared, errors."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hjepa.errors import ConfigError, DataError, WorkerError
from hjepa.training.shards import Spread, processes
from hjepa.training.spread_ray import TRIES, ray_workers

LOST: list[str] = []


def add(shared: int, job: int) -> tuple[int, int]:
    return job, shared + job


def pid(shared: None, job: int) -> int:
    return os.getpid()


def threads(shared: None, job: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def refuse(shared: None, job: int) -> int:
    raise DataError(f"job {job} is wrong")


def die_first(folder: str, job: int) -> int:
    """Kills its worker in the first try of job 1, and in every try of job 9."""
    tried = Path(folder) / f"{job}"
    if job == 9 or (job == 1 and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Spread]:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with ray_workers("local", 2, LOST.append) as spread:
        yield spread


@pytest.fixture(params=["here", "processes", "ray"])
def spread(request: pytest.FixtureRequest) -> Spread:
    if request.param == "ray":
        return request.getfixturevalue("on_ray")
    return processes({"here": 1, "processes": 2}[request.param])


def test_every_job_is_done_once_with_what_is_shared(spread: Spread) -> None:
    assert sorted(spread(add, 100, range(7))) == [(k, 100 + k) for k in range(7)]
    assert list(spread(add, 100, [])) == []


def test_a_mistake_in_the_work_comes_back_as_itself(spread: Spread) -> None:
    with pytest.raises(DataError, match="^job . is wrong$"):
        list(spread(refuse, None, range(2)))


def test_ray_works_in_other_processes_with_one_thread_each(on_ray: Spread) -> None:
    assert os.getpid() not in set(on_ray(pid, None, range(4)))
    assert set(on_ray(threads, None, range(4))) == {"1"}


def test_a_job_whose_worker_was_killed_is_dealt_again_and_told(on_ray: Spread, tmp_path: Path) -> None:
    LOST.clear()
    assert sorted(on_ray(die_first, str(tmp_path), range(4))) == [0, 1, 2, 3]
    assert LOST == ["job 1 lost its worker (WorkerCrashedError) and is dealt again"]


def test_a_job_that_kills_every_worker_is_an_error(on_ray: Spread, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=f"job 0 lost its worker {TRIES} times"):
        list(on_ray(die_first, str(tmp_path), [9]))


def test_a_package_that_workers_lack_is_named(on_ray: Spread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text("def work(shared, job):\n    return job\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    work = importlib.import_module("only_here").work
    with pytest.raises(WorkerError, match="a worker lacks the package 'only_here': pip install"):
        list(on_ray(work, None, range(2)))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("cluster", "--ray cluster: no address; allowed: local, auto"),
        ("127.0.0.1:1", "no Ray cluster at '127.0.0.1:1' .*refused"),
        ("ray://127.0.0.1:1", "no Ray cluster at 'ray://127.0.0.1:1' .*refused"),
    ],
)
def test_an_address_where_nobody_answers_is_named_at_once(address: str, said: str) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with pytest.raises(WorkerError, match=said), ray_workers(address):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"'ray': pip install 'hjepa\[cluster\]'"), ray_workers("local"):
        pass
