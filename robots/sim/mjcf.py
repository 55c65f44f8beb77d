"""Makes a robot's MuJoCo model (MJCF) from its description: the same chain, shapes and masses as its URDF.

What a model of MuJoCo says beyond a URDF, and why:
- every joint has a speed drive: force = kv (speed asked for - speed), within the description's torque limit. Its
  damping is integrated implicitly, so that it may be stiff; past that, at the torque limit, it would chatter;
- drives carry the arm's weight by feed-forward (gravcomp through the actuators), as industrial ones do, and it counts
  in the torque limit;
- armature, friction and damping are 0: the description's masses are all that moves. Collisions are off: racket and
  shuttle meet by our own swept test.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from hjepa.types import Array, RobotSpec
from robots.sim.links import COLOURS, RACKET_LINK, Link, links

STEP_S = 0.0005
# A drive pushes with all its torque where its speed is off by what the joint's greatest acceleration makes of this
# time. By trial on fast swings of courtbot: at 1 ms light joints begin to chatter between their torque limits, at 2 ms
# the racket lags by up to 1.9 mm, at 4 ms by 4.7 mm.
STIFF_S = 0.002


def mjcf_text(spec: RobotSpec) -> str:
    """MJCF of a robot with a shipped description."""
    root = ET.Element("mujoco", model=spec.name)
    ET.SubElement(root, "compiler", angle="radian", inertiafromgeom="false")
    option = ET.SubElement(root, "option", timestep=_numbers(STEP_S), integrator="implicitfast", gravity="0 0 -9.81")
    ET.SubElement(option, "flag", contact="disable")
    asset = ET.SubElement(root, "asset")
    for colour, rgba in COLOURS.items():
        ET.SubElement(asset, "material", name=colour, rgba=_numbers(rgba))
    world = ET.SubElement(root, "worldbody")
    base, *moving = links(spec)
    parent = ET.SubElement(world, "body", name=base.name)
    _content(parent, base)
    for j, link in enumerate(moving):
        T = spec.T_parent_joint[j] if j < spec.joints else spec.T_joint_racket
        parent = ET.SubElement(parent, "body", {"name": link.name, "gravcomp": "1", **_place(T)})
        if j < spec.joints:
            _joint(parent, spec, j)
        else:
            ET.SubElement(parent, "site", name=RACKET_LINK)
        _content(parent, link)
    actuator = ET.SubElement(root, "actuator")
    gain = spec.tau_max_nm / (STIFF_S * spec.ddq_max_rad_s2)
    for joint, kv in zip(spec.joint_names, gain, strict=True):
        ET.SubElement(actuator, "velocity", name=joint, joint=joint, kv=_numbers(kv))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _joint(body: ET.Element, spec: RobotSpec, j: int) -> None:
    """A joint without stops: the guard keeps commands within range."""
    force = spec.tau_max_nm[j]
    ET.SubElement(
        body, "joint", name=spec.joint_names[j], type="slide" if spec.prismatic[j] else "hinge",
        axis=_numbers(spec.axis[j]), armature="0", damping="0", frictionloss="0", limited="false",
        actuatorgravcomp="true", actuatorfrclimited="true", actuatorfrcrange=_numbers([-force, force]),
    )  # fmt: skip


def _content(body: ET.Element, link: Link) -> None:
    """Inertia and looks of a link."""
    mass = link.inertial
    t = mass.tensor_kg_m2
    tensor = [t[0, 0], t[1, 1], t[2, 2], t[0, 1], t[0, 2], t[1, 2]]
    pos, kg = _numbers(mass.com_m), _numbers(mass.mass_kg)
    ET.SubElement(body, "inertial", pos=pos, mass=kg, fullinertia=_numbers(tensor))
    for shape in link.shapes:
        size = np.asarray(shape.size)
        if shape.kind == "box":
            size = size / 2
        elif shape.kind == "cylinder":
            size = size * [1.0, 0.5]
        looks = {"type": shape.kind, "size": _numbers(size), "material": shape.colour}
        ET.SubElement(body, "geom", {"contype": "0", "conaffinity": "0", **looks, **_place(shape.T_link_shape)})


def _place(T: Array) -> dict[str, str]:
    """Position and axes of a frame (4, 4)."""
    return {"pos": _numbers(T[:3, 3]), "xyaxes": _numbers(np.concatenate([T[:3, 0], T[:3, 1]]))}


def _numbers(values: Any) -> str:
    return " ".join(repr(float(v)) for v in np.asarray(values, dtype=np.float64).ravel())
