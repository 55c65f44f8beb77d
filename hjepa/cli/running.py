"""Which running graph a tool means: the only one, one by name, or one by address."""

from __future__ import annotations

from typing import Any, NamedTuple

from hjepa.bus.listen import Place
from hjepa.bus.security import load_keys
from hjepa.errors import LinkError, nearest
from hjepa.launching import runtime

TOOLS = "tools"  # whose keys a listener uses


class Running(NamedTuple):
    """A graph, and what its starter said of it (empty where only an address is known)."""

    place: Place
    entry: dict[str, Any]


def find(at: str | None = None) -> Running:
    """The graph of that name or address; None: the only one that runs. LinkError lists those that do."""
    found = runtime.running()
    if at is not None and "://" in at:
        return _of(at, next((entry for entry in found.values() if entry.get("base") == at), {}))
    if at is not None and at not in found:
        raise LinkError(f"no running graph '{at}'; {nearest(at, found) if found else 'none runs here'}")
    if at is None and len(found) != 1:
        names = ", ".join(found) or "none"
        raise LinkError(f"running graphs: {names}; name one, or give its address: --at ipc:///FOLDER")
    entry = next(iter(found.values())) if at is None else found[at]
    return _of(entry["base"], entry)


def _of(base: str, entry: dict[str, Any]) -> Running:
    keys = load_keys(entry["keys"], TOOLS) if entry.get("keys") and base.startswith("tcp://") else None
    return Running(Place(base, keys=keys, hosts=entry.get("hosts", {})), entry)
