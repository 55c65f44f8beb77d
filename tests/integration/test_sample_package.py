"""A user's own package (tests/data/sample_robot), installed by pip outside the tree, works through the command line.

Run: pytest tests/integration/test_sample_package.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from robots.calibration import inverse
from robots.calibration_file import read_calibration

ROOT = Path(__file__).parent.parent.parent
SAMPLE = ROOT / "tests" / "data" / "sample_robot"
# where the sample's camera stands, see sample_robot/driver.py
T_TRACKER_WORLD = np.array([[0.0, 1.0, 0.0, -0.3], [-1.0, 0.0, 0.0, 0.1], [0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package."""
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("needs pip and setuptools in this environment")
    source, target = tmp_path_factory.mktemp("source") / "sample", tmp_path_factory.mktemp("site")
    shutil.copytree(SAMPLE, source)  # building writes into the source
    words = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)]
    made = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return target


def start(site: Path, cwd: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    code = "from hjepa.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def hjepa(site: Path, cwd: Path, *words: str) -> str:
    """Output of a command that must end well."""
    with start(site, cwd, *words) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def test_its_driver_is_listed_keeps_the_contract_and_is_calibrated(site: Path, tmp_path: Path) -> None:
    check = start(site, tmp_path, "robots", "check", "twolink")  # by the clock on the wall; the others run beside it
    listed = hjepa(site, tmp_path, "robots", "list")
    assert "installed, from sample-robot 0.1" in next(line for line in listed.splitlines() if "twolink" in line)
    said = hjepa(site, tmp_path, "calibrate", "--driver", "twolink", "--points", "5", "--speed", "1")
    assert "5 of 5 points" in said
    found = read_calibration(tmp_path / "calibration.yaml").T_world_tracker
    np.testing.assert_allclose(found, inverse(T_TRACKER_WORLD), atol=5e-3)
    out, err = check.communicate(timeout=120)
    assert check.returncode == 0, out + err
    assert out.splitlines()[-1].endswith("clauses kept")


def test_its_robot_is_known_by_name_and_its_description_by_path(site: Path, tmp_path: Path) -> None:
    file = site / "sample_robot" / "twolink.yaml"
    code = (
        "import sys; from robots.spec import load_spec; name, file = sys.argv[1:]\n"
        "assert load_spec(name).fingerprint == load_spec(file).fingerprint; assert 'sample_robot' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    subprocess.run([sys.executable, "-c", code, "twolink", str(file)], env=environment, cwd=tmp_path, check=True)


@pytest.mark.skipif(find_spec("hjepa.tasks.catalog") is None, reason="tasks of other packages: hjepa.tasks.catalog")
def test_its_task_collects_trains_and_is_measured(site: Path, tmp_path: Path) -> None:
    config = str(site / "sample_robot" / "point.yaml")
    assert "6 postures" in hjepa(site, tmp_path, "collect", config, "--out", "data", "--set", "postures=6")
    assert "weights:" in hjepa(site, tmp_path, "train", "low", config, "--data", "data", "--out", "runs/train")
    hjepa(site, tmp_path, "eval", config, "--json", "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["targets"] == 3
    assert figures["median_m"] < 0.3  # a posture of six that were seen is that near; a random one is 0.36 m off
