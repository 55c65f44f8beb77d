"""The simulated court: courtbot in PyBullet, a shuttle by its flight equation, a tracker. Time waits for `tick`.

    with CourtWorld(load_spec("courtbot"), WorldConfig()) as world:
        observation = world.reset(start, launch, seed)
        while not world.done:
            world.send(command)
            observation = world.tick()

One tick is one control period (10 ms) of ten 1 ms physics steps. Between set-points the drives ramp their speed
linearly, as real ones interpolate. Everything random comes from the seed of `reset`. Legend: J joints, N ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from hjepa.errors import CommandError, RobotError
from hjepa.tasks.badminton.flight import L_NOMINAL_M
from hjepa.tasks.badminton.impact import RESTITUTION, Pose
from hjepa.types import NS, Array, JointTrajectory, Launch, Observation, Outcome, RobotSpec, RobotState
from robots.follower import Follower
from robots.sensors import SensorConfig, Sensors
from robots.sim.body import STEP_S, Body
from robots.sim.log import EpisodeLog, RacketTrack, Recorder
from robots.sim.referee import Referee
from robots.sim.scene import Scene
from robots.spec import read_description

TICK_S = 0.010
TICK_NS = round(TICK_S * NS)
_STEPS = round(TICK_S / STEP_S)
# speed aimed at in step i is the ramp's value at its middle: positions then add up exactly
_RAMP = ((np.arange(_STEPS) + 0.5) / _STEPS)[:, None]  # (steps, 1)


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

    def sensors(self) -> SensorConfig:
        """The sensors' share."""
        return SensorConfig(
            self.tracker_noise_m, self.tracker_delay_s, self.dropout, self.joint_noise_rad, self.joint_noise_rad_s
        )


class CourtWorld:
    """A World (see hjepa.protocols). `config` may be replaced between episodes; it counts from the next reset."""

    def __init__(
        self, spec: RobotSpec, config: WorldConfig = WorldConfig(), gui: bool = False, record: bool = False
    ) -> None:
        """gui: PyBullet's window, in real time; record: keep per-tick arrays for `log`."""
        if round(NS / spec.control_rate_hz) != TICK_NS:
            raise RobotError(f"{spec.name} takes set-points at {spec.control_rate_hz} Hz; allowed here: 100 Hz")
        self.spec, self.config = spec, config
        self._gui, self._record = gui, record
        racket = read_description(spec.name)["racket"]
        self._tip_m = float(racket["length_m"] - racket["centre_m"])
        self._follower = Follower(spec)
        self._body: Body | None = None
        self._referee: Referee | None = None
        self._scene: Scene | None = None
        self._done = True

    # life cycle

    def connect(self) -> None:
        """Start the physics."""
        if self._body is not None:
            raise RobotError("already connected; allowed: close() first")
        self._body = Body(self.spec, self._gui)
        self._scene = Scene(self._body.client) if self._gui else None

    def close(self) -> None:
        """Stop the physics; a second close does nothing."""
        if self._body is not None:
            self._body.close()
        self._body = self._referee = self._scene = None
        self._done = True

    def __enter__(self) -> CourtWorld:
        if self._body is None:
            self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def reset(self, start: RobotState, launch: Launch, seed: int) -> Observation:
        """Joints at `start`, a shuttle launched now, time 0; every random number of the episode comes from seed."""
        body = self._connected()
        spec, c = self.spec, self.config
        q, dq = self._checked(start)
        x, v = np.asarray(launch.x_m, dtype=np.float64), np.asarray(launch.v_m_s, dtype=np.float64)
        if x.shape != (3,) or v.shape != (3,) or not (np.isfinite(x).all() and np.isfinite(v).all()) or x[2] <= 0:
            raise RobotError(f"launch is x {x}, v {v}; allowed: finite (3,) each, starting above the floor")
        body.reset(q, dq)
        self._follower.reset(dq)
        flight = (float(x[0]), float(x[1]), float(x[2]), float(v[0]), float(v[1]), float(v[2]))
        self._referee = Referee(flight, c.drag_length_m, c.restitution, spec.racket_semi_axes_m.tolist(), self._tip_m)
        self._max_ticks = round(c.max_s / TICK_S)
        self._sensors = Sensors(c.sensors(), spec.joints, self._max_ticks, np.random.default_rng(seed))
        self._ticks, self._effort_j, self._done = 0, 0.0, False
        self._q, self._dq = q, dq
        self._racket = body.racket()
        self._recorder = Recorder(self._record)
        return self._measure()

    # one tick

    def tick(self) -> Observation:
        """Let 10 ms pass."""
        body, referee = self._connected(), self._running()
        if self._ticks >= self._max_ticks:
            raise RobotError(f"the episode's {self.config.max_s} s are over; allowed: reset()")
        start_ns = self._ticks * TICK_NS
        speed = self._follower.speed_rad_s
        target = self._follower.step(start_ns, self._q)
        rows = (speed + _RAMP * (target - speed)).tolist()
        near = not referee.hit and not referee.down and referee.near(self._racket, TICK_S)
        track: list[Pose] | None = None
        if near or self._recorder.wants_racket(start_ns, start_ns + TICK_NS):
            track = [self._racket]
            for row in rows:
                body.step(row)
                track.append(body.racket())
            self._racket = track[-1]
            self._recorder.racket(start_ns, track)
        else:
            for row in rows:
                body.step(row)
            self._racket = body.racket()
        self._ticks += 1
        self._q, self._dq, torque = body.joints()
        self._effort_j += TICK_S * float(np.abs(torque) @ np.abs(self._dq))
        referee.watch_racket(self._racket)
        referee.fly(self._ticks * TICK_S, track if near else None)
        self._finish_if_over()
        return self._measure()

    def _finish_if_over(self) -> None:
        referee = self._running()
        passed = referee.contact_s + self.config.recover_s if referee.contact_s == referee.contact_s else 0.0
        if self._ticks >= self._max_ticks:
            referee.finish()
            self._done = True
        elif referee.down and self._ticks * TICK_S >= passed:
            self._done = True

    def _measure(self) -> Observation:
        state = self._running().state
        seen = self._sensors.observe(self._ticks, state[:3], self._q, self._dq)
        self._recorder.tick(seen, self._q, self._dq, self._racket, state)
        if self._scene is not None:
            self._scene.show(state[:3], self._ticks * TICK_S)
        return seen

    # driver

    def observe(self) -> Observation:
        """The observation of this instant again."""
        referee = self._running()
        return self._sensors.observe(self._ticks, referee.state[:3], self._q, self._dq)

    def send(self, command: JointTrajectory) -> JointTrajectory:
        """Follow a trajectory from its start on; returns it with q and dq clipped to limits; CommandError if bad."""
        self._running()
        return self._follower.send(command, self._ticks * TICK_NS)

    def hold(self) -> None:
        """Brake within limits and hold; latched until `rearm` or `reset`."""
        self._running()
        self._follower.hold()

    def rearm(self) -> None:
        """Accept commands again after a hold."""
        self._running()
        self._follower.rearm()

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
        return RobotState(self._q.copy(), self._dq.copy())

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
        return self._recorder.episode(self._running().events, self._sensors.measured(self._ticks + 1))

    # checks

    def _connected(self) -> Body:
        if self._body is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._body

    def _running(self) -> Referee:
        self._connected()
        if self._referee is None:
            raise RobotError("no episode yet; allowed: reset(start, launch, seed) first")
        return self._referee

    def _checked(self, start: RobotState) -> tuple[Array, Array]:
        """Copies of a start state that makes sense."""
        pair: list[Array] = []
        for name, value in zip(("q_rad", "dq_rad_s"), start, strict=True):
            array = np.array(value, dtype=np.float64)
            if array.shape != (self.spec.joints,) or not np.isfinite(array).all():
                raise CommandError(f"start {name} is {array}; allowed: {self.spec.joints} finite numbers")
            pair.append(array)
        return pair[0], pair[1]


def home(spec: RobotSpec, q_rad: Sequence[float] | Array | None = None) -> RobotState:
    """At rest, at home or at q (J,)."""
    q = spec.q_home_rad if q_rad is None else np.asarray(q_rad, dtype=np.float64)
    return RobotState(q.copy(), np.zeros(spec.joints))
