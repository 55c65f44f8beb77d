"""The simulated court with its robot in PyBullet."""

from __future__ import annotations

from robots.sim.body import PyBulletBody
from robots.sim.drive import Body, home
from robots.sim.scene import Scene
from robots.sim.world import SimulatedCourt, WorldConfig

__all__ = ["CourtWorld", "WorldConfig", "home"]


class CourtWorld(SimulatedCourt):
    """The court in PyBullet; `gui` opens PyBullet's window."""

    def _make_body(self) -> Body:
        body = PyBulletBody(self.spec, self._gui)
        self._window = Scene(body.client) if self._gui else None
        return body
