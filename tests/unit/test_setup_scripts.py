"""pytest tests/unit/test_setup_scripts.py: what `make setup` says before it downloads, and which Python it takes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CI = Path(__file__).parent.parent.parent / ".ci"


def note(*wheels: tuple[str, str]) -> str:
    """The line for pip's plan to install wheels (name, url)."""
    spec = importlib.util.spec_from_file_location("download_note", CI / "download_note.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    install = [{"metadata": {"name": name}, "download_info": {"url": url}} for name, url in wheels]
    return str(module.note({"install": install}))


def test_a_cuda_torch_is_announced_with_the_way_to_a_small_one() -> None:
    said = note(("torch", "https://host/torch.whl"), ("nvidia-cublas", "https://host/cublas.whl"))
    assert "GB" in said
    assert "TORCH_INDEX=" in said


def test_a_cpu_torch_is_announced_with_its_size(tmp_path: Path) -> None:
    assert "190 MB" in note(("torch", "https://host/torch.whl"), ("filelock", "https://host/filelock.whl"))
    wheel = tmp_path / "torch+cpu.whl"
    wheel.write_bytes(bytes(3_000_000))
    assert "3 MB" in note(("torch", wheel.as_uri()))


def test_nothing_to_download_is_said() -> None:
    assert "already installed" in note(("filelock", "https://host/filelock.whl"))


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the setup takes Python 3.11 alone")
def test_the_named_python_is_taken() -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    found = subprocess.run([CI / "python311"], env=environment, capture_output=True, text=True, check=True)
    version = subprocess.run([found.stdout.strip(), "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Python 3.11.")
