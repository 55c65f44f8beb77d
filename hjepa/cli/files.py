"""Nothing half-written: results lie in a hidden folder beside their place until all of them are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hjepa.errors import DataError


def check_folder(out: Path, option: str = "--out") -> None:
    """DataError unless files can be written into the folder `out` of that option; it need not exist yet."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{option} {out}: this is a file; give a folder")
    there = next(parent for parent in [out.absolute(), *out.absolute().parents] if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise DataError(f"{option} {out}: cannot write in {there}")


def check_file(path: Path) -> None:
    """DataError unless `path` can be written."""
    if path.is_dir():
        raise DataError(f"{path}: this is a folder; give a file name")
    check_folder(path.parent)


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder to write into; its files move to `out` when the block ends well and vanish when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.parent / f".{out.name}.{os.getpid()}.part"
    part.mkdir()
    try:
        yield part
        out.mkdir(exist_ok=True)
        for path in part.iterdir():
            path.replace(out / path.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
