"""What a robot covers: strokes of the training matches played from many places, and a level that learns who returns.

The base is what limits a racket robot's reach, so where it stands when the opponent hits decides whether it returns.
Shards are written whole; a second call plays what is missing. Legend: N strokes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hjepa.arrays import load_arrays, save_arrays
from hjepa.config import Config
from hjepa.evaluation.feasible import Starts, stand
from hjepa.models.cover import CoverModel, save_cover
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.strokes import UNKNOWN
from hjepa.training.loop import LoopConfig, optimise
from hjepa.training.shards import spread
from hjepa.types import Array, RobotSpec, RobotState

SHARD = 50
HALF_M = ((-6.2, -0.9), (-2.4, 2.4))  # where the base is put, x and y
Report = Callable[[int, int, Mapping[str, float]], None]


class Covered(NamedTuple):
    """Strokes that were played, in the world frame."""

    base_m: Array  # (N, 2) when the shuttle was launched
    type: NDArray[np.int8]  # (N,)
    land_m: Array  # (N, 2) where the real receiver met it; where it fell if nobody did
    tempo_s: Array  # (N,) until then
    returned: NDArray[np.bool_]  # (N,)


@dataclass(frozen=True)
class CoverTraining:
    """How much is played, and the fit."""

    strokes: int = 4000
    steps: int = 1500
    batch: int = 256
    held_out: float = 0.1
    seed: int = 0


class _Job(NamedTuple):
    path: str
    config: Config
    rows: NDArray[np.int64]  # of the training feed
    base_m: Array


def lessons(c: CoverTraining, feed: FeedTable) -> tuple[NDArray[np.int64], Array]:
    """Rows of the feed (N,) and where the base stands (N, 2): half around the real receiver, half anywhere."""
    rng = np.random.default_rng([c.seed, 41])
    named = np.flatnonzero(feed.type != UNKNOWN)
    rows = rng.choice(named, c.strokes, replace=False)
    anywhere = np.stack([rng.uniform(*span, c.strokes) for span in HALF_M], axis=-1)
    around = feed.receiver_xy_m[rows] + rng.normal(0.0, 1.0, (c.strokes, 2))
    base = np.where(rng.random((c.strokes, 1)) < 0.5, anywhere, around)
    return rows, np.clip(base, [span[0] for span in HALF_M], [span[1] for span in HALF_M])


def collect_covered(
    config: Config, out: Path, c: CoverTraining, workers: int = 2, progress: Report | None = None
) -> Covered:
    """Play the lessons with the configured agent, in spawned processes."""
    out.mkdir(parents=True, exist_ok=True)
    feed = load_feed("train")
    rows, base = lessons(c, feed)
    parts = [slice(k, k + SHARD) for k in range(0, c.strokes, SHARD)]
    jobs = [_Job(str(out / f"cover_{k:04d}.npz"), config, rows[p], base[p]) for k, p in enumerate(parts)]
    todo = [job for job in jobs if not Path(job.path).exists()]
    done = c.strokes - sum(len(job.rows) for job in todo)
    for count in spread(_play, todo, workers):
        done += count
        if progress:
            progress(done, c.strokes, {})
    remedy = "delete it and run again"
    shards = [load_arrays(Path(j.path), Covered._fields, "shard", remedy) for j in jobs]
    return Covered(*(np.concatenate([s[name] for s in shards]) for name in Covered._fields))


def _play(job: _Job) -> int:
    from hjepa import api, build
    from hjepa.evaluation.episodes import run

    build.use_one_thread()
    system = api.load(job.config)
    feed = load_feed("train").take(job.rows)
    states = [home_at(system.spec, xy) for xy in job.base_m]
    with closing(system.world()) as world:
        c = job.config
        agent = system.agent(c.agent.name)
        played = run(world, agent, feed, starts_of(states), replan_period_ms=c.low.replan_period_ms)
        returned = np.array([p.result.returned for p in played])
    met, _ = fly_to(feed.x0_m, feed.v0_m_s, feed.time_s)
    base = np.stack([s.q_rad[:2] for s in states])
    save_arrays(Path(job.path), Covered(base, feed.type, met[:, :2], feed.time_s, returned)._asdict())
    return len(job.rows)


def home_at(spec: RobotSpec, xy_m: Array, speed_m_s: Array | None = None) -> RobotState:
    """The robot on its rails at a place, its arm at home; moving, if a speed (2,) is given."""
    state = stand(spec, RobotState(spec.q_home_rad, np.zeros(spec.joints)), xy_m)
    if speed_m_s is not None:
        state.dq_rad_s[:2] = speed_m_s
    return state


def starts_of(states: list[RobotState]) -> Starts:
    """Start states that nobody judged: every stroke counts."""
    q, dq = np.stack([s.q_rad for s in states]), np.stack([s.dq_rad_s for s in states])
    n = len(states)
    return Starts(q, dq, np.ones(n, dtype=bool), np.zeros(n, dtype=np.int16), q, dq)


def train_cover(
    played: Covered, out: Path, c: CoverTraining, identity: Mapping[str, str], progress: Report | None = None
) -> Path:
    """Fit on all but a tenth, which is told in the header: log loss, that of the mean, and area under the curve."""
    torch.manual_seed(c.seed)
    order = np.random.default_rng([c.seed, 43]).permutation(len(played.returned))
    held = order[: round(c.held_out * len(order))]
    kept = torch.from_numpy(order[len(held) :])
    model, inputs = CoverModel(), _tensors(played)
    target = torch.from_numpy(played.returned).float()
    flip = torch.tensor([1.0, -1.0])

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + step)
        rows = kept[torch.randint(len(kept), (c.batch,), generator=generator)]
        base, kind, land, tempo = (x[rows] for x in inputs)
        if step % 2:  # the court is the same from left to right, the arm nearly so
            base, land = base * flip, land * flip
        loss = F.binary_cross_entropy_with_logits(model(base, kind, land, tempo), target[rows])
        return loss, {}

    def report(step: int, figures: dict[str, float]) -> None:
        if progress:
            progress(step + 1, c.steps, figures)

    optimise(model, step_loss, LoopConfig(c.steps, 2e-3, 1e-2), report=report)
    model.eval()
    with torch.no_grad():
        p = torch.sigmoid(model(*(x[held] for x in inputs))).numpy()
    figures = _figures(p, played.returned[held])
    path = out / "cover.safetensors"
    header: dict[str, Any] = {"strokes": len(order), "figures": figures, **identity}
    save_cover(path, model, header)
    return path


def _tensors(played: Covered) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers = [torch.from_numpy(x).float() for x in (played.base_m, played.land_m, played.tempo_s)]
    return numbers[0], torch.from_numpy(played.type).long(), numbers[1], numbers[2]


def _figures(p: Array, returned: NDArray[np.bool_]) -> dict[str, float]:
    mean = returned.mean()

    def loss(q: Any) -> float:
        return float(-np.log(np.where(returned, q, 1.0 - q)).mean())

    above = (p[returned][:, None] > p[~returned]).mean() if returned.any() and not returned.all() else np.nan
    return {"log_loss": loss(p), "log_loss_of_mean": loss(mean), "auc": float(above), "returned": float(mean)}
