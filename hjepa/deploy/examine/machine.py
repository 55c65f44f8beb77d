"""The machine as the examinations see it: every path and call that they use, so that tests can bring another one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hjepa.deploy import realtime
from hjepa.types import Array

TORCH_S = 60.0  # importing it from a cold disk
_RUN_S = 10.0
_TICK_S = 0.01  # control period, 100 Hz


class Disk(NamedTuple):
    """The file system of a folder."""

    free_bytes: int
    trouble: str  # why nothing can be written there; empty when it can


class TorchFacts(NamedTuple):
    """What torch says of itself. Compute capabilities as (major, minor)."""

    version: str = ""
    cuda: str = ""  # that it was built for; empty: a CPU build
    available: bool = False  # a GPU can be used
    capabilities: tuple[tuple[int, int], ...] = ()  # of each GPU
    built_for: tuple[str, ...] = ()  # sm_90 and the like
    error: str = ""  # why it cannot be imported, or what it complains of


def _run(argv: Sequence[str], timeout_s: float = _RUN_S) -> str | None:
    """What a program says; None if it is not there, fails or hangs."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _torch() -> TorchFacts | None:
    """Asked in a process of its own, which a broken driver may take down or hang; None when that happens."""
    said = _run([sys.executable, "-P", str(Path(__file__).with_name("torch_facts.py"))], TORCH_S)
    if not said:
        return None
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    capabilities = tuple((major, minor) for major, minor in found.pop("capabilities", ()))
    return TorchFacts(capabilities=capabilities, built_for=tuple(found.pop("built_for", ())), **found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> tuple[str, ...]:
    try:
        return tuple(metadata.requires("hjepa") or ())
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return ()


def _zmq() -> tuple[str, bool] | None:
    try:
        import zmq
    except ImportError:
        return None
    return zmq.zmq_version(), zmq.has("curve")


def _bind_loopback() -> str:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return str(error)
    return ""


def _disk(folder: Path) -> Disk:
    there = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    try:
        stat = os.statvfs(there)
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"hjepa")
    except OSError as error:
        return Disk(shutil.disk_usage(there).free, str(error.strerror))
    return Disk(stat.f_bavail * stat.f_frsize, "")


def _in_child(call: Callable[[], None]) -> int:
    """errno of a call that is made in a child, so that it changes nothing here; 0 if it is granted."""
    child = os.fork()
    if child == 0:
        number = 1
        try:
            call()
            number = 0
        except OSError as error:
            number = error.errno or 1
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _lock_memory() -> None:
    if realtime.raise_memlock() != -1:
        raise PermissionError(errno.EPERM, "limited")


def _wakes_ms(seconds: float) -> Array:
    """How much later than asked (ms) a 100 Hz loop wakes up, each time; by the monotonic clock."""
    late_s = np.empty(max(1, round(seconds / _TICK_S)))
    due_s = time.monotonic()
    for i in range(len(late_s)):
        due_s += _TICK_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        late_s[i] = time.monotonic() - due_s
    late_ms: Array = 1e3 * late_s
    return late_ms


def _cache() -> Path:
    """As hjepa.api.cache_folder, which needs torch."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hjepa"


@dataclass(frozen=True)
class Machine:
    """Where to look, and whom to ask."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    work: Path = field(default_factory=Path.cwd)
    cache: Path = field(default_factory=_cache)
    weights: Path = Path(__file__).parents[2] / "weights"
    run: Callable[[Sequence[str]], str | None] = _run
    find: Callable[[str], str | None] = shutil.which
    torch: Callable[[], TorchFacts | None] = _torch
    version: Callable[[str], str | None] = _version  # of an installed package
    requirements: Callable[[], Sequence[str]] = _requirements  # hjepa's, as its metadata states them
    zmq: Callable[[], tuple[str, bool] | None] = _zmq  # version of libzmq, and whether it has CURVE
    bind_loopback: Callable[[], str] = _bind_loopback  # what is in the way of that; empty: nothing
    disk: Callable[[Path], Disk] = _disk
    refused_fifo: Callable[[], int] = lambda: _in_child(lambda: realtime.set_fifo(1))  # errno, 0: granted
    refused_memlock: Callable[[], int] = lambda: _in_child(_lock_memory)  # errno, 0: without limit
    wakes_ms: Callable[[float], Array] = _wakes_ms
    cpus: Callable[[], set[int]] = lambda: os.sched_getaffinity(0)
    load: Callable[[], float] = lambda: os.getloadavg()[0]

    def read(self, path: Path) -> str:
        """A small file's text; empty if it is not there or not for us."""
        try:
            return path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def field(self, path: Path, key: str) -> str:
        """The value of `KEY: value` in a file; empty without one."""
        for line in self.read(path).splitlines():
            name, colon, value = line.partition(":")
            if colon and name.strip() == key:
                return value.strip()
        return ""
