"""Robot descriptions: where they are found, and what a file must say. Every mistake is named with file, line and key.

A description states a machine in full (`Machine`), or puts one machine's arm on another's linear axes without repeating
a limit of either (`OnRails`). It is asked for by name (shipped, or brought by an installed package) or by its file.
Units: m, m/s, m/s^2, N for a prismatic joint; rad, rad/s, rad/s^2, Nm for a revolute one; kg.
"""

from __future__ import annotations

import math
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from hjepa.errors import ConfigError, RobotError, nearest
from hjepa.plugins import found
from hjepa.typed_yaml import Problems, Section, key, read

Vector = tuple[float, float, float]
_RAILS = re.compile(rb"^rails\s*:", re.MULTILINE)  # tells the second form from the first
_UNIT_ERROR = 1e-6  # by which an axis may miss the length 1


class Joint(Section):
    """One joint; its frame is the last joint's, moved by parent_xyz and parent_rpy, at q = 0."""

    name: str = key(..., "unique name", min_length=1)
    kind: Literal["revolute", "prismatic"] = key(..., "what it does")
    parent_xyz: Vector = key(..., "origin (m) in the frame of the joint before it, of the first one in the world")
    parent_rpy: Vector | None = key(None, "roll, pitch, yaw (rad) of the frame, as in a URDF")
    axis: Vector = key(..., "unit vector in the joint's frame")
    q: tuple[float, float] = key(..., "lowest and highest position")
    dq: float = key(..., "speed limit", gt=0)
    ddq: float = key(..., "acceleration limit", gt=0)
    tau: float = key(..., "effort limit", gt=0)


class Racket(Section):
    """A racket on the flange; its geometry is drawn in courtbot.yaml."""

    flange_x_m: float = key(..., "from the last joint to the butt, along x")
    shaft_angle_rad: float = key(..., "between the flange axis and the shaft")
    centre_m: float = key(..., "from the butt to the centre of the hitting ellipse", gt=0)
    length_m: float = key(..., "of the whole racket", gt=0)
    semi_axes_m: tuple[float, float] = key(..., "of the hitting ellipse")
    mass_kg: float = key(..., "mass", gt=0)


class Tool(Section):
    """The point that a task is about, in the last joint's frame."""

    xyz: Vector = key(..., "where (m)")
    rpy: Vector | None = key(None, "roll, pitch, yaw (rad); x is the tool's direction")


class Machine(Section):
    """A whole robot."""

    name: str = key(..., "name of the robot", min_length=1)
    control_rate_hz: float = key(..., "rate at which set-points reach the joints", gt=0, le=10_000)
    joints: tuple[Joint, ...] = key(..., "the chain, from the base to the hand", min_length=1)
    racket: Racket | None = key(None, "or a tool")
    tool: Tool | None = key(None, "or a racket")
    masses_kg: dict[str, float] | None = key(None, "mass of each joint's link; simulators need them")
    q_home: tuple[float, ...] = key(..., "where the robot waits")


class OnRails(Section):
    """A fixed arm on the linear axes of another robot, with that robot's racket."""

    name: str = key(..., "name of the robot", min_length=1)
    rails: str = key(..., "the robot whose prismatic axes and racket these are")
    arm: str = key(..., "the robot whose arm this is")
    stand_m: float = key(..., "height of the arm's foot", ge=0)
    q_home: tuple[float, ...] = key(..., "where the robot waits")


def robots() -> dict[str, str]:
    """Names of all robots that can be described without a file, and the package that brings each; '' for ours."""
    own = dict.fromkeys(sorted(shipped()), "")
    return own | {name: plugin.package for name, plugin in found("hjepa.descriptions", own).plugins.items()}


def description_path(name: str) -> Path:
    """File of a robot's description, by its name or by its file; RobotError lists the known names."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise RobotError(
                f"no robot description '{name}': give an existing .yaml file, or a name: {', '.join(robots())}"
            )
        return path
    ours = shipped()
    if name in ours:
        return ours[name]
    plugins = found("hjepa.descriptions", ours)
    plugin = plugins.get(name)
    if plugin is None:
        known = {*ours, *plugins.plugins}
        raise RobotError(f"unknown robot '{name}': {nearest(name, known)}; or the path of a description (.yaml)")
    path = plugin.folder() / f"{name}.yaml"
    if not path.is_file():
        raise RobotError(f"{plugin.title} has no file {path}; allowed: NAME.yaml in the package {plugin.value}")
    return path


def read_description(name: str) -> dict[str, Any]:
    """The description of a robot as plain values, an arm on rails written out in full.

    RobotError with a line for each mistake.
    """
    path = description_path(name)
    try:
        on_rails = _RAILS.search(path.read_bytes()) is not None
        described = _on_rails(read(OnRails, path), path) if on_rails else read(Machine, path, check=_check)
    except ConfigError as error:
        raise RobotError(str(error)) from error
    if path.stem == name and described.name != name:
        raise RobotError(f"{path}: name: is '{described.name}'; allowed: '{name}', by which it is found")
    return described.model_dump(exclude_none=True)


def shipped() -> dict[str, Path]:
    """Names and files of the descriptions that ship with hjepa."""
    folder = Path(str(resources.files("robots") / "descriptions"))
    return {path.stem: path for path in folder.glob("*.yaml")}


def _on_rails(raw: OnRails, path: Path) -> Machine:
    """The arm on the other robot's prismatic axes, its foot on the stand, the other's racket on its flange."""
    rails, arm = (Machine.model_validate(read_description(name)) for name in (raw.rails, raw.arm))
    axes = [joint for joint in rails.joints if joint.kind == "prismatic"]
    if rails.racket is None or not axes:
        raise RobotError(f"{path}: rails: '{raw.rails}' lacks prismatic axes or a racket; allowed: such as courtbot")
    if arm.tool is None or any(arm.tool.xyz[1:]):
        raise RobotError(f"{path}: arm: '{raw.arm}' has no tool along x; allowed: such as panda")
    foot, *rest = arm.joints
    x, y, z = foot.parent_xyz
    masses = {joint.name: (rails.masses_kg or {}).get(joint.name) for joint in axes} | (arm.masses_kg or {})
    made = Machine(
        name=raw.name,
        control_rate_hz=rails.control_rate_hz,
        joints=(*axes, foot.model_copy(update={"parent_xyz": (x, y, z + raw.stand_m)}), *rest),
        racket=rails.racket.model_copy(update={"flange_x_m": arm.tool.xyz[0]}),
        masses_kg={name: mass_kg for name, mass_kg in masses.items() if mass_kg is not None},
        q_home=raw.q_home,
    )
    problems = [f"{path}: {'.'.join(at)}: {said}" for at, said in _check(made)]
    if problems:
        raise RobotError("\n".join(problems))
    return made


# mistakes that no single key can have


def _check(made: Machine) -> Problems:
    names = [joint.name for joint in made.joints]
    for index, joint in enumerate(made.joints):
        at = ("joints", str(index))
        low, high = joint.q
        if low >= high:
            yield (*at, "q"), f"of joint '{joint.name}' goes from {low} to {high}; allowed: the lower end first"
        length = math.hypot(*joint.axis)
        if abs(length - 1.0) > _UNIT_ERROR:
            yield (*at, "axis"), f"of joint '{joint.name}' has the length {length:.6g}; allowed: 1"
        if joint.name in names[:index]:
            yield (*at, "name"), f"is '{joint.name}', as is that of joint {names.index(joint.name)}; allowed: one each"
    if (made.racket is None) == (made.tool is None):
        both = "neither racket nor tool" if made.racket is None else "racket and tool"
        yield ("racket",), f"the description has {both}; allowed: one of them"
    yield from _check_home(made)
    masses = made.masses_kg or {}
    for name, mass_kg in masses.items():
        if name not in names:
            yield ("masses_kg", name), f"no joint has this name; {nearest(name, names)}"
        elif mass_kg <= 0:
            yield ("masses_kg", name), f"is {mass_kg} kg; allowed: more than 0"
    if masses and set(names) - set(masses):
        yield ("masses_kg",), f"lacks {', '.join(sorted(set(names) - set(masses)))}; allowed: a mass for every joint"


def _check_home(made: Machine) -> Problems:
    if len(made.q_home) != len(made.joints):
        yield ("q_home",), f"has {len(made.q_home)} numbers; allowed: {len(made.joints)}, one per joint"
        return
    for joint, q in zip(made.joints, made.q_home, strict=True):
        if not joint.q[0] <= q <= joint.q[1]:
            yield ("q_home",), f"puts joint '{joint.name}' at {q}; allowed: {joint.q[0]} to {joint.q[1]}"
