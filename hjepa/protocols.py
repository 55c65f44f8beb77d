"""The borders between rooms: structural types only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hjepa.types import (
    Alarm,
    Array,
    Considered,
    Goal,
    JointTrajectory,
    Launch,
    MotorPlan,
    Observation,
    Outcome,
    RobotSpec,
    RobotState,
    Weighed,
)

Reachability = Callable[[Array, Array], Array]
"""What the high level may ask: candidate goals (C, D) in the upper latent, and the root of each one's metric (C, D, D),
to the low level's energy for each (C,)."""


@runtime_checkable
class Driver(Protocol):
    """A robot, simulated or real. `spec` is readable before `connect`; `send` returns what will really be followed."""

    spec: RobotSpec

    def connect(self) -> None: ...

    def observe(self) -> Observation: ...

    def send(self, command: JointTrajectory) -> JointTrajectory: ...

    def hold(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class World(Driver, Protocol):
    """A simulated driver whose time stands still between ticks (one tick = one control period, 10 ms)."""

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation: ...

    def tick(self) -> Observation: ...

    def outcome(self) -> Outcome: ...

    @property
    def done(self) -> bool: ...


@runtime_checkable
class Tracker(Protocol):
    """What measures where the shuttle (or another target) is. A driver asks it when it makes an observation.

    `window(stamp_ns)`: xyz_m (K, 3), mask (K,), stamps_ns (K,) as an Observation has them, the grid ending at stamp_ns
    on the driver's clock. Copies; asking twice for the same instant finds more only because more has arrived.
    """

    def connect(self) -> None: ...

    def window(self, stamp_ns: int) -> tuple[Array, NDArray[np.bool_], NDArray[np.int64]]: ...

    def close(self) -> None: ...


@runtime_checkable
class Agent(Protocol):
    """Chooses a joint trajectory from an observation. `act` may return None: the last command stays in force."""

    def reset(self, seed: int = 0) -> None: ...

    def act(self, observation: Observation) -> JointTrajectory | None: ...


@runtime_checkable
class HighLevel(Protocol):
    """Chooses the goal. `decide` is called at every re-planning instant; None: the last goal stays in force."""

    def reset(self, seed: int = 0) -> None: ...

    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None: ...


@runtime_checkable
class LowLevel(Protocol):
    """Chooses the motion. `plan` may return None: the last command stays in force."""

    def reset(self, seed: int = 0) -> None: ...

    def plan(self, observation: Observation, goal: Goal) -> JointTrajectory | None: ...

    def reachability(self, observation: Observation, candidates: Array, roots: Array) -> Array: ...


@runtime_checkable
class Repeats(Protocol):
    """A low level whose search in bounded time can be repeated: told where it ended, it ends there again."""

    scored: tuple[int, ...]  # candidates that each search of the latest `plan` scored
    budget_scored: tuple[int, ...] | None  # where the searches of the next `plan` end; None: by the clock


@runtime_checkable
class Tunes(Protocol):
    """A level whose energy's weights may change while it plays."""

    def tunable(self) -> dict[str, float]:
        """Weights by name."""
        ...

    def tune(self, values: dict[str, float]) -> None:
        """Some of them anew, in force from the next decision; ConfigError names one that is unknown or no weight."""
        ...


@runtime_checkable
class Weighs(Protocol):
    """A high level that tells what it weighed before its latest goal; None before the first."""

    def weighed(self) -> Weighed | None: ...


@runtime_checkable
class Considers(Protocol):
    """A low level that tells what it could do beside its latest plan; None: nothing new. Takes some milliseconds."""

    def considered(self) -> Considered | None: ...


@runtime_checkable
class Senses(Protocol):
    """A low level that tells how surprising its latest look was; None: it has been told, or nobody watches."""

    def sensed(self) -> Alarm | None: ...


@runtime_checkable
class Explains(Protocol):
    """A low level that tells what its latest `plan` chose (`plan_ms` is overwritten by the caller)."""

    def explain(self) -> MotorPlan: ...


@runtime_checkable
class Scans(Protocol):
    """A world or driver with a safety scanner. `zones`: what to keep out of now (Z, 6): x, y, their speeds, radius,
    height of vertical cylinders, in the world. Over the bus they travel on the topic `zones`."""

    def zones(self) -> Array: ...


@runtime_checkable
class Avoids(Protocol):
    """An agent or a low level that keeps out of zones. Told before it acts, of the same instant; in force until the
    next, or until a reset."""

    def avoid(self, zones: Array) -> None: ...
