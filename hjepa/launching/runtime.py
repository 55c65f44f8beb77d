"""Where a running graph is found: a private folder of this user with an entry and a folder of sockets per graph.

$XDG_RUNTIME_DIR/hjepa, or /tmp/hjepa-UID       mode 0700
    NAME.json      {"base", "pid", "started", "nodes", "keys"}, for recorders {"config", "specs", "bus", "hosts"}, for
                   monitors {"roles", "folder"}; locked while the graph runs
    NAME/          sockets, what each node was started with, and how often each was started again (restarts.json)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hjepa.errors import ConfigError

_RESTARTS = "restarts.json"
_PATIENCE_S = 0.2  # whoever lists running graphs holds the lock of one that has ended for a moment


def root() -> Path:
    """The private folder, made if need be; ConfigError if others could have put something into it."""
    above = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(above) / "hjepa" if above else Path(tempfile.gettempdir()) / f"hjepa-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"cannot make {folder}: {error.strerror}; set XDG_RUNTIME_DIR to a folder of yours"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder} is not a folder of yours alone (mode 0700); remove it, or set XDG_RUNTIME_DIR")
    return folder


@contextlib.contextmanager
def registered(name: str, entry: Mapping[str, Any]) -> Iterator[Path]:
    """An empty folder for a graph's sockets, and its entry `NAME.json`, while the block runs.

    `{folder}` in the entry's texts stands for that folder. ConfigError if a graph of that name runs already.
    """
    folder = root() / name
    file = entry_of(folder)
    handle = _lock(file)
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        folder.mkdir(mode=0o700)
        filled = {k: v.replace("{folder}", str(folder)) if isinstance(v, str) else v for k, v in entry.items()}
        text = json.dumps(filled, indent=1)
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        file.unlink(missing_ok=True)
        os.close(handle)  # the lock goes last


def entry_of(folder: Path) -> Path:
    """The entry beside a graph's folder of sockets."""
    return folder.parent / f"{folder.name}.json"


def note_restarts(folder: Path, restarts: Mapping[str, int]) -> None:
    """Write down how often each node was started again; readers see the old counts or the new ones."""
    part = folder / f".{_RESTARTS}"
    part.write_text(json.dumps(restarts), encoding="utf-8")
    part.replace(folder / _RESTARTS)


def restarts(folder: Path) -> dict[str, int]:
    """How often each node of a running graph was started again; empty where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        return {str(name): int(count) for name, count in json.loads((folder / _RESTARTS).read_bytes()).items()}
    return {}


def running() -> dict[str, dict[str, Any]]:
    """Entries of the graphs that run now, by name."""
    found = {}
    for file in sorted(root().glob("*.json")):
        with contextlib.suppress(OSError, ValueError), file.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found[file.stem] = json.load(handle)
    return found


def _lock(file: Path) -> int:
    """A file descriptor of the entry, locked for as long as it is open."""
    patience = time.monotonic() + _PATIENCE_S
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and os.path.samestat(os.fstat(handle), file.stat()):
                return handle  # and not one that its last owner has just removed
        except BlockingIOError as error:
            os.close(handle)
            if time.monotonic() < patience:
                time.sleep(_PATIENCE_S / 10)
                continue
            raise ConfigError(
                f"graph '{file.stem}' runs already (see {file}); end it, or give this one another name"
            ) from error
        os.close(handle)
