"""Every shipped robot description. Run: pytest tests/unit/test_descriptions.py"""

from __future__ import annotations

import numpy as np
import pytest

from hjepa.errors import RobotError
from hjepa.tasks.kinematics import joint_frames
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


def test_description_without_racket_or_tool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {key: value for key, value in read_description("panda").items() if key != "tool"}
    monkeypatch.setattr("robots.spec.read_description", lambda name: bare)
    with pytest.raises(RobotError, match="neither racket nor tool"):
        load_spec("panda")


def test_unknown_robot_lists_the_known_ones() -> None:
    with pytest.raises(RobotError, match="did you mean 'panda'.*courtbot"):
        load_spec("pandah")
