"""The scene of the page: the court stands still; robot, shuttle and curves are moved, and never made again."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser

from hjepa.tasks.badminton import court
from hjepa.types import Array, RobotSpec
from hjepa.viewer.live import paths, urdf
from hjepa.viewer.live.frames import Shot, Snapshot
from hjepa.viewer.live.urdf import Rgb

EYE_M, LOOK_AT_M = (-14.0, -4.4, 7.0), (-0.9, 0.5, 0.3)
VIEW_RAD = 0.68  # vertical
MAT, SURROUND, LINE = (21, 84, 76), (20, 27, 38), (226, 232, 230)
SKY, ORANGE, YELLOW, WHITE = (86, 180, 233), (230, 159, 0), (240, 228, 66), (246, 248, 250)  # Okabe and Ito (2008)
BEST = (253, 231, 37)  # the plan in force, as its energy's shade
SHUTTLE_SCALE = 2.2  # drawn larger than life, or it could not be seen
_NOT_A_LINE = np.zeros((1, 2, 3))
FLOOR_M = 0.012  # marks lie so high above the mat
SHOT_M = 0.09  # candidate shots: discs that face the camera
LAYERS = ("shuttle trail", "predicted flight", "candidate plans", "shots and target", "opponent")


class Stage:
    """Everything in 3-D. `show` moves it to a snapshot."""

    def __init__(self, server: viser.ViserServer, spec: RobotSpec, description: str) -> None:
        """description: the robot's URDF."""
        self._scene, self._spec = server.scene, spec
        server.initial_camera.position, server.initial_camera.look_at = EYE_M, LOOK_AT_M
        server.initial_camera.fov = VIEW_RAD
        server.scene.set_up_direction("+z")
        server.scene.configure_default_lights(cast_shadow=False)
        server.scene.configure_environment_map("warehouse", environment_intensity=0.35)
        server.scene.world_axes.visible = False
        _draw_court(server.scene)
        self._robot = _Robot(server.scene, spec, urdf.read(description))
        self._shuttle = _shuttle(server.scene)
        self._opponent = _opponent(server.scene)
        self._trail = self._lines("trail", SKY, 3.0)
        self._flight = self._lines("flight", YELLOW, 2.5)
        self._fan = self._lines("fan", WHITE, 2.0)
        self._best = self._lines("best", BEST, 5.0)
        self._target = _ring(server.scene, "/target", ORANGE, 0.42, 0.30)
        self._landing = _ring(server.scene, "/predicted", YELLOW, 0.20, 0.12)
        self._shots = server.scene.add_point_cloud(
            "/shots", np.zeros((1, 3)), WHITE, point_size=0.16, point_shape="circle", visible=False
        )
        self._label = server.scene.add_label("/target/label", "", anchor="bottom-center", visible=False)
        self._layers = dict.fromkeys(LAYERS, True)
        self._fan_id, self._text = -1, ""
        self._shot_rows: tuple[Shot, ...] = ()

    def layer(self, name: str, on: bool) -> None:
        """Show or hide one of LAYERS from the next snapshot on."""
        self._layers[name] = on
        self._fan_id = -1

    def show(self, now: Snapshot) -> None:
        """Move everything to where it is at an instant."""
        if len(now.q_rad) == self._spec.joints:
            self._robot.move(now.q_rad)
        self._show_shuttle(now)
        on = self._layers["opponent"] and bool(np.isfinite(now.opponent_xy_m).all())
        _place(self._opponent, now.opponent_xy_m, on, height_m=0.0)
        if now.fan_id != self._fan_id:
            self._fan_id = now.fan_id
            self._show_plans(now)
        self._show_target(now)

    def _show_shuttle(self, now: Snapshot) -> None:
        seen = bool(np.isfinite(now.shuttle_m).all())
        _set(self._shuttle, "visible", seen)
        if seen:
            self._shuttle.position = now.shuttle_m
            if len(now.trail_m) > 3:
                self._shuttle.wxyz = _towards(now.trail_m[-1] - now.trail_m[-4])
        on = self._layers["shuttle trail"] and len(now.trail_m) > 1
        if on:
            pieces = paths.segments(now.trail_m)
            share = np.linspace(0.15, 1.0, len(pieces))[:, None, None]
            colours = share * np.array(SKY) + (1.0 - share) * np.array(MAT)
            self._draw(self._trail, pieces, colours)
        _set(self._trail, "visible", on)

    def _show_plans(self, now: Snapshot) -> None:
        """Fan and predicted flight: they change with each search only."""
        on = self._layers["candidate plans"] and len(now.fan_m) > 0
        if on:
            ways = [(paths.segments(way), rgb) for way, rgb in zip(now.fan_m, paths.shades(now.fan_energies))]
            colours = [np.broadcast_to(rgb, way.shape) for way, rgb in ways]
            self._draw(self._fan, np.concatenate([way for way, _ in ways]), np.concatenate(colours))
            self._draw(self._best, ways[0][0], BEST)
        _set(self._fan, "visible", on)
        _set(self._best, "visible", on)
        flies = self._layers["predicted flight"] and len(now.flight_m) > 1
        if flies:
            self._draw(self._flight, paths.segments(now.flight_m), YELLOW)
        _set(self._flight, "visible", flies)

    def _show_target(self, now: Snapshot) -> None:
        on = self._layers["shots and target"]
        _place(self._target, now.target_xy_m, on and bool(np.isfinite(now.target_xy_m).all()))
        flies = self._layers["predicted flight"] and bool(np.isfinite(now.predicted_xy_m).all())
        _place(self._landing, now.predicted_xy_m, flies)
        text = now.shot if on else ""
        if text != self._text:
            self._text = text
            self._label.text = text
            self._label.visible = bool(text)
        known = on and len(now.shots) > 0
        if known and now.shots is not self._shot_rows:
            self._shot_rows = now.shots
            xy = np.array([shot.target_xy_m for shot in now.shots])
            self._shots.points = np.concatenate([xy, np.full((len(xy), 1), SHOT_M)], axis=1).astype(np.float16)
            self._shots.colors = paths.shades(np.array([shot.energy for shot in now.shots])).astype(np.uint8)
        _set(self._shots, "visible", known)

    def _lines(self, name: str, rgb: Rgb, width_px: float) -> Any:
        """Pieces of a curve, each with colours of its own from the start: the page does not change from one to many."""
        colours = np.broadcast_to(np.array(rgb, dtype=np.uint8), (1, 2, 3))
        return self._scene.add_line_segments(
            f"/{name}", _NOT_A_LINE, colours, thickness=width_px, thickness_units="screen", visible=False
        )

    def _draw(self, handle: Any, pieces: Array, rgb: Any) -> None:
        """Pieces (N, 2, 3) in one colour or in as many (N, 2, 3); the browser takes those of lines as linear light."""
        linear = 255.0 * (np.asarray(rgb) / 255.0) ** 2.2
        handle.points = pieces.astype(np.float32)
        handle.colors = np.broadcast_to(linear, pieces.shape).astype(np.uint8)


class _Robot:
    """Frames nested as the robot's joints are: a joint that moves is one message."""

    def __init__(self, scene: viser.SceneApi, spec: RobotSpec, bodies: list[urdf.Body]) -> None:
        self._joints: list[tuple[int, urdf.Body, Any, Array]] = []  # joint, what it moves, and how that lies at q = 0
        self._shown = np.full(spec.joints, np.nan)
        where: dict[str, str] = {}
        for body in bodies:
            path = where[body.name] = f"{where.get(body.parent, '')}/{body.name}"
            frame = scene.add_frame(path, show_axes=False, position=body.T_parent_body[:3, 3])
            frame.wxyz = rest = quaternion(body.T_parent_body[:3, :3])
            for k, mesh in enumerate(body.meshes):
                scene.add_mesh_simple(f"{path}/{k}", mesh.vertices_m, mesh.faces, color=mesh.rgb, flat_shading=True)
            if body.joint in spec.joint_names:
                self._joints.append((spec.joint_names.index(body.joint), body, frame, rest))

    def move(self, q_rad: Array) -> None:
        """Only joints that have moved are told."""
        for j, body, frame, rest in self._joints:
            if q_rad[j] == self._shown[j]:
                continue
            self._shown[j] = q_rad[j]
            T = body.T_parent_body
            if body.prismatic:
                frame.position = T[:3, 3] + T[:3, :3] @ body.axis * q_rad[j]
            else:
                frame.wxyz = product(rest, turn(body.axis, q_rad[j]))


def _draw_court(scene: viser.SceneApi) -> None:
    x, y = court.HALF_LENGTH_M, court.HALF_DOUBLES_M
    scene.add_box("/court/hall", SURROUND, (120.0, 120.0, 0.02), position=(0.0, 0.0, -0.05))
    scene.add_box("/court/mat", MAT, (2 * x + 1.2, 2 * y + 1.0, 0.02), position=(0.0, 0.0, -0.012))
    pieces = []
    half = court.LINE_WIDTH_M / 2
    across = (court.HALF_LENGTH_M - half, court.LONG_SERVICE_DOUBLES_M - half, court.SHORT_SERVICE_LINE_M + half)
    for side in (-1, 1):
        pieces += [_bar(side * at, 0.0, 2 * half, 2 * y) for at in across]
        pieces += [_bar(0.0, side * (at - half), 2 * x, 2 * half) for at in (court.HALF_SINGLES_M, y)]
        middle = (court.SHORT_SERVICE_LINE_M + x) / 2
        pieces.append(_bar(side * middle, 0.0, x - court.SHORT_SERVICE_LINE_M, 2 * half))
    scene.add_mesh_simple("/court/lines", *urdf.joined(pieces), color=LINE)
    height, depth = court.NET_HEIGHT_M, court.NET_DEPTH_M
    net = (0.012, 2 * y, depth)
    scene.add_box("/court/net", (150, 160, 168), net, opacity=0.28, position=(0.0, 0.0, height - depth / 2))
    scene.add_box("/court/tape", WHITE, (0.02, 2 * y, 0.06), position=(0.0, 0.0, height - 0.03))
    for side in (-1, 1):
        post = (0.0, side * (y + 0.03), court.NET_HEIGHT_POST_M / 2)
        scene.add_cylinder(f"/court/post{side}", 0.025, court.NET_HEIGHT_POST_M, color=(120, 130, 140), position=post)


def _bar(x: float, y: float, length: float, width: float) -> tuple[Array, urdf.Triangles]:
    corners, faces = urdf.box(np.array([length, width, 0.006]))
    return corners + np.array([x, y, 0.0]), faces


def _shuttle(scene: viser.SceneApi) -> Any:
    """Cork in front, skirt behind, along its own x."""
    frame = scene.add_frame("/shuttle", show_axes=False, visible=False)
    s = SHUTTLE_SCALE
    skirt, faces = urdf.cylinder(0.012 * s, 0.055 * s, top_m=0.033 * s)
    along = np.stack([-skirt[:, 2] - 0.03 * s, skirt[:, 1], skirt[:, 0]], axis=-1)
    scene.add_mesh_simple("/shuttle/skirt", along, faces, color=WHITE, side="double")
    scene.add_icosphere("/shuttle/cork", radius=0.014 * s, color=(238, 214, 170))
    return frame


def _opponent(scene: viser.SceneApi) -> Any:
    """A simple figure on the floor."""
    frame = scene.add_frame("/opponent", show_axes=False, visible=False)
    body, faces = urdf.cylinder(0.20, 1.15, top_m=0.26)
    scene.add_mesh_simple("/opponent/body", body + np.array([0.0, 0.0, 0.6]), faces, color=(92, 110, 150), opacity=0.75)
    head = (0.0, 0.0, 1.42)
    scene.add_icosphere("/opponent/head", radius=0.15, color=(214, 190, 165), position=head, opacity=0.85)
    scene.add_label("/opponent/label", "opponent", position=(0.0, 0.0, 1.75), anchor="bottom-center")
    return frame


def _ring(scene: viser.SceneApi, name: str, rgb: Rgb, outer_m: float, inner_m: float) -> Any:
    turn_rad = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turn_rad), np.sin(turn_rad), np.zeros(48)], axis=-1)
    k, n = np.arange(48), (np.arange(48) + 1) % 48
    faces = np.concatenate([np.stack([k, n, k + 48], -1), np.stack([n, n + 48, k + 48], -1)])
    vertices = np.concatenate([inner_m * circle, outer_m * circle])
    frame = scene.add_frame(name, show_axes=False, visible=False)
    scene.add_mesh_simple(f"{name}/ring", vertices, faces, color=rgb, side="double")
    return frame


def _place(handle: Any, xy_m: Array, visible: bool, height_m: float = FLOOR_M) -> None:
    if visible:
        place = (float(xy_m[0]), float(xy_m[1]), height_m)
        if not np.allclose(handle.position, place, atol=1e-4):
            handle.position = place
    _set(handle, "visible", visible)


def _set(handle: Any, name: str, value: bool) -> None:
    """Say it to the page only where it changes."""
    if getattr(handle, name) != value:
        setattr(handle, name, value)


def quaternion(R: Array) -> Array:
    """Rotation matrix (3, 3) to a unit quaternion w, x, y, z (Bar-Itzhack, 2000: the largest eigenvector)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = R
    K = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    found: Array = np.linalg.eigh(K)[1][:, -1]
    return found


def turn(axis: Array, angle_rad: float) -> Array:
    """Quaternion w, x, y, z of a turn about a unit axis (3,)."""
    return np.array([np.cos(angle_rad / 2), *(np.sin(angle_rad / 2) * axis)])


def product(a: Array, b: Array) -> Array:
    """Quaternion of the turn b, then a."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.array([w, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])


def _towards(v: Array) -> Array:
    """Quaternion that turns x towards v (3,)."""
    length = float(np.linalg.norm(v))
    if length < 1e-6:
        return np.array([1.0, 0.0, 0.0, 0.0])
    half = np.array([1.0, 0.0, 0.0]) + v / length
    if np.linalg.norm(half) < 1e-6:
        return np.array([0.0, 0.0, 0.0, 1.0])
    q = np.array([half[0], *np.cross([1.0, 0.0, 0.0], half)])
    return np.asarray(q / np.linalg.norm(q))
