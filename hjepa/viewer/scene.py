"""What the viewer is told about a stroke: arrays over time and the few numbers it writes beside them.

Legend: T recorded instants, P points of the robot's chain, J joints. World frame (see hjepa.types), SI units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hjepa.evaluation.results import Recording, StrokeResult
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import NS, Alarm, Array, RobotSpec, Sensed

NOWHERE = (math.nan, math.nan)
REST_S = 0.7
PEAK_S = 0.5  # a look takes a frame or two: how long a surprising one is shown
GRIP_M = 0.525  # racket centre to butt, along the shaft


@dataclass(frozen=True, eq=False)
class StrokeScene:
    """One recorded stroke. Times count from the launch; what is unknown is nan or ''."""

    times_s: Array  # (T,) increasing
    joint_points_m: Array  # (T, P, 3) chain from the point of the base on the floor to the racket's butt
    T_world_racket: Array  # (T, 4, 4) origin = centre of the hitting ellipse, x = shaft to tip, z = face normal
    shuttle_m: Array  # (T, 3) nan where there is none
    semi_axes_m: tuple[float, float] = (0.14, 0.11)  # of the hitting ellipse, along racket x and y
    target_xy_m: tuple[float, float] = NOWHERE
    predicted_xy_m: tuple[float, float] = NOWHERE
    landing_xy_m: tuple[float, float] = NOWHERE
    contact_s: float = math.nan
    landing_s: float = math.nan
    hit: bool = False
    returned: bool = False
    fault: str = ""
    incoming: str = ""  # type of the real player's stroke
    chosen: str = ""  # shot the robot chose
    racket_speed_m_s: float = math.nan
    plan_ms: float = math.nan
    alarms: tuple[Alarm, ...] = ()  # how surprised the low level was, look by look

    def alarm(self, now_s: float) -> Alarm | None:
        """What is shown at an instant: the most surprising look of the last PEAK_S, or the latest one, and the grade of
        the latest; None before the first."""
        past = [a for a in self.alarms if a.sensed.stamp_ns <= now_s * NS]
        recent = [a.sensed for a in past if a.sensed.stamp_ns > (now_s - PEAK_S) * NS] or [a.sensed for a in past[-1:]]
        return Alarm(min(recent, key=_p), past[-1].grade) if past else None

    @property
    def alarmed_s(self) -> float:
        """When the low level first did anything about surprise; inf: never."""
        return min((a.sensed.stamp_ns / NS for a in self.alarms if a.grade), default=math.inf)

    @property
    def landing_error_m(self) -> float:
        """Distance of the landing to the target; nan without a hit."""
        return math.dist(self.landing_xy_m, self.target_xy_m) if self.hit else math.nan


def chain_points(spec: RobotSpec, q_rad: Array) -> tuple[Array, Array]:
    """Chain points (T, P, 3) and racket poses (T, 4, 4) for joint positions (T, J).

    The chain begins on the floor below the first revolute joint; linear axes before it carry no visible link.
    """
    frames = joint_frames(spec, q_rad)  # (T, J + 1, 4, 4)
    racket = frames[:, -1]
    first = int(np.argmin(spec.prismatic))  # the first revolute joint
    links = frames[:, first:-1, :3, 3]  # (T, J - first, 3)
    floor = links[:, :1] * np.array([1.0, 1.0, 0.0])
    butt = racket[:, None, :3, 3] - GRIP_M * racket[:, None, :3, 0]
    return np.concatenate([floor, links, butt], axis=1), racket


def scene_of(spec: RobotSpec, result: StrokeResult, recording: Recording) -> StrokeScene:
    """What the film shows of a played stroke."""
    points, racket = chain_points(spec, recording.q_rad)
    return StrokeScene(
        times_s=recording.times_s,
        joint_points_m=points,
        T_world_racket=racket,
        shuttle_m=recording.shuttle_m,
        semi_axes_m=(float(spec.racket_semi_axes_m[0]), float(spec.racket_semi_axes_m[1])),
        target_xy_m=result.target_xy_m,
        predicted_xy_m=result.predicted_xy_m,
        landing_xy_m=result.landing_xy_m,
        contact_s=result.contact_s,
        landing_s=result.landing_s,
        hit=result.hit,
        returned=result.returned,
        fault=result.fault,
        incoming=result.feed_type,
        chosen=result.commanded_type,
        racket_speed_m_s=result.racket_speed_m_s,
        plan_ms=result.plan_ms,
        alarms=recording.alarms,
    )


def _p(sensed: Sensed) -> float:
    return sensed.p


def frame_times(scene: StrokeScene, rate_hz: float, slow: float = 1.0, slow_window_s: float = 0.12) -> Array:
    """Instants (F,) to draw at a frame rate; near the contact time passes `slow` times slower.

    The picture rests for a while on the landing, also where the recording ends with it.
    """
    start, end = float(scene.times_s[0]), float(scene.times_s[-1])
    if math.isfinite(scene.landing_s):
        end = scene.landing_s + REST_S
    times, t = [], start
    while t <= end:
        times.append(t)
        near = scene.hit and abs(t - scene.contact_s) < slow_window_s
        t += (slow if near else 1.0) / rate_hz
    return np.array(times)


def interpolate(times_s: Array, values: Array, at_s: Array) -> Array:
    """Values (T, ...) linearly interpolated at instants (F,): (F, ...). nan spreads to its neighbours only."""
    right = np.clip(np.searchsorted(times_s, at_s), 1, len(times_s) - 1)
    span = times_s[right] - times_s[right - 1]
    share = np.clip((at_s - times_s[right - 1]) / span, 0.0, 1.0)
    share = share.reshape(share.shape + (1,) * (values.ndim - 1))
    lower: NDArray[np.float64] = values[right - 1]
    return np.where(share == 0.0, lower, np.where(share == 1.0, values[right], lower + share * (values[right] - lower)))
