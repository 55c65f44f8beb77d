"""The simulated court: a robot's body, a shuttle by its flight equation, a referee, a tracker. Time waits for `tick`.

    with CourtWorld(load_spec("courtbot"), WorldConfig()) as world:
        observation = world.reset(start, launch, seed)
        while not world.done:
            world.send(command)
            observation = world.tick()

Which physics moves the body is the subclass's only business: PyBullet (court.py) or MuJoCo (mujoco_court.py).
Everything random comes from the seed of `reset`. Legend: J joints, N ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from hjepa.errors import RobotError
from hjepa.tasks.badminton.flight import L_NOMINAL_M
from hjepa.tasks.badminton.impact import RESTITUTION, Pose
from hjepa.types import NS, Array, JointTrajectory, Launch, Observation, Outcome, RobotSpec, RobotState
from robots.sensors import SensorConfig, Sensors
from robots.sim.disturbance import Disturbance
from robots.sim.disturbed import DisturbedReferee
from robots.sim.drive import TICK_NS, TICK_S, Body, Drive
from robots.sim.log import EpisodeLog, RacketTrack, Recorder
from robots.sim.referee import Referee
from robots.spec import described_by, read_description


class Window(Protocol):
    """Somewhere a person looks at the court."""

    def show(self, shuttle_m: tuple[float, float, float], time_s: float) -> None: ...


@dataclass(frozen=True)
class WorldConfig:
    """Physics, sensors and length of an episode."""

    drag_length_m: float = L_NOMINAL_M
    restitution: float = RESTITUTION
    tracker_noise_m: float = 0.010
    tracker_delay_s: float = 0.025
    dropout: float = 0.02
    joint_noise_rad: float = 1e-4
    joint_noise_rad_s: float = 2e-3
    recover_s: float = 0.9  # goes on at least so long after the contact (or the crossing, on a miss)
    max_s: float = 4.0
    disturbance: Disturbance | None = None  # something that cannot happen
    hidden: tuple[tuple[float, float], ...] = ()  # s from the launch: from .. to the tracker sees nothing

    def sensors(self) -> SensorConfig:
        """The sensors' share."""
        return SensorConfig(
            self.tracker_noise_m,
            self.tracker_delay_s,
            self.dropout,
            self.joint_noise_rad,
            self.joint_noise_rad_s,
            self.hidden,
        )


class SimulatedCourt:
    """A World (see hjepa.protocols). `config` may be replaced between episodes; it counts from the next reset."""

    def __init__(
        self, spec: RobotSpec, config: WorldConfig = WorldConfig(), gui: bool = False, record: bool = False
    ) -> None:
        """gui: a window, in real time; record: keep per-tick arrays for `log`."""
        self.spec, self.config = spec, config
        self._gui, self._record = gui, record
        racket = read_description(described_by(spec)).get("racket")
        if racket is None:
            raise RobotError(f"'{spec.name}' has no racket; allowed on the court: a description with one")
        self._tip_m = float(racket["length_m"] - racket["centre_m"])
        self._drive = Drive(spec)
        self._referee: Referee | None = None
        self._window: Window | None = None
        self._done = True

    def _make_body(self) -> Body:
        """The physics, and `_window` if one was asked for."""
        raise NotImplementedError

    # life cycle

    def connect(self) -> None:
        """Start the physics."""
        self._drive.connect(self._make_body)

    def close(self) -> None:
        """Stop the physics; a second close does nothing."""
        self._drive.close()
        self._referee = self._window = None
        self._done = True

    def __enter__(self) -> Self:
        if not self._drive.connected:
            self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation:
        """Joints at `start`, a shuttle launched now, time 0; every random number of the episode comes from seed."""
        body, c = self._drive.body(), self.config
        x, v = np.asarray(launch.x_m, dtype=np.float64), np.asarray(launch.v_m_s, dtype=np.float64)
        if x.shape != (3,) or v.shape != (3,) or not (np.isfinite(x).all() and np.isfinite(v).all()) or x[2] <= 0:
            raise RobotError(f"launch is x {x}, v {v}; allowed: finite (3,) each, starting above the floor")
        self._drive.reset(start)
        flight = (float(x[0]), float(x[1]), float(x[2]), float(v[0]), float(v[1]), float(v[2]))
        ellipse = self.spec.racket_semi_axes_m.tolist()
        physics = (flight, c.drag_length_m, c.restitution, ellipse, self._tip_m)
        odd = c.disturbance
        self._referee = Referee(*physics) if odd is None else DisturbedReferee(*physics, odd, seed)
        self._max_ticks = round(c.max_s / TICK_S)
        fault = None if odd is None else odd.fault(seed)
        self._sensors = Sensors(c.sensors(), self.spec.joints, self._max_ticks, np.random.default_rng(seed), fault)
        self._effort_j, self._done = 0.0, False
        self._racket = body.racket()
        self._recorder = Recorder(self._record)
        return self._measure()

    # one tick

    def tick(self) -> Observation:
        """Let 10 ms pass."""
        drive, body, referee = self._drive, self._drive.body(), self._running()
        if drive.ticks >= self._max_ticks:
            raise RobotError(f"the episode's {self.config.max_s} s are over; allowed: reset()")
        start_ns = drive.now_ns
        near = not referee.hit and not referee.down and referee.near(self._racket, TICK_S)
        track: list[Pose] | None = None
        if near or self._recorder.wants_racket(start_ns, start_ns + TICK_NS):
            poses = track = [self._racket]
            drive.tick(after_step=lambda: poses.append(body.racket()))
            self._racket = poses[-1]
            self._recorder.racket(start_ns, poses)
        else:
            drive.tick()
            self._racket = body.racket()
        self._effort_j += TICK_S * float(np.abs(drive.tau_nm) @ np.abs(drive.dq_rad_s))
        referee.watch_racket(self._racket)
        referee.fly(drive.ticks * TICK_S, track if near else None)
        self._finish_if_over()
        return self._measure()

    def _finish_if_over(self) -> None:
        referee = self._running()
        passed = referee.contact_s + self.config.recover_s if referee.contact_s == referee.contact_s else 0.0
        if self._drive.ticks >= self._max_ticks:
            referee.finish()
            self._done = True
        elif referee.down and self._drive.ticks * TICK_S >= passed:
            self._done = True

    def _measure(self) -> Observation:
        drive, state = self._drive, self._running().state
        seen = self._sensors.observe(drive.ticks, state[:3], drive.q_rad, drive.dq_rad_s)
        self._recorder.tick(seen, drive.q_rad, drive.dq_rad_s, self._racket, state)
        if self._window is not None:
            self._window.show(state[:3], drive.ticks * TICK_S)
        return seen

    # driver

    def observe(self) -> Observation:
        """The observation of this instant again."""
        drive, referee = self._drive, self._running()
        return self._sensors.observe(drive.ticks, referee.state[:3], drive.q_rad, drive.dq_rad_s)

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
        """True once the stroke is decided and the robot had time to recover, and while there is no episode."""
        return self._done

    # privileged: metrics, training data, rendering; never an executed agent

    def outcome(self) -> Outcome:
        """What has happened in the stroke so far."""
        return self._running().outcome(self._effort_j)

    def shuttle(self) -> tuple[Array, Array]:
        """True position and velocity (3,) of the shuttle."""
        state = self._running().state
        return np.array(state[:3]), np.array(state[3:])

    def racket(self) -> tuple[Array, Array, Array]:
        """True racket frame (4, 4) in the world, velocity of its centre (3,) and angular velocity (3,)."""
        self._running()
        T = np.eye(4)
        T[:3, :3] = np.reshape(self._racket.rotation, (3, 3))
        T[:3, 3] = self._racket.centre_m
        return T, np.array(self._racket.v_m_s), np.array(self._racket.w_rad_s)

    def joints(self) -> RobotState:
        """True joint state."""
        self._running()
        return RobotState(self._drive.q_rad.copy(), self._drive.dq_rad_s.copy())

    def record_racket(self, from_s: float, to_s: float) -> None:
        """Keep the racket's motion at every ms of an interval of the running episode (whole ticks)."""
        self._running()
        self._recorder.watch(round(from_s * NS), round(to_s * NS))

    def racket_at_ms(self) -> RacketTrack:
        """What `record_racket` kept."""
        self._running()
        return self._recorder.racket_track()

    def log(self) -> EpisodeLog:
        """Per-tick arrays of the episode so far; needs record=True."""
        return self._recorder.episode(self._running().events, self._sensors.measured(self._drive.ticks + 1))

    def _running(self) -> Referee:
        self._drive.running()
        if self._referee is None:
            raise RobotError("no episode yet; allowed: reset(start, launch, seed) first")
        return self._referee
