"""What decides whether a control loop is on time: clocks, wake-ups, frequency, kernel, rights."""

from __future__ import annotations

import errno
import os
import time

import numpy as np

from hjepa.deploy.examine import Finding
from hjepa.deploy.examine.machine import Machine
from hjepa.deploy.realtime import MEMLOCK_REMEDY, RTPRIO_REMEDY
from hjepa.types import Array

# read without a call into the kernel; a clock that needs one takes a microsecond or more
_FAST_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
_RESOLUTION_S = 1e-6
_P99_MS, _MAX_MS = 1.0, 5.0  # a tenth and a half of the control period


def clocks(machine: Machine) -> Finding:
    """Which counter the kernel tells the time by."""
    source = machine.read(machine.sys / "devices/system/clocksource/clocksource0/current_clocksource") or "unknown"
    resolution_s = time.get_clock_info("monotonic").resolution
    seen = f"clock source {source}, resolution {resolution_s * 1e9:g} ns"
    if resolution_s > _RESOLUTION_S:
        return Finding("clocks", "warn", seen, "use a kernel with high-resolution timers (CONFIG_HIGH_RES_TIMERS)")
    if source not in _FAST_CLOCKS:
        remedy = "start the kernel with clocksource=tsc tsc=reliable, if the processor keeps one steady counter"
        return Finding("clocks", "note" if source == "unknown" else "warn", seen, remedy)
    return Finding("clocks", "ok", seen)


def wake_ups(late_ms: Array) -> Finding:
    """How late an ordinary 100 Hz loop wakes up. late_ms (N,)."""
    p50, p99, worst = (float(x) for x in np.quantile(late_ms, (0.5, 0.99, 1.0)))
    seen = f"a 100 Hz loop wakes up late by p50 {p50:.2f}, p99 {p99:.2f}, at most {worst:.2f} ms ({len(late_ms)} times)"
    if p99 > _P99_MS or worst > _MAX_MS:
        remedy = "keep other programs off its processors and give the driver priority: `cpus` and `prefix: [chrt, ...]`"
        return Finding("wake-ups", "warn", seen, remedy)
    return Finding("wake-ups", "ok", seen)


def governor(machine: Machine) -> Finding:
    """How the processors' frequency is chosen."""
    files = (machine.sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({machine.read(file) for file in files} - {""})
    if not found:
        seen = "frequency is not the system's to choose (virtual machine or firmware)"
        return Finding(
            "frequency", "note", seen, "on a machine of your own: power profile 'performance' in its firmware"
        )
    seen = f"governor {', '.join(found)}"
    if found != ["performance"]:
        return Finding(
            "frequency",
            "warn",
            seen,
            "sudo apt install linux-tools-generic; sudo cpupower frequency-set -g performance",
        )
    return Finding("frequency", "ok", seen)


def kernel(machine: Machine) -> Finding:
    """Whether the kernel can be interrupted at any time."""
    release = machine.read(machine.proc / "sys/kernel/osrelease")
    version = machine.read(machine.proc / "version")
    if machine.read(machine.sys / "kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return Finding("kernel", "ok", f"{release}, PREEMPT_RT")
    model = next((word for word in version.split() if word.startswith("PREEMPT")), "no preemption")
    remedy = (
        "enough for 100 Hz; for 500 Hz and more: sudo pro enable realtime-kernel (Ubuntu), or linux-image-rt (Debian)"
    )
    return Finding("kernel", "note", f"{release}, {model}", remedy)


def priority(machine: Machine) -> Finding:
    """Whether a process of this user may have real-time priority; tried in a child."""
    limit = _limit(machine, "Max realtime priority")
    refused = machine.refused_fifo()
    if refused == 0:
        return Finding("priority", "ok", f"SCHED_FIFO is granted (limit {limit})")
    seen = f"SCHED_FIFO is refused: {os.strerror(refused)} (limit {limit})"
    if refused == errno.EPERM and limit not in ("0", "unknown"):
        remedy = "in a container: --cap-add SYS_NICE; otherwise sysctl kernel.sched_rt_runtime_us must not be 0"
        return Finding("priority", "warn", seen, remedy)
    return Finding("priority", "warn", seen, RTPRIO_REMEDY)


def memory_lock(machine: Machine) -> Finding:
    """Whether a process of this user may keep its memory in RAM; tried in a child."""
    limit = _limit(machine, "Max locked memory")
    allowed = f"limit {int(limit) / 2**20:.0f} MiB" if limit.isdecimal() else f"limit {limit}"
    if machine.refused_memlock() == 0:
        return Finding("memory lock", "ok", f"all memory may be locked ({allowed})")
    return Finding("memory lock", "warn", f"not all memory may be locked ({allowed})", MEMLOCK_REMEDY)


def _limit(machine: Machine, name: str) -> str:
    """A soft limit of this process, as /proc/self/limits has it."""
    for line in machine.read(machine.proc / "self/limits").splitlines():
        if line.startswith(name):
            return line.removeprefix(name).split()[0]
    return "unknown"
