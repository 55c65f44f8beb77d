"""Graphs that are running here: each leaves a file NAME.json with its address, so that tools find it.

The files lie in $XDG_RUNTIME_DIR/hjepa, or /tmp/hjepa-UID where there is no such folder: this user's alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from hjepa.errors import LinkError, nearest


class Running(msgspec.Struct, frozen=True):
    """A graph that said where it is; fields that only its starter needs are ignored."""

    base: str  # see topics.address
    pid: int  # of the process that started it
    name: str = ""
    keys: str = ""  # folder of keys, see security; "": none
    about: dict[str, Any] = {}  # as logfile.About, for recordings

    @property
    def alive(self) -> bool:
        """Whether the process that started it is still there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def folder() -> Path:
    """Where running graphs leave their files."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "hjepa" if runtime else Path(tempfile.gettempdir()) / f"hjepa-{os.getuid()}"


def graphs() -> dict[str, Running]:
    """Running graphs by name. Files of others than this user, or that cannot be read, are left out."""
    found = {}
    where = folder()
    for path in sorted(where.glob("*.json")) if where.is_dir() and where.stat().st_uid == os.getuid() else []:
        try:
            graph = msgspec.json.decode(path.read_bytes(), type=Running)
        except (msgspec.MsgspecError, OSError):
            continue
        if graph.alive:
            found[path.stem] = msgspec.structs.replace(graph, name=path.stem)
    return found


def find(at: str | None = None) -> Running:
    """The graph of that name or address; None: the only one. LinkError lists those that run."""
    if at is not None and "://" in at:
        return Running(at, 0)
    found = graphs()
    if at is not None:
        if at not in found:
            raise LinkError(f"no running graph '{at}'; {nearest(at, found) if found else 'none runs here'}")
        return found[at]
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise LinkError(f"running graphs: {names}; name one, or give its address: --at ipc:///FOLDER")
    return next(iter(found.values()))


@contextmanager
def announced(name: str, base: str, about: dict[str, Any] | None = None, keys: str = "") -> Iterator[Path]:
    """Tools find the graph under its name while the block runs. LinkError if that name is taken."""
    where = folder()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    if where.stat().st_uid != os.getuid() or where.stat().st_mode & 0o022:
        raise LinkError(f"{where} belongs to, or can be changed by, somebody else; remove it, or set XDG_RUNTIME_DIR")
    if name in graphs():
        raise LinkError(f"a graph '{name}' runs already; give another name, or end that one")
    path = where / f"{name}.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    said = {"name": name, "base": base, "pid": os.getpid(), "keys": keys, "about": about or {}}
    part.write_text(json.dumps(said), encoding="utf-8")
    part.replace(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
