"""The URDF generator. Run: pytest tests/unit/test_urdf.py"""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from robots.sim.shapes import Shape, at, ball, inertial, rod, rpy
from robots.sim.urdf import urdf_path, urdf_text
from robots.spec import load_spec, read_description

SHIPPED = sorted(p.stem for p in urdf_path("courtbot").parent.glob("*.yaml"))
ROBOTS = [name for name in SHIPPED if "masses_kg" in read_description(name)]  # the others are not simulated


@pytest.mark.parametrize("name", ROBOTS)
def test_shipped_urdf_is_up_to_date(name: str) -> None:
    shipped = urdf_path(name).read_text(encoding="utf-8")
    assert shipped == urdf_text(name), f"run: python -m robots.sim.urdf {name}"


@pytest.mark.parametrize("name", ROBOTS)
def test_every_inertia_is_that_of_a_real_body(name: str) -> None:
    links = ET.fromstring(urdf_text(name)).findall("link")
    assert len(links) == load_spec(name).joints + 1 + ("racket" in read_description(name))
    for link in links:
        entry = link.find("inertial/inertia")
        assert entry is not None
        i = {k: float(v) for k, v in entry.attrib.items()}
        tensor = np.array(
            [[i["ixx"], i["ixy"], i["ixz"]], [i["ixy"], i["iyy"], i["iyz"]], [i["ixz"], i["iyz"], i["izz"]]]
        )
        small, middle, large = np.linalg.eigvalsh(tensor)
        assert small > 0
        assert small + middle > large * (1 - 1e-9)


@pytest.mark.parametrize("name", ROBOTS)
def test_limits_and_masses_are_the_description_s(name: str) -> None:
    spec, raw = load_spec(name), read_description(name)
    root = ET.fromstring(urdf_text(name))
    for j, joint in enumerate(spec.joint_names):
        limit = root.find(f"joint[@name='{joint}']/limit")
        mass = root.find(f"link[@name='{joint}_link']/inertial/mass")
        assert limit is not None
        assert mass is not None
        assert float(limit.attrib["velocity"]) == pytest.approx(spec.dq_max_rad_s[j])
        assert float(limit.attrib["effort"]) == pytest.approx(spec.tau_max_nm[j])
        assert float(mass.attrib["value"]) == pytest.approx(raw["masses_kg"][joint])


def test_inertia_of_a_split_rod_is_that_of_the_whole() -> None:
    a, b, c = (np.array([x, 0.0, 0.0]) for x in (-0.3, 0.1, 0.5))
    whole = inertial((rod(a, c, 0.02, "teal"),), 2.0)
    split = inertial((rod(a, b, 0.02, "teal"), rod(b, c, 0.02, "teal")), 2.0)
    np.testing.assert_allclose(split.com_m, whole.com_m, atol=1e-12)
    np.testing.assert_allclose(split.tensor_kg_m2, whole.tensor_kg_m2, atol=1e-12)
    np.testing.assert_allclose(whole.tensor_kg_m2[1, 1], 2.0 * (3 * 0.02**2 + 0.8**2) / 12)


def test_inertia_of_two_balls_is_by_the_parallel_axis_theorem() -> None:
    pair = inertial((ball(np.array([0.0, 0.0, 1.0]), 0.1, "teal"), ball(np.array([0.0, 0.0, -1.0]), 0.1, "teal")), 4.0)
    own = 4.0 * 0.4 * 0.1**2
    np.testing.assert_allclose(np.diag(pair.tensor_kg_m2), [own + 4.0, own + 4.0, own])


def test_box_inertia_turns_with_the_box() -> None:
    lying = inertial((Shape("box", (0.1, 0.2, 1.0), at((0, 0, 0), (1.0, 0.0, 0.0)), "teal"),), 3.0)
    assert lying.tensor_kg_m2[0, 0] == pytest.approx(3.0 * (0.1**2 + 0.2**2) / 12)


@pytest.mark.parametrize("angles", [(0.3, -0.7, 1.2), (-2.0, 1.0, 3.0), (0.0, np.pi / 2, 0.4)])
def test_rpy_gives_back_the_rotation(angles: tuple[float, float, float]) -> None:
    def matrix(roll: float, pitch: float, yaw: float) -> np.ndarray:
        cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
        Rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        Ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        Rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        return Rz @ Ry @ Rx

    R = matrix(*angles)
    np.testing.assert_allclose(matrix(*rpy(R)), R, atol=1e-9)
