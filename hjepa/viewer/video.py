"""Film of played strokes: draws every frame in software and encodes it as MP4. No display and no simulator needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from hjepa.errors import DataError
from hjepa.types import Alarm
from hjepa.viewer import figure, hud, marks
from hjepa.viewer.camera import Camera
from hjepa.viewer.scene import StrokeScene, frame_times
from hjepa.viewer.stage import Stage, stage

Frame = NDArray[np.uint8]  # (height, width, 3) RGB
RATE_HZ = 30
SLOW = 0.3  # share of real speed around the contact
MARGIN_PX = 14
Box = tuple[int, int, int, int]  # left, upper, right, lower in drawn pixels


class Film:
    """Draws strokes one after another; remembers the landings for the map."""

    def __init__(self, count: int, camera: Camera | None = None, rate_hz: float = RATE_HZ, slow: float = SLOW) -> None:
        self.camera = camera or Camera()
        self.count, self.rate_hz, self.slow = count, rate_hz, slow
        self.done: list[StrokeScene] = []
        self._stage: Stage = stage(self.camera)
        self._net_box = self._stage.net.getbbox()
        self._shade = Image.new("L", self.camera.size, 0)

    def frames(self, scene: StrokeScene) -> Iterator[Frame]:
        """RGB frames of one stroke; once it has landed it is on the map."""
        at_s = frame_times(scene, self.rate_hz, self.slow)
        motion = figure.project_stroke(scene, at_s, self.camera)
        ground = self._stage.bare.copy()  # with this stroke's target, without the net
        marks.paint_target(ImageDraw.Draw(ground, "RGBA"), self.camera, scene)
        canvas = ground.copy()
        canvas.paste(self._stage.net, (0, 0), self._stage.net)
        still = canvas.reduce(self.camera.scale)
        charts = hud.map_panel(self.done, scene), hud.map_panel([*self.done, scene], None)
        for f, now in enumerate(at_s):
            box = self._box(scene, motion, f)
            canvas.paste(ground.crop(box), box)
            self._paint(canvas, scene, motion, f, box)
            picture = still.copy()
            picture.paste(canvas.crop(box).reduce(self.camera.scale), (box[0] // 2, box[1] // 2))
            landed = bool(now >= scene.landing_s or (not scene.hit and now >= scene.contact_s + 0.3))
            phase = 2 if landed else 1 if now >= scene.contact_s else 0
            is_slow = f + 1 < len(at_s) and at_s[f + 1] - now < 0.9 / self.rate_hz
            self._panels(picture, scene, phase, charts[landed], is_slow)
            self._surprise(picture, scene.alarm(float(now)))
            yield np.asarray(picture)
        self.done.append(scene)

    def _paint(self, canvas: Image.Image, scene: StrokeScene, motion: figure.Motion, f: int, box: Box) -> None:
        """Everything that moves, far things first, at the drawn size."""
        focal, now = self.camera.focal_px, float(motion.at_s[f])
        self._shadows(canvas, motion, f, box)
        draw = ImageDraw.Draw(canvas, "RGBA")
        marks.paint_launch(draw, self.camera, scene, now)
        if scene.hit and now >= scene.contact_s:
            marks.paint_predicted(draw, self.camera, scene)
        marks.paint_landing(draw, self.camera, scene, now)
        figure.paint_trail(draw, motion, f, scene.contact_s, True, scene.alarmed_s)
        shuttle_beyond = motion.shuttle_x_m[f] > 0
        if shuttle_beyond:
            figure.paint_shuttle(draw, motion, f, focal)
        behind_net = _overlap(box, self._net_box)
        if behind_net:
            net = self._stage.net.crop(behind_net)
            canvas.paste(net, behind_net, net)
        figure.paint_beam(draw, motion, f)
        shuttle_behind = not shuttle_beyond and motion.shuttle_depth[f] > motion.racket_depth[f]
        figure.paint_trail(draw, motion, f, scene.contact_s, False, scene.alarmed_s)
        if shuttle_behind:
            figure.paint_shuttle(draw, motion, f, focal)
        figure.paint_ribbon(draw, motion, f)
        figure.paint_robot(draw, motion, f, focal)
        if not shuttle_beyond and not shuttle_behind:
            figure.paint_shuttle(draw, motion, f, focal)

    def _shadows(self, canvas: Image.Image, motion: figure.Motion, f: int, box: Box) -> None:
        self._shade.paste(0, box)
        figure.paint_shadow(ImageDraw.Draw(self._shade), motion, f, self.camera.focal_px)
        mask = self._shade.crop(box)
        inner = mask.getbbox()
        if inner is None:
            return
        around = (inner[0] - 8, inner[1] - 8, inner[2] + 8, inner[3] + 8)
        soft = mask.crop(around).filter(ImageFilter.BoxBlur(4))
        canvas.paste((4, 12, 16), (around[0] + box[0], around[1] + box[1]), soft)

    def _box(self, scene: StrokeScene, motion: figure.Motion, f: int) -> Box:
        """Box (even numbers) around all that moves in this frame or lies on the floor since the contact."""
        now = motion.at_s[f]
        ends = slice(*np.searchsorted(motion.grid_s, [now - figure.TRAIL_S, now + figure.GRID_S]))
        parts = [motion.chain[f], motion.head[f], motion.foot[f], motion.shuttle[f], motion.beam[f], motion.trail[ends]]
        parts += [motion.ribbon[ends].reshape(-1, 2), motion.shadow[f, None]]
        if now < scene.times_s[0] + marks.LAUNCH_S:
            start = scene.shuttle_m[0]
            mast = np.array([[start[0] + dx, start[1] + dx, z] for dx in (-0.5, 0.5) for z in (0.0, start[2])])
            parts.append(self.camera.project(mast)[0])
        if now >= scene.contact_s or now >= scene.landing_s:
            floor = np.array([[*scene.predicted_xy_m, 0.0], [*scene.landing_xy_m, 0.0]])
            reach = np.array([[-0.9, -0.9, 0.0], [0.9, 0.9, 0.0], [0.9, -0.9, 0.0], [-0.9, 0.9, 0.0]])
            parts.append(self.camera.project((floor[:, None] + reach).reshape(-1, 3))[0])
        points = np.concatenate(parts)
        points = points[np.isfinite(points).all(-1)]
        thick = MARGIN_PX + self.camera.focal_px * 0.4 / motion.chain_depth[f].min()
        low = np.maximum(points.min(0) - thick, 0).astype(int) // 2 * 2
        high = np.minimum((points.max(0) + thick).astype(int) // 2 * 2 + 2, self.camera.size)
        return int(low[0]), int(low[1]), max(int(high[0]), int(low[0]) + 2), max(int(high[1]), int(low[1]) + 2)

    def _panels(self, picture: Image.Image, scene: StrokeScene, phase: int, chart: Image.Image, is_slow: bool) -> None:
        card = hud.stroke_panel(scene, len(self.done) + 1, self.count, phase)
        right, bottom = self.camera.width_px - 18, self.camera.height_px - 18
        picture.paste(card, (right - card.width, bottom - card.height), card)
        picture.paste(chart, (right - chart.width, 18), chart)
        if is_slow:
            label = hud.tag(f"slow motion x{self.slow:g}")
            picture.paste(label, (18, bottom - label.height), label)

    @staticmethod
    def _surprise(picture: Image.Image, alarm: Alarm | None) -> None:
        if alarm is not None:
            panel = hud.surprise_panel(round(alarm.sensed.score, 1), round(alarm.sensed.p, 4), alarm.grade)
            picture.paste(panel, (18, 18), panel)


def _overlap(a: Box, b: Box | None) -> Box | None:
    if b is None:
        return None
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def write_video(path: Path, scenes: Sequence[StrokeScene], rate_hz: int = RATE_HZ) -> int:
    """MP4 (H.264, or MPEG-4 where that encoder is missing) of all strokes; the number of frames written."""
    if not scenes:
        raise DataError("no stroke to film: at least one is needed")
    film = Film(len(scenes), rate_hz=rate_hz)
    codec = "libx264" if "libx264" in av.codec.codecs_available else "mpeg4"
    written = 0
    unfinished = path.with_name(f".{path.name}.part")
    with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = film.camera.width_px, film.camera.height_px, "yuv420p"
        stream.options = {"crf": "21", "preset": "veryfast"} if codec == "libx264" else {"q": "4"}
        for scene in scenes:
            for picture in film.frames(scene):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                written += 1
        container.mux(stream.encode())
    unfinished.replace(path)
    return written
