"""Outgoing shots: which launch carries a shuttle to a target, and which racket event produces that launch.

Legend: B shots. World frame, SI units.
"""

from __future__ import annotations

import numpy as np

from hjepa.tasks.badminton.flight import L_NOMINAL_M, land
from hjepa.types import Array

_SPEED_M_S = np.geomspace(2.5, 60.0, 36)
_ELEVATION_RAD = np.radians(np.linspace(-30.0, 75.0, 43))
_HEIGHT_M = np.linspace(0.2, 2.8, 14)


class LaunchTable:
    """Range on the floor of a launch (elevation, height, speed), tabulated once per drag length by the flight ODE."""

    def __init__(self, drag_length_m: float = L_NOMINAL_M) -> None:
        e, h, u = np.meshgrid(_ELEVATION_RAD, _HEIGHT_M, _SPEED_M_S, indexing="ij")
        x = np.stack([np.zeros(e.size), np.zeros(e.size), h.ravel()], axis=-1)
        v = np.stack([(u * np.cos(e)).ravel(), np.zeros(e.size), (u * np.sin(e)).ravel()], axis=-1)
        landing = land(x, v, drag_length_m, dt_s=0.02, max_s=4.0)
        self._range = landing.xy_m[:, 0].reshape(e.shape)
        self.drag_length_m = drag_length_m

    def speed(self, distance_m: Array, height_m: Array, elevation_rad: Array) -> Array:
        """Launch speed (B,) in m/s that lands `distance_m` away; nan outside the table (bilinear)."""
        i, a = _cell(_ELEVATION_RAD, elevation_rad)
        k, b = _cell(_HEIGHT_M, height_m)
        a, b = a[:, None], b[:, None]
        t = self._range
        row = (1 - a) * ((1 - b) * t[i, k] + b * t[i, k + 1]) + a * ((1 - b) * t[i + 1, k] + b * t[i + 1, k + 1])
        above = (row > distance_m[:, None]).argmax(axis=1)
        found = (above > 0) & (elevation_rad >= _ELEVATION_RAD[0]) & (elevation_rad <= _ELEVATION_RAD[-1])
        rows = np.arange(len(row))
        j = above.clip(1)
        r0, r1 = row[rows, j - 1], row[rows, j]
        speed = _SPEED_M_S[j - 1] + (distance_m - r0) / (r1 - r0).clip(1e-9) * (_SPEED_M_S[j] - _SPEED_M_S[j - 1])
        return np.where(found, speed, np.nan)

    def reach(self, elevation_rad: Array, height_m: Array, speed_m_s: Array) -> Array:
        """Range on the floor (B,) of launches, trilinear in the table and held at its edges."""
        i, a = _cell(_ELEVATION_RAD, elevation_rad)
        k, b = _cell(_HEIGHT_M, height_m)
        j, d = _cell(_SPEED_M_S, speed_m_s)
        t, total = self._range, np.zeros(len(i))
        for di, wi in ((0, 1 - a), (1, a)):
            for dk, wk in ((0, 1 - b), (1, b)):
                for dj, wj in ((0, 1 - d), (1, d)):
                    total = total + wi * wk * wj * t[i + di, k + dk, j + dj]
        return total

    def launch(self, start_m: Array, target_xy_m: Array, elevation_rad: Array) -> Array:
        """Launch velocity (B, 3) from start (B, 3) to a floor point (B, 2) at an elevation (B,); nan: impossible."""
        gap = target_xy_m - start_m[:, :2]
        distance = np.linalg.norm(gap, axis=-1)
        speed = self.speed(distance, start_m[:, 2], elevation_rad)
        heading = gap / distance.clip(1e-9)[:, None]
        flat = (speed * np.cos(elevation_rad))[:, None] * heading
        return np.append(flat, (speed * np.sin(elevation_rad))[:, None], axis=1)


def _cell(grid: Array, value: Array) -> tuple[np.ndarray, Array]:
    """Index of the grid cell that holds each value and the position in it, 0..1 (clipped to the grid)."""
    i = np.searchsorted(grid, value).clip(1, len(grid) - 1) - 1
    return i, ((value - grid[i]) / (grid[i + 1] - grid[i])).clip(0.0, 1.0)


def inverse_impact(u_in_m_s: Array, u_out_m_s: Array, restitution: float) -> tuple[Array, Array]:
    """Face normal (B, 3) and racket speed along it (B,) that turn u_in into u_out (both (B, 3)).

    Without friction the impulse is along the normal, so n is the direction of u_out - u_in; the normal component of
    u_out = -e u_in + (1 + e) V gives V (impact law of the task, see impact.py).
    """
    change = u_out_m_s - u_in_m_s
    normal = change / np.linalg.norm(change, axis=-1, keepdims=True).clip(1e-9)
    v = ((u_out_m_s * normal).sum(-1) + restitution * (u_in_m_s * normal).sum(-1)) / (1.0 + restitution)
    return normal, v
