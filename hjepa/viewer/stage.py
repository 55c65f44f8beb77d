"""The still part of the picture: floor, lines, rails, wall and net, ray-cast once per camera in numpy.

Legend: h, w drawn pixels. Colours are RGB in 0..1 while shading. Court dimensions: BWF Laws of Badminton, Law 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hjepa.tasks.badminton import court
from hjepa.viewer.camera import Camera
from hjepa.viewer.paint import font

Pixels = NDArray[np.floating[Any]]  # single precision in fact


def _rgb(red: float, green: float, blue: float) -> Pixels:
    return np.array([red, green, blue], dtype=np.float32)


SURROUND, MAT, LINE = _rgb(0.075, 0.15, 0.21), _rgb(0.06, 0.36, 0.31), _rgb(0.93, 0.95, 0.94)
FOG, BOARD = _rgb(0.030, 0.045, 0.075), _rgb(0.05, 0.075, 0.125)
WALL_X_M, BOARD_X_M, BOARD_TOP_M, BOARD_HALF_M = 13.0, 9.2, 0.95, 5.2
RAIL_Y_M, RAIL_HALF_WIDTH_M = 3.28, 0.055


class Stage(NamedTuple):
    """Pictures of one camera's empty hall, at the drawn size."""

    bare: Image.Image  # RGB without the net
    full: Image.Image  # RGB with the net
    net: Image.Image  # RGBA, the net alone


@lru_cache(maxsize=2)
def stage(camera: Camera) -> Stage:
    """The hall seen by a camera; a second or so, then cached."""
    direction = camera.rays().astype(np.float32)  # half the memory, and much faster exponentials
    hall = _wall(camera, direction)
    hall = _floor(camera, direction, hall)
    hall = _boards(camera, direction, hall)
    bare = Image.fromarray((np.clip(hall, 0, 1) * 255).astype(np.uint8))
    net = _net(camera, direction)
    full = bare.copy()
    full.paste(net, (0, 0), net)
    return Stage(bare, full, net)


def _wall(camera: Camera, direction: Pixels) -> Pixels:
    """Far wall (h, w, 3): dark, with a soft glow above the court."""
    eye = camera.eye_m
    reach = (WALL_X_M - eye[0]) / np.maximum(direction[..., 0], 1e-3)
    y, z = eye[1] + reach * direction[..., 1], eye[2] + reach * direction[..., 2]
    glow = np.exp(-((y / 8.0) ** 2) - ((z - 1.0) / 3.2) ** 2)
    return FOG + glow[..., None] * _rgb(0.035, 0.075, 0.11)


def _band(distance: Pixels, half_width: float, pixel_m: Pixels) -> Pixels:
    """Coverage 0..1 of a line by distance from its middle, softened over a pixel."""
    return np.clip((half_width - np.abs(distance)) / pixel_m + 0.5, 0.0, 1.0)


def _lines(x: Pixels, y: Pixels, pixel_x: Pixels, pixel_y: Pixels) -> Pixels:
    """Coverage (h, w) of the court lines at floor points, outer edges on the court's limits."""
    half = court.LINE_WIDTH_M / 2
    depth = np.abs(x)
    inside_x = _band(x, court.HALF_LENGTH_M, pixel_x)
    inside_y = _band(y, court.HALF_DOUBLES_M, pixel_y)
    cover = np.zeros_like(x)
    for at in (court.HALF_SINGLES_M, court.HALF_DOUBLES_M):
        cover = np.maximum(cover, _band(np.abs(y) - at + half, half, pixel_y) * inside_x)
    for at in (court.HALF_LENGTH_M, court.LONG_SERVICE_DOUBLES_M, court.SHORT_SERVICE_LINE_M + 2 * half):
        cover = np.maximum(cover, _band(depth - at + half, half, pixel_x) * inside_y)
    centre = _band(y, half, pixel_y) * (depth > court.SHORT_SERVICE_LINE_M) * inside_x
    return np.maximum(cover, centre)


def _floor(camera: Camera, direction: Pixels, hall: Pixels) -> Pixels:
    """Floor, lit from above the court, with lines, rails of the robot's base and the net's shadow."""
    eye = camera.eye_m
    down = np.minimum(direction[..., 2], -1e-4)
    reach = -eye[2] / down
    x, y = eye[0] + reach * direction[..., 0], eye[1] + reach * direction[..., 1]
    pixel_y = reach / camera.focal_px
    pixel_x = pixel_y * np.sqrt(
        1 + (direction[..., 0] / down) ** 2
    )  # a pixel covers more floor where it is seen flatly
    mat = _band(x, court.HALF_LENGTH_M + 0.35, pixel_x) * _band(y, court.HALF_DOUBLES_M + 0.1, pixel_y)
    colour = SURROUND + mat[..., None] * (MAT - SURROUND)
    stripe = 0.012 * np.tanh(8 * np.sin(x * np.pi / 0.67)) * mat  # mown by turns, as sports floors look
    light = 0.80 + 0.55 * np.exp(-((x / 6.5) ** 2) - ((y / 4.2) ** 2))
    colour = (colour + stripe[..., None]) * light[..., None]
    shadow = np.exp(-(((x - 0.25) / 0.22) ** 2)) * _band(y, court.HALF_DOUBLES_M, pixel_y + 0.1)
    colour *= 1 - 0.28 * shadow[..., None]
    lines = _lines(x, y, pixel_x, pixel_y)[..., None]
    colour = colour + lines * (LINE * np.minimum(light, 1.15)[..., None] * 0.92 - colour)
    rail = _band(np.abs(y) - RAIL_Y_M, RAIL_HALF_WIDTH_M, pixel_y) * _band(x + 3.7, 3.3, pixel_x)
    shine = _band(np.abs(y) - RAIL_Y_M - 0.02, 0.012, pixel_y) * rail
    colour = colour + rail[..., None] * (_rgb(0.16, 0.18, 0.21) - colour) + 0.25 * shine[..., None]
    haze = np.clip((reach - 14.0) / 14.0, 0, 1)[..., None] ** 1.2
    lit = colour + haze * (hall - colour)
    seen = ((direction[..., 2] < 0) & (x < WALL_X_M))[..., None]
    return np.where(seen, lit, hall)


def _boards(camera: Camera, direction: Pixels, hall: Pixels) -> Pixels:
    """Boards behind the far end with the name on them."""
    eye = camera.eye_m
    reach = (BOARD_X_M - eye[0]) / np.maximum(direction[..., 0], 1e-3)
    y, z = eye[1] + reach * direction[..., 1], eye[2] + reach * direction[..., 2]
    per_m = 120
    size = (int(2 * BOARD_HALF_M * per_m), int(BOARD_TOP_M * per_m))
    texture = Image.new("L", size, 0)
    draw = ImageDraw.Draw(texture)
    name = font(78, bold=True)
    for at in (1 / 6, 3 / 6, 5 / 6):
        draw.text((size[0] * at, size[1] * 0.5), "hjepa", fill=255, font=name, anchor="mm")
    letters = np.asarray(texture, dtype=np.float64) / 255
    inside = (np.abs(y) < BOARD_HALF_M) & (z > 0) & (z < BOARD_TOP_M) & (direction[..., 0] > 0)
    column = np.clip(((BOARD_HALF_M - y) * per_m).astype(int), 0, size[0] - 1)
    row = np.clip(((BOARD_TOP_M - z) * per_m).astype(int), 0, size[1] - 1)
    light = (0.75 + 0.5 * np.exp(-((y / 4.0) ** 2)))[..., None]
    face = (BOARD + letters[row, column][..., None] * _rgb(0.17, 0.25, 0.29)) * light
    face = face + (np.abs(z - BOARD_TOP_M + 0.02) < 0.02)[..., None] * _rgb(0.05, 0.25, 0.22)
    return np.where(inside[..., None], face, hall)


def _net(camera: Camera, direction: Pixels) -> Image.Image:
    """The net and its posts as RGBA at the drawn size."""
    eye = camera.eye_m
    reach = -eye[0] / np.maximum(direction[..., 0], 1e-3)
    y, z = eye[1] + reach * direction[..., 1], eye[2] + reach * direction[..., 2]
    pixel = reach / camera.focal_px
    top = court.net_height_at(y)
    inside = _band(y, court.HALF_DOUBLES_M, pixel)
    body = _band(z - top + court.NET_DEPTH_M / 2, court.NET_DEPTH_M / 2, pixel) * inside
    mesh = np.maximum(
        _band(np.mod(y + 0.04, 0.08) - 0.04, 0.006, pixel), _band(np.mod(top - z + 0.04, 0.08) - 0.04, 0.006, pixel)
    )
    tape = _band(z - top + 0.0375, 0.0375, pixel) * inside
    hem = _band(z - top + court.NET_DEPTH_M, 0.012, pixel) * inside
    post = _band(np.abs(y) - court.HALF_DOUBLES_M - 0.02, 0.03, pixel) * (z > 0) * _band(z - 0.775, 0.785, pixel)
    alpha = np.maximum.reduce([body * (0.16 + 0.38 * mesh), 0.97 * tape, 0.6 * hem, post])
    white = np.maximum(tape, 0.55 * hem)[..., None]
    colour = _rgb(0.42, 0.47, 0.50) + white * (_rgb(0.97, 0.97, 0.96) - 0.45)
    rgba = np.concatenate([np.clip(colour, 0, 1), alpha[..., None]], axis=-1)
    return Image.fromarray((rgba * 255).astype(np.uint8), "RGBA")
