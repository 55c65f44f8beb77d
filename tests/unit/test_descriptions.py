"""Every shipped robot description. Run: pytest tests/unit/test_descriptions.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import RobotError
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import RobotState
from robots.spec import description_path, load_spec, read_description

ROBOTS = sorted(p.stem for p in description_path("courtbot").parent.glob("*.yaml"))


@pytest.mark.parametrize("name", ROBOTS)
def test_description_is_complete_and_home_is_in_range(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert (spec.q_min_rad < spec.q_max_rad).all()
    assert (spec.q_home_rad > spec.q_min_rad).all()
    assert (spec.q_home_rad < spec.q_max_rad).all()
    for limit in (spec.dq_max_rad_s, spec.ddq_max_rad_s2, spec.tau_max_nm):
        assert limit.shape == (spec.joints,)
        assert (limit > 0).all()
    np.testing.assert_allclose(np.linalg.norm(spec.axis, axis=1), 1.0)
    assert set(read_description(name).get("masses_kg", spec.joint_names)) == set(spec.joint_names)


@pytest.mark.parametrize("name", [name for name in ROBOTS if "racket" in read_description(name)])
def test_racket_frame_is_a_rotation_and_the_racket_is_legal(name: str) -> None:
    spec, racket = load_spec(name), read_description(name)["racket"]
    R = spec.T_joint_racket[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert racket["length_m"] <= 0.680  # BWF Law 4
    assert 2 * spec.racket_semi_axes_m[0] <= 0.280
    assert 2 * spec.racket_semi_axes_m[1] <= 0.220


@pytest.mark.parametrize(
    ("name", "flange"),
    [  # where the maker's table puts the flange from the arm's foot, all joints at the machine's zero
        ("panda", (0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107)),
        ("iiwa", (0.0, 0.0, 0.36 + 0.42 + 0.4 + 0.126)),
        ("ur5e", (-0.425 - 0.3922, -0.1333 - 0.0996, 0.1625 - 0.0997)),
    ],
)
def test_flange_is_where_the_maker_s_table_puts_it(name: str, flange: tuple[float, float, float]) -> None:
    fixed, court, racket = load_spec(name), load_spec(f"{name}-court"), read_description(f"{name}-court")["racket"]
    np.testing.assert_allclose(joint_frames(fixed, np.zeros(fixed.joints))[-1, :3, 3], flange, atol=1e-9)
    frames = joint_frames(court, np.zeros(court.joints))
    butt = frames[-1, :3, 3] - racket["centre_m"] * frames[-1, :3, 0]
    np.testing.assert_allclose(butt - [0.0, 0.0, 0.6], flange, atol=1e-9)  # the foot stands at 0.6 m


@pytest.mark.parametrize("name", ["panda", "iiwa", "ur5e"])
def test_arm_on_rails_has_the_limits_of_both_machines(name: str) -> None:
    arm, rails, both = load_spec(name), load_spec("courtbot"), load_spec(f"{name}-court")
    for field in ("q_min_rad", "q_max_rad", "dq_max_rad_s", "ddq_max_rad_s2", "tau_max_nm"):
        np.testing.assert_array_equal(getattr(both, field), [*getattr(rails, field)[:2], *getattr(arm, field)])
    assert both.joint_names == (*rails.joint_names[:2], *arm.joint_names)


@pytest.mark.parametrize(
    ("name", "urdf", "flange_link"),
    [("panda", "franka_panda/panda.urdf", "panda_link8"), ("iiwa", "kuka_iiwa/model.urdf", "lbr_iiwa_link_7")],
)
def test_flange_agrees_with_pybullet_s_model_of_the_machine(name: str, urdf: str, flange_link: str) -> None:
    """Both count joints from the machine's zero; pybullet's iiwa ends 45 mm before the flange, its z the tool axis."""
    p = pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")
    import pybullet_data

    spec, rng = load_spec(name), np.random.default_rng(0)
    client = p.connect(p.DIRECT)
    arm = p.loadURDF(f"{pybullet_data.getDataPath()}/{urdf}", useFixedBase=True, physicsClientId=client)
    info = [p.getJointInfo(arm, i, physicsClientId=client) for i in range(p.getNumJoints(arm, physicsClientId=client))]
    link = next(i for i, row in enumerate(info) if row[12].decode() == flange_link)
    turning = [i for i, row in enumerate(info) if row[2] == p.JOINT_REVOLUTE]
    beyond = 0.045 if name == "iiwa" else 0.0
    for _ in range(50):
        q = rng.uniform(spec.q_min_rad, spec.q_max_rad)
        for joint, angle in zip(turning, q.tolist(), strict=True):
            p.resetJointState(arm, joint, angle, physicsClientId=client)
        state = p.getLinkState(arm, link, computeForwardKinematics=1, physicsClientId=client)
        tool_axis = np.reshape(p.getMatrixFromQuaternion(state[5]), (3, 3))[:, 2]
        ours = joint_frames(spec, q)[-1]
        np.testing.assert_allclose(ours[:3, 3], state[4] + beyond * tool_axis, atol=1e-3)
        np.testing.assert_allclose(ours[:3, 0], tool_axis, atol=1e-3)
    p.disconnect(physicsClientId=client)


ARM = """\
name: twolink
control_rate_hz: 100
joints:
  - {name: a1, kind: revolute, parent_xyz: [0, 0, 0.1], axis: [0, 0, 1], q: [-2.5, 2.5], dq: 2, ddq: 10, tau: 20}
  - {name: a2, kind: revolute, parent_xyz: [0.3, 0, 0], axis: [0, 0, 1], q: [-2.2, 2.2], dq: 2, ddq: 10, tau: 10}
tool: {xyz: [0.25, 0, 0]}
q_home: [0.3, 0.9]
"""


def described(folder: Path, text: str = ARM) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_a_robot_s_name(tmp_path: Path) -> None:
    path = described(tmp_path)
    spec = load_spec(path)
    assert (spec.name, spec.joints, spec.source) == ("twolink", 2, path)
    tool = joint_frames(spec, np.array([0.0, np.pi / 2]))[-1, :3, 3]
    np.testing.assert_allclose(tool, [0.3, 0.25, 0.1], atol=1e-12)


def test_where_a_description_lies_is_no_part_of_the_robot(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load_spec(described(tmp_path / "a")).fingerprint == load_spec(described(tmp_path / "b")).fingerprint


def test_numbers_in_exponent_form_are_numbers(tmp_path: Path) -> None:
    assert load_spec(described(tmp_path, ARM.replace("tau: 20", "tau: 2e1"))).tau_max_nm[0] == 20.0


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("dq: 2, ddq: 10, tau: 20", "ddq: 10, tau: 20", 4, "joints.0.dq: Field required"),
        ("dq: 2, ddq: 10, tau: 20", "dq: 0, ddq: 10, tau: 20", 4, "joints.0.dq: must be greater than 0, got 0"),
        ("tau: 10}", "tau: .inf}", 5, "joints.1.tau: must be a valid number"),
        ("q: [-2.2, 2.2]", "q: [2.2, -2.2]", 5, "joints.1.q: of joint 'a2' goes from 2.2 to -2.2; allowed"),
        ("0.1], axis: [0, 0, 1]", "0.1], axis: [0, 0, 2]", 4, "joints.0.axis: of joint 'a1' has the length 2"),
        ("ddq: 10, tau: 20", "ddq: 10, taw: 3, tau: 20", 4, "joints.0.taw: unknown key; did you mean 'tau'?"),
        ("tool: {xyz", "tool: {rpz: 1, xyz", 6, "tool.rpz: unknown key; did you mean 'rpy'?"),
        ("control_rate_hz", "controll_rate_hz", 2, "unknown key; did you mean 'control_rate_hz'?"),
        ("kind: revolute, parent_xyz: [0.3", "kind: hinge, parent_xyz: [0.3", 5, "must be 'revolute' or 'prismatic'"),
        ("name: a2", "name: a1", 5, "joints.1.name: is 'a1', as is that of joint 0"),
        ("[0.3, 0.9]", "[0.3, 2.9]", 7, "q_home: puts joint 'a2' at 2.9; allowed: -2.2 to 2.2"),
        ("[0.3, 0.9]", "[0.3]", 7, "q_home: has 1 numbers; allowed: 2"),
        ("tool: {", "masses_kg: {a1: 1, a3: 1}\ntool: {", 6, "a3: no joint has this name; allowed: a1, a2"),
        ("tool: {xyz: [0.25, 0, 0]}\n", "", 0, "racket: the description has neither racket nor tool"),
        ("joints:", "joints: [", 4, "not YAML"),
    ],
)  # fmt: skip
def test_every_mistake_is_named_with_file_line_and_what_is_allowed(
    old: str, new: str, line: int, says: str, tmp_path: Path
) -> None:
    assert ARM.count(old) == 1
    path = described(tmp_path, ARM.replace(old, new))
    with pytest.raises(RobotError) as told:
        load_spec(path)
    lines = [text for text in str(told.value).splitlines() if says in text]
    assert lines, str(told.value)
    assert lines[0].startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = ARM.replace("q: [-2.5, 2.5]", "q: [2.5, -2.5]").replace("[0.3, 0.9]", "[0.3]")
    with pytest.raises(RobotError) as told:
        load_spec(described(tmp_path, text))
    assert len(str(told.value).splitlines()) == 2


def test_file_that_is_not_there_names_the_known_robots(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="no robot description.*give an existing .yaml file.*courtbot"):
        load_spec(str(tmp_path / "none.yaml"))


def test_arm_on_rails_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    rails = "name: mine\nrails: {rails}\narm: panda\nstand_m: 0.6\nq_home: [0]\n"
    with pytest.raises(RobotError, match="rails: 'iiwa' lacks prismatic axes or a racket"):
        load_spec(described(tmp_path, rails.format(rails="iiwa")))
    with pytest.raises(RobotError, match="q_home: has 1 numbers; allowed: 9"):
        load_spec(described(tmp_path, rails.format(rails="courtbot")))


@pytest.mark.sim
def test_a_file_with_masses_moves_in_a_simulator(tmp_path: Path) -> None:
    pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")
    from robots.sim.arm import ArmWorld

    text = ARM.replace("tool:", "masses_kg: {a1: 1.0, a2: 0.5}\ntool:")
    spec = load_spec(described(tmp_path, text))
    with ArmWorld(spec) as arm:
        seen = arm.reset(RobotState(spec.q_home_rad, np.zeros(2)))
    np.testing.assert_allclose(seen.q_rad, spec.q_home_rad, atol=1e-3)


def test_unknown_robot_lists_the_known_ones() -> None:
    with pytest.raises(RobotError, match="did you mean 'panda'.*courtbot"):
        load_spec("pandah")
