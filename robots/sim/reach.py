"""A fixed-base arm and one thing that its tracker sees: a target that moves by itself, or a marker on its own tool.

With the target it is the world of the task `reach`; with the marker, the arm learns what its joints do (motor
babbling). Time stands still between ticks. Legend: J joints, N ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.kinematics import joint_frames
from hjepa.tasks.reach.target import Path, target_path
from hjepa.types import Array, JointTrajectory, Launch, Observation, Outcome, RobotSpec, RobotState
from robots.sensors import SLOT_NS, SensorConfig, Sensors
from robots.sim.arm import ArmConfig, ArmWorld
from robots.trackers import copied

_EXACT = ArmConfig(joint_noise_rad=0.0, joint_noise_rad_s=0.0)  # the sensors here add the noise


@dataclass(frozen=True)
class ReachConfig:
    """The target, and how well it and the joints are seen."""

    seconds: float = 20.0
    speed_m_s: float = 0.2
    path: str = ""  # circle, eight or wander; '': drawn with the seed
    half_m: tuple[float, float, float] = (0.08, 0.16, 0.12)  # of the box around the tool at home
    tracker_noise_m: float = 0.002
    tracker_delay_s: float = 0.025
    dropout: float = 0.02
    joint_noise_rad: float = 1e-4
    joint_noise_rad_s: float = 2e-3
    shows: Literal["target", "tool"] = "target"  # what the tracker sees


class ReachLog(NamedTuple):
    """An episode, true values: for metrics and films, never for an executed agent."""

    stamp_ns: NDArray[np.int64]  # (N,)
    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)
    tool_m: Array  # (N, 3)
    target_m: Array  # (N, 3)


class ReachWorld:
    """A World (see hjepa.protocols): an arm, and a target for its tool."""

    settings = ReachConfig

    def __init__(
        self,
        spec: RobotSpec,
        config: ReachConfig = ReachConfig(),  # noqa: B008 (frozen value)
        gui: bool = False,
    ) -> None:
        """gui: PyBullet's window."""
        self.spec, self.config = spec, config
        self._arm = ArmWorld(spec, _EXACT, gui=gui)
        self._rows: list[tuple[int, Array, Array, Array, Array]] = []
        self._seen: Observation | None = None

    # life cycle

    def connect(self) -> None:
        """Start the physics."""
        self._arm.connect()

    def close(self) -> None:
        """Stop the physics; a second close does nothing."""
        self._arm.close()

    def __enter__(self) -> Self:
        self._arm.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def reset(self, start: RobotState, launch: Launch | None = None, seed: int = 0) -> Observation:
        """Joints at `start`, time 0, armed. The seed draws target and noise; nothing is launched here."""
        c = self.config
        self._arm.reset(start, seed)
        centre = joint_frames(self.spec, self.spec.q_home_rad)[-1, :3, 3]
        self._path: Path = target_path(centre, np.array(c.half_m), c.speed_m_s, seed, c.path)
        sensors = SensorConfig(c.tracker_noise_m, c.tracker_delay_s, c.dropout, c.joint_noise_rad, c.joint_noise_rad_s)
        self._sensors = Sensors(sensors, self.spec.joints, self._ticks, np.random.default_rng([seed, 12]))
        self._rows, self._effort_j = [], 0.0
        return self._measure()

    # driver

    def tick(self) -> Observation:
        """Let 10 ms pass."""
        self._arm.tick()
        self._effort_j += 0.01 * float(np.abs(self._arm.torques() * self._arm.joints().dq_rad_s).sum())
        return self._measure()

    def observe(self) -> Observation:
        """The observation of this instant again."""
        self._arm.observe()  # says what is wrong before the first reset
        assert self._seen is not None
        return copied(self._seen)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        return self._arm.send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self._arm.hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._arm.rearm()

    @property
    def done(self) -> bool:
        """True once the time is over, and while there is no episode."""
        return self._seen is None or len(self._rows) > self._ticks

    # privileged: metrics and labels; never an executed agent

    def log(self) -> ReachLog:
        """The episode so far."""
        stamps, *columns = zip(*self._rows, strict=True)
        return ReachLog(np.array(stamps, dtype=np.int64), *(np.array(column) for column in columns))

    def outcome(self) -> Outcome:
        """An episode has no hit and no landing: of what an Outcome holds, effort alone. The figures are in `log`."""
        none2, none3 = np.full(2, np.nan), np.full(3, np.nan)
        return Outcome(
            hit=False, contact_s=np.nan, offset_m=none2, contact_m=none3, u_in_m_s=none3.copy(), u_out_m_s=none3.copy(),
            racket_speed_m_s=np.nan, landing_m=none2.copy(), landing_s=np.nan, net_height_m=np.nan, returned=False,
            fault="", effort_j=self._effort_j,
        )  # fmt: skip

    @property
    def _ticks(self) -> int:
        return round(self.config.seconds * 1e9 / SLOT_NS)

    def _measure(self) -> Observation:
        q, dq = self._arm.joints()
        tool = joint_frames(self.spec, q)[-1, :3, 3]
        slot = len(self._rows)
        target = self._path(np.array([slot * SLOT_NS / 1e9]))[0]
        self._rows.append((slot * SLOT_NS, q, dq, tool, target))
        x, y, z = (tool if self.config.shows == "tool" else target).tolist()
        self._seen = self._sensors.observe(slot, (x, y, z), q, dq)
        return copied(self._seen)


def babble_world(spec: RobotSpec) -> ReachWorld:
    """An arm with a marker on its tool, for recordings: what is seen comes at once, since nobody acts on it."""
    return ReachWorld(spec, ReachConfig(seconds=600.0, tracker_delay_s=0.0, shows="tool"))
