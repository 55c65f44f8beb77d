"""Simulated sensors: a shuttle tracker (noisy, late, with dropouts) and joint encoders (nearly exact).

One slot every 10 ms. All noise of an episode is drawn at its start from the generator given, so a seed fixes it
whatever happens. Legend: K slots of the window, J joints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import RobotError
from hjepa.types import NS, Array, Observation

WINDOW = 64  # K
SLOT_NS = NS // 100


class SensorConfig(NamedTuple):
    """Tracker and encoder imperfections."""

    tracker_noise_m: float
    tracker_delay_s: float  # from measurement to arrival
    dropout: float  # share of slots lost
    joint_noise_rad: float
    joint_noise_rad_s: float
    hidden: tuple[tuple[float, float], ...] = ()  # s from the start: from .. to (not included) nothing is measured


class Fault(NamedTuple):
    """What is wrong with the tracker from slot `first` up to slot `end`."""

    first: int
    end: int | None  # None: for good
    unseen: bool = False
    stuck: bool = False  # the last sample again and again
    bias_m: Array | float = 0.0  # (3,)
    noise_m: float = 0.0  # more standard deviation, per axis


class Sensors:
    """Measures once a slot and hands out observations."""

    def __init__(
        self,
        config: SensorConfig,
        joints: int,
        slots: int,
        rng: np.random.Generator,
        fault: Fault | None = None,
    ) -> None:
        """For an episode of at most `slots` + 1 instants."""
        n = slots + 1
        self._noise = config.tracker_noise_m * rng.standard_normal((n, 3))
        self._seen = (rng.random(n) >= config.dropout) & ~_hidden(config.hidden, n)
        self._q_noise = config.joint_noise_rad * rng.standard_normal((n, joints))
        self._dq_noise = config.joint_noise_rad_s * rng.standard_normal((n, joints))
        self._late = min(WINDOW, -(-round(config.tracker_delay_s * NS) // SLOT_NS))  # newest slots still on their way
        self._xyz = np.zeros((n + WINDOW - 1, 3))
        self._mask: NDArray[np.bool_] = np.zeros(n + WINDOW - 1, dtype=bool)
        self._stuck = range(0)
        if fault is not None:
            self._break(fault, n, rng)
        self._ages_ns = SLOT_NS * np.arange(1 - WINDOW, 1, dtype=np.int64)

    def _break(self, fault: Fault, n: int, rng: np.random.Generator) -> None:
        """After all other noise is drawn, which stays what it is."""
        when = slice(fault.first, fault.end)
        self._noise[when] += fault.bias_m + fault.noise_m * rng.standard_normal((n, 3))[when]
        if fault.unseen:
            self._seen[when] = False
        if fault.stuck:
            self._stuck = range(n)[when]

    def observe(self, slot: int, x_m: tuple[float, float, float], q_rad: Array, dq_rad_s: Array) -> Observation:
        """Measure the shuttle at x (3,) and the joints (J,) in this slot; what has arrived by now."""
        row = slot + WINDOW - 1
        if self._seen[slot]:
            self._xyz[row] = x_m
            self._xyz[row] += self._noise[slot]
            self._mask[row] = True
            if slot in self._stuck and (before := np.flatnonzero(self._mask[:row])).size:
                self._xyz[row] = self._xyz[before[-1]]
        xyz, mask = self._xyz[slot : row + 1].copy(), self._mask[slot : row + 1].copy()
        if self._late:
            xyz[-self._late :] = 0.0
            mask[-self._late :] = False
        stamp = slot * SLOT_NS
        q, dq = q_rad + self._q_noise[slot], dq_rad_s + self._dq_noise[slot]
        return Observation(stamp, q, dq, xyz, mask, stamp + self._ages_ns)

    def measured(self, slots: int) -> tuple[Array, NDArray[np.bool_]]:
        """All measurements of the first `slots` slots, arrived or not: (slots, 3) and mask (slots,)."""
        rows = slice(WINDOW - 1, WINDOW - 1 + slots)
        return self._xyz[rows].copy(), self._mask[rows].copy()


def _hidden(spans_s: tuple[tuple[float, float], ...], slots: int) -> NDArray[np.bool_]:
    """Which of the slots (N,) lie in one of the spans; RobotError unless these are in order and apart."""
    edges = np.array(spans_s, dtype=np.float64).reshape(-1)
    if len(edges) != 2 * len(spans_s) or not np.isfinite(edges).all() or (np.diff(edges, prepend=0.0) < 0).any():
        raise RobotError(f"hidden is {spans_s}; allowed: spans (from, to) in s from 0 on, in order and apart")
    # a slot's time against an edge, both in whole ns: 0.29 s is not 29 * 0.01 s in floating point
    passed = np.searchsorted(np.round(edges * NS).astype(np.int64), SLOT_NS * np.arange(slots), side="right")
    return passed % 2 == 1
