"""A user's own package (tests/data/sample_robot), installed by pip outside the tree, works through the command line.

Run: pytest tests/integration/test_sample_package.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hjepa.babbling import read_recording
from hjepa.tasks.kinematics import joint_frames
from hjepa.training.recorded import pieces_of
from robots.calibration import apply, inverse
from robots.calibration_file import read_calibration
from robots.spec import load_spec

ROOT = Path(__file__).parent.parent.parent
# where the sample's camera stands, see sample_robot/driver.py
T_TRACKER_WORLD = np.array([[0.0, 1.0, 0.0, -0.3], [-1.0, 0.0, 0.0, 0.1], [0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def site(sample_site: Path) -> Path:
    return sample_site


Running = dict[str, subprocess.Popen[str]]


@pytest.fixture(scope="module")
def beside(site: Path) -> Iterator[Running]:
    """What takes its time by the clock on the wall, begun at once; the other tests run beside it."""
    calibrate = ("calibrate", "--driver", "twolink", "--points", "5", "--speed", "1")
    made = {"check": start(site, site, "robots", "check", "twolink"), "calibrate": start(site, site, *calibrate)}
    yield made
    for process in made.values():
        process.kill()
        process.communicate()


def start(site: Path, cwd: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    code = "from hjepa.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def output(process: subprocess.Popen[str]) -> str:
    """Output of a command that must end well."""
    with process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def hjepa(site: Path, cwd: Path, *words: str) -> str:
    return output(start(site, cwd, *words))


def test_its_driver_is_listed(site: Path, beside: Running, tmp_path: Path) -> None:
    listed = hjepa(site, tmp_path, "robots", "list")
    assert "installed, from sample-robot 0.1" in next(line for line in listed.splitlines() if "twolink" in line)


def test_its_motion_is_recorded_with_what_its_camera_saw(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("mcap", reason="recordings need the extra log")
    hjepa(site, tmp_path, "collect", "--driver", "twolink", "--minutes", "0.06", "--speed", "1", "--out", "motion")
    (piece,) = pieces_of(read_recording(tmp_path / "motion" / "motion_0000.mcap"))
    known = piece.mask > 0
    assert known.mean() > 0.9
    tool = joint_frames(load_spec(str(site / "sample_robot" / "twolink.yaml")), piece.q_rad)[:, -1, :3, 3]
    off = np.linalg.norm(apply(T_TRACKER_WORLD, tool) - piece.seen_m, axis=1)[known]
    assert np.median(off) < 3e-3  # half a millimetre of noise, and the way of half a period


def test_its_robot_is_known_by_name_and_its_description_by_path(site: Path, tmp_path: Path) -> None:
    file = site / "sample_robot" / "twolink.yaml"
    code = (
        "import sys; from robots.spec import load_spec; name, file = sys.argv[1:]\n"
        "assert load_spec(name).fingerprint == load_spec(file).fingerprint; assert 'sample_robot' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    subprocess.run([sys.executable, "-c", code, "twolink", str(file)], env=environment, cwd=tmp_path, check=True)


def test_its_task_collects_trains_and_is_measured(site: Path, tmp_path: Path) -> None:
    assert "10 postures" in hjepa(site, tmp_path, "collect", "point", "--out", "data", "--set", "postures=10")
    assert "weights:" in hjepa(site, tmp_path, "train", "low", "point", "--data", "data", "--out", "runs/train")
    hjepa(site, tmp_path, "eval", "point", "--json", "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["targets"] == 3
    assert figures["median_m"] < 0.1  # the nearest of the ten postures; the median of all ten is 0.4 m off


def test_its_camera_is_calibrated_live(site: Path, beside: Running) -> None:
    assert "5 of 5 points" in output(beside["calibrate"])
    found = read_calibration(site / "calibration.yaml").T_world_tracker
    np.testing.assert_allclose(found, inverse(T_TRACKER_WORLD), atol=5e-3)


def test_its_driver_keeps_the_contract(beside: Running) -> None:
    assert output(beside["check"]).splitlines()[-1].endswith("clauses kept")
