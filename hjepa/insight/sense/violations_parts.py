"""Watched episodes, kept in files so that a killed run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hjepa import build
from hjepa.arrays import load_arrays, save_arrays
from hjepa.config import Config
from hjepa.insight.sense.violations_watch import Traces
from hjepa.planning import surprise


class Block(NamedTuple):
    """N pairs of a kind and size, watched."""

    kind: str
    size: float
    harmless: tuple[str, ...]  # (N,) what the possible one carries; '' nothing
    impossible: Traces
    possible: Traces
    rival: tuple[Traces, Traces] | None = None  # the same two, as the Kalman filter sees them


class Watched(NamedTuple):
    """Everything that was watched."""

    blocks: list[Block]
    normal: Traces  # nothing is wrong


RULE = 1  # counts up when episodes change, so that old parts are not reused


class Parts:
    """A folder of parts of one measurement: other weights, settings or another watcher have other names."""

    def __init__(self, folder: Path, config: Config, count: int) -> None:
        digest = hashlib.sha256(repr((RULE, count, config.model_dump_json())).encode())
        for path in (*(build.weights_path(config, level) for level in ("low", "high")), Path(surprise.__file__)):
            digest.update(path.read_bytes() if path.is_file() else b"")
        self.folder, self.key = folder, digest.hexdigest()[:12]

    def traces(self, name: str, make: Callable[[], Traces]) -> Traces:
        """From their file, or made and kept."""
        path = self.folder / f"{name}_{self.key}.npz"
        if not path.is_file():
            made = make()
            save_arrays(path, made._asdict(), compressed=True)
            return made
        return Traces(**load_arrays(path, Traces._fields, "part", "delete it"))
