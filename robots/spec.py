"""Reads a robot description (YAML: chain, limits, racket) into a RobotSpec value."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hjepa.errors import RobotError, nearest
from hjepa.types import RobotSpec


def description_path(name: str) -> Path:
    """Path of a shipped description; RobotError lists the known names."""
    folder = Path(str(resources.files("robots") / "descriptions"))
    known = {p.stem: p for p in folder.glob("*.yaml")}
    if name not in known:
        raise RobotError(f"unknown robot '{name}': {nearest(name, known)}")
    return known[name]


def read_description(name: str) -> dict[str, Any]:
    """The raw description of a shipped robot."""
    loaded = yaml.safe_load(description_path(name).read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise RobotError(f"description of '{name}' is not a mapping")
    return loaded


def _translation(xyz: list[float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = xyz
    return T


def _racket_transform(racket: dict[str, Any]) -> np.ndarray:
    """Last joint frame -> racket frame: x along the shaft, z the face normal (see the description file)."""
    c, s = np.cos(racket["shaft_angle_rad"]), np.sin(racket["shaft_angle_rad"])
    T = np.eye(4)
    T[:3, :3] = np.array(
        [[c, s, 0.0], [0.0, 0.0, 1.0], [s, -c, 0.0]]
    )  # columns: shaft, in-plane, normal = +y of the flange
    T[:3, 3] = [racket["flange_x_m"] + c * racket["centre_m"], 0.0, s * racket["centre_m"]]
    return T


def load_spec(name: str) -> RobotSpec:
    """RobotSpec of a shipped robot (courtbot, ...). Raises RobotError for an unknown name."""
    raw = read_description(name)
    joints = raw["joints"]

    def column(key: str) -> np.ndarray:
        return np.array([j[key] for j in joints], dtype=np.float64)

    q_range = np.array([j["q"] for j in joints], dtype=np.float64)
    return RobotSpec(
        name=raw["name"],
        joint_names=tuple(j["name"] for j in joints),
        prismatic=np.array([j["kind"] == "prismatic" for j in joints]),
        q_min_rad=q_range[:, 0],
        q_max_rad=q_range[:, 1],
        dq_max_rad_s=column("dq"),
        ddq_max_rad_s2=column("ddq"),
        tau_max_nm=column("tau"),
        T_parent_joint=np.stack([_translation(j["parent_xyz"]) for j in joints]),
        axis=column("axis"),
        T_joint_racket=_racket_transform(raw["racket"]),
        racket_semi_axes_m=np.array(raw["racket"]["semi_axes_m"], dtype=np.float64),
        q_home_rad=np.array(raw["q_home"], dtype=np.float64),
        control_rate_hz=float(raw["control_rate_hz"]),
    )
