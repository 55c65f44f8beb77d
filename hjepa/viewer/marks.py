"""Marks on the floor: the committed target, the predicted landing, the landing itself. All lie flat in perspective."""

from __future__ import annotations

import math

import numpy as np
from PIL import ImageDraw

from hjepa.types import Array
from hjepa.viewer import paint
from hjepa.viewer.camera import Camera
from hjepa.viewer.scene import StrokeScene

_RING = np.linspace(0, 2 * np.pi, 49)
RIPPLE_S, LAUNCH_S = 0.45, 0.5


def _flat(camera: Camera, xy: tuple[float, float], radius_m: float, start: float = 0.0, turns: int = 0) -> Array:
    """Pixels of a ring on the floor, (49, 2), or of `turns` points of it."""
    angle = start + (_RING if not turns else np.arange(turns) * 2 * np.pi / turns)
    ring = np.stack([xy[0] + radius_m * np.cos(angle), xy[1] + radius_m * np.sin(angle), 0 * angle], axis=-1)
    return camera.project(ring)[0]


def _xy(points: Array) -> list[tuple[float, float]]:
    return [(float(p[0]), float(p[1])) for p in points]


def paint_target(draw: ImageDraw.ImageDraw, camera: Camera, scene: StrokeScene) -> None:
    """Rings of 0.5 and 0.25 m around the target."""
    if not math.isfinite(scene.target_xy_m[0]):
        return
    draw.polygon(_xy(_flat(camera, scene.target_xy_m, 0.50)), fill=(*paint.PURPLE, 60))
    draw.line(_xy(_flat(camera, scene.target_xy_m, 0.50)), fill=(*paint.PURPLE, 235), width=4, joint="curve")
    draw.line(_xy(_flat(camera, scene.target_xy_m, 0.25)), fill=(*paint.PURPLE, 200), width=3, joint="curve")
    draw.polygon(_xy(_flat(camera, scene.target_xy_m, 0.07)), fill=(*paint.PURPLE, 255))


def paint_launch(draw: ImageDraw.ImageDraw, camera: Camera, scene: StrokeScene, now_s: float) -> None:
    """Where the real player stood and hit: a mast from the floor to the shuttle's first point, fading."""
    share = 1.0 - (now_s - float(scene.times_s[0])) / LAUNCH_S
    if share <= 0.0:
        return
    x, y, z = (float(v) for v in scene.shuttle_m[0])
    alpha = int(210 * min(1.0, 1.6 * share))
    mast = camera.project(np.array([[x, y, 0.0], [x, y, z]]))[0]
    draw.line(_xy(_flat(camera, (x, y), 0.38)), fill=(*paint.SKY, alpha), width=4, joint="curve")
    draw.polygon(_xy(_flat(camera, (x, y), 0.38)), fill=(*paint.SKY, alpha // 4))
    draw.line(_xy(mast), fill=(*paint.SKY, alpha // 2), width=3)
    paint.disc(draw, mast[1], 4 + 22 * (1 - share), (*paint.SKY, alpha // 3))


def paint_predicted(draw: ImageDraw.ImageDraw, camera: Camera, scene: StrokeScene) -> None:
    """A cross where the robot expects the shuttle to land."""
    if not math.isfinite(scene.predicted_xy_m[0]):
        return
    arms = _flat(camera, scene.predicted_xy_m, 0.22, math.pi / 4, turns=4)
    for a, b in ((0, 2), (1, 3)):
        draw.line(_xy(arms[[a, b]]), fill=(*paint.INK, 200), width=8)
    for a, b in ((0, 2), (1, 3)):
        draw.line(_xy(arms[[a, b]]), fill=(*paint.YELLOW, 255), width=4)


def paint_landing(draw: ImageDraw.ImageDraw, camera: Camera, scene: StrokeScene, now_s: float) -> None:
    """A dot where it landed, with a ripple that runs outwards."""
    if not (math.isfinite(scene.landing_xy_m[0]) and now_s >= scene.landing_s):
        return
    colour = paint.WHITE if scene.returned else paint.RED
    share = min(1.0, (now_s - scene.landing_s) / RIPPLE_S)
    if share < 1.0:
        ring = _flat(camera, scene.landing_xy_m, 0.12 + 0.7 * share)
        draw.line(_xy(ring), fill=(*colour, int(230 * (1 - share))), width=5, joint="curve")
    draw.polygon(_xy(_flat(camera, scene.landing_xy_m, 0.11)), fill=(*paint.INK, 255))
    draw.polygon(_xy(_flat(camera, scene.landing_xy_m, 0.085)), fill=(*colour, 255))
