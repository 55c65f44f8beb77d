"""A film of a whole rally: one robot or two, and the shuttle between them, in real time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageDraw

from hjepa.viewer import figure, hud
from hjepa.viewer.camera import Camera
from hjepa.viewer.scene import StrokeScene
from hjepa.viewer.stage import stage
from hjepa.viewer.video import RATE_HZ, Frame

END_S = 1.0  # the picture rests on the end


class RallyScene(NamedTuple):
    """A rally as it is drawn: the near robot with the shuttle's whole way, the far robot, what is being said."""

    near: StrokeScene
    far: StrokeScene | None  # None: nobody is drawn there
    captions: list[tuple[float, str]]  # (time, text) in force from then on


def turned(scene: StrokeScene) -> StrokeScene:
    """The same robot on the other side of the net."""
    turn = np.diag([-1.0, -1.0, 1.0])
    T = scene.T_world_racket.copy()
    T[:, :3] = np.einsum("ij,tjk->tik", turn, T[:, :3])
    return replace(
        scene, joint_points_m=scene.joint_points_m @ turn, T_world_racket=T, shuttle_m=scene.shuttle_m @ turn
    )


def frames(rally: RallyScene, rate_hz: int = RATE_HZ) -> Iterator[Frame]:
    """RGB frames from the service to a while after the end."""
    camera = Camera()
    scene = stage(camera)
    at_s = np.arange(rally.near.times_s[0], rally.near.times_s[-1] + END_S, 1.0 / rate_hz)
    near = figure.project_stroke(rally.near, at_s, camera)
    far = figure.project_stroke(rally.far, at_s, camera) if rally.far is not None else None
    for f, now in enumerate(at_s):
        canvas = scene.bare.copy()
        shade = Image.new("L", camera.size, 0)
        for motion in (far, near):
            if motion is not None:
                figure.paint_shadow(ImageDraw.Draw(shade), motion, f, camera.focal_px)
        canvas.paste((4, 12, 16), (0, 0), shade)
        draw = ImageDraw.Draw(canvas, "RGBA")
        beyond = near.shuttle_x_m[f] > 0
        if far is not None:
            figure.paint_beam(draw, far, f)
            figure.paint_robot(draw, far, f, camera.focal_px)
        figure.paint_trail(draw, near, f, float("inf"), beyond_net=True)
        if beyond:
            figure.paint_shuttle(draw, near, f, camera.focal_px)
        canvas.paste(scene.net, (0, 0), scene.net)
        figure.paint_beam(draw, near, f)
        figure.paint_trail(draw, near, f, float("inf"), beyond_net=False)
        figure.paint_robot(draw, near, f, camera.focal_px)
        if not beyond:
            figure.paint_shuttle(draw, near, f, camera.focal_px)
        picture = canvas.reduce(camera.scale)
        said = [text for at, text in rally.captions if at <= now]
        if said:
            label = hud.tag(said[-1])
            picture.paste(label, (18, camera.height_px - 18 - label.height), label)
        yield np.asarray(picture)


def write(path: Path, rally: RallyScene, rate_hz: int = RATE_HZ) -> int:
    """MP4 of the rally; the number of frames written."""
    codec = "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"
    camera, written = Camera(), 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=Fraction(rate_hz))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = camera.width_px, camera.height_px, "yuv420p"
        stream.options = {"crf": "21", "preset": "veryfast"} if codec == "libx264" else {"q": "4"}
        for picture in frames(rally, rate_hz):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            written += 1
        container.mux(stream.encode(None))
    return written
