"""One badminton stroke as a Gymnasium environment: return the shuttle, spend little.

action       (2 J,) joint positions, then joint speeds, to be met 10 ms from now (100 Hz)
observation  q_rad (J,), dq_rad_s (J,), tracker_xyz_m (K, 3), tracker_mask (K,): what an agent may see, nothing else
reward       minus effort_weight times the effort (J) of the step; plus 1 at the end if the shuttle was returned

Legend: J joints, K tracker slots. `reset(options=...)` takes `launch` (a Launch) and `start` (a RobotState).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from hjepa.errors import ConfigError, nearest
from hjepa.protocols import World
from hjepa.tasks.badminton.feeds import FeedTable, RandomFeedConfig, random_feed
from hjepa.types import NS, Array, JointTrajectory, Observation, RobotState

_TICK_NS = NS // 100
_SLOTS = 64  # K
_FAR_M = 50.0
_OPTIONS = ("launch", "start")


class BadmintonEnv(gymnasium.Env[dict[str, Any], Array]):
    """See the head of the file."""

    metadata = {"render_modes": []}

    def __init__(
        self,
        world: World | None = None,
        *,
        driver: str = "pybullet",
        robot: str = "courtbot",
        feed: FeedTable | RandomFeedConfig | None = None,
        effort_weight: float = 5e-4,
    ) -> None:
        """A world that is handed in (not connected yet), or one made by the robots' catalogue from two names.

        feed: rows to draw strokes from, or the ranges of random ones. A stroke with a known receiver starts there.
        """
        self.world = world if world is not None else _from_catalog(driver, robot)
        self.world.connect()
        self.effort_weight = effort_weight
        self._feed = feed
        self._now_ns, self._effort_j = 0, 0.0
        spec = self.world.spec
        joints = spec.joints
        low, high = np.full((_SLOTS, 3), -_FAR_M), np.full((_SLOTS, 3), _FAR_M)
        self.observation_space = spaces.Dict(
            {
                "q_rad": spaces.Box(spec.q_min_rad - 1.0, spec.q_max_rad + 1.0, dtype=np.float64),
                "dq_rad_s": spaces.Box(-2.0 * spec.dq_max_rad_s, 2.0 * spec.dq_max_rad_s, dtype=np.float64),
                "tracker_xyz_m": spaces.Box(low, high, dtype=np.float64),
                "tracker_mask": spaces.MultiBinary(_SLOTS),
            }
        )
        self.action_space = spaces.Box(
            np.concatenate([spec.q_min_rad, -spec.dq_max_rad_s]),
            np.concatenate([spec.q_max_rad, spec.dq_max_rad_s]),
            shape=(2 * joints,),
            dtype=np.float64,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new stroke; everything random follows from the seed."""
        super().reset(seed=seed)
        chosen = dict(options or {})
        for key in chosen:
            if key not in _OPTIONS:
                raise ConfigError(f"unknown reset option '{key}': {nearest(key, _OPTIONS)}")
        feed, row = self._draw()
        start = chosen.get("start") or self._start(feed.receiver_xy_m[row])
        launch = chosen.get("launch") or feed.launch(row)
        seen = self.world.reset(start, launch, int(self.np_random.integers(2**31)))
        self._now_ns, self._effort_j = seen.stamp_ns, 0.0
        return _as_dict(seen), {"type": launch.type}

    def step(self, action: Array) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """10 ms towards the targets; the episode terminates when the stroke is decided."""
        targets = np.asarray(action, dtype=np.float64)
        joints = self.world.spec.joints
        q, dq = targets[None, :joints], targets[None, joints:]  # (1, J)
        self.world.send(JointTrajectory(self._now_ns + _TICK_NS, _TICK_NS / NS, q, dq, _TICK_NS))
        seen = self.world.tick()
        self._now_ns = seen.stamp_ns
        outcome, done = self.world.outcome(), self.world.done
        reward = -self.effort_weight * (outcome.effort_j - self._effort_j) + float(done and outcome.returned)
        self._effort_j = outcome.effort_j
        info = {"outcome": outcome} if done else {}
        return _as_dict(seen), reward, done, False, info

    def close(self) -> None:
        """Close the world."""
        self.world.close()

    def _draw(self) -> tuple[FeedTable, int]:
        """A feed table and one of its rows."""
        if self._feed is None or isinstance(self._feed, RandomFeedConfig):
            return random_feed(1, int(self.np_random.integers(2**31)), self._feed), 0
        return self._feed, int(self.np_random.integers(len(self._feed.id)))

    def _start(self, receiver_xy_m: Array) -> RobotState:
        """At rest in the home posture, base where the real receiver stood if that is known and within its range."""
        spec = self.world.spec
        q = spec.q_home_rad.copy()
        if np.isfinite(receiver_xy_m).all() and spec.prismatic[:2].all():
            q[:2] = np.clip(receiver_xy_m, spec.q_min_rad[:2], spec.q_max_rad[:2])
        return RobotState(q, np.zeros(spec.joints))


def _from_catalog(driver: str, robot: str) -> World:
    """A world by name. The catalogue is reached at run time: this room knows no driver."""
    return cast("World", import_module("robots.catalog").make_driver(driver, robot))


def _as_dict(seen: Observation) -> dict[str, Any]:
    """The observation as the space has it."""
    mask = seen.tracker_mask.astype(np.int8)
    return {
        "q_rad": seen.q_rad,
        "dq_rad_s": seen.dq_rad_s,
        "tracker_xyz_m": seen.tracker_xyz_m,
        "tracker_mask": mask,
    }
