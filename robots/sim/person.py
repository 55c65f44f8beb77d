"""A person who walks over the court: a vertical cylinder that nothing of the robot may enter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hjepa.types import Array


@dataclass(frozen=True)
class Person:
    """Walks along a line from an instant on; until then nobody is there."""

    from_m: tuple[float, float]  # x, y where the person comes in, world
    towards_m: tuple[float, float]  # a point on the way
    enters_s: float = 0.0  # from the launch
    speed_m_s: float = 1.2
    radius_m: float = 0.5  # of the zone that is kept free: a body and an arm's swing
    height_m: float = 2.0

    def zone(self, time_s: float) -> Array:
        """(1, 6): x, y, their speeds, radius, height; (0, 6) before the person is there."""
        since_s = time_s - self.enters_s
        if since_s < 0.0:
            return np.zeros((0, 6))
        start = np.array(self.from_m)
        way = np.array(self.towards_m) - start
        v = self.speed_m_s * way / max(float(np.linalg.norm(way)), 1e-9)
        return np.concatenate([start + since_s * v, v, [self.radius_m, self.height_m]])[None]
