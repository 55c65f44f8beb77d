"""What the live viewer shows at an instant, from messages; where a recording's instants are; curves and meshes."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hjepa.bus.logfile import Log, LogWriter
from hjepa.bus.messages import pack
from hjepa.bus.topics import Empty, Ledger, Status
from hjepa.errors import DataError, RobotError
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import NS, Array, Considered, MotorPlan, Observation, Weighed
from hjepa.viewer.live import paths, urdf
from hjepa.viewer.live.frames import TRAIL_S, Reducer
from hjepa.viewer.live.recorded import GAP_S, Index, Recorded
from robots.description import description_path
from robots.spec import load_spec

SPEC = load_spec("courtbot")
J = SPEC.joints
TICK_NS = 10_000_000


class Header(NamedTuple):
    kind: str
    session: int


def observation(k: int, shuttle_m: Array | None = None) -> Observation:
    """Tick k: joints that move, and one tracked position or none."""
    mask = np.array([False, shuttle_m is not None])
    xyz = np.stack([np.zeros(3), np.zeros(3) if shuttle_m is None else shuttle_m])
    stamps = np.array([k - 1, k]) * TICK_NS
    return Observation(k * TICK_NS, SPEC.q_home_rad + 0.001 * k, np.zeros(J), xyz, mask, stamps)


def considered(energies: list[float], to_go_s: float = 0.3, stamp_ns: int = 0) -> Considered:
    count = len(energies)
    q = SPEC.q_home_rad + 0.1 * np.arange(1, count + 1)[:, None]
    contact = joint_frames(SPEC, q)[:, -1, :3, 3]
    landing = np.tile([3.0, 1.0], (count, 1))
    times = np.full(count, to_go_s)
    nothing = np.zeros((count, J))
    return Considered(1, stamp_ns, np.array(energies), times, q, nothing, nothing + 0.1, contact, landing, 1.5)


def told(reducer: Reducer, kind: str, value: Any, session: int = 1, topic: str = "") -> None:
    reducer.feed(topic or kind, Header(kind, session), value)


def test_the_trail_keeps_measured_positions_in_order_and_forgets_old_ones() -> None:
    reducer = Reducer(SPEC)
    ticks = round(TRAIL_S * NS / TICK_NS)
    for k in range(2 * ticks):
        told(reducer, "observation", observation(k, None if k == ticks + 3 else np.array([5.0 - 0.01 * k, 1.0, 2.0])))
    now = reducer.snapshot()
    assert len(now.trail_m) == ticks  # one was masked
    assert (np.diff(now.trail_m[:, 0]) < 0).all()
    assert np.array_equal(now.shuttle_m, now.trail_m[-1])
    assert np.array_equal(now.opponent_xy_m, [5.0, 1.0])  # where it came from
    assert now.time_s == pytest.approx((2 * ticks - 1) * 0.01)


def test_a_new_session_is_a_new_stroke_and_stragglers_of_the_old_one_are_skipped() -> None:
    reducer = Reducer(SPEC)
    told(reducer, "observation", observation(5, np.array([3.0, 0.0, 2.0])))
    told(reducer, "plan", MotorPlan(1, np.zeros(2), 2.0, 10, 8.0))
    told(reducer, "observation", observation(0), session=2)
    told(reducer, "plan", MotorPlan(1, np.zeros(2), 2.0, 10, 8.0), session=1)
    now = reducer.snapshot()
    assert now.stroke == 2
    assert len(now.trail_m) == 0
    assert np.isnan(now.energy)


def test_weighed_shots_come_cheapest_first_and_the_least_is_the_chosen_one() -> None:
    energies = np.array([3.0, np.inf, 1.0, np.nan])
    nothing = np.zeros(4)
    reducer = Reducer(SPEC)
    xy = np.arange(8.0).reshape(4, 2)
    told(reducer, "weighed", Weighed(1, "lob\nclear\ndrop\nnet shot", xy, energies, *[nothing] * 3, energies, nothing))
    shots = reducer.snapshot().shots
    assert [shot.name for shot in shots][:2] == ["drop", "lob"]
    assert [shot.chosen for shot in shots] == [True, False, False, False]
    assert shots[0].reach == 1.0


def test_the_fan_leads_from_the_racket_to_each_contact_and_ends_with_the_contact() -> None:
    reducer = Reducer(SPEC)
    told(reducer, "observation", observation(0))
    plans = considered([0.5, 0.7, 2.0])
    told(reducer, "considered", plans)
    now = reducer.snapshot()
    racket = joint_frames(SPEC, SPEC.q_home_rad)[-1, :3, 3]
    assert len(now.fan_m) == 3
    for way, contact in zip(now.fan_m, plans.contact_m):
        assert np.allclose(way[0], racket)
        assert np.allclose(way[-1], contact)
    assert np.allclose(now.flight_m[0], plans.contact_m[0])
    assert now.surprise == 1.5
    told(reducer, "observation", observation(29))
    assert reducer.snapshot().fan_m
    told(reducer, "observation", observation(31))  # 10 ms after the contact
    assert not reducer.snapshot().fan_m


def test_counts_add_up_over_sessions() -> None:
    reducer = Reducer(SPEC)
    for session in (1, 2):
        for started_late in (1, 3):  # a node counts upwards within a session
            counts = {"command.started_late": started_late, "dropped.command.expired": 2, "sent.observation": 9}
            reducer.status(Status("driver", "running", session, 0, 0, counts, np.zeros(0)))
    told(reducer, "ledger", Ledger(0, 0, 0, 0, 0, 0, 0, True), session=2)
    told(reducer, "command", None, session=2)
    now = reducer.snapshot()
    assert (now.late, now.commands) == (7, 1)
    assert dict(now.drops) == {"command.expired": 4}
    assert dict(now.states) == {"driver": "running"}
    reducer.silent("low")
    assert reducer.snapshot().states["low"] == "no answer"


def test_a_drawn_flight_begins_and_ends_where_predicted_and_clears_the_net() -> None:
    start, landing = np.array([-1.0, 0.3, 0.4]), np.array([2.0, -1.0])
    arc = paths.flight_arc(start, landing)
    assert np.allclose(arc[0], start)
    assert np.allclose(arc[-1], [*landing, 0.0])
    at_net = np.interp(0.0, arc[:, 0], arc[:, 2])
    assert at_net > float(net_height_at(0.0)) + 0.25
    own = paths.flight_arc(start, np.array([-3.0, 0.0]))  # not over the net
    assert own[:, 2].max() < 1.0


def test_shades_go_by_rank_and_leave_unknown_energies_grey() -> None:
    shades = paths.shades(np.array([1.0, 1e9, 2.0, np.inf]))
    assert np.array_equal(shades[0], [253, 231, 37])
    assert np.array_equal(shades[1], [68, 1, 84])
    assert np.array_equal(shades[3], [120, 120, 120])
    assert shades[2, 1] == pytest.approx(145)  # in the middle, however far the worst is away


@pytest.mark.parametrize("name", ["courtbot", "panda-court"])
def test_bodies_of_a_urdf_stand_where_the_robots_kinematics_put_them(name: str) -> None:
    spec = load_spec(name)
    bodies = urdf.read(description_path(name).with_suffix(".urdf").read_text(encoding="utf-8"))
    q = spec.q_home_rad + 0.2
    frames, at = joint_frames(spec, q), {"": np.eye(4)}
    for body in bodies:
        motion = np.eye(4)
        if body.joint:
            value = q[spec.joint_names.index(body.joint)]
            if body.prismatic:
                motion[:3, 3] = body.axis * value
            else:
                x, y, z = body.axis
                K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
                motion[:3, :3] = np.eye(3) + np.sin(value) * K + (1 - np.cos(value)) * K @ K
        at[body.name] = at[body.parent] @ body.T_parent_body @ motion
        if body.joint:
            assert np.allclose(at[body.name], frames[spec.joint_names.index(body.joint)], atol=1e-6), body.name
    assert np.allclose(at["racket"], frames[-1], atol=1e-6)
    assert sum(len(body.meshes) for body in bodies) < 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<robot><link name='a'>", "cannot be read"),
        ("<robot><link name='a'><visual><geometry><mesh filename='a.stl'/></geometry></visual></link></robot>", "mesh"),
        (
            "<robot><link name='b'/><joint name='j' type='fixed'><parent link='a'/><child link='b'/></joint></robot>",
            "b",
        ),
    ],
)
def test_a_urdf_that_cannot_be_drawn_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(RobotError, match=said):
        urdf.read(text)


@pytest.mark.parametrize(
    "mesh",
    [urdf.box(np.array([1.0, 2.0, 3.0])), urdf.cylinder(0.5, 2.0), urdf.cylinder(0.2, 1.0, 0.4), urdf.sphere(1.0)],
)
def test_drawn_shapes_are_closed_and_face_outwards(mesh: tuple[Array, urdf.Triangles]) -> None:
    vertices, faces = mesh
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    assert np.allclose(normal.sum(0), 0.0, atol=1e-9)  # closed
    assert (np.einsum("ij,ij->i", normal, (a + b + c) / 3) >= -1e-12).all()


def recording(path: Path, strokes: int = 3, ticks: int = 50) -> Log:
    """Strokes of so many observations, each with a command after every tenth."""
    with LogWriter(path) as log:
        for session in range(1, strokes + 1):
            for k in range(ticks):
                common = {"session": session, "sequence": k, "stamp_ns": k * TICK_NS}
                seen = observation(k, np.array([4.0 - 0.1 * k, float(session), 2.0]))
                log.write("observation", pack("observation", seen, **common), 1000 * session + k)
                if k % 10 == 0:
                    log.write("command", pack("pass", Empty(), **common), 1000 * session + k)
    return Log(path)


def test_an_index_lays_strokes_end_to_end(tmp_path: Path) -> None:
    index = Index(recording(tmp_path / "run.mcap"))
    assert index.length_s == pytest.approx(3 * 0.49 + 2 * GAP_S)
    assert index.start(index.end(0.0)) == (1, 0)
    assert index.start(index.end(0.49 + GAP_S))[0] == 2
    assert index.start(index.end(0.49 + 0.9 * GAP_S))[0] == 1
    assert index.end(1e9) == len(index.entries)


def test_a_recording_looks_the_same_from_wherever_one_comes(tmp_path: Path) -> None:
    log = recording(tmp_path / "run.mcap")
    played = Recorded(log.path, SPEC, log)
    played.pause(True)
    seen = {}
    for at_s in (0.0, 0.2, 1.0, 1.7, 1.0, 0.2, 1.7, 0.0):
        played.seek(at_s)
        now = played.frame()
        state = (now.stroke, now.time_s, now.q_rad.tolist(), now.trail_m.tolist(), now.opponent_xy_m.tolist())
        assert seen.setdefault(at_s, state) == state
    assert [seen[at_s][0] for at_s in (0.2, 1.0, 1.7)] == [1, 2, 3]
    assert seen[1.0][1] == pytest.approx(1.0 - 0.49 - GAP_S, abs=0.011)


def test_a_step_moves_a_held_recording_and_play_goes_on_from_its_end(tmp_path: Path) -> None:
    log = recording(tmp_path / "run.mcap")
    played = Recorded(log.path, SPEC, log)
    played.pause(True)
    played.seek(0.1)
    played.step()
    assert played.position_s() == pytest.approx(0.15)
    assert played.frame().time_s == pytest.approx(0.15)
    played.seek(1e9)
    assert played.position_s() == played.length_s
    played.pause(False)
    assert played.position_s() == 0.0  # from its end it begins again
    assert played.weights() == {}
    with pytest.raises(DataError, match="cannot be changed"):
        played.set_weight("low", "goal", 1.0)


def test_a_recording_without_observations_is_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "run.mcap"):
        pass
    with pytest.raises(DataError, match="no observation"):
        Index(Log(tmp_path / "run.mcap"))


def test_the_page_needs_no_torch_and_no_simulator() -> None:
    modules = ("page", "bus", "simulated", "recorded")
    code = f"import sys, hjepa.cli.view, {', '.join('hjepa.viewer.live.' + m for m in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "viser" in loaded.stdout.split()
    assert not {"torch", "pybullet", "matplotlib", "av"} & set(loaded.stdout.split())
