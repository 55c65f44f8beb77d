"""Surprise: how far what is seen lies from what was expected of it, calibrated on normal play.

What a level believed some time ago says where the shuttle would be seen since (its memory carries it: no flight model
is asked). The gaps of the measurements to that, each in its doubt, are a score; how high the score gets in normal
strokes makes it a probability (conformal). Legend: A anchors, B slots of a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hjepa.types import NS, Observation, Sensed

AGES_S = (0.06, 0.12, 0.24)  # how long ago an expectation was formed, at least
BLOCK = 5  # newest measurements that are compared, B


class Expecting(Protocol):
    """What is asked of a low level."""

    @property
    def predictor(self) -> Any: ...


class _Anchor(NamedTuple):
    stamp_ns: int
    z: Tensor  # (1, D + C + POSE)


class Watcher:
    """Watches one stroke at a time, from the launch to the planned contact."""

    def __init__(self, level: Expecting) -> None:
        self.level = level
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        self._past: list[_Anchor] = []
        self.sensed = Sensed(0, 0.0, 1.0, "")

    def see(self, observation: Observation, z: Tensor, until_ns: int | None = None) -> Sensed:
        """What is seen now beside what was expected; z (1, D + C + POSE): the level's state from this observation.

        until_ns: the flight was expected to end then (the planned contact): what is measured later is not compared.
        """
        slots = np.flatnonzero(observation.tracker_mask)[-BLOCK:]
        last_ns = observation.stamp_ns if until_ns is None else min(until_ns, observation.stamp_ns)
        slots = slots[observation.tracker_stamp_ns[slots] < last_ns]
        worst = 0.0
        for age_s in AGES_S:
            old = [a for a in self._past if observation.stamp_ns - a.stamp_ns >= age_s * NS]
            if old and len(slots) == BLOCK:
                worst = max(worst, self._gap(old[-1], observation, slots))
        self._past.append(_Anchor(observation.stamp_ns, z))
        self.sensed = Sensed(observation.stamp_ns, worst, float(np.exp(-worst)), "flight" if worst else "")
        return self.sensed

    def _gap(self, anchor: _Anchor, seen: Observation, slots: Any) -> float:
        ahead_s = torch.tensor((seen.tracker_stamp_ns[slots] - anchor.stamp_ns) / NS, dtype=torch.float32)
        with torch.no_grad():
            z = anchor.z.expand(len(slots), -1)
            where = self.level.predictor.ahead(z, ahead_s[:, None])[:, :3].numpy()
        gap = (seen.tracker_xyz_m[slots] - where).mean(axis=0)
        doubt_m = 0.015 + 0.1 * float(ahead_s.mean().clamp(min=0.0))
        return float((gap**2).sum() / doubt_m**2 / 6)
