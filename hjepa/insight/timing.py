"""Deadline ledgers of a recording, or of a short run in real time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hjepa import api
from hjepa.bus import stats
from hjepa.bus.readable import decoded_or_none
from hjepa.config import Config
from hjepa.errors import ConfigError, DataError, extra
from hjepa.viewer.pictures.ledger import Ledgers

if TYPE_CHECKING:
    from hjepa.bus.logfile import Log


def recording(path: Path) -> Log:
    """A recording (.mcap)."""
    with extra("log"):
        from hjepa.bus.logfile import Log
    return Log(path)


def read(path: Path) -> Ledgers:
    """All ledgers of a recording; DataError where there is none."""
    frames = (decoded_or_none(entry.frame) for entry in recording(path) if entry.topic == "ledger")
    kept = [stats.ledger_of(frame) for frame in frames if frame is not None]
    if not kept:
        raise DataError(f"{path}: no command with a ledger; allowed: recordings of graphs in real time")
    whole, due = (
        np.array([getattr(x, name) - x.observed_ns for x in kept]) / 1e6 for name in ("actuated_ns", "due_ns")
    )
    late = np.array([x.late for x in kept], dtype=bool)
    return Ledgers(stats.LEGS, stats.durations_ms(kept), whole, late, due - whole)


def measure(config: Config) -> Ledgers:
    """Of the configuration's strokes, played in real time by nodes of this process."""
    if config.run.clock != "realtime":
        raise ConfigError(f"run.clock is {config.run.clock}: simulated time tells of no delays; allowed: realtime")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.mcap"
        for _ in api.play_bus(api.load(config), log=path):
            pass
        return read(path)
