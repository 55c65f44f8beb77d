"""Where figures come from, and how they are written down."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hjepa import __version__
from hjepa.types import Array

PACKAGES = ("numpy", "torch", "pyzmq", "msgspec", "pybullet")  # whose version may change what a level says


class Spread(NamedTuple):
    """Quantiles of a quantity, in its own unit; nan without values."""

    n: int
    p50: float
    p99: float
    p999: float
    max: float


def spread(values: Array) -> Spread:
    """Quantiles of all values that are not nan."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Spread(0, *[float("nan")] * 4)
    return Spread(len(known), *(float(v) for v in np.quantile(known, (0.5, 0.99, 0.999, 1.0))))


def commit() -> str:
    """Short commit of the checkout that this package lies in, '+' where it was changed; 'unknown' outside one."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def processor() -> str:
    """The processor's name, as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def versions() -> dict[str, str]:
    """Of hjepa, Python and the packages that matter."""
    found = {"hjepa": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def where() -> dict[str, Any]:
    """Commit, host and versions in a line."""
    host = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"commit": commit(), "host": host, "torch": version("torch"), "python": platform.python_version()}


def about(load_before: float) -> dict[str, Any]:
    """Commit, kind of host, versions, and the load before and after."""
    host = {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count()}
    return {
        "commit": commit(),
        "host": host,
        "versions": versions(),
        "load": {"before": load_before, "after": load()},
    }


def as_json(benchmark: str, figures: Mapping[str, Any], load_before: float) -> str:
    """Figures and where they come from; what is not finite becomes null."""
    return json.dumps({"benchmark": benchmark} | about(load_before) | plain(figures), indent=1, allow_nan=False)


def plain(value: Any) -> Any:
    """Mappings, lists, tuples, dataclasses and numbers as JSON has them; what is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
