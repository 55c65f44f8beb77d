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
    assert set(read_description(name)["masses_kg"]) == set(spec.joint_names)


@pytest.mark.parametrize("name", ROBOTS)
def test_racket_frame_is_a_rotation_and_the_racket_is_legal(name: str) -> None:
    spec, racket = load_spec(name), read_description(name)["racket"]
    R = spec.T_joint_racket[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert racket["length_m"] <= 0.680  # BWF Law 4
    assert 2 * spec.racket_semi_axes_m[0] <= 0.280
    assert 2 * spec.racket_semi_axes_m[1] <= 0.220


@pytest.mark.parametrize(
    ("name", "joint", "offset", "flange"),
    [  # the maker's zero posture in our joints, and where the maker's table puts the flange from the arm's foot
        ("panda", "a6", -np.pi / 2, (0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107)),
        ("iiwa", "a6", -np.pi / 2, (0.0, 0.0, 0.36 + 0.42 + 0.4 + 0.126)),
        ("ur5e", "a1", -np.pi / 2, (-0.425 - 0.3922, -0.1333 - 0.0996, 0.1625 - 0.0997)),
    ],
)
def test_flange_is_where_the_maker_s_table_puts_it(
    name: str, joint: str, offset: float, flange: tuple[float, float, float]
) -> None:
    spec, racket = load_spec(name), read_description(name)["racket"]
    q = np.zeros(spec.joints)
    q[spec.joint_names.index(joint)] = offset
    frames = joint_frames(spec, q)
    butt = frames[-1, :3, 3] - racket["centre_m"] * frames[-1, :3, 0]
    np.testing.assert_allclose(butt - [0.0, 0.0, 0.6], flange, atol=1e-9)  # the foot stands at 0.6 m


def test_unknown_robot_lists_the_known_ones() -> None:
    with pytest.raises(RobotError, match="did you mean 'panda'.*courtbot"):
        load_spec("pandah")
