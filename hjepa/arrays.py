"""Arrays in files: written whole or not at all, read without pickle, a damaged file named with its remedy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError


def save_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Write an .npz; who reads meanwhile sees the old file or the new one, and a killed writer leaves no half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    (np.savez_compressed if compressed else np.savez)(temporary, **arrays)
    os.replace(temporary, path)


def load_arrays(path: Path, names: Iterable[str], what: str, remedy: str) -> dict[str, NDArray[Any]]:
    """The named arrays of an .npz; DataError '`what` PATH is damaged (...): `remedy`' when it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        found = str(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise DataError(f"{what} '{path}' is damaged ({found}): {remedy}") from error
