"""Fixtures of several integration tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.launched import permitted

SAMPLE = Path(__file__).parent.parent / "data" / "sample_robot"


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces, 10.77.0.1 and 10.77.0.2, with a cable between them."""
    here, there = f"hj{os.getpid()}a", f"hj{os.getpid()}b"
    reason = permitted("ip", "netns", "add", here)
    if reason:
        pytest.skip(f"needs network namespaces: {reason}")
    try:
        for words in (
            f"netns add {there}",
            f"link add {here} type veth peer name {there}",
            *(f"link set {name} netns {name}" for name in (here, there)),
            *(f"-n {name} addr add 10.77.0.{i}/24 dev {name}" for i, name in ((1, here), (2, there))),
            *(f"-n {name} link set {name} up" for name in (here, there)),
            *(f"-n {name} link set lo up" for name in (here, there)),
        ):
            reason = permitted("ip", *words.split())
            if reason:
                pytest.skip(f"needs a veth pair: {reason}")
        yield here, there
    finally:
        for name in (here, there):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded bundle of the shipped levels, and builder.key beside it."""
    from hjepa import config
    from hjepa.deploy import building, signing

    folder = tmp_path_factory.mktemp("built")
    secret, _ = signing.keygen(folder / "builder")
    building.make(config.load("badminton"), folder / "bundle", compile_programs=False, key=secret)
    return folder / "bundle"


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy to play with; builder.key and builder.pub lie beside it."""
    shutil.copytree(built.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bundle"


@pytest.fixture(scope="session")
def sample_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package tests/data/sample_robot."""
    # not find_spec("pip"): setuptools takes that for pip at work, and torch cannot compile in this process any more
    if not {"pip", "setuptools"} <= {found.metadata["Name"] for found in distributions()}:
        pytest.skip("needs pip and setuptools in this environment")
    source, target = tmp_path_factory.mktemp("source") / "sample", tmp_path_factory.mktemp("site")
    shutil.copytree(SAMPLE, source)  # building writes into the source
    words = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)]
    made = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return target
