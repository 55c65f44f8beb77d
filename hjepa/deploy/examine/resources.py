"""How much of the machine there is for a controller: processors, memory, disk, and what others take of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hjepa.deploy.examine import Finding, State
from hjepa.deploy.examine.machine import Machine

_FEW_CPUS = 2  # a driver, and the levels beside it
_BUSY, _STOLEN = 0.7, 0.01  # shares
_GIB = 2**30
_MEMORY_WARN, _MEMORY_FAIL = 1 * _GIB, _GIB // 4  # available bytes
_DISK_WARN, _DISK_FAIL = 2 * _GIB, 100 * 2**20  # free bytes


class Spent(NamedTuple):
    """Processor time since the start, in ticks: all of it, and what a hypervisor gave to others meanwhile."""

    all: int
    stolen: int


def spent(machine: Machine) -> Spent:
    """Of all processors together."""
    cells = machine.read(machine.proc / "stat").partition("\n")[0].split()[1:9]  # guest time is in user time already
    ticks = [int(cell) for cell in cells if cell.isdecimal()]
    return Spent(sum(ticks), ticks[7] if len(ticks) == 8 else 0)


def processors(machine: Machine) -> Finding:
    """Which processors this process may use, and how much of them."""
    cpus, quota = sorted(machine.cpus()), _quota(machine)
    seen = f"{len(cpus)} available ({','.join(map(str, cpus))})"
    isolated = machine.read(machine.sys / "devices/system/cpu/isolated")
    if isolated:
        seen += f", {isolated} isolated"
    if quota is not None:
        seen += f", of which a quota lets it use {quota:g}; it pauses the process when that is used up"
        return Finding("processors", "warn", seen, "lift it: CPUQuota= in the unit, or --cpuset-cpus instead of --cpus")
    if len(cpus) < _FEW_CPUS:
        return Finding("processors", "warn", seen, "give it two or more: one for the driver, one for the levels")
    return Finding("processors", "ok", seen)


def load(machine: Machine, before: Spent, after: Spent) -> Finding:
    """What others take of the processors. before, after: some time apart."""
    count, running = max(len(machine.cpus()), 1), machine.load()
    stolen = (after.stolen - before.stolen) / max(after.all - before.all, 1)
    seen = f"{running:.1f} processes run or wait for {count} processors; a hypervisor takes {stolen:.1%} of the time"
    if stolen > _STOLEN:
        return Finding("load", "warn", seen, "use a machine, or a kind of virtual one, whose processors are its own")
    if running > _BUSY * count:
        return Finding(
            "load", "warn", seen, "end what else runs here (top shows it), or keep the robot's processors free of it"
        )
    return Finding("load", "ok", seen)


def memory(machine: Machine) -> Finding:
    """Memory that can be had without swapping."""
    info = machine.proc / "meminfo"
    total, available, swap = (_kib(machine, info, key) for key in ("MemTotal", "MemAvailable", "SwapTotal"))
    limits = [
        int(text) for text in _cgroup(machine, "memory", "memory.max", "memory.limit_in_bytes") if text.isdecimal()
    ]
    limit = min((limit for limit in limits if limit < total), default=0)
    room = min(available, limit) if limit else available
    seen = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    seen += f", limited to {limit / _GIB:.1f} GiB" if limit else ""
    seen += f", {swap / _GIB:.1f} GiB swap" if swap else ""
    return Finding(
        "memory", *_enough(room, _MEMORY_WARN, _MEMORY_FAIL, seen, "end what else uses it, or lift the limit")
    )


def disk(machine: Machine) -> list[Finding]:
    """Room where results and recordings go, and in the cache."""
    found = []
    for name, folder in (("disk", machine.work), ("cache", machine.cache)):
        free_bytes, trouble = machine.disk(folder)
        seen = f"{free_bytes / _GIB:.1f} GiB free for {folder}"
        remedy = f"free some of its file system: du -xh --max-depth=1 {folder} | sort -h"
        state: State = "fail" if name == "disk" else "warn"
        if trouble and free_bytes >= _DISK_FAIL:
            seen, remedy = (
                f"{folder} cannot be written: {trouble}",
                "work in a folder of yours; XDG_CACHE_HOME moves the cache",
            )
            found.append(Finding(name, state, seen, remedy))
        else:
            found.append(Finding(name, *_enough(free_bytes, _DISK_WARN, _DISK_FAIL, seen, remedy)))
    return found


def _enough(room: int, warn: int, fail: int, seen: str, remedy: str) -> tuple[State, str, str]:
    state: State = "fail" if room < fail else "warn" if room < warn else "ok"
    return state, seen, "" if state == "ok" else remedy


def _kib(machine: Machine, file: Path, key: str) -> int:
    """Bytes of a line `Key: N kB`."""
    cells = machine.field(file, key).split()
    return 1024 * int(cells[0]) if cells else 0


def _quota(machine: Machine) -> float | None:
    """Processors' worth of time that control groups allow; None without a limit."""
    allowed = []
    for text in _cgroup(machine, "cpu", "cpu.max", "cpu.cfs_quota_us"):
        quota, _, period = text.partition(" ")
        if quota.isdecimal():
            allowed.append(int(quota) / int(period or 100_000))
    return min(allowed, default=None)


def _cgroup(machine: Machine, controller: str, file_v2: str, file_v1: str) -> Iterator[str]:
    """A setting of this process's control group and of those above it, in both versions."""
    for line in machine.read(machine.proc / "self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            root, file = machine.sys / "fs/cgroup", file_v2
        elif controller in controllers.split(","):
            root, file = machine.sys / "fs/cgroup" / controllers, file_v1
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder == root.parent:
                break
            text = machine.read(folder / file)
            yield f"{text} {machine.read(folder / 'cpu.cfs_period_us')}".strip() if file == "cpu.cfs_quota_us" else text
