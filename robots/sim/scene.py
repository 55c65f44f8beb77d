"""The court in PyBullet's window: floor, lines, net and shuttle. Looks only: nothing here takes part in the physics."""

from __future__ import annotations

import time

import pybullet as p

from hjepa.tasks.badminton import court

_FLOOR = (0.13, 0.42, 0.33, 1.0)
_LINE = (0.96, 0.96, 0.96, 1.0)
_NET = (0.10, 0.10, 0.12, 0.45)
_POST = (0.75, 0.75, 0.78, 1.0)
_SHUTTLE = (1.0, 0.95, 0.4, 1.0)
_SHUTTLE_RADIUS_M = 0.045  # larger than life, or one would not see it


class Scene:
    """Draws the court once and moves the shuttle."""

    def __init__(self, client: int) -> None:
        self._client = client
        self._launched_s = time.perf_counter()
        p.configureDebugVisualizer(p.COV_ENABLE_GUI, 0, physicsClientId=client)
        p.configureDebugVisualizer(p.COV_ENABLE_RENDERING, 0, physicsClientId=client)
        self._court()
        shape = p.createVisualShape(p.GEOM_SPHERE, radius=_SHUTTLE_RADIUS_M, rgbaColor=_SHUTTLE, physicsClientId=client)
        self._shuttle = p.createMultiBody(0, -1, shape, (0.0, 0.0, -1.0), physicsClientId=client)
        p.configureDebugVisualizer(p.COV_ENABLE_RENDERING, 1, physicsClientId=client)
        p.resetDebugVisualizerCamera(9.5, -55.0, -22.0, (-1.2, 0.0, 1.0), physicsClientId=client)

    def show(self, shuttle_m: tuple[float, float, float], time_s: float) -> None:
        """Put the shuttle (3,) where it is `time_s` after the launch, not sooner than that by the clock on the wall."""
        now = time.perf_counter()
        if time_s == 0.0:
            self._launched_s = now
        elif (early := self._launched_s + time_s - now) > 0:
            time.sleep(early)
        p.resetBasePositionAndOrientation(self._shuttle, shuttle_m, (0.0, 0.0, 0.0, 1.0), physicsClientId=self._client)

    def _box(
        self, centre: tuple[float, float, float], size: tuple[float, float, float], colour: tuple[float, ...]
    ) -> None:
        half = [0.5 * s for s in size]
        shape = p.createVisualShape(p.GEOM_BOX, halfExtents=half, rgbaColor=colour, physicsClientId=self._client)
        p.createMultiBody(0, -1, shape, centre, physicsClientId=self._client)

    def _court(self) -> None:
        length, width, half = court.COURT_LENGTH_M, court.DOUBLES_WIDTH_M, court.HALF_LENGTH_M
        line = court.LINE_WIDTH_M
        self._box((0.0, 0.0, -0.02), (length + 3.0, width + 3.0, 0.02), _FLOOR)
        for y in (court.HALF_DOUBLES_M, court.HALF_SINGLES_M):
            for side in (-1, 1):
                self._box((0.0, side * (y - line / 2), -0.008), (length, line, 0.004), _LINE)
        across = (half, court.LONG_SERVICE_DOUBLES_M, court.SHORT_SERVICE_LINE_M)
        for side in (-1, 1):
            for x in across:
                self._box((side * (x - line / 2), 0.0, -0.008), (line, width, 0.004), _LINE)
            middle = 0.5 * (half + court.SHORT_SERVICE_LINE_M)
            self._box((side * middle, 0.0, -0.008), (half - court.SHORT_SERVICE_LINE_M, line, 0.004), _LINE)
            post = court.NET_HEIGHT_POST_M
            self._box((0.0, side * court.HALF_DOUBLES_M, post / 2), (0.04, 0.04, post), _POST)
        top, depth = court.NET_HEIGHT_M, court.NET_DEPTH_M
        self._box((0.0, 0.0, top - depth / 2), (0.01, width, depth), _NET)
        self._box((0.0, 0.0, top - 0.02), (0.02, width, 0.04), _LINE)
