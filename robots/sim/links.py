"""The links of a robot for a simulator: primitive shapes laid along the chain of its description, with their masses.

Geometry of our own (boxes, rods, balls); the inertia of a link follows from it (shapes.py). Link frames are the joint
frames of `RobotSpec`; the racket link's frame is the racket frame. Both model writers (URDF, MJCF) start here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import RobotSpec
from robots.sim.shapes import Colour, Inertial, Shape, at, ball, capsule, inertial, rod
from robots.spec import described_by, read_description

COLOURS: dict[str, Colour] = {
    "graphite": (0.16, 0.17, 0.20, 1.0),
    "steel": (0.62, 0.65, 0.70, 1.0),
    "shell": (0.93, 0.94, 0.95, 1.0),
    "teal": (0.05, 0.55, 0.58, 1.0),
    "amber": (0.98, 0.60, 0.10, 1.0),
    "grip": (0.12, 0.12, 0.14, 1.0),
    "frame": (0.82, 0.12, 0.20, 1.0),
    "string": (0.97, 0.97, 0.88, 0.9),
}
RACKET_LINK = "racket"
_RING_PIECES = 24
_BASE_KG = 40.0  # the part that stands still; of no effect, but loaders complain without it


class Link(NamedTuple):
    """One rigid body."""

    name: str
    shapes: tuple[Shape, ...]
    mass_kg: float

    @property
    def inertial(self) -> Inertial:
        """Mass properties of its shapes."""
        return inertial(self.shapes, self.mass_kg)


def links(spec: RobotSpec) -> tuple[Link, ...]:
    """The base, then one link per joint, then the racket if there is one; RobotError without masses."""
    raw = read_description(described_by(spec))
    masses = raw.get("masses_kg")
    if masses is None:
        raise RobotError(f"the description of '{spec.name}' states no masses_kg; allowed in a simulator: one per joint")
    arm = int(np.argmin(spec.prismatic))  # first revolute joint
    out = [Link("world_base", _base_shapes(spec), _BASE_KG)]
    for j, joint in enumerate(spec.joint_names):
        shapes = _axis_shapes(spec, j) if spec.prismatic[j] else _arm_shapes(spec, j, arm)
        if j == arm - 1 and spec.prismatic[j]:
            shapes += _pedestal_shapes(spec, arm)
        out.append(Link(f"{joint}_link", shapes, masses[joint]))
    if "racket" in raw:
        out.append(Link(RACKET_LINK, _racket_shapes(raw["racket"]), raw["racket"]["mass_kg"]))
    return tuple(out)


def _base_shapes(spec: RobotSpec) -> tuple[Shape, ...]:
    """Two rails on the floor under a first linear axis along x; a foot for a robot that stands still."""
    first = np.array(spec.T_parent_joint[0][:3, 3])
    if not spec.prismatic[0]:
        return (rod(np.zeros(3), np.maximum(first, [0.0, 0.0, 0.02]), 0.14, "graphite"),)
    low, high = spec.q_min_rad[0] - 0.2, spec.q_max_rad[0] + 0.2
    half = 3.0
    middle, length = (low + high) / 2, high - low
    return tuple(Shape("box", (length, 0.12, 0.06), at((middle, y, 0.03)), "steel") for y in (-half, half))


def _axis_shapes(spec: RobotSpec, j: int) -> tuple[Shape, ...]:
    """The beam that runs on the rails, then the carriage that runs on the beam."""
    if j == 0:
        beam = Shape("box", (0.24, 6.1, 0.08), at((0.0, 0.0, 0.11)), "graphite")
        feet = [Shape("box", (0.42, 0.18, 0.10), at((0.0, y, 0.11)), "amber") for y in (-3.0, 3.0)]
        return (beam, *feet)
    return (Shape("box", (0.52, 0.50, 0.12), at((0.0, 0.0, 0.21)), "teal"),)


def _pedestal_shapes(spec: RobotSpec, arm: int) -> tuple[Shape, ...]:
    """A column from the carriage up to the arm's first joint."""
    top = float(spec.T_parent_joint[arm][2, 3])
    collar = rod(np.array([0, 0, top - 0.05]), np.array([0, 0, top]), 0.15, "amber")
    return rod(np.array([0, 0, 0.27]), np.array([0, 0, top - 0.05]), 0.12, "graphite"), collar


def _arm_shapes(spec: RobotSpec, j: int, arm: int) -> tuple[Shape, ...]:
    """A motor drum along the joint's axis and a capsule to the next joint; thinner towards the hand."""
    share = (j - arm) / max(spec.joints - arm - 1, 1)
    radius = 0.095 - 0.062 * share
    axis = np.asarray(spec.axis[j])
    last = j == spec.joints - 1
    end = np.zeros(3) if last else np.array(spec.T_parent_joint[j + 1][:3, 3])
    if last:  # flange: along the tool axis, up to the tool, or to the butt of the racket
        T = spec.T_joint_racket
        butt = T[:3, 3] - T[:3, 0] * _centre_m(spec)
        return rod(np.zeros(3), butt, 0.026, "steel"), ball(butt, 0.03, "graphite")
    colour = "shell" if (j - arm) % 2 == 0 else "teal"
    drum = rod(-1.15 * radius * axis, 1.15 * radius * axis, 1.1 * radius, "graphite")
    if np.linalg.norm(end) < 0.05:
        return (drum, ball(np.zeros(3), 1.2 * radius, colour))
    return (drum, *capsule(np.zeros(3), end, 0.85 * radius, colour))


def _centre_m(spec: RobotSpec) -> float:
    return float(read_description(described_by(spec)).get("racket", {}).get("centre_m", 0.0))


def _racket_shapes(racket: dict[str, Any]) -> tuple[Shape, ...]:
    """Grip, shaft, an elliptical frame of short rods and a string bed, in the racket frame (x towards the tip)."""
    butt, tip = -racket["centre_m"], racket["length_m"] - racket["centre_m"]
    a, b = racket["semi_axes_m"]
    thick = 0.005
    x = np.array([1.0, 0.0, 0.0])
    shapes = [rod(x * butt, x * (butt + 0.18), 0.0135, "grip"), rod(x * (butt + 0.18), x * -a, 0.0036, "graphite")]
    turn = np.linspace(0.0, 2 * np.pi, _RING_PIECES + 1)
    ring = np.stack([(tip - thick) * np.cos(turn), (b + thick) * np.sin(turn), np.zeros_like(turn)], axis=1)
    shapes += [rod(ring[i], ring[i + 1], thick, "frame") for i in range(_RING_PIECES)]
    for s in np.linspace(-0.8, 0.8, 7):
        across, along = b * np.sqrt(1 - s * s), a * np.sqrt(1 - s * s)
        shapes.append(rod(np.array([s * a, -across, 0]), np.array([s * a, across, 0]), 0.0008, "string"))
        shapes.append(rod(np.array([-along, s * b, 0]), np.array([along, s * b, 0]), 0.0008, "string"))
    return tuple(shapes)
