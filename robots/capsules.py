"""A robot's body as capsules: what may touch itself, the net or a person. Legend: J joints, C capsules.

The same sizes as the links of robots.sim.links, rounded up: a capsule holds the link that it stands for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.types import Array, RobotSpec
from robots.spec import described_by, read_description

_SHORT_M = 0.05  # links shorter than this lie within their neighbours
_THICKNESS_M = 0.005  # of the racket's frame
_GRIP_M = 0.014
_CARRIAGE = (0.10, 0.12, 0.16)  # half length, height and radius of the two capsules that cross in the carriage
_COLUMN_M = 0.15


class Capsules(NamedTuple):
    """Segments from a to b with a radius, each fixed to a frame: joint j's, or the racket's (J)."""

    names: tuple[str, ...]
    frame: NDArray[np.int64]  # (C,)
    a_m: Array  # (C, 3) in the frame
    b_m: Array  # (C, 3)
    radius_m: Array  # (C,)
    pairs: NDArray[np.int64]  # (P, 2) which two may touch: no joint holds them at a distance


def capsules(spec: RobotSpec) -> Capsules:
    """Of an arm that carries a racket, on linear axes or not; from its description."""
    arm = int(np.argmin(spec.prismatic))  # first revolute joint
    rows: list[tuple[str, int, Array, Array, float]] = []
    if arm > 0:
        half, height, radius = _CARRIAGE
        for name, along in (("carriage x", [half, 0, 0]), ("carriage y", [0, half, 0])):
            rows.append((name, arm - 1, np.array([0, 0, height]) - along, np.array([0, 0, height]) + along, radius))
        top = spec.T_parent_joint[arm][:3, 3]
        rows.append(("column", arm - 1, np.array([0, 0, height + radius]), top, _COLUMN_M))
    for j in range(arm, spec.joints - 1):
        end = spec.T_parent_joint[j + 1][:3, 3]
        if np.linalg.norm(end) >= _SHORT_M:
            share = (j - arm) / max(spec.joints - arm - 1, 1)
            rows.append((f"{spec.joint_names[j]} link", j, np.zeros(3), end, 0.85 * (0.095 - 0.062 * share)))
    rows += _racket(spec)
    names, frames, a, b, radii = zip(*rows, strict=True)
    frame = np.array(frames, dtype=np.int64)
    return Capsules(names, frame, np.stack(a), np.stack(b), np.array(radii), _pairs(spec, frame, names))


def _racket(spec: RobotSpec) -> list[tuple[str, int, Array, Array, float]]:
    racket = read_description(described_by(spec))["racket"]
    butt, (along, across) = -racket["centre_m"], racket["semi_axes_m"]
    tip = racket["length_m"] - racket["centre_m"]
    x, radius = np.array([1.0, 0.0, 0.0]), across + _THICKNESS_M
    head = ("head", spec.joints, x * (radius - along), x * (tip - radius), radius)
    return [("shaft", spec.joints, x * butt, x * -along, _GRIP_M), head]


def _pairs(spec: RobotSpec, frame: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.int64]:
    """All but neighbours in the chain of capsules, and what lies on one part and the next; the head also sees the last
    link, as the wrist lets the racket fold back on it."""
    groups = np.unique(frame, return_inverse=True)[1]
    return np.array(
        [(i, k) for i in range(len(frame)) for k in range(i + 1, len(frame)) if groups[k] - groups[i] >= 2]
        + [(names.index("head") - 2, names.index("head"))],
        dtype=np.int64,
    )
