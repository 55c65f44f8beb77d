"""Motor babbling: an arm swings its joints at random around home, and records what it did and what its tracker saw.

Speeds are linear between knots a chunk apart, as an action of the level has them. Shards are written whole, so that a
killed run goes on behind the last one. Legend: J joints, N ticks, C chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.training.shards import connected, spread
from hjepa.types import NS, Array, JointTrajectory, RobotSpec, RobotState

TICK_S = 0.01


@dataclass(frozen=True)
class BabbleConfig:
    """How long, how far and how fast."""

    shards: int = 24
    shard_s: float = 60.0
    chunk_s: float = 0.1
    waves: int = 4  # sinusoids on each joint
    spread_rad: float = 0.36  # standard deviation of a joint around home
    slowest_hz: float = 0.05
    fastest_hz: float = 0.8
    use: float = 0.8  # share of the speed and acceleration limits
    seed: int = 0


class Babble(NamedTuple):
    """Recorded shards, one behind the other."""

    q_rad: Array  # (N, J) measured
    dq_rad_s: Array  # (N, J) measured
    seen_m: Array  # (N, 3) tracker, zeros where masked
    mask: Array  # (N,) 1 where measured
    knots_rad_s: Array  # (N, J) commanded speed at the end of the chunk that begins at this tick; nan between knots
    shard: Array  # (N,) which recording


def swing(spec: RobotSpec, config: BabbleConfig, rng: np.random.Generator) -> JointTrajectory:
    """A random motion (H samples, 10 ms) around home within the limits, its speed linear between knots."""
    c, J = config, spec.joints
    chunks = round(c.shard_s / c.chunk_s)
    t = c.chunk_s * np.arange(chunks + 1)[:, None, None]  # (C + 1, 1, 1)
    rate = 2 * np.pi * rng.uniform(c.slowest_hz, c.fastest_hz, (J, c.waves)) * rng.uniform(0.3, 1.0)
    size = rng.dirichlet(np.full(c.waves, 2.0), J) ** 0.5 * c.spread_rad * 2**0.5
    phase = rng.uniform(0, 2 * np.pi, (J, c.waves))
    v, a = (size * rate * np.cos(rate * t + phase)).sum(-1), (size * rate**2 * np.sin(rate * t + phase)).sum(-1)
    haste = np.maximum(np.abs(v).max(0) / spec.dq_max_rad_s, np.sqrt(np.abs(a).max(0) / spec.ddq_max_rad_s2)) / c.use
    rate = rate / np.maximum(haste, 1.0)[:, None]  # slower where a limit is met, not smaller
    v = (size * rate * np.cos(rate * t + phase)).sum(-1)  # (C + 1, J)
    steps = round(c.chunk_s / TICK_S)
    share = np.arange(steps)[None, :, None] / steps
    dq = (v[:-1, None] + share * (v[1:, None] - v[:-1, None])).reshape(-1, J)
    dq = np.concatenate([dq, v[-1:]])
    q = np.concatenate([np.zeros((1, J)), (0.5 * TICK_S * (dq[1:] + dq[:-1])).cumsum(axis=0)])
    q += spec.q_home_rad - 0.5 * (q.max(0) + q.min(0))
    low, high = spec.q_min_rad + 0.05, spec.q_max_rad - 0.05
    narrow = np.minimum(1.0, 0.5 * (high - low) / (0.5 * (q.max(0) - q.min(0))))  # a joint with a short range
    middle = np.clip(spec.q_home_rad, low + 0.5 * narrow * np.ptp(q, axis=0), high - 0.5 * narrow * np.ptp(q, axis=0))
    q = middle + narrow * (q - spec.q_home_rad)
    return JointTrajectory(0, TICK_S, q, dq * narrow, round((c.shard_s + 1.0) * NS))


class _Job(NamedTuple):
    shard: int
    spec: RobotSpec
    world: str
    config: BabbleConfig
    out: str


def collect_babble(
    spec: RobotSpec,
    world: str,
    out: Path,
    config: BabbleConfig,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Fill `out` with shards; the number of ticks there. `world`: 'module:Class' of a World whose tracker sees the
    tool."""
    out.mkdir(parents=True, exist_ok=True)
    todo = [k for k in range(config.shards) if not _path(out, k).exists()]
    done = config.shards - len(todo)
    per = round(config.shard_s / TICK_S)
    if progress:
        progress(done * per, config.shards * per)
    for _ in spread(_record, [_Job(k, spec, world, config, str(out)) for k in todo], workers):
        done += 1
        if progress:
            progress(done * per, config.shards * per)
    return done * per


def load_babble(folder: Path, spec: RobotSpec) -> Babble:
    """All shards of a folder; DataError if there is none, one is damaged, or they are another robot's."""
    paths = sorted(folder.glob("babble_*.npz"))
    if not paths:
        raise DataError(f"no babbling in '{folder}': expected babble_*.npz; run `hjepa collect reach` first")
    names = (*Babble._fields[:-1], "robot")
    parts = [load_arrays(path, names, "shard", "delete it and collect again") for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if str(part["robot"]) != spec.fingerprint:
            raise DataError(f"'{path}' is of another robot than {spec.name}; allowed: an --out of its own")
    q, dq, seen, mask, knots = (np.concatenate([part[name] for part in parts]) for name in Babble._fields[:-1])
    return Babble(q, dq, seen, mask, knots, np.repeat(np.arange(len(parts)), [len(part["q_rad"]) for part in parts]))


def _path(out: Path, k: int) -> Path:
    return out / f"babble_{k:04d}.npz"


def _record(job: _Job) -> int:
    rng = np.random.default_rng([job.config.seed, job.shard])
    command = swing(job.spec, job.config, rng)
    steps = round(job.config.chunk_s / TICK_S)
    with connected(job.world, job.spec) as world:
        seen = world.reset(RobotState(command.q_rad[0], command.dq_rad_s[0]), None, int(rng.integers(2**31)))
        world.send(command)
        rows: list[Any] = []
        for k in range(len(command.q_rad) - 1):
            knot = command.dq_rad_s[k + steps] if k % steps == 0 else np.full(job.spec.joints, np.nan)
            rows.append((seen.q_rad, seen.dq_rad_s, seen.tracker_xyz_m[-1], seen.tracker_mask[-1], knot))
            seen = world.tick()
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(Babble._fields[:-1])}
    arrays = {name: column.astype(np.float32) for name, column in columns.items()}
    save_arrays(_path(Path(job.out), job.shard), arrays | {"robot": np.array(job.spec.fingerprint)})
    return job.shard
