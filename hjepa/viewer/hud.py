"""Panels over the film: what came in, what the robot chose, how it went; a map of all landings. Image pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

from hjepa.tasks.badminton import court
from hjepa.types import GRADES
from hjepa.viewer import paint
from hjepa.viewer.scene import StrokeScene

PANEL = (10, 15, 24, 205)
FAINT, SOFT = (148, 160, 176, 255), (205, 213, 223, 255)
SCALE = 2  # panels are drawn twice as large and reduced


def _panel(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (width * SCALE, height * SCALE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width * SCALE - 1, height * SCALE - 1), 9 * SCALE, fill=PANEL)
    return image, draw


def _text(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, fill: tuple[int, ...], bold: bool = False
) -> float:
    """Write with the left end of the baseline at x, y; the x where it ends."""
    face = paint.font(size * SCALE, bold)
    draw.text((x * SCALE, y * SCALE), text, fill=fill, font=face, anchor="ls")
    return x + face.getlength(text) / SCALE


def _badge(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: paint.RGB) -> None:
    width = paint.font(13 * SCALE, True).getlength(text) / SCALE + 18
    box = (x * SCALE, (y - 15) * SCALE, (x + width) * SCALE, (y + 6) * SCALE)
    draw.rounded_rectangle(box, 6 * SCALE, fill=(*colour, 255))
    _text(draw, x + 9, y, text, 13, (*paint.INK, 255), True)


def verdict(scene: StrokeScene) -> tuple[str, paint.RGB]:
    """Word and colour for how the stroke ended."""
    if scene.returned:
        return "returned", paint.GREEN
    return (scene.fault or ("out" if scene.hit else "missed")), paint.RED


@lru_cache(maxsize=8)
def stroke_panel(scene: StrokeScene, number: int, count: int, phase: int) -> Image.Image:
    """Lower right: phase 0 before the contact, 1 after it, 2 landed."""
    image, draw = _panel(270, 128)
    _text(draw, 16, 26, f"STROKE {number} OF {count}", 11, FAINT, True)
    _text(draw, 16, 52, "player", 12, FAINT)
    _text(draw, 70, 52, scene.incoming or "unknown", 18, (*paint.SKY, 255), True)
    _text(draw, 16, 80, "robot", 12, FAINT)
    _text(draw, 70, 80, scene.chosen or "return", 18, (*paint.YELLOW, 255), True)
    if phase == 0:
        plan = f"plan {scene.plan_ms:.0f} ms" if math.isfinite(scene.plan_ms) else "planning"
        _text(draw, 16, 110, plan, 13, SOFT)
    else:
        end = 16.0
        if scene.hit and math.isfinite(scene.racket_speed_m_s):
            end = _text(draw, 16, 110, f"racket {scene.racket_speed_m_s:.1f} m/s", 13, SOFT) + 14
        if phase == 2 and math.isfinite(scene.landing_error_m):
            _text(draw, end, 110, f"{scene.landing_error_m:.2f} m from target", 13, SOFT)
    if phase == 2 or (phase == 1 and not scene.hit):
        word, colour = verdict(scene)
        width = paint.font(13 * SCALE, True).getlength(word) / SCALE + 18
        _badge(draw, 270 - 14 - width, 27, word, colour)
    return image.reduce(SCALE)


MAP_M_TO_PX = 21.0


def _map_xy(xy: tuple[float, float], width: int) -> tuple[float, float]:
    """Opponent's half seen from above, net below, in panel pixels (before SCALE)."""
    return width / 2 - xy[1] * MAP_M_TO_PX, 176 - xy[0] * MAP_M_TO_PX


def map_panel(done: Sequence[StrokeScene], current: StrokeScene | None) -> Image.Image:
    """Upper right: the opponent's half with targets and landings so far, and the count of returns."""
    width = 158
    image, draw = _panel(width, 222)

    def line(*points: tuple[float, float], fill: tuple[int, ...] = (196, 210, 214, 255), w: int = 1) -> None:
        draw.line([tuple(SCALE * v for v in _map_xy(p, width)) for p in points], fill=fill, width=w * SCALE)

    a, b = _map_xy((court.HALF_LENGTH_M, court.HALF_DOUBLES_M), width), _map_xy((0.0, -court.HALF_DOUBLES_M), width)
    draw.rectangle([SCALE * v for v in (*a, *b)], fill=(15, 84, 72, 255))
    back, side = court.HALF_LENGTH_M, court.HALF_SINGLES_M
    for y in (-court.HALF_DOUBLES_M, -side, side, court.HALF_DOUBLES_M):
        line((0.0, y), (back, y))
    for x in (court.SHORT_SERVICE_LINE_M, back):
        line((x, -court.HALF_DOUBLES_M), (x, court.HALF_DOUBLES_M))
    line((court.SHORT_SERVICE_LINE_M, 0.0), (back, 0.0))
    line((0.0, -3.2), (0.0, 3.2), fill=(244, 246, 248, 255), w=2)

    def dot(xy: tuple[float, float], radius: float, fill: tuple[int, ...]) -> None:
        if math.isfinite(xy[0]) and -0.2 < xy[0] < 8.2 and abs(xy[1]) < 3.6:
            x, y = _map_xy(xy, width)
            draw.ellipse([SCALE * v for v in (x - radius, y - radius, x + radius, y + radius)], fill=fill)

    for scene in done:
        if math.isfinite(scene.target_xy_m[0]) and scene.hit:
            ends = [tuple(SCALE * v for v in _map_xy(p, width)) for p in (scene.target_xy_m, scene.landing_xy_m)]
            draw.line(ends, fill=(*paint.PURPLE, 150), width=SCALE)
        dot(scene.target_xy_m, 2.2, (*paint.PURPLE, 200))
        dot(scene.landing_xy_m, 2.6, (*(paint.WHITE if scene.returned else paint.RED), 255))
    if current is not None:
        dot(current.target_xy_m, 5.0, (*paint.PURPLE, 110))
        dot(current.target_xy_m, 2.6, (*paint.PURPLE, 255))
    returned = sum(scene.returned for scene in done)
    end = _text(draw, 15, 207, f"{returned}/{len(done)}", 18, (*paint.WHITE, 255), True)
    _text(draw, end + 7, 206, "returned", 13, FAINT)
    return image.reduce(SCALE)


RAREST = 1e-3  # p at which the bar of surprise is full
_GRADE_COLOURS = (paint.SKY, paint.YELLOW, paint.ORANGE, paint.RED, paint.RED)


@lru_cache(maxsize=64)
def surprise_panel(score: float, p: float, grade: int) -> Image.Image:
    """Upper left: how surprising the latest look was (the rarer in normal play, the longer the bar), and what is done
    about it."""
    image, draw = _panel(270, 84)
    colour = _GRADE_COLOURS[grade]
    _text(draw, 16, 26, "SURPRISE", 11, FAINT, True)
    width = paint.font(13 * SCALE, True).getlength(GRADES[grade]) / SCALE + 18
    _badge(draw, 270 - 14 - width, 27, GRADES[grade], colour)
    share = min(1.0, math.log(max(p, RAREST)) / math.log(RAREST))
    draw.rounded_rectangle([SCALE * v for v in (16, 38, 254, 50)], 5 * SCALE, fill=(60, 72, 88, 255))
    if share > 0.02:
        draw.rounded_rectangle([SCALE * v for v in (16, 38, 16 + 238 * share, 50)], 5 * SCALE, fill=(*colour, 255))
    _text(draw, 16, 71, f"score {score:.1f}", 12, SOFT)
    _text(draw, 110, 71, f"p {p:.3f}", 12, SOFT)
    return image.reduce(SCALE)


@lru_cache(maxsize=4)
def tag(text: str) -> Image.Image:
    """Small label, used for slow motion."""
    width = int(paint.font(12 * SCALE, True).getlength(text) / SCALE) + 20
    image, draw = _panel(width, 26)
    _text(draw, 10, 18, text, 12, SOFT, True)
    return image.reduce(SCALE)
