"""Frames for people: figures that Foxglove plots, and one line or one JSON object for each frame."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.bus import wire
from hjepa.errors import WireError

_SHOWN = 6  # numbers of an array that fit in a line


class Plot(NamedTuple):
    """A JSON channel made from frames of one kind."""

    channel: str
    schema: Mapping[str, Any]  # JSON schema
    values: Callable[[wire.Frame], dict[str, Any]]


def _schema(title: str, **properties: Any) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": properties}


_NUMBER, _FLAG, _TEXT = {"type": "number"}, {"type": "boolean"}, {"type": "string"}
_NUMBERS = {"type": "array", "items": _NUMBER}


def _joints(frame: wire.Frame) -> dict[str, Any]:
    return {name: plain(frame.arrays[name]) for name in ("q_rad", "dq_rad_s")}


def _shuttle(frame: wire.Frame) -> dict[str, Any]:
    """The newest measured slot of the tracker."""
    mask = frame.arrays["tracker_mask"]
    if not mask.any():
        return {"seen": False, "age_s": None, "x_m": None, "y_m": None, "z_m": None}
    newest = len(mask) - 1 - int(np.argmax(mask[::-1]))
    age_s = (frame.header.scalars["stamp_ns"] - int(frame.arrays["tracker_stamp_ns"][newest])) / 1e9  # type: ignore[operator]
    return {"seen": True, "age_s": age_s} | _point(frame.arrays["tracker_xyz_m"][newest])


def _goal(frame: wire.Frame) -> dict[str, Any]:
    return _point(frame.arrays["target_xy_m"]) | {"type": frame.header.scalars["type"]}


def _plan(frame: wire.Frame) -> dict[str, Any]:
    scalars = frame.header.scalars
    told = {name: plain(scalars[name]) for name in ("energy", "candidates", "plan_ms")}
    return _point(frame.arrays["predicted_xy_m"]) | told


def _point(xyz: NDArray[Any]) -> dict[str, Any]:
    return dict(zip(("x_m", "y_m", "z_m"), plain(xyz), strict=False))


_XY = {"x_m": _NUMBER, "y_m": _NUMBER}
_JOINTS = Plot("/joints", _schema("joints", q_rad=_NUMBERS, dq_rad_s=_NUMBERS), _joints)
_SHUTTLE = Plot("/shuttle", _schema("shuttle", seen=_FLAG, age_s=_NUMBER, **_XY, z_m=_NUMBER), _shuttle)
PLOTS: dict[str, tuple[Plot, ...]] = {  # by kind
    "observation": (_JOINTS, _SHUTTLE),
    "last_observation": (_JOINTS, _SHUTTLE),
    "goal": (Plot("/goal", _schema("goal", **_XY, type=_TEXT), _goal),),
    "plan": (Plot("/plan", _schema("plan", **_XY, energy=_NUMBER, candidates=_NUMBER, plan_ms=_NUMBER), _plan),),
}


def decoded_or_none(frame: bytes) -> wire.Frame | None:
    """The frame, if it can be read."""
    try:
        return wire.decode(frame)
    except WireError:
        return None


def plain(value: Any) -> Any:
    """Lists and numbers for JSON; what is not finite becomes null."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(topic: str, frame: wire.Frame) -> str:
    """Everything in a frame as one JSON object."""
    header = frame.header
    head = {"topic": topic, "kind": header.kind, "session": header.session, "sequence": header.sequence}
    head |= {"stamp_ns": header.stamp_ns, "valid_for_ns": header.valid_for_ns, "answers": header.answers}
    fields = dict(header.scalars) | dict(frame.arrays)
    return json.dumps(head | {"value": {name: plain(value) for name, value in fields.items()}})


def as_line(topic: str, frame: wire.Frame) -> str:
    """A frame as one line; long arrays are shortened."""
    header = frame.header
    kind = topic if header.kind == topic else f"{topic}/{header.kind}"
    parts = [f"{kind} {header.sequence} at {header.stamp_ns / 1e9:.3f} s"]
    if header.answers >= 0:
        parts.append(f"answers={header.answers}")
    parts += [f"{name}={scalar(value)}" for name, value in header.scalars.items()]
    parts += [f"{name}={array(value)}" for name, value in frame.arrays.items()]
    return "  ".join(parts)


def scalar(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def array(value: NDArray[Any]) -> str:
    """Its shape, and its first and last numbers."""
    flat = value.ravel()
    if len(flat) <= _SHOWN:
        return f"[{' '.join(scalar(x) for x in flat.tolist())}]"
    first, last = (" ".join(scalar(x) for x in part.tolist()) for part in (flat[:3], flat[-2:]))
    return f"{'x'.join(str(n) for n in value.shape)}[{first} .. {last}]"
