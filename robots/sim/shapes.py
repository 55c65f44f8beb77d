"""Primitive shapes of a link: geometry, colour, and the inertia of a link made of them.

Legend: T_link_shape (4, 4) places a shape in its link's frame; a cylinder's axis is its z. Lengths m, inertia kg m^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hjepa.types import Array

Colour = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Shape:
    """A box (size = three edges), cylinder (radius, length) or sphere (radius)."""

    kind: str
    size: tuple[float, ...]
    T_link_shape: Array
    colour: str

    @property
    def volume_m3(self) -> float:
        """Volume; a link's mass is shared by it."""
        if self.kind == "box":
            return float(np.prod(self.size))
        radius = self.size[0]
        return float(np.pi * radius**2 * self.size[1]) if self.kind == "cylinder" else float(4 / 3 * np.pi * radius**3)

    def unit_inertia_m2(self) -> Array:
        """Inertia about the shape's own centre and axes for a mass of 1 kg, solid and uniform: (3,) diagonal."""
        if self.kind == "box":
            x2, y2, z2 = (s * s for s in self.size)
            return np.array([y2 + z2, x2 + z2, x2 + y2]) / 12
        r2 = self.size[0] ** 2
        if self.kind == "sphere":
            return np.full(3, 0.4 * r2)
        side = (3 * r2 + self.size[1] ** 2) / 12
        return np.array([side, side, r2 / 2])


class Inertial(NamedTuple):
    """Mass properties of a link; the tensor is about the centre of mass, in link axes."""

    mass_kg: float
    com_m: Array  # (3,)
    tensor_kg_m2: Array  # (3, 3)


def inertial(shapes: tuple[Shape, ...], mass_kg: float) -> Inertial:
    """Mass properties of uniform solids that share `mass_kg` by volume (parallel-axis theorem).

    A sum of solids is a real body, so the principal moments satisfy the triangle inequality that Bullet insists on.
    """
    volumes = np.array([s.volume_m3 for s in shapes])
    masses = mass_kg * volumes / volumes.sum()
    centres = np.stack([s.T_link_shape[:3, 3] for s in shapes])
    com = masses @ centres / mass_kg
    tensor = np.zeros((3, 3))
    for shape, mass, centre in zip(shapes, masses, centres, strict=True):
        R, d = shape.T_link_shape[:3, :3], centre - com
        tensor += mass * (R @ np.diag(shape.unit_inertia_m2()) @ R.T + d @ d * np.eye(3) - np.outer(d, d))
    return Inertial(float(mass_kg), com, tensor)


def at(xyz: tuple[float, float, float] | Array, z_axis: tuple[float, float, float] | Array = (0.0, 0.0, 1.0)) -> Array:
    """Transform with its origin at xyz and its z along `z_axis` (x as close to the link's as can be)."""
    z = np.asarray(z_axis, dtype=np.float64)
    z = z / np.linalg.norm(z)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    y = np.cross(z, helper)
    y /= np.linalg.norm(y)
    T = np.eye(4)
    T[:3, :3] = np.stack([np.cross(y, z), y, z], axis=1)
    T[:3, 3] = xyz
    return T


def rod(start: Array, end: Array, radius: float, colour: str) -> Shape:
    """A cylinder from start to end."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    length = float(np.linalg.norm(end - start))
    return Shape("cylinder", (radius, length), at((start + end) / 2, (end - start) / length), colour)


def ball(centre: Array, radius: float, colour: str) -> Shape:
    """A sphere."""
    return Shape("sphere", (radius,), at(centre), colour)


def capsule(start: Array, end: Array, radius: float, colour: str) -> tuple[Shape, ...]:
    """A rod with a ball at either end."""
    return rod(start, end, radius, colour), ball(start, radius, colour), ball(end, radius, colour)


def rpy(rotation: Array) -> Array:
    """Roll, pitch, yaw (3,) of R = Rz(yaw) Ry(pitch) Rx(roll), the URDF convention."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if abs(np.cos(pitch)) < 1e-9:  # gimbal lock: roll is free, take 0
        return np.array([0.0, pitch, np.arctan2(-rotation[0, 1], rotation[1, 1])])
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    return np.array([roll, pitch, np.arctan2(rotation[1, 0], rotation[0, 0])])
