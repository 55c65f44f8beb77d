"""Where the time of commands goes: figures of their deadline ledgers (topics.Ledger).

A ledger has five stamps on the driver's clock, so four legs. The guilty stage of a late command is the leg that exceeds
its own median most: a leg that is always long is what the deadline was made for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.bus import wire
from hjepa.bus.topics import Ledger
from hjepa.types import Array

STAMPS = ("observed", "goal", "latent", "command", "actuated")
LEGS = tuple(f"{a} -> {b}" for a, b in zip(STAMPS, STAMPS[1:], strict=False))


def ledger_of(frame: wire.Frame) -> Ledger:
    """The ledger that a frame of topic `ledger` carries."""
    scalars: dict[str, Any] = dict(frame.header.scalars)
    return Ledger(**scalars)


class Leg(NamedTuple):
    """Durations (ms) of one leg, or of the whole way."""

    name: str
    p50_ms: float
    p99_ms: float
    max_ms: float


class Stats(NamedTuple):
    """What many ledgers say together."""

    commands: int
    late: int
    legs: tuple[Leg, ...]  # in order, then the whole way; empty without commands
    guilty: dict[str, int]  # late commands by the leg at fault, most first

    @property
    def misses_per_10000(self) -> float:
        """Late commands of 10,000; nan without commands."""
        return 1e4 * self.late / self.commands if self.commands else float("nan")


def durations_ms(ledgers: Sequence[Any]) -> Array:
    """Legs (N, 4) of ledgers; a stamp of 0 or less (a stage that the graph lacks) makes its legs nan.

    A goal that was there before the observation was not waited for: its leg is 0.
    """
    stamps = np.array([[getattr(ledger, f"{name}_ns") for name in STAMPS] for ledger in ledgers], dtype=np.int64)
    stamps = stamps.reshape(-1, len(STAMPS))
    known = stamps > 0
    known[:, 0] = True  # simulated time begins at 0
    stamps[:, 1] = np.maximum(stamps[:, 0], stamps[:, 1])
    legs = np.diff(stamps, axis=1) / 1e6  # as integers first: ns since boot exceed a double's whole numbers
    return np.where(known[:, 1:] & known[:, :-1], legs, np.nan)


def summarise(ledgers: Iterable[Any]) -> Stats:
    """Figures of ledgers in any order."""
    kept = list(ledgers)
    legs_ms = durations_ms(kept)
    late = np.array([ledger.late for ledger in kept], dtype=bool)
    columns = [legs_ms[:, k] for k in range(len(LEGS))]
    whole = np.array([ledger.actuated_ns - ledger.observed_ns for ledger in kept], dtype=np.int64) / 1e6
    named = zip((*LEGS, "observed -> actuated"), (*columns, whole), strict=True)
    legs = tuple(_leg(name, ms) for name, ms in named) if kept else ()
    return Stats(len(kept), int(late.sum()), legs, _guilty(legs_ms, late))


def _guilty(legs_ms: Array, late: NDArray[np.bool_]) -> dict[str, int]:
    known = np.flatnonzero(np.isfinite(legs_ms).any(axis=0))
    if not late.any() or not len(known):
        return {}
    beyond = legs_ms[:, known] - np.nanmedian(legs_ms[:, known], axis=0)
    names = [LEGS[k] for k in known]
    worst = np.nanargmax(np.where(np.isfinite(beyond), beyond, -np.inf), axis=1)
    return dict(Counter(names[int(k)] for k in worst[late]).most_common())


def _leg(name: str, ms: Array) -> Leg:
    known = ms[np.isfinite(ms)]
    if not len(known):
        return Leg(name, *[float("nan")] * 3)
    return Leg(name, float(np.median(known)), float(np.quantile(known, 0.99)), float(known.max()))
