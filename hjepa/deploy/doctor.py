"""Examine this machine as a robot's controller: a list of findings, each with what to do about it.

for finding in examine(Machine()):
    print(finding.state, finding.name, finding.seen, finding.remedy)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hjepa import __version__
from hjepa.deploy.examine import Finding, compute, resources, software, timing
from hjepa.deploy.examine.machine import Machine

LISTEN_S = 2.0  # how long wake-ups are measured
QUICK_S = 0.5


def examine(machine: Machine, seconds: float = LISTEN_S) -> list[Finding]:
    """Look at everything; takes `seconds` for the wake-ups and, where torch is installed, as long as its import."""
    before = resources.spent(machine)
    late_ms = machine.wakes_ms(seconds)
    after = resources.spent(machine)
    gpus = compute.gpus(machine)
    return [
        compute.gpu(machine, gpus),
        compute.torch(machine, gpus),
        compute.processor(machine),
        compute.compiler(machine),
        timing.clocks(machine),
        timing.wake_ups(late_ms),
        timing.governor(machine),
        timing.kernel(machine),
        timing.priority(machine),
        timing.memory_lock(machine),
        resources.processors(machine),
        resources.load(machine, before, after),
        resources.memory(machine),
        *resources.disk(machine),
        *software.network(machine),
        *software.packages(machine),
        software.weights(machine),
    ]


def works(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.state != "fail" for finding in findings)


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """What `hjepa doctor --json` writes."""
    kept = list(findings)
    return {"hjepa": __version__, "ok": works(kept), "findings": [finding._asdict() for finding in kept]}
