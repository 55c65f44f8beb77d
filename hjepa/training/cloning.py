"""Behaviour cloning of the classical agent: collects what it saw and what it planned, and fits a network to that.

Every re-planning instant of a returned stroke is one example: the observation, and the contact event the agent had in
force. Shards are written whole; a killed run loses at most those in the making. Legend: N examples, S strokes, K window
slots, J joints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.models.cloned import CloneConfig, PlanClone
from hjepa.models.low import LowInput
from hjepa.protocols import Agent, World
from hjepa.training.shards import connected, spread
from hjepa.types import NS, Array, Launch, Observation, RobotSpec, RobotState

Progress = Callable[[int, int], None]
Stroke = tuple[RobotState, Launch, int]
"""What `World.reset` takes: where the robot stands, what comes towards it, a seed."""


class Teacher(Agent, Protocol):
    """An agent that tells the event it has in force: (a swing, its contact time in ns), None while there is none."""

    @property
    def event(self) -> tuple[Any, int] | None: ...


class Examples(NamedTuple):
    """What was seen, and what was planned on it."""

    window_m: Array  # (N, K, 3)
    mask: NDArray[np.bool_]  # (N, K)
    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)
    plan: Array  # (N, 2 J + 2) q_hit, dq_hit, time from the observation to the contact, switch before the contact

    def rows(self, index: NDArray[np.int64]) -> Examples:
        """The examples of the given rows."""
        columns: list[Any] = [column[index] for column in self]
        return Examples(*columns)


@dataclass(frozen=True)
class CloneTraining:
    """Length and rate of the fit."""

    steps: int = 6000
    batch: int = 512
    rate: float = 2e-3
    weight_decay: float = 1e-4
    knee: float = 0.3  # of the Huber loss, in units of the data's spread
    held_out: float = 0.05
    seed: int = 0


class _Job(NamedTuple):
    path: str
    spec: RobotSpec
    world: str
    teacher: Callable[[RobotSpec], Teacher]
    strokes: Sequence[Stroke]
    replan_period_ms: int


def collect(
    spec: RobotSpec,
    world: str,
    teacher: Callable[[RobotSpec], Teacher],
    strokes: Sequence[Stroke],
    out: Path,
    *,
    replan_period_ms: int = 40,
    shard: int = 25,
    workers: int = 2,
    progress: Progress | None = None,
) -> Examples:
    """Strokes played by the teacher in lockstep, in spawned processes; the examples of those that it returned.

    world: 'module:Class' of a World taking a RobotSpec; teacher: makes one, and can be pickled. Shards of `shard`
    strokes lie in `out`: a second call plays what is missing. DataError if shards of other strokes lie there.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = [strokes[first : first + shard] for first in range(0, len(strokes), shard)]
    jobs = [
        _Job(str(out / f"clone_{k:04d}.npz"), spec, world, teacher, part, replan_period_ms)
        for k, part in enumerate(parts)
    ]
    todo = [job for job in jobs if not _is_kept(job)]
    done = len(strokes) - sum(len(job.strokes) for job in todo)
    if progress:
        progress(done, len(strokes))
    for played in spread(_collect_shard, todo, workers):
        done += played
        if progress:
            progress(done, len(strokes))
    return load_examples(out)


def _is_kept(job: _Job) -> bool:
    """Whether the shard is there; DataError if it is one of other strokes."""
    path = Path(job.path)
    if not path.exists():
        return False
    if not np.array_equal(_read(path)["seed"], _seeds(job.strokes)):
        raise DataError(f"shard '{path}' holds other strokes (another seed?): delete the folder or choose another")
    return True


def _seeds(strokes: Sequence[Stroke]) -> NDArray[np.int64]:
    """The strokes' seeds (S,), by which a shard tells what it holds."""
    return np.array([seed for _, _, seed in strokes], dtype=np.int64)


_Row = tuple[Array, NDArray[np.bool_], Array, Array, Array]


def _collect_shard(job: _Job) -> int:
    """Write one shard; how many strokes it took."""
    teacher = job.teacher(job.spec)
    with connected(job.world, job.spec) as world:
        rows = [row for stroke in job.strokes for row in _play(world, teacher, *stroke, job.replan_period_ms)]
    _write(Path(job.path), rows, _seeds(job.strokes))
    return len(job.strokes)


def _play(
    world: World, teacher: Teacher, start: RobotState, launch: Launch, seed: int, replan_period_ms: int
) -> list[_Row]:
    """One stroke's examples; none if it was not returned: what failed is not worth copying."""
    seen = world.reset(start, launch, seed)
    teacher.reset(seed)
    period, tick = replan_period_ms // 10, 0
    rows: list[_Row] = []
    while not world.done:
        if tick % period == 0:
            command = teacher.act(seen)
            if command is not None:
                world.send(command)
            plan = _plan(seen, teacher.event)
            if plan is not None:
                rows.append((seen.tracker_xyz_m, seen.tracker_mask, seen.q_rad, seen.dq_rad_s, plan))
        seen = world.tick()
        tick += 1
    return rows if world.outcome().returned else []


def _plan(seen: Observation, event: tuple[Any, int] | None) -> Array | None:
    """The event in force as the network is to name it (2 J + 2,); None once it is past."""
    if event is None or event[1] <= seen.stamp_ns:
        return None
    swing, contact_ns = event
    times = [(contact_ns - seen.stamp_ns) / NS, float(np.mean(swing.before_s))]
    return np.concatenate([swing.q_hit_rad, swing.dq_hit_rad_s, times])


def _write(path: Path, rows: list[_Row], seed: NDArray[np.int64]) -> None:
    """A shard, whole or not at all."""
    if not rows:
        raise DataError(f"shard '{path}': the teacher returned none of its strokes; allowed: at least one return")
    columns = {name: np.stack(column) for name, column in zip(Examples._fields, zip(*rows, strict=True), strict=True)}
    arrays: dict[str, Any] = {name: c if c.dtype == bool else c.astype(np.float32) for name, c in columns.items()}
    save_arrays(path, arrays | {"seed": seed}, compressed=True)


def load_examples(folder: Path) -> Examples:
    """All shards of a folder; DataError if there is none or one is damaged."""
    shards = [_read(path) for path in sorted(folder.glob("clone_????.npz"))]
    if not shards:
        raise DataError(f"no examples in '{folder}': expected clone_*.npz; run `hjepa train bc` first")
    return Examples(*(np.concatenate([shard[name] for shard in shards]) for name in Examples._fields))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Columns of a shard and the seeds of its strokes."""
    return load_arrays(path, (*Examples._fields, "seed"), "shard", "delete it and collect again")


def fit(
    examples: Examples,
    config: CloneTraining = CloneTraining(),  # noqa: B008 (frozen value)
    sizes: CloneConfig = CloneConfig(),  # noqa: B008 (frozen value)
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> PlanClone:
    """Fit by AdamW (Loshchilov & Hutter 2019) with a falling rate; `progress(step, losses)` every 200 steps.

    The last `held_out` share of the examples (whole strokes at the end of the collection) is never trained on.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    n = max(1, int(len(examples.plan) * (1 - config.held_out)))
    clone = PlanClone(sizes)
    clone.mean.copy_(torch.tensor(examples.plan[:n].mean(0)))
    clone.std.copy_(torch.tensor(examples.plan[:n].std(0) + 1e-3))
    optimiser = torch.optim.AdamW(clone.parameters(), config.rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, config.steps, pct_start=0.05)
    for step in range(1, config.steps + 1):
        batch = examples.rows(rng.integers(n, size=config.batch))
        loss = _loss(clone, batch, config.knee)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clone.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress and (step % 200 == 0 or step == config.steps):
            progress(step, {"loss": float(loss.detach()), "held_out": _held_out(clone, examples, n, config.knee)})
    return clone.eval().requires_grad_(False)


def _loss(clone: PlanClone, batch: Examples, knee: float) -> torch.Tensor:
    window, mask, q, dq, plan = (torch.tensor(column, dtype=torch.float32) for column in batch)
    aim = (plan - clone.mean) / clone.std
    return F.huber_loss(clone.whitened(LowInput(window, mask, q, dq)), aim, delta=knee)


@torch.no_grad()
def _held_out(clone: PlanClone, examples: Examples, n: int, knee: float) -> float:
    rows = np.arange(n, len(examples.plan))
    return float(_loss(clone, examples.rows(rows[:4096]), knee)) if len(rows) else float("nan")
