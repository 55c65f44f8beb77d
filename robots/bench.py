"""A driver on the test bench: what the contract's clauses need to try it, in simulated time or by the wall clock.

Legend: J joints, H samples.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hjepa.errors import HjepaError
from hjepa.types import NS, Array, JointTrajectory, Launch, Observation, RobotState

LAUNCH = Launch(np.array([4.0, 0.5, 2.0]), np.array([-14.0, -0.5, 9.0]))
DT_S = 0.01
MOVE_S = 0.6  # length of a test motion
_REACH_RAD = 0.2  # its amplitude, or less where limits are tight
_USE = 0.5  # share of the speed and acceleration limits it uses
_PATIENCE_S = 5.0  # beyond the time that something should take


class ContractBroken(HjepaError):
    """A driver does not do what the contract asks."""


def demand(condition: bool | np.bool_, message: str) -> None:
    """ContractBroken unless the condition holds."""
    if not condition:
        raise ContractBroken(message)


def refused(call: Callable[[], Any], error: type[HjepaError], says: str) -> None:
    """The call must raise that error with those words."""
    try:
        call()
    except error as told:
        demand(says in str(told), f"the error says '{told}'; expected in it: '{says}'")
    else:
        raise ContractBroken(f"nothing was raised; expected {error.__name__} with '{says}'")


class Kind(NamedTuple):
    """What sort of driver it is."""

    world: bool  # its time stands still between ticks
    referee: bool  # a world with a shuttle and an outcome
    follows: bool  # commands move it

    @property
    def real_time(self) -> bool:
        """It runs by the clock on the wall, and starts held."""
        return not self.world


def kind_of(driver: type[Any]) -> Kind:
    """Kind of a driver class."""
    return Kind(hasattr(driver, "tick"), hasattr(driver, "outcome"), getattr(driver, "follows_commands", True))


class Tolerance(NamedTuple):
    """How exact a driver has to be; rad stands for m where a joint is prismatic."""

    place_rad: float  # at rest
    path_rad: float  # on the way
    rest_rad_s: float  # speed that counts as none
    limit_share: float  # speeds may read this much above their limit


SIMULATED = Tolerance(5e-3, 5e-3, 0.02, 0.02)
REAL_TIME = Tolerance(0.02, 0.05, 0.1, 0.1)  # encoders of hobby servos resolve 1.5 mrad and tell speeds badly


class Bench:
    """A driver, connected and armed, with simple motions for it and a way to let time pass."""

    def __init__(self, driver: Any, kind: Kind) -> None:
        self.driver, self.kind = driver, kind
        self.tolerance = SIMULATED if kind.world else REAL_TIME

    def connect(self) -> Bench:
        """Connect and arm."""
        self.driver.connect()
        if self.kind.world:
            self.reset(self.driver, 3)
        else:
            self.driver.rearm()
        self.begin_rad = self.driver.observe().q_rad
        return self

    def start(self) -> RobotState:
        """At rest at home."""
        return RobotState(self.driver.spec.q_home_rad.copy(), np.zeros(self.driver.spec.joints))

    def reset(self, world: Any, seed: int, launch: Launch = LAUNCH) -> Observation:
        """Start an episode of a world."""
        made: Observation = (
            world.reset(self.start(), launch, seed) if self.kind.referee else world.reset(self.start(), seed)
        )
        return made

    # time

    @property
    def now_ns(self) -> int:
        """The driver's clock."""
        return int(self.driver.observe().stamp_ns) if self.kind.world else time.monotonic_ns()

    def soon(self, seconds: float = 0.0) -> int:
        """A little from now: at once in a world, in 50 ms in real time; and `seconds` more."""
        return self.now_ns + round((seconds + (0.0 if self.kind.world else 0.05)) * NS)

    def play(self, until_ns: int) -> list[Observation]:
        """Let time pass; every new observation, the last one not before `until_ns`."""
        seen: list[Observation] = [self.driver.observe()]
        if self.kind.world:
            while seen[-1].stamp_ns < until_ns:
                seen.append(self.driver.tick())
            return seen
        deadline = time.monotonic() + max(0, until_ns - time.monotonic_ns()) / NS + _PATIENCE_S
        pause = threading.Event()
        while seen[-1].stamp_ns < until_ns:
            demand(time.monotonic() < deadline, f"no observation from {until_ns} ns on within {_PATIENCE_S} s of it")
            pause.wait(0.001)
            newest = self.driver.observe()
            if newest.stamp_ns != seen[-1].stamp_ns:
                seen.append(newest)
        return seen

    def wait(self, seconds: float) -> Observation:
        """Let so much time pass; the observation after it."""
        return self.play(self.now_ns + round(seconds * NS))[-1]

    # commands

    def reach(self) -> Array:
        """How far (J,) a test motion goes: within limits, to the side with more room."""
        spec = self.driver.spec
        fast = _USE * spec.dq_max_rad_s * 2 * MOVE_S / np.pi
        hard = _USE * spec.ddq_max_rad_s2 * 2 * (MOVE_S / np.pi) ** 2
        up, down = spec.q_max_rad - self.begin_rad, self.begin_rad - spec.q_min_rad
        size = np.minimum(np.minimum(_REACH_RAD, 0.4 * np.maximum(up, down)), np.minimum(fast, hard))
        return np.where(up >= down, size, -size)

    def slide(self, start_ns: int) -> JointTrajectory:
        """A smooth half-cosine motion of every joint from where it began, `reach` far; valid for 2 s."""
        t = np.arange(round(MOVE_S / DT_S) + 1)[:, None] * DT_S  # (H, 1)
        half = 0.5 * self.reach()
        q = self.begin_rad + half * (1 - np.cos(np.pi * t / MOVE_S))
        dq = half * np.pi / MOVE_S * np.sin(np.pi * t / MOVE_S)
        return JointTrajectory(start_ns, DT_S, q, dq, 2 * NS)

    def stay(self, start_ns: int, q_rad: Array) -> JointTrajectory:
        """Stand still at q (J,) for half a second."""
        q = np.tile(q_rad, (50, 1))
        return JointTrajectory(start_ns, DT_S, q, np.zeros_like(q), NS)

    # judgements

    def demand_at(self, seen: Observation, q_rad: Array, what: str) -> None:
        """The joints must be at q (J,)."""
        off = float(np.abs(seen.q_rad - q_rad).max())
        demand(off <= self.tolerance.place_rad, f"{what}: off by {off:.4f} rad; allowed: {self.tolerance.place_rad}")

    def demand_rest(self, seen: Observation, what: str) -> None:
        """The joints must stand still."""
        fastest = float(np.abs(seen.dq_rad_s).max())
        allowed = self.tolerance.rest_rad_s
        demand(fastest <= allowed, f"{what}: still moves at {fastest:.3f} rad/s; allowed: {allowed}")

    def demand_moving(self, seen: Observation, what: str) -> None:
        """Every joint must be on its way in the middle of a slide."""
        share = np.abs(seen.q_rad - self.begin_rad) / np.abs(self.reach())
        demand((share > 0.2).all(), f"{what}: went {share.min():.0%} of the way at the least; expected: about half")
