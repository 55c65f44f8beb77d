"""Where the shuttle is, from its noisy track: an extended Kalman filter on position, velocity and drag length.

The classical rival's eye. The first samples start it by Gauss-Newton on the flight equation (the filter's linearisation
is poor before the speed is known); from then on every new sample is one predict and one update step (Anderson & Moore
1979, ch. 8), so that the whole history counts. Legend: K window slots, n samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hjepa.tasks.badminton.flight import L_NOMINAL_M, rk4_step
from hjepa.types import NS, Array, Observation

_STEP_S = 0.01
_NUDGE = np.array([1e-4, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3, 1e-3])  # of the finite differences: m, m/s, 1

_LEAP = np.array([2.0, 2.0, 2.0, 40.0, 40.0, 40.0, 0.2])  # largest Gauss-Newton step


class Estimate(NamedTuple):
    """The shuttle at an instant, as believed."""

    stamp_ns: int
    x_m: Array  # (3,)
    v_m_s: Array  # (3,)
    drag_length_m: float


@dataclass(frozen=True)
class FilterConfig:
    """What the filter believes before it sees anything. Tuned on train feeds (see docs/results.md)."""

    noise_m: float = 0.010  # of a tracked position, per axis
    drag_length_m: float = L_NOMINAL_M
    drag_spread: float = 0.06  # standard deviation of log L before the first sample
    speed_spread_m_s: float = 60.0  # standard deviation of the launch velocity per axis, before the first sample
    process_m_s2: float = 0.05  # unmodelled acceleration, standard deviation over a step
    drag_walk: float = 1e-4  # of log L over a step
    first_samples: int = 6  # Gauss-Newton waits for so many


class ShuttleFilter:
    """Reads observations, keeps the belief (x, v, log L / nominal), covariance (7, 7)."""

    def __init__(self, config: FilterConfig = FilterConfig()) -> None:  # noqa: B008 (frozen value)
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._early: list[tuple[int, Array]] = []  # samples before the filter has started
        self._mean: Array | None = None  # (7,)
        self._cov = np.zeros((7, 7))
        self._stamp_ns = -1  # of the newest sample used

    def update(self, seen: Observation) -> Estimate | None:
        """Take in what has arrived since the last call; None until there are samples enough."""
        new = seen.tracker_mask & (seen.tracker_stamp_ns > self._stamp_ns)
        for k in np.flatnonzero(new):
            self._take(int(seen.tracker_stamp_ns[k]), seen.tracker_xyz_m[k])
        if self._mean is None and len(self._early) >= self.config.first_samples:
            self._start()
        return self.estimate()

    def estimate(self) -> Estimate | None:
        """The belief at the newest sample."""
        if self._mean is None:
            return None
        m = self._mean
        return Estimate(self._stamp_ns, m[:3].copy(), m[3:6].copy(), float(self.config.drag_length_m * np.exp(m[6])))

    @property
    def covariance(self) -> Array:
        """(7, 7) of the belief: m, m/s, log L."""
        return self._cov.copy()

    def _take(self, stamp_ns: int, xyz_m: Array) -> None:
        if self._mean is None:
            self._early.append((stamp_ns, xyz_m.copy()))
        else:
            c = self.config
            for dt in _steps((stamp_ns - self._stamp_ns) / NS):
                self._mean, F = self._ahead(self._mean, dt)
                walk = np.array([0.0] * 3 + [c.process_m_s2 * dt] * 3 + [c.drag_walk])
                self._cov = F @ self._cov @ F.T + np.diag(walk**2)
            S = self._cov[:3, :3] + c.noise_m**2 * np.eye(3)
            gain = np.linalg.solve(S, self._cov[:3]).T  # (7, 3)
            self._mean = self._mean + gain @ (xyz_m - self._mean[:3])
            cov = self._cov - gain @ self._cov[:3]
            self._cov = 0.5 * (cov + cov.T)
        self._stamp_ns = stamp_ns

    def _ahead(self, mean: Array, dt_s: float) -> tuple[Array, Array]:
        """The belief dt later (7,) and its Jacobian (7, 7) by forward differences."""
        batch = np.repeat(mean[None], 8, axis=0)
        batch[1:] += np.diag(_NUDGE)
        x, v = rk4_step(batch[:, :3], batch[:, 3:6], dt_s, self.config.drag_length_m * np.exp(batch[:, 6]))
        out = np.concatenate([x, v, batch[:, 6:]], axis=1)  # (8, 7)
        return out[0], ((out[1:] - out[0]) / _NUDGE[:, None]).T

    def _start(self) -> None:
        """Gauss-Newton over the first samples for the state at the first of them, then carried to the last."""
        c = self.config
        t = np.array([(stamp - self._early[0][0]) / NS for stamp, _ in self._early])
        seen = np.stack([xyz for _, xyz in self._early])  # (n, 3)
        basis = np.stack([np.ones_like(t), t, t * t], axis=-1)
        ridge = np.diag([0.0, 1e-6, 1e-6 * t[-1] ** 2])
        fit = np.linalg.solve(basis.T @ basis + ridge, basis.T @ seen)
        mean = np.concatenate([fit[0], fit[1], [0.0]])
        prior = np.append(np.zeros(3), [c.speed_spread_m_s**-2.0] * 3 + [c.drag_spread**-2.0])
        for _ in range(6):
            path, J = self._path(mean, t)  # (n, 7), (n, 7, 7)
            A = J[:, :3].reshape(-1, 7) / c.noise_m
            information = A.T @ A + np.diag(prior)
            step = np.linalg.solve(information, A.T @ (seen - path[:, :3]).reshape(-1) / c.noise_m - prior * mean)
            mean = mean + np.clip(step, -_LEAP, _LEAP)
        path, J = self._path(mean, t)
        self._mean = path[-1]
        self._cov = J[-1] @ np.linalg.inv(information) @ J[-1].T
        self._early = []

    def _path(self, mean: Array, t_s: Array) -> tuple[Array, Array]:
        """Beliefs (n, 7) at times (n,) from one at time 0, and their Jacobians with respect to it (n, 7, 7)."""
        F = np.eye(7)
        beliefs, jacobians, now = [mean], [F], 0.0
        for t in t_s[1:]:
            for dt in _steps(t - now):
                mean, step = self._ahead(mean, dt)
                F = step @ F
            now = t
            beliefs.append(mean)
            jacobians.append(F)
        return np.stack(beliefs), np.stack(jacobians)


def _steps(span_s: float) -> Array:
    """A span in equal steps of at most 10 ms."""
    n = max(1, int(np.ceil(span_s / _STEP_S - 1e-6)))
    return np.full(n, span_s / n)
