"""What cannot happen, made to happen once in an episode, and faults of the tracker: for tests of physical sense.

A size of 1 is one unit of the kind, and every unit is tied to what training has seen (`UNITS`), so that 1, 3 and 10
mean the same to all kinds: at the edge of it, beyond it, far beyond it. The table was fixed before any score was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError, nearest
from hjepa.types import Array
from robots.sensors import SLOT_NS, Fault

GRAVITY_M_S2 = -9.81
_SLOTS_PER_S = 1_000_000_000 // SLOT_NS
_BURST_S = 0.2
_DIRECTION = 77  # stream of random numbers


class Unit(NamedTuple):
    """What a size of 1 is, and why."""

    amount: float
    unit: str
    does: str
    why: str


UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "teleport": Unit(0.03, "m", "jumps in a random direction", "the largest tracker noise in training"),
        "vanish": Unit(0.4, "s", "is not seen for so long", "the longest time hidden in training"),
        "gravity": Unit(2 / 3, "g", "gravity falls by so much: 3 units turn it round", "no other gravity in training"),
        "net": Unit(0.02, "m", "passes through the net so far below the tape", "two standard deviations of the noise"),
        "racket": Unit(1.0, "", "passes through the racket that meets it: one size", "a racket is there or not"),
        "drag_off": Unit(1.0, "halving", "drag is halved so often", "half the drag is beyond the training range"),
        "mass": Unit(0.75, "m", "drag length grows so much, or shrinks likewise", "half the range of training"),
        "frozen": Unit(0.05, "s", "stands in the air for so long", "five tracker samples"),
        "reversal": Unit(0.05, "s", "flies its path backwards for so long", "five tracker samples"),
        "stuck": Unit(0.05, "s", "the tracker repeats its last sample for so long", "five tracker samples"),
        "bias": Unit(0.03, "m", "the tracker is off by so much from then on", "the largest tracker noise in training"),
        "burst": Unit(0.03, "m", "noise of so much more for 0.2 s", "the largest tracker noise in training"),
    }
)
FAULTS = ("stuck", "bias", "burst")  # of the tracker: the world is as it should be
IMPOSSIBLE = tuple(kind for kind in UNITS if kind not in FAULTS)


@dataclass(frozen=True)
class Disturbance:
    """One thing that is wrong from `at_s` on, or begins then."""

    kind: str  # of UNITS
    at_s: float  # from the launch, to the nearest ms
    size: float = 1.0  # in units of the kind; no meaning for racket, nor for net, where the flight has it
    seed: int = 0  # directions, together with the episode's; mass: even grows, odd shrinks

    def __post_init__(self) -> None:
        if self.kind not in UNITS:
            raise RobotError(f"disturbance '{self.kind}': unknown kind; {nearest(self.kind, UNITS)}")
        if not (math.isfinite(self.at_s) and self.at_s >= 0 and math.isfinite(self.size) and self.size > 0):
            raise RobotError(
                f"disturbance '{self.kind}' at {self.at_s} s of size {self.size}; "
                "allowed: finite, a time of 0 or later, a size above 0"
            )

    @property
    def amount(self) -> float:
        """Size in the kind's own unit."""
        return self.size * UNITS[self.kind].amount

    def direction(self, episode: int) -> Array:
        """Unit vector (3,), the same for the same seeds."""
        v: Array = np.random.default_rng([self.seed, episode, _DIRECTION]).standard_normal(3)
        return v / np.linalg.norm(v)

    def drag_length_m(self, drag_length_m: float) -> float:
        """The shuttle's from then on. It is proportional to the mass (L = 2 m / (rho S C_D))."""
        if self.kind == "drag_off":
            return drag_length_m * 2.0**self.amount
        factor = 1.0 + self.amount / drag_length_m
        return drag_length_m * factor if self.seed % 2 == 0 else drag_length_m / factor

    @property
    def gravity_m_s2(self) -> float:
        """Upwards."""
        return GRAVITY_M_S2 * (1.0 - self.amount)

    def fault(self, episode: int) -> Fault | None:
        """What the tracker has to do with it; None: nothing."""
        first = round(self.at_s * _SLOTS_PER_S)
        end = first + max(1, round(self.amount * _SLOTS_PER_S))
        if self.kind == "vanish":
            return Fault(first, end, unseen=True)
        if self.kind == "stuck":
            return Fault(first, end, stuck=True)
        if self.kind == "bias":
            return Fault(first, None, bias_m=self.amount * self.direction(episode))
        if self.kind == "burst":
            return Fault(first, first + round(_BURST_S * _SLOTS_PER_S), noise_m=self.amount)
        return None
