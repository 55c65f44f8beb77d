"""Behaviour cloning of the classical agent: collects what it saw and what it planned, and fits a network to that.

Every re-planning instant of a stroke is one example: the observation, and the contact event the agent had in force.
Shards are written whole; a killed run loses at most one. Legend: N examples, K window slots, J joints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hjepa.errors import DataError
from hjepa.models.cloned import CloneConfig, PlanClone
from hjepa.models.low import LowInput
from hjepa.protocols import Agent, World
from hjepa.types import NS, Array, Launch, Observation, RobotState

Progress = Callable[[int, int], None]


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


def collect(
    world: World,
    teacher: Teacher,
    strokes: Sequence[tuple[RobotState, Launch, int]],
    out: Path,
    *,
    replan_period_ms: int = 20,
    shard: int = 100,
    progress: Progress | None = None,
) -> int:
    """Play strokes (start, launch, seed) with the teacher in lockstep; shards of `shard` strokes in `out`, resumable.

    Returns the number of examples there.
    """
    out.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(strokes), shard):
        path = out / f"clone_{first // shard:04d}.npz"
        if not path.exists():
            rows = [row for s in strokes[first : first + shard] for row in _play(world, teacher, *s, replan_period_ms)]
            _write(path, rows)
        if progress:
            progress(min(first + shard, len(strokes)), len(strokes))
    return len(load_examples(out).plan)


_Row = tuple[Array, NDArray[np.bool_], Array, Array, Array]


def _play(
    world: World, teacher: Teacher, start: RobotState, launch: Launch, seed: int, replan_period_ms: int
) -> Iterator[_Row]:
    seen = world.reset(start, launch, seed)
    teacher.reset(seed)
    period = replan_period_ms // 10
    for tick in range(10**6):
        if world.done:
            return
        if tick % period == 0:
            command = teacher.act(seen)
            if command is not None:
                world.send(command)
            plan = _plan(seen, teacher.event)
            if plan is not None:
                yield seen.tracker_xyz_m, seen.tracker_mask, seen.q_rad, seen.dq_rad_s, plan
        seen = world.tick()


def _plan(seen: Observation, event: tuple[Any, int] | None) -> Array | None:
    """The event in force as the network is to name it (2 J + 2,); None once it is past."""
    if event is None or event[1] <= seen.stamp_ns:
        return None
    swing, contact_ns = event
    times = [(contact_ns - seen.stamp_ns) / NS, float(np.mean(swing.before_s))]
    return np.concatenate([swing.q_hit_rad, swing.dq_hit_rad_s, times])


def _write(path: Path, rows: list[_Row]) -> None:
    if not rows:
        raise DataError(
            f"shard '{path}': the teacher planned nothing in any of its strokes; allowed: at least one plan"
        )
    columns = {name: np.stack(column) for name, column in zip(Examples._fields, zip(*rows, strict=True), strict=True)}
    arrays: dict[str, Any] = {name: c if c.dtype == bool else c.astype(np.float32) for name, c in columns.items()}
    temporary = path.with_suffix(".part.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)


def load_examples(folder: Path) -> Examples:
    """All shards of a folder; DataError if there is none or one is damaged."""
    parts = []
    for path in sorted(folder.glob("clone_????.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                parts.append([file[name] for name in Examples._fields])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"shard '{path}' is damaged ({error}): delete it and collect again") from error
    if not parts:
        raise DataError(f"no examples in '{folder}': expected clone_*.npz; run `collect` first")
    return Examples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


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
