"""Real strokes as the levels see them, and what is true of them. Legend: N strokes, K window slots, J joints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.models.high import READINGS, HighModel
from hjepa.models.low import LowLevel
from hjepa.models.rally import RallyModel
from hjepa.models.strokes import Strokes
from hjepa.tasks.badminton.rallies import from_strokes
from hjepa.tasks.badminton.strokes import TYPES, load_strokes
from hjepa.training.chains import observe
from hjepa.training.rallies import SAMPLE_S, WINDOW, Pool, from_launches
from hjepa.training.tactics import padded
from hjepa.types import Array, RobotSpec

SEEN = 25  # slots since the hit when the levels are asked: 0.25 s
DELAY = 3  # of these not arrived yet, at 25 ms of tracker delay
MET_S = 0.35  # strokes that are met sooner are left out
ARM_RAD, ARM_RAD_S, BASE_M_S = 0.4, 1.0, 1.0  # spread of joints about home: they are drawn, not recorded


class Real(NamedTuple):
    """N strokes of one split, in the frame of their hitter (at x > 0), which is the world's."""

    rows: NDArray[np.int64]  # (N,) of the stroke table
    pool: Pool  # their exact flights
    split: str

    @property
    def kind(self) -> NDArray[np.int64]:
        """(N,) index of the type."""
        return np.asarray(load_strokes().type[self.rows], dtype=np.int64)


def draw(split: str, count: int, seed: int) -> Real:
    """A random choice of the split's strokes that have a flight, a receiver, a known type, and last long enough."""
    table = load_strokes()
    rows = table.split_rows(split)
    fit = table.valid[rows] & (table.type[rows] >= 0) & (table.time_s[rows] > MET_S)
    rows = rows[fit & np.isfinite(table.receiver_m[rows]).all(axis=1)]
    rng = np.random.default_rng([seed, 41])
    rows = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    return Real(rows, from_launches(table.hit_m[rows], table.launch_m_s[rows], rng), split)


def seen(real: Real, slots: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy windows (N, K, 3) and masks (N, K) when so many slots have been measured."""
    rng = np.random.default_rng([seed, 42])
    return observe(real.pool, np.arange(len(real.rows)), np.full(len(real.rows), slots), rng)


def readings(real: Real) -> dict[str, Array]:
    """What is true of the strokes (N,), by name and unit."""
    y = dict(zip(READINGS, real.pool.reading.astype(np.float64).T, strict=True))
    return {
        "landing depth, m": -y["landing_x"],
        "landing across, m": y["landing_y"],
        "time to floor, s": y["floor_s"],
        "apex, m": y["apex"],
        "height over net, m": y["net_height"],
        "hit depth, m": y["hit_x"],
        "hit height, m": y["hit_z"],
        "speed, log m/s": y["log_speed"],
    }


class Joints(NamedTuple):
    """Where the robot stands and how it moves, drawn at random around the real receiver's place and home."""

    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)


def joints(real: Real, spec: RobotSpec, seed: int) -> Joints:
    """Two base axes first, then the arm."""
    rng, n = np.random.default_rng([seed, 43]), len(real.rows)
    q = spec.q_home_rad + ARM_RAD * rng.normal(size=(n, spec.joints))
    q[:, :2] = load_strokes().receiver_m[real.rows]
    spread = np.where(spec.prismatic, BASE_M_S, ARM_RAD_S)
    return Joints(np.clip(q, spec.q_min_rad, spec.q_max_rad), spread * rng.normal(size=(n, spec.joints)))


@torch.no_grad()
def high_embeddings(model: HighModel, real: Real, slots: int = WINDOW, seed: int = 0) -> Array:
    """(N, D)."""
    return model.encode(*seen(real, slots, seed)).double().numpy()


@torch.no_grad()
def low_embeddings(level: LowLevel, real: Real, own: Joints, seed: int = 0) -> Array:
    """z (N, D) after `SEEN` slots, the last `DELAY` of them on their way."""
    window, mask = seen(real, SEEN - DELAY, seed)
    K = level.config.window
    late, there = window.new_zeros(len(window), K, 3), mask.new_zeros(len(mask), K)
    late[:, K - SEEN :], there[:, K - SEEN :] = window[:, :SEEN], mask[:, :SEEN]
    q, dq = (torch.from_numpy(part).float() for part in own)
    return level.see(late, there, q, dq).double().numpy()


@torch.no_grad()
def rally_embeddings(model: RallyModel, real: Real) -> Array:
    """State (N, D) after each stroke as it was annotated, and all of its rally before."""
    table = load_strokes()
    rallies = from_strokes(table, real.split)
    place = np.searchsorted(table.split_rows(real.split), real.rows)
    kept, at = np.unique(rallies.rally[place], return_inverse=True)
    s = model.encode(Strokes(*(part[torch.from_numpy(kept).long()] for part in padded(rallies).strokes)))
    shot = torch.from_numpy(rallies.shot[place]).long()
    return s[torch.from_numpy(at), shot].double().numpy()


def truths(real: Real, own: Joints) -> dict[str, Array]:
    """What levels may know (N, n) at `SEEN` slots: of the shuttle, the own body, and what comes next; nan unknown."""
    table, rows, now_s = load_strokes(), real.rows, SEEN * SAMPLE_S
    x = real.pool.window_m.astype(np.float64)
    y = readings(real)
    later = np.where(table.last[rows], rows, rows + 1)
    reply = np.where((table.last[rows] | ~table.valid[later])[:, None], np.nan, table.floor_m[later])
    kinds = np.eye(len(TYPES) + 1)[:, :-1]  # type -1: no row
    next_kind = np.where(table.last[rows][:, None], np.nan, kinds[table.type[later]])
    columns = {
        "shuttle position": x[:, SEEN - 1],
        "shuttle velocity": (x[:, SEEN] - x[:, SEEN - 2]) / (2 * SAMPLE_S),
        "landing depth": y["landing depth, m"],
        "landing across": y["landing across, m"],
        "time to floor": y["time to floor, s"] - now_s,
        "time to contact": table.time_s[rows] - now_s,
        "height over net": y["height over net, m"],
        "shot type": kinds[real.kind],
        "own joints": own.q_rad,
        "own joint speeds": own.dq_rad_s,
        "reply: type": next_kind,
        "reply: landing": reply,
        "who wins": np.where(table.won[rows] == 0, np.nan, table.won[rows].astype(np.float64)),
    }
    return {name: column.reshape(len(rows), -1) for name, column in columns.items()}
