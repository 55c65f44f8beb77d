"""What a control process asks of Linux before its loop starts. Nothing here raises for lack of rights: a step that was
not granted says why, and what to do about it.

    for step in prepare(RealtimeConfig(cpus=(2,), fifo_priority=50)):
        log(step.said if step.granted else f"{step.said}; {step.remedy}")

Call it in the thread that runs the loop, once everything is built and warm: priority and timer slack are that thread's,
pinning is that of all threads there are, memory and garbage collection that of the process.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hjepa.errors import ConfigError

MCL_CURRENT, MCL_FUTURE = 1, 2  # linux/mman.h
_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_CAP_IPC_LOCK = 14  # linux/capability.h
_ALL_USERS = ["0", "0", "4294967295"]  # user ids as the machine itself has them
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIMITS = "sudo tee -a /etc/security/limits.d/hjepa.conf, log in again; under systemd:"
RTPRIO_REMEDY = f'echo "$USER - rtprio 95" | {_LIMITS} LimitRTPRIO=95'
MEMLOCK_REMEDY = f'echo "$USER - memlock unlimited" | {_LIMITS} LimitMEMLOCK=infinity'


class Granted(NamedTuple):
    """What became of one step."""

    step: str  # cpus, memory, priority, garbage, timers
    granted: bool
    said: str  # what holds now, or why it does not
    remedy: str = ""  # one line; empty when granted


@dataclass(frozen=True)
class RealtimeConfig:
    """What to ask for. ConfigError for what no kernel grants."""

    cpus: tuple[int, ...] = ()  # the process stays on these; empty: wherever it may run now
    lock_memory: bool = True  # no page of it is ever fetched from a disk
    fifo_priority: int = 0  # SCHED_FIFO, 1..99; 0: as it is. Kernel threads that handle interrupts have 50
    freeze_garbage: bool = True  # what exists now is never looked at again by the collector
    garbage_threshold: int = 100_000  # new objects, less those freed, between two collections; Python's own: 700
    timer_slack_ns: int = 1_000  # how much later than asked the kernel may wake it; its own: 50,000; 0: as it is

    def __post_init__(self) -> None:
        if not 0 <= self.fifo_priority <= 99:
            raise ConfigError(f"fifo_priority is {self.fifo_priority}; allowed: 1..99, or 0 for none")
        if any(cpu < 0 for cpu in self.cpus) or self.timer_slack_ns < 0 or self.garbage_threshold < 1:
            raise ConfigError("cpus and timer_slack_ns: allowed 0 or more; garbage_threshold: allowed 1 or more")


class Kernel(NamedTuple):
    """The calls that are made; tests bring their own. Each raises OSError (or ValueError) where Linux refuses."""

    pin: Callable[[Collection[int]], set[int]]  # every thread; returns where the caller runs now
    raise_memlock: Callable[[], int]  # as far as allowed; bytes that may be locked now, -1: without limit
    lock_memory: Callable[[int], None]  # mlockall(flags)
    set_fifo: Callable[[int], None]
    set_timer_slack_ns: Callable[[int], None]


def raise_memlock() -> int:
    """Lift this process's limit of locked memory as far as allowed; bytes that may be locked now, -1: without limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for wanted in ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, wanted)
        except (OSError, ValueError):
            continue
        soft = wanted[0]
        break
    return resource.RLIM_INFINITY if _exempt() else soft


def _exempt() -> bool:
    """Whether the limit does not count: CAP_IPC_LOCK, and not in a user namespace, where it means nothing."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        users = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff")), 0)
    return bool(held >> _CAP_IPC_LOCK & 1) and users == _ALL_USERS


def set_fifo(priority: int) -> None:
    """SCHED_FIFO for the calling thread; threads and processes that it starts are ordinary ones. OSError if refused."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def _pin(cpus: Collection[int]) -> set[int]:
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus)
    return os.sched_getaffinity(0)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


LINUX = Kernel(
    pin=_pin,
    raise_memlock=raise_memlock,
    lock_memory=lambda flags: _checked(_LIBC.mlockall(flags)),
    set_fifo=set_fifo,
    set_timer_slack_ns=lambda ns: _checked(_LIBC.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(ns), 0, 0, 0)),
)


def prepare(config: RealtimeConfig, kernel: Kernel = LINUX) -> list[Granted]:
    """Do every step that the configuration wants; the priority comes last, so that the others do not starve anybody."""
    done: list[Granted] = []
    if config.freeze_garbage:
        done.append(freeze_garbage(config.garbage_threshold))
    if config.lock_memory:
        done.append(lock_memory(kernel))
    if config.cpus:
        done.append(pin(config.cpus, kernel))
    if config.timer_slack_ns:
        done.append(set_timer_slack(config.timer_slack_ns, kernel))
    if config.fifo_priority:
        done.append(raise_priority(config.fifo_priority, kernel))
    return done


def freeze_garbage(threshold: int) -> Granted:
    """Collect once, exempt all that is left from later collections, and make those rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(threshold, *gc.get_threshold()[1:])
    return Granted("garbage", True, f"{gc.get_freeze_count()} objects frozen, collected every {threshold} new ones")


def lock_memory(kernel: Kernel = LINUX) -> Granted:
    """Keep the process's memory in RAM, what it asks for later included.

    Under a finite limit later memory is left out: locking it would make allocations beyond the limit fail.
    """
    limit_bytes = kernel.raise_memlock()
    unlimited = limit_bytes == resource.RLIM_INFINITY
    allowed = "without limit" if unlimited else f"{limit_bytes / 2**20:.0f} MiB"
    try:
        kernel.lock_memory(MCL_CURRENT | MCL_FUTURE if unlimited else MCL_CURRENT)
    except OSError as error:
        why = f"memory is not locked: {error.strerror}; this user may lock {allowed}"
        return Granted("memory", False, why, MEMLOCK_REMEDY)
    if unlimited:
        return Granted("memory", True, "all memory is locked, later allocations too")
    return Granted("memory", True, f"memory mapped so far is locked; later allocations are not (limit {allowed})")


def pin(cpus: Collection[int], kernel: Kernel = LINUX) -> Granted:
    """Keep every thread of the process on some processors."""
    named, remedy = ",".join(map(str, sorted(cpus))), "choose from those that `hjepa doctor` lists as available"
    try:
        now = kernel.pin(cpus)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        return Granted("cpus", False, f"not pinned to processors {named}: {why}", remedy)
    missing = sorted(set(cpus) - now)
    if missing:  # Linux takes those that it may, and says nothing of the rest
        kept = ",".join(map(str, sorted(now)))
        return Granted("cpus", False, f"not on processors {','.join(map(str, missing))}; it runs on {kept}", remedy)
    return Granted("cpus", True, f"runs on processors {named}")


def set_timer_slack(slack_ns: int, kernel: Kernel = LINUX) -> Granted:
    """Let the kernel wake the calling thread at most so much (ns) later than asked."""
    try:
        kernel.set_timer_slack_ns(slack_ns)
    except OSError as error:
        return Granted("timers", False, f"timer slack stays as it is: {error.strerror}", "allow prctl in the sandbox")
    return Granted("timers", True, f"timer slack {slack_ns / 1e3:g} us")


def raise_priority(priority: int, kernel: Kernel = LINUX) -> Granted:
    """Let the calling thread run before every ordinary one, and before real-time ones of a lower priority."""
    try:
        kernel.set_fifo(priority)
    except OSError as error:
        why = f"SCHED_FIFO {priority} was refused: {error.strerror}"
        return Granted("priority", False, why, RTPRIO_REMEDY)
    return Granted("priority", True, f"SCHED_FIFO {priority}")
