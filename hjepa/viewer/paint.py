"""Small painting helpers on Pillow: fonts, colours, round-ended links. All lengths in drawn pixels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import ImageDraw, ImageFont

from hjepa.types import Array

RGB = tuple[int, int, int]

# Okabe & Ito (2008), colours that stay apart for colour-blind eyes, brightened a little for a dark hall
ORANGE: RGB = (240, 138, 36)
SKY: RGB = (110, 190, 245)
GREEN: RGB = (54, 196, 148)
YELLOW: RGB = (250, 224, 90)
PURPLE: RGB = (224, 130, 190)
RED: RGB = (226, 92, 60)
WHITE: RGB = (244, 246, 248)
INK: RGB = (16, 22, 32)


@lru_cache(maxsize=32)
def font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which travels with matplotlib: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size_px)


def shade(colour: RGB, factor: float) -> RGB:
    """Darker below 1, towards white above."""
    if factor <= 1.0:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    share = factor - 1.0
    return (
        int(colour[0] + (255 - colour[0]) * share),
        int(colour[1] + (255 - colour[1]) * share),
        int(colour[2] + (255 - colour[2]) * share),
    )


def disc(draw: ImageDraw.ImageDraw, centre: Array, radius: float, fill: tuple[int, ...]) -> None:
    x, y = float(centre[0]), float(centre[1])
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def capsule(draw: ImageDraw.ImageDraw, a: Array, b: Array, ra: float, rb: float, fill: tuple[int, ...]) -> None:
    """Filled hull of two discs (2,) with radii ra, rb."""
    along = b - a
    length = float(np.hypot(along[0], along[1]))
    if length > abs(ra - rb) + 1e-6:
        cos = (ra - rb) / length  # the common tangents touch the discs at this angle to the axis
        sin = float(np.sqrt(1 - cos * cos))
        u = along / length
        n = np.array([-u[1], u[0]])
        side1, side2 = cos * u + sin * n, cos * u - sin * n
        corners = [a + ra * side1, b + rb * side1, b + rb * side2, a + ra * side2]
        draw.polygon([(float(p[0]), float(p[1])) for p in corners], fill=fill)
    disc(draw, a, ra, fill)
    disc(draw, b, rb, fill)


def round_link(draw: ImageDraw.ImageDraw, a: Array, b: Array, ra: float, rb: float, colour: RGB) -> None:
    """A link that looks round: dark rim, body, and two lighter layers shifted towards the light (up and left)."""
    light = np.array([-0.30, -0.42])
    capsule(draw, a, b, ra + 1.6, rb + 1.6, INK)
    capsule(draw, a, b, ra, rb, shade(colour, 0.66))
    for size, factor in ((0.80, 0.86), (0.58, 1.0), (0.30, 1.22)):
        shift = 1.0 - size
        capsule(draw, a + light * ra * shift, b + light * rb * shift, ra * size, rb * size, shade(colour, factor))
