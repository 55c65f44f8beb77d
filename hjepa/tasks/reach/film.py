"""Film of a run: the arm's links from its description, the target, both trails. Legend: F frames, J joints, N ticks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hjepa.tasks.kinematics import joint_frames
from hjepa.tasks.reach.figures import Trace
from hjepa.types import Array, RobotSpec
from hjepa.viewer import paint
from hjepa.viewer.camera import Camera

Frame = NDArray[np.uint8]  # (height, width, 3) RGB
RATE_HZ = 30
TRAIL_S = 1.5
_FLOOR: tuple[int, ...] = (26, 38, 52)
_GRID: tuple[int, ...] = (44, 60, 78)
_RADIUS_M = (0.085, 0.080, 0.075, 0.070, 0.060, 0.055, 0.045, 0.030)


def frames(spec: RobotSpec, trace: Trace, title: str) -> Iterator[Frame]:
    """RGB frames in real time."""
    camera = Camera((1.75, -1.55, 1.15), (0.25, 0.0, 0.42), view_rad=0.70)
    step = max(1, round(1 / RATE_HZ / max(float(np.diff(trace.times_s[:2])[0]), 1e-3)))
    tail = round(TRAIL_S * RATE_HZ)
    rows = np.arange(0, len(trace.times_s), step)
    chain = joint_frames(spec, trace.q_rad[rows])[..., :3, 3]  # (F, J + 1, 3)
    chain = np.concatenate([np.zeros((len(rows), 1, 3)), chain], axis=1)
    links, depth = camera.project(chain)
    tool, target = (camera.project(x[rows])[0] for x in (trace.tool_m, trace.target_m))
    empty = _floor(camera)
    for f in range(len(rows)):
        picture = empty.copy()
        draw = ImageDraw.Draw(picture, "RGBA")
        _links(draw, links[f], depth[f], camera.focal_px)
        past = slice(max(0, f - tail), f + 1)
        _trail(draw, target[past], paint.YELLOW)
        _trail(draw, tool[past], paint.SKY)
        paint.disc(draw, target[f], 9.0, (*paint.YELLOW, 230))
        paint.disc(draw, tool[f], 5.0, paint.SKY)
        _words(draw, title, float(trace.times_s[rows[f]]), float(trace.distance_m[rows[f]]))
        yield np.asarray(picture.reduce(camera.scale))


def _floor(camera: Camera) -> Image.Image:
    picture = Image.new("RGB", camera.size, _FLOOR)
    draw = ImageDraw.Draw(picture)
    for x in np.arange(-1.0, 1.01, 0.25):
        for ends in (((x, -1.0, 0.0), (x, 1.0, 0.0)), ((-1.0, x, 0.0), (1.0, x, 0.0))):
            a, b = camera.project(np.array(ends))[0].tolist()
            draw.line([tuple(a), tuple(b)], fill=_GRID, width=2)
    return picture


def _links(draw: ImageDraw.ImageDraw, chain: Array, depth: Array, focal_px: float) -> None:
    for i in range(len(chain) - 1):
        if np.hypot(*(chain[i + 1] - chain[i])) < 1.0:
            continue
        near, far = (_RADIUS_M[min(i + k, len(_RADIUS_M) - 1)] * focal_px / depth[i + k] for k in (0, 1))
        paint.round_link(draw, chain[i], chain[i + 1], near, far, paint.ORANGE if i % 2 else paint.WHITE)


def _trail(draw: ImageDraw.ImageDraw, points: Array, colour: paint.RGB) -> None:
    for i in range(len(points) - 1):
        a, b = points[i].tolist(), points[i + 1].tolist()
        draw.line([tuple(a), tuple(b)], fill=(*colour, int(30 + 200 * i / len(points))), width=5)


def _words(draw: ImageDraw.ImageDraw, title: str, time_s: float, distance_m: float) -> None:
    draw.text((36, 30), title, fill=paint.WHITE, font=paint.font(34, bold=True))
    draw.text((36, 80), f"{time_s:5.1f} s   {1e3 * distance_m:5.1f} mm", fill=paint.WHITE, font=paint.font(30))


def write_film(path: Path, spec: RobotSpec, trace: Trace, title: str) -> int:
    """MP4 of a run (H.264, or MPEG-4 where that encoder is missing); the number of frames written."""
    codec = "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"
    written = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=RATE_HZ)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "21", "preset": "veryfast"} if codec == "libx264" else {"q": "4"}
        for picture in frames(spec, trace, title):
            if not written:  # an encoder that was opened takes no other size
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            written += 1
        container.mux(stream.encode())
    return written
