"""Nothing half-written: results lie in a hidden folder beside their place until all of them are whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hjepa.config import resolved
from hjepa.errors import DataError
from hjepa.typed_yaml import Section


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


def write_config(folder: Path, config: Section) -> None:
    """The resolved configuration beside the results it led to; `hjepa` loads it back."""
    write_text(folder / "config.yaml", resolved(config, sys.argv))


def with_config(figures: str, config: Section) -> str:
    """A JSON object's text with the resolved configuration in it."""
    return json.dumps(json.loads(figures) | {"config": config.model_dump(mode="json")}, indent=2) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
