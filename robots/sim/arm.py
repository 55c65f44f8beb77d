"""A fixed-base arm in PyBullet, its limits from our description.

The Panda and the iiwa are the machines' models in pybullet_data; any other robot is the URDF made from its description.
`ArmWorld` waits between ticks, `ArmDriver` runs by the clock on the wall like a real one. Legend: J joints.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pybullet_data

from hjepa.errors import RobotError
from hjepa.protocols import Tracker
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec, RobotState
from robots.follower import GAIN_1_S
from robots.loop import ControlLoop
from robots.sim.body import PyBulletBody
from robots.sim.drive import TICK_S, Drive, home, ramp
from robots.trackers import copied, observation

_MODELS = {"panda": "franka_panda/panda.urdf", "iiwa": "kuka_iiwa/model.urdf"}


@dataclass(frozen=True)
class ArmConfig:
    """Encoders, and the length of an episode."""

    joint_noise_rad: float = 1e-4
    joint_noise_rad_s: float = 2e-3
    max_s: float = 600.0


def model_path(name: str) -> Path | None:
    """The machine's own model, if pybullet_data has one."""
    return Path(pybullet_data.getDataPath()) / _MODELS[name] if name in _MODELS else None


class _Encoders:
    """Joint readings with noise drawn from a generator of their own."""

    def __init__(self, config: ArmConfig, seed: int) -> None:
        self._config, self._rng = config, np.random.default_rng(seed)

    def read(self, q_rad: Array, dq_rad_s: Array) -> tuple[Array, Array]:
        """A reading (J,) each of the true joints."""
        q_noise, dq_noise = self._rng.standard_normal((2, len(q_rad)))
        return q_rad + self._config.joint_noise_rad * q_noise, dq_rad_s + self._config.joint_noise_rad_s * dq_noise


class ArmWorld:
    """An arm whose time stands still between ticks: a World (see hjepa.protocols) without a shuttle or an outcome.

    It answers commands, `hold` and `rearm` as every driver does; `reset` takes no launch.
    """

    def __init__(
        self,
        spec: RobotSpec,
        config: ArmConfig = ArmConfig(),  # noqa: B008 (frozen value)
        tracker: Tracker | None = None,
        gui: bool = False,
    ) -> None:
        """tracker: what sees a target; gui: PyBullet's window."""
        self.spec, self.config = spec, config
        self._tracker, self._gui = tracker, gui
        self._drive = Drive(spec)
        self._seen: Observation | None = None

    # life cycle

    def connect(self) -> None:
        """Start the physics, and the tracker if there is one: both or neither."""
        with ExitStack() as undo:
            self._drive.connect(lambda: PyBulletBody(self.spec, self._gui, model_path(self.spec.name)))
            undo.callback(self._drive.close)
            if self._tracker is not None:
                self._tracker.connect()
            undo.pop_all()

    def close(self) -> None:
        """Stop the physics; a second close does nothing."""
        if self._drive.connected and self._tracker is not None:
            self._tracker.close()
        self._drive.close()
        self._seen = None

    def __enter__(self) -> Self:
        if not self._drive.connected:
            self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def reset(self, start: RobotState, seed: int = 0) -> Observation:
        """Joints at `start`, time 0, armed; the encoders' noise comes from seed."""
        self._drive.reset(start)
        self._encoders = _Encoders(self.config, seed)
        return self._measure()

    # driver

    def tick(self) -> Observation:
        """Let 10 ms pass."""
        self._drive.running()
        if self.done:
            raise RobotError(f"the episode's {self.config.max_s} s are over; allowed: reset()")
        self._drive.tick()
        return self._measure()

    def observe(self) -> Observation:
        """The observation of this instant again."""
        self._drive.running()
        seen = self._seen
        assert seen is not None
        return copied(seen)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        return self._drive.send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self._drive.hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._drive.rearm()

    @property
    def done(self) -> bool:
        """True once the time is over, and while there is no episode."""
        return self._seen is None or self._drive.ticks >= round(self.config.max_s / TICK_S)

    # privileged: metrics and labels; never an executed agent

    def joints(self) -> RobotState:
        """True joint state."""
        self._drive.running()
        return RobotState(self._drive.q_rad.copy(), self._drive.dq_rad_s.copy())

    def torques(self) -> Array:
        """Motor torques (J,) of the last millisecond."""
        self._drive.running()
        return self._drive.tau_nm.copy()

    def _measure(self) -> Observation:
        drive = self._drive
        q, dq = self._encoders.read(drive.q_rad, drive.dq_rad_s)
        self._seen = observation(drive.now_ns, q, dq, self._tracker)
        return self.observe()


class ArmDriver:
    """The same arm by the clock on the wall, stepped by a control thread. Starts at home and, like a real one, held."""

    def __init__(
        self,
        spec: RobotSpec,
        config: ArmConfig = ArmConfig(),  # noqa: B008 (frozen value)
        tracker: Tracker | None = None,
        gui: bool = False,
        seed: int = 0,
    ) -> None:
        """tracker: what sees a target; gui: PyBullet's window; seed: the encoders' noise."""
        Drive(spec)  # refuses a control rate that this physics has no set-points for
        self.spec, self.config = spec, config
        self._tracker, self._gui, self._seed = tracker, gui, seed
        self._body: PyBulletBody | None = None
        self._loop = ControlLoop(spec, self._read, self._write)

    def connect(self) -> None:
        """Start the physics and the control thread; held until `rearm`."""
        if self._body is not None:
            raise RobotError("already connected; allowed: close() first")
        with ExitStack() as undo:
            if self._tracker is not None:
                self._tracker.connect()
                undo.callback(self._tracker.close)
            self._body = PyBulletBody(self.spec, self._gui, model_path(self.spec.name))
            self._encoders = _Encoders(self.config, self._seed)
            self._speed = np.zeros(self.spec.joints)
            self._body.reset(*home(self.spec))
            self._loop.start()
            undo.pop_all()

    def close(self) -> None:
        """Brake, stop the thread and the physics; a second close does nothing."""
        if self._body is None:
            return
        self._loop.close()
        if self._tracker is not None:
            self._tracker.close()
        self._body.close()
        self._body = None

    def __enter__(self) -> Self:
        if self._body is None:
            self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def observe(self) -> Observation:
        """The newest reading, stamped by time.monotonic_ns."""
        self._check()
        return observation(*self._loop.measured(), self._tracker)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        self._check()
        return self._loop.send(command)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm`."""
        self._check()
        self._loop.hold()

    def rearm(self) -> None:
        """Accept commands."""
        self._check()
        self._loop.rearm()

    def _check(self) -> None:
        if self._body is None:
            raise RobotError("not connected; allowed: connect() first")

    def _read(self) -> tuple[Array, Array]:
        assert self._body is not None
        q, dq, _ = self._body.joints()
        return self._encoders.read(q, dq)

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        """One period of physics: a drive that corrects its position, as the follower does in simulated time."""
        assert self._body is not None
        q, _, _ = self._body.joints()
        ahead = q + 0.5 * TICK_S * (self._speed + dq_set_rad_s)
        target = dq_set_rad_s + GAIN_1_S * (q_set_rad - ahead)
        for row in ramp(self._speed, target):
            self._body.step(row)
        self._speed = target
