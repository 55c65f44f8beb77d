"""The moving part of the picture: robot, racket, shuttle, trail. Legend: F frames, P chain points, S trail points.

Everything of a stroke is projected at once; a frame then only paints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from hjepa.types import Array
from hjepa.viewer import paint
from hjepa.viewer.camera import Camera
from hjepa.viewer.scene import StrokeScene, interpolate

LINK_RADIUS_M = (
    0.155,
    0.115,
    0.105,
    0.085,
    0.075,
    0.060,
    0.050,
    0.040,
)  # chain from the base outwards, drawn a bit full
ACCENT = frozenset((1, 3))  # links in the dark joint colour
TRAIL_S, SWOOSH_S = 0.42, 0.085
SHUTTLE_SIZE = 2.1  # drawn larger than life, or it could not be seen
GRID_S = 0.004  # of the trails
_RING = np.linspace(0, 2 * np.pi, 33)[:-1]


@dataclass(frozen=True, eq=False)
class Motion:
    """A stroke in drawn pixels, per frame."""

    at_s: Array  # (F,)
    chain: Array  # (F, P, 2)
    chain_depth: Array  # (F, P)
    head: Array  # (F, 32, 2) rim of the racket
    strings: Array  # (F, 10, 2, 2)
    shaft: Array  # (F, 3, 2) butt, end of the grip, throat
    racket_depth: Array  # (F,)
    shuttle: Array  # (F, 3, 2) cork, and the rim of the skirt's two edges
    shuttle_depth: Array  # (F,)
    shuttle_x_m: Array  # (F,) which side of the net
    shadow: Array  # (F, 2) of the shuttle, on the floor
    foot: Array  # (F, P, 2) the chain's shadow on the floor
    beam: Array  # (F, 8, 2) the base's cross beam
    grid_s: Array  # (S,)
    trail: Array  # (S, 2)
    trail_x_m: Array  # (S,)
    ribbon: Array  # (S, 2, 2) racket tip and throat
    ribbon_speed: Array  # (S,) m/s


def project_stroke(scene: StrokeScene, at_s: Array, camera: Camera) -> Motion:
    """All pixels of a stroke at instants at_s (F,)."""

    def sample(values: Array, at: Array = at_s) -> Array:
        return interpolate(scene.times_s, values, at)

    def pixels(points: Array) -> Array:
        return camera.project(points)[0]

    chain = sample(scene.joint_points_m)
    T = sample(scene.T_world_racket)
    grid = np.arange(at_s[0], at_s[-1] + GRID_S, GRID_S)
    fine = sample(scene.T_world_racket, grid)
    tips = np.stack([_on(fine, 0.16, 0.0), _on(fine, -0.10, 0.0)], axis=-2)  # (S, 2, 3)
    speed = np.linalg.norm(np.gradient(tips[:, 0], GRID_S, axis=0), axis=-1)
    shuttle, path = sample(scene.shuttle_m), sample(scene.shuttle_m, grid)
    chain_px, chain_depth = camera.project(chain)
    flat = np.array([1.0, 1.0, 0.0])
    light = chain * flat - chain[..., 2:] * np.array([-0.30, -0.42, 0.0])  # lamps hang high on the right
    return Motion(
        at_s=at_s,
        chain=chain_px,
        chain_depth=chain_depth,
        head=pixels(_head(T, scene.semi_axes_m)),
        strings=pixels(_strings(T, scene.semi_axes_m)),
        shaft=pixels(np.stack([_on(T, -s, 0.0) for s in (0.525, 0.36, scene.semi_axes_m[0])], axis=-2)),
        racket_depth=camera.project(T[:, :3, 3])[1],
        shuttle=pixels(_shuttle(shuttle, sample(np.gradient(scene.shuttle_m, scene.times_s, axis=0)), T)),
        shuttle_depth=camera.project(shuttle)[1],
        shuttle_x_m=shuttle[:, 0],
        shadow=pixels(shuttle * flat),
        foot=pixels(light),
        beam=pixels(_beam(chain[:, 0])),
        grid_s=grid,
        trail=pixels(path),
        trail_x_m=path[:, 0],
        ribbon=pixels(tips),
        ribbon_speed=speed,
    )


def _on(T: Array, x: float, y: float) -> Array:
    """World point (..., 3) at (x, y) of the racket plane."""
    return T[..., :3, 3] + x * T[..., :3, 0] + y * T[..., :3, 1]


def _head(T: Array, axes: tuple[float, float]) -> Array:
    return np.stack([_on(T, axes[0] * math.cos(a), axes[1] * math.sin(a)) for a in _RING], axis=-2)


def _strings(T: Array, axes: tuple[float, float]) -> Array:
    lines = []
    for share in (-0.66, -0.33, 0.0, 0.33, 0.66):
        reach = math.sqrt(1 - share * share)
        lines.append(np.stack([_on(T, s * reach * axes[0], share * axes[1]) for s in (-1, 1)], axis=-2))
        lines.append(np.stack([_on(T, share * axes[0], s * reach * axes[1]) for s in (-1, 1)], axis=-2))
    return np.stack(lines, axis=-3)


def _shuttle(x: Array, v: Array, T: Array) -> Array:
    """Cork tip and the two edges of the skirt's rim, (F, 3, 3): the cork leads, the skirt trails."""
    speed = np.linalg.norm(v, axis=-1, keepdims=True)
    ahead = np.where(speed > 0.2, v / np.maximum(speed, 1e-9), np.array([0.0, 0.0, -1.0]))
    side = np.cross(ahead, [0.31, -0.86, 0.40])
    side = side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    rim = x - 0.060 * SHUTTLE_SIZE * ahead
    return np.stack([x, rim + 0.033 * SHUTTLE_SIZE * side, rim - 0.033 * SHUTTLE_SIZE * side], axis=-2)


def _beam(base: Array) -> Array:
    """Corners (F, 8, 3) of the beam across the court that carries the base, on rails at the court's sides."""
    corners = [(dx, y, z) for z in (0.03, 0.10) for dx, y in ((-0.09, -3.3), (0.09, -3.3), (0.09, 3.3), (-0.09, 3.3))]
    offset = np.array(corners)
    return base[:, None] * np.array([1.0, 0.0, 0.0]) + offset


def _xy(points: Array) -> list[tuple[float, float]]:
    return [(float(p[0]), float(p[1])) for p in points]


def paint_beam(draw: ImageDraw.ImageDraw, motion: Motion, f: int) -> None:
    b = motion.beam[f]
    draw.polygon(_xy(b[[0, 3, 7, 4]]), fill=(34, 40, 48))  # the side towards the camera
    draw.polygon(_xy(b[4:]), fill=(74, 84, 96))
    draw.line(_xy(b[[4, 7]]), fill=(110, 122, 136), width=1)


def paint_shadow(draw: ImageDraw.ImageDraw, motion: Motion, f: int, focal_px: float) -> None:
    """Soft mask of the robot's and the shuttle's shadows (draw on an 'L' picture)."""
    foot = motion.foot[f]
    for i in range(len(foot) - 1):
        r = focal_px * LINK_RADIUS_M[min(i, len(LINK_RADIUS_M) - 1)] / motion.chain_depth[f, i] * 0.8
        paint.capsule(draw, foot[i], foot[i + 1], r, r, (150,))
    if math.isfinite(motion.shadow[f, 0]):
        r = focal_px * 0.06 / motion.shuttle_depth[f] + 2
        x, y = motion.shadow[f]
        draw.ellipse((x - 1.6 * r, y - 0.6 * r, x + 1.6 * r, y + 0.6 * r), fill=190)


def paint_robot(draw: ImageDraw.ImageDraw, motion: Motion, f: int, focal_px: float) -> None:
    """Base, links from far to near, racket where its depth puts it."""
    chain, depth = motion.chain[f], motion.chain_depth[f]
    links = len(chain) - 1
    order: list[tuple[float, int]] = [(0.5 * (depth[i] + depth[i + 1]), i) for i in range(links)]
    order.append((motion.racket_depth[f], links))
    _carriage(draw, chain[0], focal_px / depth[0])
    for _, i in sorted(order, reverse=True):
        if i == links:
            _racket(draw, motion, f, focal_px)
            continue
        ra = focal_px * LINK_RADIUS_M[min(i, len(LINK_RADIUS_M) - 1)] / depth[i]
        rb = focal_px * LINK_RADIUS_M[min(i + 1, len(LINK_RADIUS_M) - 1)] / depth[i + 1]
        if np.hypot(*(chain[i + 1] - chain[i])) < 1.0:
            continue
        colour = (70, 78, 92) if i == 0 else paint.ORANGE
        paint.round_link(draw, chain[i], chain[i + 1], ra, rb, colour)
        if i > 0:
            _joint(draw, chain[i], 0.80 * ra)


def _joint(draw: ImageDraw.ImageDraw, at: Array, radius: float) -> None:
    paint.disc(draw, at, radius, paint.INK)
    paint.disc(draw, at, 0.78 * radius, (58, 66, 80))
    paint.disc(draw, at - 0.16 * radius, 0.42 * radius, (104, 114, 130))


def _carriage(draw: ImageDraw.ImageDraw, at: Array, px_per_m: float) -> None:
    """Low round carriage under the column."""
    for lift, radius, colour in ((0.0, 0.34, (22, 26, 32)), (0.10, 0.34, (44, 51, 61)), (0.13, 0.30, (66, 75, 88))):
        x, y, r = at[0], at[1] - lift * px_per_m, radius * px_per_m
        draw.ellipse((x - r, y - 0.45 * r, x + r, y + 0.45 * r), fill=colour)


def _racket(draw: ImageDraw.ImageDraw, motion: Motion, f: int, focal_px: float) -> None:
    px = focal_px / motion.racket_depth[f]
    butt, grip, throat = motion.shaft[f]
    width = max(2, round(0.014 * px))
    draw.line(_xy(np.stack([grip, throat])), fill=paint.INK, width=width + 3)
    draw.line(_xy(np.stack([grip, throat])), fill=(206, 214, 222), width=width)
    paint.capsule(draw, butt, grip, 0.022 * px, 0.018 * px, paint.INK)
    paint.capsule(draw, butt, grip, 0.015 * px, 0.012 * px, (40, 120, 190))
    head = _xy(motion.head[f])
    draw.polygon(head, fill=(235, 240, 245, 46))
    for line in motion.strings[f]:
        draw.line(_xy(line), fill=(240, 244, 248, 90), width=1)
    draw.line([*head, *head[:2]], fill=paint.INK, width=width + 3, joint="curve")
    draw.line([*head, *head[:2]], fill=(250, 238, 220), width=width, joint="curve")


def paint_ribbon(draw: ImageDraw.ImageDraw, motion: Motion, f: int) -> None:
    """Fading sweep of the racket head while it is fast."""
    last = int(np.searchsorted(motion.grid_s, motion.at_s[f]))
    first = max(0, last - int(SWOOSH_S / GRID_S))
    for s in range(first, min(last, len(motion.grid_s) - 1)):
        strength = min(1.0, max(0.0, (motion.ribbon_speed[s] - 3.0) / 9.0)) * (s - first) / (SWOOSH_S / GRID_S)
        if strength > 0.02:
            quad = [*_xy(motion.ribbon[s]), *_xy(motion.ribbon[s + 1][::-1])]
            draw.polygon(quad, fill=(255, 214, 150, int(105 * strength)))


def paint_trail(
    draw: ImageDraw.ImageDraw,
    motion: Motion,
    f: int,
    contact_s: float,
    beyond_net: bool,
    alarmed_s: float = math.inf,
) -> None:
    """Fading path of the shuttle on one side of the net: sky blue as it comes, yellow as it goes; red where it came as
    nobody had expected."""
    now = motion.at_s[f]
    last = int(np.searchsorted(motion.grid_s, now))
    first = max(0, last - int(TRAIL_S / GRID_S))
    step = 3
    for s in range(first, last, step):
        e = min(s + step, last, len(motion.trail) - 1)
        if (motion.trail_x_m[s] > 0) != beyond_net or not np.isfinite(motion.trail[[s, e]]).all():
            continue
        strength = (s - first) / max(1, last - first)
        gone, odd = motion.grid_s[s] >= contact_s, motion.grid_s[s] >= alarmed_s
        colour = paint.YELLOW if gone else paint.RED if odd else paint.SKY
        draw.line(_xy(motion.trail[[s, e]]), fill=(*colour, int(45 + 205 * strength)), width=round(2 + 6 * strength))


def paint_shuttle(draw: ImageDraw.ImageDraw, motion: Motion, f: int, focal_px: float) -> None:
    cork, left, right = motion.shuttle[f]
    if not np.isfinite(motion.shuttle[f]).all():
        return
    r = max(2.4, focal_px * 0.0135 * SHUTTLE_SIZE / motion.shuttle_depth[f])
    middle = (cork + left + right) / 3
    paint.disc(draw, middle, 3.6 * r, (255, 255, 255, 56))
    paint.capsule(draw, left, right, 0.9 * r, 0.9 * r, paint.INK)
    draw.polygon(_xy(np.stack([cork, left, right])), fill=paint.INK, outline=paint.INK, width=3)
    paint.capsule(draw, left, right, 0.45 * r, 0.45 * r, paint.WHITE)
    draw.polygon(_xy(np.stack([cork, left, right])), fill=paint.WHITE)
    paint.disc(draw, cork, 1.15 * r, paint.INK)
    paint.disc(draw, cork, 0.85 * r, (238, 226, 200))
