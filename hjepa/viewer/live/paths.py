"""Curves that the page draws: where the racket would go, how the shuttle would fly.

Legend: C considered plans, J joints, P points of a curve.
"""

from __future__ import annotations

import numpy as np

from hjepa import stroke
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import Array, RobotSpec

STEP_S = 0.025  # between two points of a racket's way
ARC_POINTS = 32
CLEARANCE_M = 0.35  # of a drawn flight over the tape, where its end points do not say
LOB = 0.12  # height of the arc over its chord, as a share of the distance
_VIRIDIS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]
)  # van der Walt and Smith (2015)


def racket_ways(spec: RobotSpec, now: stroke.JointState, events: list[stroke.Event]) -> list[Array]:
    """Way of the racket's centre (P, 3), world, from now to each contact event."""
    return [_way(spec, now, event) for event in events]


def _way(spec: RobotSpec, now: stroke.JointState, event: stroke.Event) -> Array:
    limits = spec.q_home_rad, spec.ddq_max_rad_s2
    planned = stroke.trajectory(now, event, *limits, start_ns=0, valid_ns=1, dt_s=STEP_S)
    count = max(1, int(np.ceil(event.to_go_s / STEP_S)))  # so that a way has two points at least
    q = np.concatenate([planned.q_rad[:count], event.q_rad[None]])
    way: Array = joint_frames(spec, q)[:, -1, :3, 3]
    return way


def flight_arc(start_m: Array, landing_xy_m: Array) -> Array:
    """A smooth arc (P, 3) from a contact (3,) to a landing (2,), over the net where it lies between them.

    Only the ends are predicted: the arc between them is drawn, steeper towards its end as with drag.
    """
    end = np.array([*landing_xy_m, 0.0])
    share = np.linspace(0.0, 1.0, ARC_POINTS)[:, None]
    arc: Array = start_m + share * (end - start_m)
    bow = _bow(share)
    lift = LOB * float(np.linalg.norm(end - start_m))
    if start_m[0] < 0.0 < end[0]:
        at = -start_m[0] / (end[0] - start_m[0])
        chord = start_m + at * (end - start_m)
        wanted = float(net_height_at(chord[1])) + CLEARANCE_M - chord[2]
        lift = max(lift, wanted / float(_bow(np.array(at))))
    arc[:, 2] += lift * bow[:, 0]
    return arc


def _bow(share: Array) -> Array:
    """0 at both ends, 1 at the apex, which lies beyond the middle."""
    skewed: Array = share**1.3
    return 4.0 * skewed * (1.0 - skewed)


def shades(energies: Array) -> Array:
    """RGB (C, 3) of energies (C,): the least bright yellow, the largest dark violet; grey where not finite."""
    colours = np.full((len(energies), 3), 120.0)
    finite = np.isfinite(energies)
    if finite.any():
        order = np.argsort(np.argsort(energies[finite]))  # ranks: one huge energy must not hide the others
        place = 1.0 - order / max(1, len(order) - 1)
        grid = np.linspace(0.0, 1.0, len(_VIRIDIS))
        colours[finite] = np.stack([np.interp(place, grid, _VIRIDIS[:, c]) for c in range(3)], axis=-1)
    return colours


def segments(line_m: Array) -> Array:
    """Pieces (P - 1, 2, 3) of a polyline (P, 3)."""
    return np.stack([line_m[:-1], line_m[1:]], axis=1)
