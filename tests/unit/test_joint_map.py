"""Which servo moves which joint. Run: pytest tests/unit/test_joint_map.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import RobotError
from robots.real.joint_map import Calibration, read_joint_map, write_joint_map
from robots.spec import load_spec

SPEC = load_spec("so101")
GOOD = {name: {"id": j + 1} for j, name in enumerate(SPEC.joint_names)}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def yaml_of(joints: dict[str, object]) -> str:
    import yaml

    return str(yaml.safe_dump({"joints": joints}))


def test_angles_come_back_from_steps_with_zero_and_direction() -> None:
    c = Calibration((1, 2, 3, 4, 5, 6), (2000, 2048, 2100, 2048, 2048, 1500), (1, -1, 1, -1, 1, 1), (False,) * 6)
    rng = np.random.default_rng(0)
    for _ in range(200):
        q = rng.uniform(SPEC.q_min_rad, SPEC.q_max_rad)
        np.testing.assert_allclose(c.to_rad(c.to_steps(q)), q, atol=np.pi / 4096 + 1e-12)
    assert c.to_steps(np.zeros(6)) == list(c.zero_steps)
    assert c.to_steps(np.full(6, np.pi / 2))[:2] == [2000 + 1024, 2048 - 1024]
    np.testing.assert_allclose(c.to_rad_s([4096.0] * 6), 2 * np.pi * np.array(c.direction))


def test_a_map_that_is_written_reads_back(tmp_path: Path) -> None:
    c = Calibration(
        (9, 8, 7, 6, 5, 4), (2000, 2048, 2100, 2048, 2048, 1500), (1, -1, 1, -1, 1, 1), (False,) * 5 + (True,)
    )
    write_joint_map(tmp_path / "map.yaml", c, SPEC)
    assert read_joint_map(tmp_path / "map.yaml", SPEC) == c


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    assert read_joint_map(written(tmp_path, yaml_of(GOOD)), SPEC) == Calibration.default(SPEC)
    assert Calibration.default(SPEC).yields == (False,) * 5 + (True,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elbow_flx": {"id": 9}}, "did you mean 'elbow_flex'"),
        ({"elbow_flex": None}, "elbow_flex is None; allowed"),
        ({"elbow_flex": {"id": 3, "zero_step": 2048}}, "did you mean 'zero_steps'"),
        ({"elbow_flex": {"id": "three"}}, "id of elbow_flex is 'three'; allowed: a whole number"),
        ({"elbow_flex": {"id": True}}, "allowed: a whole number"),
        ({"elbow_flex": {"id": 3, "yields": 1}}, "allowed: true or false"),
        ({"elbow_flex": {"id": 1}}, "each once"),
        ({"elbow_flex": {"id": 254}}, "allowed: 0 to 252"),
        ({"elbow_flex": {"id": 3, "direction": 0}}, "direction of elbow_flex is 0; allowed: 1 or -1"),
        ({"elbow_flex": {"id": 3, "zero_steps": 100}}, "elbow_flex needs steps -1002 to 1202; allowed: 0 to 4095"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RobotError, match=message):
        read_joint_map(written(tmp_path, yaml_of({**GOOD, **changes})), SPEC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joints: {a: [", "is not YAML"),
        ("- 1", "no mapping 'joints'"),
        ("joints: {}\nspeed: 3", "unknown key 'speed'"),
        ("joints: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_file_that_is_no_joint_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RobotError, match=message):
        read_joint_map(written(tmp_path, text), SPEC)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="none.yaml"):
        read_joint_map(tmp_path / "none.yaml", SPEC)
