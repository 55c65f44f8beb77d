"""Which servo moves which joint, and how its steps become an angle. Legend: J joints.

As a file (YAML), one entry a joint of the description; what is left out has the default:

    joints:
      shoulder_pan: {id: 1, zero_steps: 2048, direction: 1}
      gripper: {id: 6, zero_steps: 2048, direction: 1, yields: true}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hjepa.errors import RobotError, nearest
from hjepa.types import Array, RobotSpec
from robots.real.servo import STEPS_TURN

_RAD_STEP = 2.0 * np.pi / STEPS_TURN
_MAX_ID = 252
_MIDDLE = STEPS_TURN // 2


@dataclass(frozen=True)
class Calibration:
    """One servo a joint: angle = direction * (steps - zero) * 2 pi / 4096."""

    ids: tuple[int, ...]  # J
    zero_steps: tuple[int, ...]  # J, where the joint's angle is 0
    direction: tuple[int, ...]  # J, 1 or -1
    yields: tuple[bool, ...]  # J, True: may be held up by what it touches (a gripper), which is no fault

    @classmethod
    def default(cls, spec: RobotSpec, ids: tuple[int, ...] | None = None) -> Calibration:
        """Ids 1 to J (or those given), zero in the middle of the turn; a joint called gripper yields."""
        count = spec.joints
        ids = tuple(range(1, count + 1)) if ids is None else ids
        yields = tuple(name == "gripper" for name in spec.joint_names)
        made = cls(ids, (_MIDDLE,) * count, (1,) * count, yields)
        made.check(spec)
        return made

    def check(self, spec: RobotSpec) -> None:
        """RobotError unless this fits the robot, and every angle of its range is within one turn."""
        for what, values in (("ids", self.ids), ("zero_steps", self.zero_steps), ("direction", self.direction)):
            if len(values) != spec.joints:
                raise RobotError(
                    f"{what} has {len(values)} entries; allowed: {spec.joints}, one a joint of {spec.name}"
                )
        for name, servo in zip(spec.joint_names, self.ids, strict=True):
            if not 0 <= servo <= _MAX_ID:
                raise RobotError(f"id of {name} is {servo}; allowed: 0 to {_MAX_ID}")
        if len(set(self.ids)) != len(self.ids):
            raise RobotError(f"ids are {self.ids}; allowed: each once")
        for name, direction in zip(spec.joint_names, self.direction, strict=True):
            if direction not in (1, -1):
                raise RobotError(f"direction of {name} is {direction}; allowed: 1 or -1")
        for j, (low, high) in enumerate(self.range_steps(spec)):
            if low < 0 or high >= STEPS_TURN:
                raise RobotError(
                    f"{spec.joint_names[j]} needs steps {low} to {high}; allowed: 0 to {STEPS_TURN - 1} "
                    f"(zero_steps is {self.zero_steps[j]})"
                )

    def range_steps(self, spec: RobotSpec) -> list[tuple[int, int]]:
        """Lowest and highest step of each joint's range."""
        ends = zip(self.to_steps(spec.q_min_rad), self.to_steps(spec.q_max_rad), strict=True)
        return [(min(pair), max(pair)) for pair in ends]

    def to_steps(self, q_rad: Array) -> list[int]:
        """Steps nearest to joint angles (J,)."""
        steps = np.array(self.zero_steps) + np.array(self.direction) * q_rad / _RAD_STEP
        return [int(s) for s in np.rint(steps)]

    def to_rad(self, steps: list[int]) -> Array:
        """Joint angles (J,) of positions in steps."""
        return np.array(self.direction) * (np.array(steps) - np.array(self.zero_steps)) * _RAD_STEP

    def to_rad_s(self, steps_s: list[float]) -> Array:
        """Joint speeds (J,)."""
        return np.array(self.direction) * np.array(steps_s) * _RAD_STEP


def steps_of(rad: float) -> float:
    """How many steps an angle is."""
    return rad / _RAD_STEP


def read_joint_map(path: str | Path, spec: RobotSpec) -> Calibration:
    """The joint map in a YAML file; RobotError says which entry is wrong."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RobotError(f"joint map {path}: {error.strerror}; allowed: a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RobotError(f"joint map {path} is not YAML: {str(error).splitlines()[0]}") from error
    joints = raw.get("joints") if isinstance(raw, dict) else None
    if not isinstance(joints, dict):
        raise RobotError(f"joint map {path} has no mapping 'joints'; allowed: joints: {{{spec.joint_names[0]}: ...}}")
    for name in raw:
        if name != "joints":
            raise RobotError(f"joint map {path}: unknown key '{name}'; allowed: joints")
    for name in joints:
        if name not in spec.joint_names:
            raise RobotError(f"joint map {path}: unknown joint '{name}': {nearest(str(name), spec.joint_names)}")
    entries = [_entry(path, name, joints.get(name)) for name in spec.joint_names]
    made = Calibration(
        ids=tuple(int(e["id"]) for e in entries),
        zero_steps=tuple(int(e["zero_steps"]) for e in entries),
        direction=tuple(int(e["direction"]) for e in entries),
        yields=tuple(bool(e["yields"]) for e in entries),
    )
    made.check(spec)
    return made


def write_joint_map(path: str | Path, calibration: Calibration, spec: RobotSpec) -> None:
    """Write a joint map that `read_joint_map` reads back."""
    calibration.check(spec)
    c = calibration
    joints = {
        name: {"id": c.ids[j], "zero_steps": c.zero_steps[j], "direction": c.direction[j], "yields": c.yields[j]}
        for j, name in enumerate(spec.joint_names)
    }
    Path(path).write_text(yaml.safe_dump({"joints": joints}, sort_keys=False), encoding="utf-8")


def _entry(path: str | Path, name: str, raw: Any) -> dict[str, Any]:
    """One joint's entry with its defaults."""
    defaults: dict[str, Any] = {"zero_steps": _MIDDLE, "direction": 1, "yields": name == "gripper"}
    if not isinstance(raw, dict) or "id" not in raw:
        raise RobotError(f"joint map {path}: {name} is {raw}; allowed: {{id: 1, zero_steps: {_MIDDLE}, direction: 1}}")
    for key, value in raw.items():
        if key not in ("id", *defaults):
            raise RobotError(f"joint map {path}: {name} has '{key}': {nearest(str(key), ('id', *defaults))}")
        if type(value) is not (bool if key == "yields" else int):
            kind = "true or false" if key == "yields" else "a whole number"
            raise RobotError(f"joint map {path}: {key} of {name} is {value!r}; allowed: {kind}")
    return {**defaults, **raw}
