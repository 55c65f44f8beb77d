"""Joules that this machine spends, where it tells: counters of the processor's packages (RAPL), a GPU's power.

A package's counter holds all that runs on it: the figures mean something on a machine that does nothing else.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
NOT_READABLE = "not readable on this machine"
ASK_GPU = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")
PATIENCE_S = 10.0


class _Package(NamedTuple):
    counter: Path
    wraps_uj: int  # the counter begins again after so many; 0: it never does


class PackageMeter:
    """Sums what the counters of all processor packages advance; asked at least once before any of them wraps twice."""

    def __init__(self, root: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:0, a part of it, would count twice
        folders = sorted(root.glob("intel-rapl:*")) if root.is_dir() else []
        found = [_package(folder) for folder in folders if folder.name.count(":") == 1]
        self._packages = [package for package in found if package is not None]
        self._last_uj = [_number(package.counter) or 0 for package in self._packages]
        self._spent_uj = 0

    @property
    def readable(self) -> bool:
        """Whether there is a counter that this user may read (the kernel shows them to root alone by default)."""
        return bool(self._packages)

    def spent_j(self) -> float:
        """Joules since this meter was made; nan where nothing can be read."""
        if not self._packages:
            return float("nan")
        for k, (counter, wraps_uj) in enumerate(self._packages):
            now_uj = _number(counter)
            if now_uj is None:
                return float("nan")
            step = now_uj - self._last_uj[k]
            self._spent_uj += step if step >= 0 else step + wraps_uj
            self._last_uj[k] = now_uj
        return 1e-6 * self._spent_uj


def gpu_power_w(words: tuple[str, ...] = ASK_GPU) -> float | None:
    """Watts that all NVIDIA GPUs draw now; None without one, or where it does not tell."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    try:
        drawn = [float(line) for line in done.stdout.splitlines() if line.strip()]
    except ValueError:  # [N/A]
        return None
    return sum(drawn) if drawn and done.returncode == 0 else None


def _package(folder: Path) -> _Package | None:
    """The counter of a package, if it can be read."""
    counter = folder / "energy_uj"
    if _number(counter) is None:
        return None
    return _Package(counter, _number(folder / "max_energy_range_uj") or 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
