"""A robot's URDF as bodies that move against their parents, each with triangle meshes. Boxes, cylinders and spheres.

Legend: V vertices, F triangles.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import RobotError
from hjepa.types import Array

SIDES = 20  # of a drawn cylinder
RINGS = 10  # of a drawn sphere
_GREY = (160, 160, 160)
Triangles = NDArray[np.uint32]
Rgb = tuple[int, int, int]


class Mesh(NamedTuple):
    """Triangles of one colour, in their body's frame."""

    vertices_m: Array  # (V, 3)
    faces: Triangles  # (F, 3)
    rgb: Rgb


class Body(NamedTuple):
    """A link and the joint that carries it."""

    name: str
    parent: str  # '': the world
    joint: str  # '' where it is fixed
    prismatic: bool
    T_parent_body: Array  # (4, 4) at q = 0
    axis: Array  # (3,) unit, in the body's frame
    meshes: tuple[Mesh, ...]


def read(text: str) -> list[Body]:
    """Bodies of a URDF, parents first; RobotError for one that cannot be read."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise RobotError(f"URDF cannot be read: {error}") from error
    colours = {m.get("name", ""): _rgb(m) for m in root.iter("material") if m.find("color") is not None}
    meshes = {link.get("name", ""): _meshes(link, colours) for link in root.findall("link")}
    carried = {_name(joint, "child"): joint for joint in root.findall("joint")}
    done: list[Body] = []
    waiting = list(meshes)
    while waiting:
        ready = [n for n in waiting if n not in carried or _name(carried[n], "parent") in {b.name for b in done}]
        if not ready:
            raise RobotError(f"URDF: links {', '.join(waiting)} hang on nothing; allowed: a tree of links")
        done += [_body(name, carried.get(name), meshes[name]) for name in ready]
        waiting = [name for name in waiting if name not in ready]
    return done


def _body(name: str, joint: ET.Element | None, meshes: tuple[Mesh, ...]) -> Body:
    if joint is None:
        return Body(name, "", "", False, np.eye(4), np.array([1.0, 0.0, 0.0]), meshes)
    kind = joint.get("type", "fixed")
    axis = joint.find("axis")
    direction = _numbers(axis.get("xyz") if axis is not None else None, (1.0, 0.0, 0.0))
    moving = joint.get("name", "") if kind != "fixed" else ""
    return Body(name, _name(joint, "parent"), moving, kind == "prismatic", _origin(joint), direction, meshes)


def _name(joint: ET.Element, which: str) -> str:
    found = joint.find(which)
    return found.get("link", "") if found is not None else ""


def _meshes(link: ET.Element, colours: dict[str, Rgb]) -> tuple[Mesh, ...]:
    """Visuals of a link, those of one colour as one mesh: a page draws few large ones quicker than many small ones."""
    parts: dict[Rgb, list[tuple[Array, Triangles]]] = {}
    for visual in link.findall("visual"):
        shape = visual.find("geometry/*")
        material = visual.find("material")
        rgb = colours.get(material.get("name", ""), _GREY) if material is not None else _GREY
        if shape is not None:
            vertices, faces = _shape(shape)
            T = _origin(visual)
            parts.setdefault(rgb, []).append((vertices @ T[:3, :3].T + T[:3, 3], faces))
    return tuple(Mesh(*joined(pieces), rgb) for rgb, pieces in parts.items())


def joined(pieces: list[tuple[Array, Triangles]]) -> tuple[Array, Triangles]:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces[:-1])])
    faces = [faces + start for (_, faces), start in zip(pieces, starts)]
    return np.concatenate([vertices for vertices, _ in pieces]), np.concatenate(faces).astype(np.uint32)


def _shape(element: ET.Element) -> tuple[Array, Triangles]:
    if element.tag == "box":
        return box(_numbers(element.get("size")))
    if element.tag == "cylinder":
        return cylinder(float(element.get("radius", "0")), float(element.get("length", "0")))
    if element.tag == "sphere":
        return sphere(float(element.get("radius", "0")))
    raise RobotError(f"URDF: shape '{element.tag}' cannot be drawn; allowed: box, cylinder, sphere")


def box(size_m: Array) -> tuple[Array, Triangles]:
    """A box around the origin."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size_m
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], dtype=np.uint32)


def cylinder(radius_m: float, length_m: float, top_m: float | None = None) -> tuple[Array, Triangles]:
    """A cylinder along z around the origin; top_m: radius of its upper end, where that differs."""
    turn = np.linspace(0.0, 2.0 * np.pi, SIDES, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros(SIDES)], axis=-1)
    up = np.array([0.0, 0.0, 0.5 * length_m])
    radii = radius_m, radius_m if top_m is None else top_m
    vertices = np.concatenate([ring * radii[0] - up, ring * radii[1] + up, [-up, up]])
    faces = []
    for k in range(SIDES):
        n = (k + 1) % SIDES
        faces += [(k, n, SIDES + k), (n, SIDES + n, SIDES + k), (2 * SIDES, n, k)]
        faces.append((2 * SIDES + 1, SIDES + k, SIDES + n))
    return vertices, np.array(faces, dtype=np.uint32)


def sphere(radius_m: float) -> tuple[Array, Triangles]:
    """A ball around the origin."""
    down = np.linspace(0.0, np.pi, RINGS + 1)[:, None]
    turn = np.linspace(0.0, 2.0 * np.pi, SIDES, endpoint=False)[None]
    parts = (np.sin(down) * np.cos(turn), np.sin(down) * np.sin(turn), np.cos(down) + 0.0 * turn)
    vertices = radius_m * np.stack(parts, axis=-1).reshape(-1, 3)
    faces = []
    for r in range(RINGS):
        for k in range(SIDES):
            a, b = r * SIDES + k, r * SIDES + (k + 1) % SIDES
            faces += [(a, a + SIDES, b), (b, a + SIDES, b + SIDES)]
    return vertices, np.array(faces, dtype=np.uint32)


def _origin(element: ET.Element) -> Array:
    """Transform (4, 4) of an origin: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    found = element.find("origin")
    T = np.eye(4)
    if found is None:
        return T
    (cr, cp, cy), (sr, sp, sy) = (f(_numbers(found.get("rpy"), (0.0, 0.0, 0.0))) for f in (np.cos, np.sin))
    T[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    T[:3, 3] = _numbers(found.get("xyz"), (0.0, 0.0, 0.0))
    return T


def _numbers(text: str | None, default: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Array:
    return np.array(text.split() if text else default, dtype=np.float64)


def _rgb(material: ET.Element) -> Rgb:
    color = material.find("color")
    r, g, b = _numbers(color.get("rgba") if color is not None else None, (0.6, 0.6, 0.6, 1.0))[:3]
    return round(255 * r), round(255 * g), round(255 * b)
