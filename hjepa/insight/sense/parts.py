"""Parts of a measurement that takes long, kept in files so that a killed one goes on.

What a part depends on is in its file's name: parts of other settings or other weights are neither read nor replaced. A
part is written whole or not at all; of rows that come one by one only the last may be cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hjepa.arrays import load_arrays, save_arrays
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.insight import origin

LEVELS = ("low", "high")
_REMEDY = "delete it and run again"


def key_of(config: Config, *about: object, levels: Sequence[str] = LEVELS) -> str:
    """Of all that a part depends on: the configuration, the levels' weights, and whatever else it is about."""
    said = (config.model_dump_json(), origin.weights(config, levels), *about)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


class Rows:
    """JSON values in a file, a line each, as they come."""

    def __init__(self, path: Path) -> None:
        self._path, self.rows = path, list[Any]()
        whole = 0  # bytes
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            if line.endswith(b"\n"):  # the last one may be cut off
                self.rows.append(_read(path, line))
                whole += len(line)
        if path.is_file():
            os.truncate(path, whole)

    def keep(self, row: Any) -> None:
        """One more."""
        self.rows.append(row)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class Parts:
    """A folder of parts of one measurement."""

    def __init__(self, folder: Path, key: str) -> None:
        """key: see key_of."""
        self._folder, self._key = folder, key

    def arrays(self, name: str, names: Iterable[str], make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """The named arrays from their file, or made and kept; DataError if the file is damaged."""
        path = self._at(name, "npz")
        if path.is_file():
            return load_arrays(path, names, "part", _REMEDY)
        made = make()
        save_arrays(path, made, compressed=True)
        return made

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """The same for anything that JSON can say."""
        path = self._at(name, "json")
        if path.is_file():
            return _read(path, path.read_bytes())
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{os.getpid()}")
        half.write_text(json.dumps(made, allow_nan=False), encoding="utf-8")
        half.replace(path)
        return made

    def rows(self, name: str) -> Rows:
        """Those that are there, to go on from."""
        return Rows(self._at(name, "jsonl"))

    def _at(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}_{self._key}.{suffix}"


def _read(path: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"part '{path}' is damaged ({error}): {_REMEDY}") from error
