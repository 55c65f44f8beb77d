"""Surprise: how far what is seen lies from what was expected of it, calibrated on normal play.

A level says how unlikely the newest samples of a flight are by what it recalls of the older ones, and how long nothing
has been seen. How high either gets in normal strokes makes it a probability (conformal: Vovk et al. 2005), so that a
threshold is a rate of false alarms. Legend: N normal strokes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjepa.types import Array, Observation, Sensed

CAUSES = ("flight", "unseen")  # as calibrated; 'net' is a flight that the net should have stopped
TAIL = 0.05  # share of normal strokes whose scores the tail beyond them is fitted to
STOPPED = 0.5  # probability above which a flight is thought to have ended at the net
BEHIND_M = -0.35  # x of what has come through

Unlikely = Callable[[Tensor, Tensor], Any]
"""Window (1, K, 3) and mask (1, K) -> score, probability of having been stopped, slots unseen, (1,) each."""


class Normal:
    """How high one score gets in normal strokes."""

    def __init__(self, highest: Array) -> None:
        """(N,) of so many strokes."""
        self.highest = np.sort(np.asarray(highest, dtype=np.float64))
        self._edge = float(np.quantile(self.highest, 1.0 - TAIL))
        beyond = self.highest[self.highest > self._edge] - self._edge
        self._slope = max(float(beyond.mean()) if len(beyond) else 0.0, 1e-3)

    def surprise(self, score: float) -> float:
        """-log10 of the share of normal strokes that get so high, the present one counted among them; far out, of an
        exponential through their tail."""
        if score > self._edge:
            return float(-np.log10(TAIL) + (score - self._edge) / self._slope / np.log(10.0))
        n = len(self.highest)
        return float(np.log10((n + 1) / (1 + n - np.searchsorted(self.highest, score))))


class Watcher:
    """Watches one stroke at a time, from the launch to the planned contact."""

    def __init__(self, unlikely: Unlikely, normal: Mapping[str, Array]) -> None:
        """normal: highest scores (N,) of normal strokes, for each of CAUSES."""
        self.unlikely = unlikely
        self.normal = {cause: Normal(normal[cause]) for cause in CAUSES}
        self.reset()

    def reset(self) -> None:
        """A new stroke."""
        self.sensed = Sensed(0, 0.0, 1.0, "")
        self._passes = 1.0  # probability that the net, where the flight came to it, let it through

    def see(self, observation: Observation, until_ns: int | None = None) -> Sensed:
        """What is seen now beside what was expected. until_ns: the flight was expected to end then (the planned
        contact): from then on nothing of it is compared."""
        if until_ns is not None and observation.stamp_ns >= until_ns:
            return self.sensed
        window, mask = (torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))[None]
                        for part in (observation.tracker_xyz_m, observation.tracker_mask))  # fmt: skip
        with torch.no_grad():
            score, stopped, unseen = (float(part) for part in self.unlikely(window, mask))
        seen = observation.tracker_xyz_m[observation.tracker_mask]
        if self._passes < 1.0 - STOPPED and stopped <= STOPPED:  # it met the net a while ago: only whether it came on
            score = -float(np.log(max(self._passes, 1e-26))) if (seen[:, 0] < BEHIND_M).sum() >= 2 else 0.0
            stopped, unseen = 1.0 - self._passes, 0.0
        self._passes = min(self._passes, 1.0 - stopped)
        return self._say(observation.stamp_ns, {"flight": score, "unseen": unseen if len(seen) else 0.0}, stopped)

    def _say(self, stamp_ns: int, scores: Mapping[str, float], stopped: float) -> Sensed:
        surprise = {cause: self.normal[cause].surprise(score) for cause, score in scores.items()}
        worst = max(surprise, key=lambda cause: surprise[cause])
        cause = "net" if worst == "flight" and stopped > STOPPED else worst
        p = min(1.0, len(scores) * 10.0 ** -surprise[worst])
        self.sensed = Sensed(stamp_ns, surprise[worst], p, cause)
        return self.sensed
