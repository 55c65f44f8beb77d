"""What may be believed of the measurements once a flight has broken off.

A break is in doubt at first: nothing since it is believed, and the flight before it goes on in memory, as a hidden one
does. It ends in one of two ways. Measurements lie where the old flight is expected again: the tracker was wrong for a
while, and what it said then is forgotten. Or there are measurements enough that one free flight explains, neither worse
nor better than a tracker's noise allows: a new flight has begun, and nothing from before it counts any more. Legend: N
measurements, K window slots.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.types import NS, Array, Observation

ENOUGH = 6  # measurements that make a flight
BACK = 3  # measurements in a row where the old flight is expected
NEAR_M, NEAR_M_S = 0.05, 0.10  # of where it is expected, and more so with time
SCATTER_M = 0.003, 0.025  # about the flight that explains them: a stuck tracker has less, a mad one more


class Remembering(Protocol):
    """What is asked of a low level."""

    def ahead(self, z: Tensor, to_go_s: Tensor) -> Tensor: ...

    def scatter(self, window_m: Tensor, mask: Tensor) -> Tensor: ...


class Breaks:
    """One stroke at a time."""

    def __init__(self, level: Remembering) -> None:
        self.level = level
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        self.since_ns: int | None = None  # the flight that is believed began then; None: with the stroke
        self._doubted: tuple[int, Tensor, int] | None = None  # since when; a belief from before, and its stamp
        self._holes: list[tuple[int, int]] = []  # from .. to, ns: what was measured then is not believed

    @property
    def in_doubt(self) -> bool:
        """Whether nothing that is measured now is believed."""
        return self._doubted is not None

    def found(self, z: Tensor, stamp_ns: int, seen: Observation) -> None:
        """The flight has broken off; z (1, Z): the state of a belief from before, of stamp_ns."""
        if self._doubted is None:
            self._doubted = broke_at(self.level, z, stamp_ns, seen), z, stamp_ns

    def settle(self, seen: Observation) -> bool:
        """Look at what has been measured since a break; True when a new flight has begun."""
        if self._doubted is None:
            return False
        since_ns, z, stamp_ns = self._doubted
        slots = np.flatnonzero(seen.tracker_mask & (seen.tracker_stamp_ns >= since_ns))
        if len(slots) >= BACK and self._old_again(z, stamp_ns, seen, slots[-BACK:]):
            self._holes.append((since_ns, int(seen.tracker_stamp_ns[slots[-BACK]])))
            self._doubted = None
            return False
        if len(slots) < ENOUGH or not SCATTER_M[0] < self._scatter(seen, slots, z) < SCATTER_M[1]:
            return False
        self.since_ns, self._doubted, self._holes = since_ns, None, []
        return True

    def believed(self, seen: Observation) -> Observation:
        """The observation without what is not believed."""
        if self.since_ns is None and self._doubted is None and not self._holes:
            return seen
        stamps, mask = seen.tracker_stamp_ns, seen.tracker_mask.copy()
        if self.since_ns is not None:
            mask &= stamps >= self.since_ns
        if self._doubted is not None:
            mask &= stamps < self._doubted[0]
        for begin, end in self._holes:
            mask &= (stamps < begin) | (stamps >= end)
        return seen._replace(tracker_mask=mask, tracker_xyz_m=seen.tracker_xyz_m * mask[:, None])

    def _old_again(self, z: Tensor, stamp_ns: int, seen: Observation, slots: NDArray[np.int64]) -> bool:
        stamps = seen.tracker_stamp_ns[slots]
        gap = np.linalg.norm(seen.tracker_xyz_m[slots] - expected(self.level, z, stamp_ns, stamps), axis=1)
        return bool((gap < NEAR_M + NEAR_M_S * (stamps - stamp_ns) / NS).all())

    def _scatter(self, seen: Observation, slots: NDArray[np.int64], like: Tensor) -> float:
        """In m; like: a tensor of the level's kind and device."""
        mask = np.zeros(len(seen.tracker_mask))
        mask[slots] = 1.0
        window = like.new_tensor(seen.tracker_xyz_m * mask[:, None])
        with torch.no_grad():
            return float(self.level.scatter(window[None], like.new_tensor(mask)[None]))


def broke_at(level: Any, z: Tensor, stamp_ns: int, seen: Observation) -> int:
    """Stamp of the first measurement that no longer lies where a belief z (1, Z) of stamp_ns has it: from it on, all
    gaps are more than half of what they are at the end."""
    slots = np.flatnonzero(seen.tracker_mask & (seen.tracker_stamp_ns > stamp_ns))  # (N,)
    stamps = seen.tracker_stamp_ns[slots]
    if not len(slots):
        return seen.stamp_ns
    gap = np.linalg.norm(seen.tracker_xyz_m[slots] - expected(level, z, stamp_ns, stamps), axis=1)  # (N,)
    fits = np.flatnonzero(gap <= 0.5 * np.median(gap[-3:]))
    return int(stamps[min(fits[-1] + 1, len(slots) - 1) if len(fits) else 0])


def expected(level: Any, z: Tensor, stamp_ns: int, stamps: NDArray[np.int64]) -> Array:
    """Where a belief z (1, Z) of stamp_ns has the shuttle at so many stamps: (N, 3)."""
    ahead_s = torch.tensor((stamps - stamp_ns) / NS, dtype=z.dtype, device=z.device)[:, None]
    with torch.no_grad():
        out: Array = level.ahead(z.expand(len(stamps), -1), ahead_s)[:, :3].double().cpu().numpy()
    return out
