"""Where two frames differ, for people."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hjepa.bus import wire
from hjepa.bus.readable import array, scalar

_SHOWN = 8  # differing elements of an array


def diff(recorded: bytes, replayed: bytes) -> list[str]:
    """Where two frames differ, field by field: `recorded | replayed`."""
    old, new = wire.decode(recorded), wire.decode(replayed)
    lines = []
    for name in ("kind", "session", "sequence", "stamp_ns", "valid_for_ns", "answers", "ledger"):
        lines += _changed(f"header.{name}", getattr(old.header, name), getattr(new.header, name))
    for name in dict.fromkeys([*old.header.scalars, *new.header.scalars]):
        lines += _changed(name, old.header.scalars.get(name), new.header.scalars.get(name))
    for name in dict.fromkeys([*old.arrays, *new.arrays]):
        lines += _changed_array(name, old.arrays.get(name), new.arrays.get(name))
    return lines or ["the same values, written otherwise"]


def _changed(name: str, old: Any, new: Any) -> list[str]:
    same = old == new or (old != old and new != new)  # nan is nan
    exact = [repr(value) if isinstance(value, float) else str(value) for value in (old, new)]
    return [] if same else [f"{name}: {exact[0]} | {exact[1]}"]


def _changed_array(name: str, old: NDArray[Any] | None, new: NDArray[Any] | None) -> list[str]:
    if old is None or new is None or old.shape != new.shape or old.dtype != new.dtype:
        told = ["absent" if a is None else f"{a.dtype} {a.shape} {array(a)}" for a in (old, new)]
        return [f"{name}: {told[0]} | {told[1]}"]
    bits = np.ascontiguousarray(old).view(np.uint8) != np.ascontiguousarray(new).view(np.uint8)
    where = np.argwhere(bits.reshape(*old.shape, old.itemsize).any(axis=-1))
    if not len(where):
        return []
    apart = np.abs(old.astype(float) - new.astype(float)).max()
    lines = [f"{name}: {len(where)} of {old.size} elements differ, by {scalar(float(apart))} at most"]
    for at in where[:_SHOWN]:
        index = tuple(int(i) for i in at)
        lines.append(f"  {name}[{', '.join(map(str, index))}]: {old[index].item()!r} | {new[index].item()!r}")
    return lines + ([f"  and {len(where) - _SHOWN} more"] if len(where) > _SHOWN else [])
