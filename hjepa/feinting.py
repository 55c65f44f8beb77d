"""How well somebody who watches the robot tells where its shot will fall, and observers that learn it from its play.

Shards are written whole; a second call plays what is missing. Legend: N strokes, T instants, J joints.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.arrays import save_arrays
from hjepa.config import Config
from hjepa.covering import home_at, starts_of
from hjepa.errors import DataError
from hjepa.evaluation.episodes import run
from hjepa.evaluation.results import Recording
from hjepa.models.observer import Observer, ObserverConfig, save_observer
from hjepa.onlooker import seen
from hjepa.training.loop import LoopConfig, optimise
from hjepa.training.shards import Report, Shard, joined, play_missing
from hjepa.types import Array, RobotSpec
from hjepa.viewer.scene import interpolate
from robots.spec import load_spec

SHARD = 50
LOOK = ObserverConfig(0)  # when is looked


class Watched(NamedTuple):
    """Strokes as an observer sees them. World frame; nan where a shuttle was not hit, or hit before the last look."""

    stroke: NDArray[np.int64]  # (N,) id in the feed
    q_rad: Array  # (N, T, J) up to `hinge_s` before the contact
    dq_rad_s: Array  # (N, T, J)
    shuttle: Array  # (N, 6) place and velocity then
    landing_m: Array  # (N, 2) where the shot fell
    target_m: Array  # (N, 2) where it was meant to
    returned: NDArray[np.bool_]  # (N,)
    hidden: NDArray[np.bool_]  # (N,) a feint was in force

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(N,) True for shots over the net: those that an observer may be asked about."""
        known = np.isfinite(self.landing_m).all(axis=1) & np.isfinite(self.q_rad).all(axis=(1, 2))
        over: NDArray[np.bool_] = known & (np.nan_to_num(self.landing_m[:, 0]) > 0.0)
        return over

    def rows(self, which: NDArray[np.bool_]) -> Watched:
        """Some of them."""
        columns: list[Any] = [part[which] for part in self]
        return Watched(*columns)


@dataclass(frozen=True)
class ObserverTraining:
    """How much is played, and the fit."""

    strokes: int = 2000
    steps: int = 600  # more of them learn the strokes by heart
    batch: int = 256
    rate: float = 2e-3
    held_out: float = 0.1
    noise: float = 0.02  # of what is seen, in its spreads
    seed: int = 0


class _Job(NamedTuple):
    path: str
    config: Config
    rows: NDArray[np.int64]


def watch(config: Config, out: Path, strokes: int, workers: int = 2, progress: Report | None = None) -> Watched:
    """Play strokes of the configured feed with the configured agent, in spawned processes, and keep what is seen."""
    out.mkdir(parents=True, exist_ok=True)
    settings = config.model_copy(update={"task": config.task.model_copy(update={"strokes": strokes})})
    jobs = [
        _Job(str(out / f"watched_{k:04d}.npz"), settings, rows)
        for k, rows in enumerate(np.array_split(np.arange(strokes), max(1, -(-strokes // SHARD))))
    ]
    shards = [Shard(Path(job.path), len(job.rows), job) for job in jobs]
    play_missing(_play, shards, workers, progress)
    return Watched(*joined([shard.path for shard in shards], Watched._fields))


def watched(folder: Path) -> Watched:
    """Everything that `watch` has written so far."""
    paths = sorted(folder.glob("watched_*.npz"))
    if not paths:
        raise DataError(f"{folder}: no watched_*.npz in it; `hjepa train observer --data {folder}` writes them")
    return Watched(*joined(paths, Watched._fields))


def _play(job: _Job) -> int:
    from hjepa import api, build
    from hjepa.planning.feint import FeintPlanner

    build.use_one_thread()
    system = api.load(job.config)
    feed = system.feed.take(job.rows)
    starts = starts_of([home_at(system.spec, xy) for xy in feed.receiver_xy_m])
    agent = system.agent(job.config.agent.name)
    low = getattr(agent, "low", None)
    found = []
    period, seed = job.config.low.replan_period_ms, job.config.task.seed
    with closing(system.world()) as world:
        for played in run(world, agent, feed, starts, replan_period_ms=period, seed=seed, record=True):
            r = played.result
            late = low.hidden if isinstance(low, FeintPlanner) else None
            target = r.target_xy_m if late is None else late.target_xy_m
            looks = _seen(played.recording, r.contact_s, system.spec.joints)
            found.append((*looks, r.landing_xy_m, target, r.returned, late is not None))
    q, dq, shuttle, landing, target, returned, hidden = (np.array(x) for x in zip(*found, strict=True))
    columns: list[Any] = [feed.id.astype(np.int64), q, dq, shuttle, landing, target, returned, hidden]
    save_arrays(Path(job.path), Watched(*columns)._asdict())
    return len(job.rows)


def _seen(
    recording: Recording | None, contact_s: float, joints: int, look: ObserverConfig = LOOK
) -> tuple[Array, Array, Array]:
    """Joints (T, J), speeds (T, J) and the shuttle (6,) up to the last look. All stood still before the launch."""
    nothing = np.full((look.instants, joints), np.nan)
    if recording is None or not contact_s > look.hinge_s + 0.05:
        return nothing, nothing, np.full(6, np.nan)
    times, q, shuttle = recording.times_s, recording.q_rad, recording.shuttle_m
    at = contact_s - look.hinge_s - look.every_s * np.arange(look.instants, dtype=np.float64)[::-1]
    step = 0.01
    now, before = (interpolate(times, q, at - lag) for lag in (0.0, step))
    place, earlier = (interpolate(times, shuttle, at[-1:] - lag)[0] for lag in (0.0, 2 * step))
    return now, (now - before) / step, np.concatenate([place, (place - earlier) / (2 * step)])


def fit(
    data: Watched,
    spec: RobotSpec,
    c: ObserverTraining,
    shuttle: bool = False,
    start: Observer | None = None,
    progress: Report | None = None,
) -> tuple[Observer, dict[str, float]]:
    """An observer of all but a tenth of the strokes, and its mean landing error (m) on that tenth; start: go on from
    another one."""
    torch.manual_seed(c.seed)
    data = data.rows(data.seen)
    order = np.random.default_rng([c.seed, 61]).permutation(len(data.stroke))
    held, kept = (torch.from_numpy(rows) for rows in np.split(order, [round(c.held_out * len(order))]))
    numbers, landing = tensors(data, spec, shuttle)
    observer = Observer(replace(LOOK, numbers=numbers.shape[1], shuttle=shuttle))
    if start is None:
        observer.fit_scale(numbers[kept])
    else:
        observer.load_state_dict(start.state_dict())
    observer.requires_grad_(True)

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + step)
        rows = kept[torch.randint(len(kept), (c.batch,), generator=generator)]
        noise = c.noise * torch.randn(c.batch, numbers.shape[1], generator=generator) * observer.scale
        return _distance(observer(numbers[rows] + noise), landing[rows]).mean(), {}

    def report(step: int, figures: dict[str, float]) -> None:
        if progress:
            progress(step + 1, c.steps, figures)

    optimise(observer, step_loss, LoopConfig(c.steps, c.rate, 1e-2), report=report)
    observer.eval().requires_grad_(False)
    middle = landing[kept].median(dim=0).values
    figures = {
        "error_m": float(_distance(observer(numbers[held]), landing[held]).mean()),
        "error_of_middle_m": float(_distance(middle, landing[held]).mean()),
    }
    return observer, figures


@torch.no_grad()
def errors(observer: Observer, data: Watched, spec: RobotSpec) -> Array:
    """Distance (N,) of where the observer expects the shots of `data` to fall to where they fell, m; all of them must
    be `seen`."""
    numbers, landing = tensors(data, spec, observer.config.shuttle)
    out: Array = _distance(observer(numbers), landing).double().numpy()
    return out


def tensors(data: Watched, spec: RobotSpec, shuttle: bool) -> tuple[Tensor, Tensor]:
    """What an observer sees (N, F), and landing points (N, 2)."""
    numbers = seen(spec, data.q_rad, data.dq_rad_s, data.shuttle if shuttle else None)
    return torch.from_numpy(numbers).float(), torch.from_numpy(data.landing_m).float()


def train_observer(
    config: Config, data: Path, out: Path, c: ObserverTraining, workers: int = 2, progress: Report | None = None
) -> Path:
    """The observer that feints are planned against: it has watched plain strokes of the training matches."""
    spec = load_spec(config.robot.name)
    task = config.task.model_copy(update={"feed": "train"})
    high = config.high.model_copy(update={"feint": False})
    strokes = watch(config.model_copy(update={"task": task, "high": high}), data, c.strokes, workers, progress)
    observer, figures = fit(strokes, spec, c, progress=progress)
    path = out / "observer.safetensors"
    save_observer(path, observer, {"strokes": len(strokes.stroke), "figures": figures, **spec.identity})
    return path


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).sum(-1).add(1e-6).sqrt()
