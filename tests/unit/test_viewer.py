"""pytest tests/unit/test_viewer.py"""

import dataclasses
import math
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hjepa.errors import DataError
from hjepa.evaluation.results import Recording, StrokeResult
from hjepa.types import Array
from hjepa.viewer import video
from hjepa.viewer.camera import Camera
from hjepa.viewer.plots import landings
from hjepa.viewer.scene import StrokeScene, chain_points, frame_times, interpolate, scene_of
from robots.spec import load_spec

SPEC = load_spec("courtbot")
SMALL = Camera(width_px=640, height_px=360)


def recorded(hit: bool = True) -> tuple[StrokeResult, Recording]:
    """One second and a half: the base moves, a shuttle comes and goes back."""
    times = np.arange(150) / 100
    q = np.repeat(SPEC.q_home_rad[None], 150, axis=0)
    q[:, 1] += times
    x = np.where(times < 0.7, 5 - 12 * times, -3.4 + 9 * (times - 0.7))
    shuttle = np.stack([x, 0 * times, 2 + times - 1.2 * times**2], axis=-1)
    result = StrokeResult(
        id="s", hit=hit, returned=hit, fault="" if hit else "miss", feed_type="clear", commanded_type="drop",
        target_xy_m=(3.0, 1.0), predicted_xy_m=(3.1, 1.0), landing_xy_m=(3.3, 0.6), contact_s=0.7, landing_s=1.4,
        plan_ms_low=(3.0, 9.0), racket_speed_m_s=7.0 if hit else math.nan,
    )  # fmt: skip
    return result, Recording(times, q, shuttle)


@pytest.fixture(scope="module")
def scene() -> StrokeScene:
    return scene_of(SPEC, *recorded())


def project(camera: Camera, *point: float) -> Array:
    return camera.project(np.array([point]))[0][0]


def test_camera_sees_what_it_looks_at_in_the_middle() -> None:
    assert project(SMALL, *SMALL.look_at_m) == pytest.approx([640.0, 360.0])


def test_camera_keeps_left_left_and_up_up() -> None:
    """+y is the robot's left; z is up; pixel rows run downwards."""
    assert project(SMALL, 0, 1, 0)[0] < project(SMALL, 0, -1, 0)[0]
    assert project(SMALL, 0, 0, 2)[1] < project(SMALL, 0, 0, 0)[1]


def test_rays_invert_the_projection() -> None:
    point = np.array([2.0, -1.5, 0.4])
    (u, v), depth = SMALL.project(point)
    ray = SMALL.rays()[int(v), int(u)]
    assert np.array(SMALL.eye_m) + depth * ray == pytest.approx(point, abs=0.05)


def test_chain_starts_on_the_floor_and_ends_at_the_butt() -> None:
    points, racket = chain_points(SPEC, SPEC.q_home_rad[None])
    assert points[0, 0] == pytest.approx([SPEC.q_home_rad[0], SPEC.q_home_rad[1], 0.0])
    assert np.linalg.norm(points[0, -1] - racket[0, :3, 3]) == pytest.approx(0.525)


def test_interpolation_hits_the_samples_and_keeps_gaps_local() -> None:
    times = np.array([0.0, 1.0, 2.0])
    values = np.array([[0.0], [2.0], [np.nan]])
    got = interpolate(times, values, np.array([0.0, 0.25, 1.0, 1.5, 2.0]))[:, 0]
    assert got[:3] == pytest.approx([0.0, 0.5, 2.0])
    assert np.isnan(got[3:]).all()


def test_time_slows_down_around_the_contact_alone(scene: StrokeScene) -> None:
    steps = np.diff(frame_times(scene, 30, slow=0.5, slow_window_s=0.1))
    assert set(np.round(steps * 60).astype(int)) == {1, 2}
    assert np.allclose(np.diff(frame_times(dataclasses.replace(scene, hit=False), 30, slow=0.5)), 1 / 30)


def test_frames_differ_where_something_moves_and_not_elsewhere(scene: StrokeScene) -> None:
    frames = list(video.Film(1, SMALL).frames(scene))
    assert {f.shape for f in frames} == {(360, 640, 3)}
    moved = np.abs(frames[2].astype(int) - frames[12].astype(int)).max(-1)
    assert moved.max() > 60
    (u, v), _ = SMALL.project(scene.joint_points_m[0, 3])
    assert moved[int(v / 2) - 12 : int(v / 2) + 12, int(u / 2) - 12 : int(u / 2) + 12].max() > 60  # the arm
    assert moved[:20, :40].max() == 0  # a corner of the hall


def test_film_is_the_same_each_time(scene: StrokeScene) -> None:
    first, second = (list(video.Film(1, SMALL).frames(scene))[20] for _ in range(2))
    assert (first == second).all()


def test_a_miss_without_landing_or_target_can_be_filmed(scene: StrokeScene) -> None:
    nowhere = (math.nan, math.nan)
    lost = dataclasses.replace(
        scene, hit=False, returned=False, fault="miss", target_xy_m=nowhere, predicted_xy_m=nowhere,
        landing_xy_m=nowhere, contact_s=math.nan, landing_s=math.nan, plan_ms=math.nan,
    )  # fmt: skip
    gaps = scene.shuttle_m.copy()
    gaps[40:60] = np.nan
    for stroke in (lost, dataclasses.replace(lost, shuttle_m=gaps)):
        assert len(list(video.Film(1, SMALL).frames(stroke))) > 30


def test_written_film_can_be_read_back(tmp_path: Path, scene: StrokeScene) -> None:
    path = tmp_path / "demo.mp4"
    written = video.write_video(path, [scene, scene])
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == written > 60
    assert frames[0].shape == (540, 960, 3)
    assert frames[0].std() > 15
    assert [p.name for p in tmp_path.iterdir()] == ["demo.mp4"]


def test_a_film_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one"):
        video.write_video(tmp_path / "demo.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_landings_are_drawn_for_hits_and_for_none(tmp_path: Path) -> None:
    result, _ = recorded()
    path = tmp_path / "landings.png"
    landings(path, [result, recorded(hit=False)[0]])
    some = np.asarray(Image.open(path).convert("RGB")).astype(int)
    landings(path, [StrokeResult(id="m")])
    none = np.asarray(Image.open(path).convert("RGB")).astype(int)

    def purple(picture: Array) -> int:  # of the target's ring, above the legend's own
        return int((np.abs(picture - [170, 68, 153]).max(-1) < 12).sum())

    assert purple(some) > 1.5 * purple(none) > 0
