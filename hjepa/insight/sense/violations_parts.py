"""Watched episodes, kept in files so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hjepa.config import Config
from hjepa.insight.sense.parts import Parts, key_of
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


class WatchedParts:
    """Parts of one measurement: other weights, settings or another watcher have other names."""

    def __init__(self, folder: Path, config: Config, count: int) -> None:
        self._parts = Parts(folder, key_of(config, RULE, count, Path(surprise.__file__).read_bytes()))

    def traces(self, name: str, make: Callable[[], Traces]) -> Traces:
        """From their file, or made and kept."""
        return Traces(**self._parts.arrays(name, Traces._fields, lambda: make()._asdict()))
