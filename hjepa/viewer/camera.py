"""A pinhole camera: world points to pixels, and pixels back to rays. Legend: ... any leading shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hjepa.types import Array


@dataclass(frozen=True)
class Camera:
    """Looks from `eye_m` at `look_at_m`, z up; `scale` drawn pixels per image pixel (supersampling)."""

    eye_m: tuple[float, float, float] = (-14.0, -3.6, 6.9)
    look_at_m: tuple[float, float, float] = (-1.3, -0.75, 0.85)
    width_px: int = 960
    height_px: int = 540
    view_rad: float = 0.92  # horizontal
    scale: int = 2

    @property
    def size(self) -> tuple[int, int]:
        """Drawn width and height."""
        return self.width_px * self.scale, self.height_px * self.scale

    @property
    def focal_px(self) -> float:
        """Focal length in drawn pixels."""
        return 0.5 * self.size[0] / float(np.tan(0.5 * self.view_rad))

    @property
    def axes(self) -> Array:
        """(3, 3) rows: right, down, forward in the world frame."""
        forward = np.subtract(self.look_at_m, self.eye_m)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """Drawn pixels (..., 2) and depths (...,) of world points (..., 3); nothing may lie behind the camera."""
        seen = (points_m - np.array(self.eye_m)) @ self.axes.T
        depth = np.maximum(seen[..., 2], 0.1)
        centre = 0.5 * np.array(self.size)
        return centre + self.focal_px * seen[..., :2] / depth[..., None], depth

    def rays(self) -> Array:
        """World direction (h, w, 3) through the middle of each drawn pixel, forward component 1."""
        width, height = self.size
        u = (np.arange(width) + 0.5 - 0.5 * width) / self.focal_px
        v = (np.arange(height) + 0.5 - 0.5 * height) / self.focal_px
        right, down, forward = self.axes
        direction: Array = forward + u[None, :, None] * right + v[:, None, None] * down
        return direction
