"""Pairs recorded swings with recorded flights: many contacts from few swings.

Racket motion does not depend on the shuttle, and nothing in a swing depends on where on the court it happens, so any
swing meets any flight after a shift of the base in x, y and of time. Contacts come from the task's own swept test,
impact law and flight equation, on racket motions that the simulator really carried out. Legend: N pairs, F flights,
T path samples (100 Hz), W samples after the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.badminton.flight import L_NOMINAL_M, fly, land
from hjepa.tasks.badminton.impact import RESTITUTION, contacts, rebound_batch
from hjepa.tasks.badminton.returns import LaunchTable
from hjepa.training.collect import RACKET_MS, Swings
from hjepa.types import Array, RobotSpec

PATH_S = 2.4
WINDOW = 40  # W
NOMINAL_SHARE = 0.6  # of flights
DRAG_M, RESTITUTIONS = (4.0, 5.5), (0.38, 0.72)  # of the others: a little more than is ever played with
DRAG_UNIT_M, RESTITUTION_UNIT = 0.4, 0.1
_GRID_S = 0.01
_PATIENCE = 20  # chunks that may bring next to nothing


@dataclass(frozen=True)
class PairConfig:
    """How many contacts, and how far from the racket's centre."""

    pairs: int = 300_000
    candidates: int = 6  # flights looked at for each swing
    sensible_share: float = 0.75  # pairs whose outgoing shuttle should land near the court, if a candidate does
    seed: int = 0


class Flights(NamedTuple):
    """F incoming flights on a 10 ms grid from the launch; nan after the floor. Each has a world of its own."""

    x_m: Array  # (F, T, 3)
    v_m_s: Array  # (F, T, 3)
    drag_m: Array  # (F,) drag length
    restitution: Array  # (F,)

    def context(self) -> NDArray[np.float32]:
        """What the low level's context stands for (F, 2): 0 in the nominal world, about 1 in an unusual one."""
        columns = (self.drag_m - L_NOMINAL_M) / DRAG_UNIT_M, (self.restitution - RESTITUTION) / RESTITUTION_UNIT
        return np.stack(columns, axis=-1).astype(np.float32)


class Pairs(NamedTuple):
    """N contacts or misses. Times in s; `shift_m` moves the swing's base and racket."""

    swing: NDArray[np.int32]
    flight: NDArray[np.int32]
    event_s: Array  # (N,) nominal event time after the launch
    late_s: Array  # (N,) real contact or crossing, minus nominal
    shift_m: Array  # (N, 2)
    hit: NDArray[np.bool_]
    offset_m: Array  # (N, 2) signed, racket x, y
    landing_m: Array  # (N, 2)
    floor_s: Array  # (N,) from the event
    net_m: Array  # (N,) height above the tape on the way back; nan if it never gets there
    after_m: Array  # (N, W, 3) shuttle on the tracker's grid from the event on; nan after floor or net


def make_flights(x0_m: Array, v0_m_s: Array, seed: int = 0) -> Flights:
    """Paths of launches x0, v0 (F, 3), the larger part in the nominal world, the others in worlds drawn by `seed`."""
    rng, n = np.random.default_rng([seed, 3]), len(x0_m)
    other = rng.random(n) >= NOMINAL_SHARE
    drag = np.where(other, rng.uniform(*DRAG_M, n), L_NOMINAL_M)
    restitution = np.where(other, rng.uniform(*RESTITUTIONS, n), RESTITUTION)
    xs, vs = fly(x0_m, v0_m_s, dt_s=_GRID_S, steps=round(PATH_S / _GRID_S), L=drag)
    down = np.maximum.accumulate(xs[..., 2] <= 0.0, axis=1)
    xs[down], vs[down] = np.nan, np.nan
    return Flights(xs.astype(np.float32), vs.astype(np.float32), drag, restitution)


def pair(spec: RobotSpec, swings: Swings, flights: Flights, config: PairConfig) -> Pairs:
    """Draw pairs until there are `config.pairs`; deterministic for the seed."""
    rng = np.random.default_rng(config.seed)
    table = LaunchTable()
    parts: list[Pairs] = []
    count = 0
    while count < config.pairs:
        part = _chunk(spec, swings, flights, config, table, rng, 8192)
        parts.append(part)
        count += len(part.swing)
        if len(parts) >= _PATIENCE and count < len(parts):
            raise DataError(f"{len(swings.latent)} swings hardly ever meet a flight; collect more with `hjepa collect`")
    return Pairs(*(np.concatenate(column)[: config.pairs] for column in zip(*parts, strict=True)))


def _chunk(
    spec: RobotSpec,
    swings: Swings,
    flights: Flights,
    c: PairConfig,
    table: LaunchTable,
    rng: np.random.Generator,
    n: int,
) -> Pairs:
    swing = rng.integers(len(swings.latent), size=n)
    R = swings.rotation[swing, RACKET_MS].astype(np.float64)
    centre = swings.centre_m[swing, RACKET_MS].astype(np.float64)
    scatter = rng.choice([0.05, 0.12, 0.25], n, p=[0.65, 0.25, 0.10])[:, None]
    aim = centre + np.einsum("nij,nj->ni", R[:, :, :2], scatter * rng.normal(size=(n, 2)))  # where the shuttle will be
    flight, t = _choose_flights(swings, flights, swing, aim[:, 2], c, table, rng)
    ok = np.isfinite(t)
    swing, flight, t, aim, R = swing[ok], flight[ok], t[ok], aim[ok], R[ok]
    at = _along(flights.x_m, flight, t)
    shift = at[:, :2] - aim[:, :2]
    t = t + np.where(rng.random(len(t)) < 0.5, rng.normal(0.0, 0.006, len(t)), 0.0)  # the racket may be early or late
    base = swings.q_rad[swing, :, :2] + shift[:, None]
    inside = ((base > spec.q_min_rad[:2] - 0.05) & (base < spec.q_max_rad[:2] + 0.05)).all((1, 2)) & (at[:, 0] < -0.15)
    swing, flight, t, shift = swing[inside], flight[inside], t[inside], shift[inside]
    return meet(spec, swings, flights, swing, flight, t, shift)


def _choose_flights(
    swings: Swings, flights: Flights, swing: NDArray[np.int64], height: Array, c: PairConfig, table: LaunchTable,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], Array]:  # fmt: skip
    """For each swing a flight and the time at which it is at `height`; nan where no candidate ever is."""
    n, k = len(swing), c.candidates
    tries = rng.integers(len(flights.x_m), size=(n, k))
    t = _time_at_height(flights, tries.ravel(), np.repeat(height, k), rng)
    u_in = _along(flights.v_m_s, tries.ravel(), np.nan_to_num(t, nan=0.3))
    row = np.repeat(swing, k)
    normal = swings.rotation[row, RACKET_MS, :, 2].astype(np.float64)
    restitution = flights.restitution[tries.ravel()]
    u_out = rebound_batch(u_in, swings.v_m_s[row, RACKET_MS].astype(np.float64), normal, restitution)
    flat = np.hypot(u_out[:, 0], u_out[:, 1])
    reach = table.reach(np.arctan2(u_out[:, 2], flat), np.repeat(height, k), np.linalg.norm(u_out, axis=-1))
    x = _along(flights.x_m, tries.ravel(), np.nan_to_num(t, nan=0.3))
    lands = x[:, :2] + reach[:, None] * u_out[:, :2] / flat.clip(1e-6)[:, None]
    sensible = (lands[:, 0] > -0.3) & (lands[:, 0] < 7.7) & (np.abs(lands[:, 1]) < 3.4) & (u_out[:, 0] > 0)
    score = rng.random(n * k) + np.where(np.isfinite(t), 10.0, 0.0)
    score += np.where(sensible & np.repeat(rng.random(n) < c.sensible_share, k), 5.0, 0.0)
    pick = score.reshape(n, k).argmax(1)
    rows = np.arange(n)
    return tries[rows, pick], t.reshape(n, k)[rows, pick]


def _time_at_height(flights: Flights, rows: NDArray[np.int64], height: Array, rng: np.random.Generator) -> Array:
    """A time (N,) at which each flight passes `height` on the robot's side, 0.2 s or more after the launch; or nan."""
    z, x = flights.x_m[rows, :, 2], flights.x_m[rows, :, 0]
    below = z < height[:, None]
    crosses = (below[:, 1:] != below[:, :-1]) & np.isfinite(z[:, 1:]) & (x[:, 1:] < -0.15)
    crosses[:, :20] = False
    order = np.where(crosses, rng.random(crosses.shape, dtype=np.float32), -1.0)
    k = order.argmax(1)
    r = np.arange(len(rows))
    f = (height - z[r, k]) / (z[r, k + 1] - z[r, k])
    return np.where(crosses.any(1), (k + f) * _GRID_S, np.nan)


def _along(table: Array, rows: NDArray[np.int64], t: Array) -> Array:
    """Linear read of a (F, T, 3) table at times t (N,)."""
    k = np.clip((t / _GRID_S).astype(int), 0, table.shape[1] - 2)
    f = (t / _GRID_S - k)[:, None]
    return (table[rows, k] * (1 - f) + table[rows, k + 1] * f).astype(np.float64)


def _hermite(flights: Flights, rows: NDArray[np.int64], t: Array) -> tuple[Array, Array]:
    """Positions and velocities (N, M, 3) at times t (N, M): cubic Hermite between grid points."""
    k = np.clip(np.floor(t / _GRID_S).astype(int), 0, flights.x_m.shape[1] - 2)
    s = (t / _GRID_S - k)[..., None]
    r = rows[:, None]
    x0, x1 = flights.x_m[r, k].astype(np.float64), flights.x_m[r, k + 1].astype(np.float64)
    v0, v1 = flights.v_m_s[r, k].astype(np.float64), flights.v_m_s[r, k + 1].astype(np.float64)
    h00, h10 = (1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2
    h01, h11 = s * s * (3 - 2 * s), s * s * (s - 1)
    return h00 * x0 + _GRID_S * h10 * v0 + h01 * x1 + _GRID_S * h11 * v1, v0 + s * (v1 - v0)


def meet(
    spec: RobotSpec,
    swings: Swings,
    flights: Flights,
    swing: NDArray[np.int64],
    flight: NDArray[np.int64],
    t: Array,
    shift: Array,
) -> Pairs:
    """Contacts of the shifted swings with the flights, and what follows."""
    instants = np.arange(-RACKET_MS, RACKET_MS + 1) / 1000.0
    x, v = _hermite(flights, flight, t[:, None] + instants)
    centre = swings.centre_m[swing].astype(np.float64)
    centre[..., :2] += shift[:, None]
    rotation, speed, spin = (a[swing].astype(np.float64) for a in (swings.rotation, swings.v_m_s, swings.w_rad_s))
    met = contacts(centre, rotation, speed, spin, x, v, spec.racket_semi_axes_m, flights.restitution[flight])
    ok = (met.instant >= 0) & np.isfinite(met.point_m).all(-1)
    swing, flight, t, shift = swing[ok], flight[ok], t[ok], shift[ok]
    hit, offset, point = met.hit[ok], met.offset_m[ok], met.point_m[ok]
    u = np.where(hit[:, None], met.u_out_m_s[ok], met.u_in_m_s[ok])
    late = instants[met.instant[ok]] + met.fraction[ok] / 1000.0
    drag = flights.drag_m[flight]
    landing = land(point, u, drag, dt_s=0.02, max_s=3.0)
    after = _after(point, u, t + late, landing.net_time_s, landing.net_height_m, landing.net_y_m, landing.time_s, drag)
    net = np.where(hit, landing.net_height_m - net_height_at(landing.net_y_m), np.nan)
    good = np.isfinite(landing.time_s)
    columns = (swing, flight, t, late, shift, hit, offset, landing.xy_m, landing.time_s, net, after)
    kept = [a[good] for a in columns]
    types = (np.int32, np.int32, *(np.float32,) * 3, np.bool_, *(np.float32,) * 5)
    return Pairs(*(a.astype(d) for a, d in zip(kept, types, strict=True)))


def _after(
    point: Array, u: Array, event_s: Array, net_s: Array, net_height: Array, net_y: Array, floor_s: Array, drag_m: Array
) -> Array:
    """Shuttle positions (N, W, 3) at the tracker's instants after the event, nan from the floor or a net fault on."""
    first = np.ceil(event_s / _GRID_S) * _GRID_S - event_s  # to the next tick
    x, v = fly(point, u, dt_s=_GRID_S, steps=WINDOW, L=drag_m)
    frac = (first / _GRID_S)[:, None, None]
    h00, h10 = (1 + 2 * frac) * (1 - frac) ** 2, frac * (1 - frac) ** 2
    h01, h11 = frac**2 * (3 - 2 * frac), frac**2 * (frac - 1)
    y = h00 * x[:, :-1] + _GRID_S * h10 * v[:, :-1] + h01 * x[:, 1:] + _GRID_S * h11 * v[:, 1:]
    when = first[:, None] + np.arange(WINDOW) * _GRID_S
    stop = np.where(net_height < net_height_at(np.nan_to_num(net_y)), net_s, np.inf)
    stop = np.fmin(stop, floor_s)
    return np.where((when < stop[:, None])[..., None], y, np.nan)
