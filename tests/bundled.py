"""Bundles for tests: a small one made by hand, whose files hold nothing of use, and ways to change a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hjepa import __version__
from hjepa.cli import main
from hjepa.deploy import bundle as bundles
from hjepa.deploy import signing
from robots.spec import load_spec

FILES = ("weights/low.safetensors", "programs/see.pt2", "goldens/see.safetensors", bundles.CONFIG, "robot.json")


def by_hand(folder: Path, secret: Path) -> Path:
    """A sealed bundle for this machine, with a file of each kind."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{name}: not what its name says".encode())
    own, robot = bundles.here("cpu"), load_spec("courtbot").identity
    bundles.seal(
        folder, bundles.Manifest(bundles.FORMAT, __version__, {}, "", "2026", robot, own, "compiled", {}), secret
    )
    return folder


def reseal(folder: Path, secret: Path, **changes: Any) -> None:
    """Sign what lies in the folder now, with another manifest; in `machine` only what differs is given."""
    manifest = msgspec.json.decode((folder / bundles.MANIFEST).read_bytes(), type=bundles.Manifest)
    machine = msgspec.structs.replace(manifest.machine, **changes.pop("machine", {}))
    bundles.seal(folder, msgspec.structs.replace(manifest, machine=machine, **changes), secret)


def resign(folder: Path, secret: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the text of the manifest and sign that."""
    text = change((folder / bundles.MANIFEST).read_bytes())
    signature, public = signing.sign(text, secret)
    (folder / bundles.MANIFEST).write_bytes(text)
    (folder / bundles.SIGNATURE).write_text(f"{signature.hex()}\n{public.hex()}\n")


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command line refuses (exit code 2)."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert end.value.code == 2, said
    assert said.err.count("\n") == 1 and said.err.startswith("hjepa: "), said.err
    return said.err
