"""Robots as RobotSpec values, by name or from a description file (see description.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import Array, RobotSpec
from robots.description import description_path, read_description

__all__ = ["description_path", "described_by", "load_spec", "read_description", "slowed"]


def _transform(xyz: Any, rpy: Any = None) -> Array:
    """Translation and R = Rz(yaw) Ry(pitch) Rx(roll), as in a URDF."""
    T = np.eye(4)
    T[:3, 3] = xyz
    if rpy is not None:
        (cr, cp, cy), (sr, sp, sy) = np.cos(rpy).tolist(), np.sin(rpy).tolist()
        T[:3, :3] = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
        T[:3, :3] = np.where(np.abs(T[:3, :3]) < 1e-15, 0.0, T[:3, :3])  # exact for right angles
    return T


def _racket_transform(racket: dict[str, Any]) -> Array:
    """Last joint frame -> racket frame: x along the shaft, z the face normal (see the description file)."""
    c, s = np.cos(racket["shaft_angle_rad"]), np.sin(racket["shaft_angle_rad"])
    T = np.eye(4)
    T[:3, :3] = np.array(
        [[c, s, 0.0], [0.0, 0.0, 1.0], [s, -c, 0.0]]
    )  # columns: shaft, in-plane, normal = +y of the flange
    T[:3, 3] = [racket["flange_x_m"] + c * racket["centre_m"], 0.0, s * racket["centre_m"]]
    return T


def _tool(raw: dict[str, Any]) -> tuple[Array, Array]:
    """Last joint frame -> racket or tool (4, 4), and the hitting ellipse (2,): zeros without a racket."""
    if "racket" in raw:
        return _racket_transform(raw["racket"]), np.array(raw["racket"]["semi_axes_m"], dtype=np.float64)
    return _transform(raw["tool"]["xyz"], raw["tool"].get("rpy")), np.zeros(2)


def load_spec(name: str) -> RobotSpec:
    """RobotSpec of a robot: its name (courtbot, panda, ...; or one that an installed package brings), or the path of a
    description. RobotError for an unknown name, and with every mistake of the file."""
    raw = read_description(name)
    joints = raw["joints"]

    def column(key: str) -> Array:
        return np.array([j[key] for j in joints], dtype=np.float64)

    q_range = np.array([j["q"] for j in joints], dtype=np.float64)
    T_joint_tool, semi_axes_m = _tool(raw)
    return RobotSpec(
        name=raw["name"],
        joint_names=tuple(j["name"] for j in joints),
        prismatic=np.array([j["kind"] == "prismatic" for j in joints]),
        q_min_rad=q_range[:, 0],
        q_max_rad=q_range[:, 1],
        dq_max_rad_s=column("dq"),
        ddq_max_rad_s2=column("ddq"),
        tau_max_nm=column("tau"),
        T_parent_joint=np.stack([_transform(j["parent_xyz"], j.get("parent_rpy")) for j in joints]),
        axis=column("axis"),
        T_joint_racket=T_joint_tool,
        racket_semi_axes_m=semi_axes_m,
        q_home_rad=np.array(raw["q_home"], dtype=np.float64),
        control_rate_hz=float(raw["control_rate_hz"]),
        source=name if raw["name"] == name else str(description_path(name).absolute()),
    )


def described_by(spec: RobotSpec) -> str:
    """The name or file by which a robot's description is read again."""
    return spec.source or spec.name


def slowed(spec: RobotSpec, share: float) -> RobotSpec:
    """The robot with a share of its speed and acceleration limits, for its guard while a robot is commissioned."""
    if not 0.0 < share <= 1.0:
        raise RobotError(f"share of the speed limits is {share}; allowed: more than 0, at most 1")
    return replace(spec, dq_max_rad_s=share * spec.dq_max_rad_s, ddq_max_rad_s2=share * spec.ddq_max_rad_s2)
