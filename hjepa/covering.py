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
from torch import Tensor, nn
from torch.nn import functional as F

from hjepa.agent import HierarchicalAgent
from hjepa.arrays import save_arrays
from hjepa.config import Config
from hjepa.contexts import Contexts
from hjepa.evaluation.feasible import Starts, stand
from hjepa.models.cover import CoverBundle, CoverModel, ShotRisk, save_cover
from hjepa.planning.anticipation import AnticipationConfig, on_the_way
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.strokes import TYPES, UNKNOWN, load_strokes
from hjepa.training.loop import LoopConfig, optimise
from hjepa.training.shards import Report, Shard, joined, play_missing
from hjepa.types import Array, RobotSpec, RobotState

SHARD = 50
HALF_M = ((-6.2, -0.9), (-2.4, 2.4))  # where the base is put, x and y
MIDDLE_M = (-4.0, 0.0)
BASE = AnticipationConfig()  # how it moves
FAULTS = ("", "miss", "net", "out", "own side", "touched net")


class Covered(NamedTuple):
    """Strokes that were played, in the world frame."""

    base_m: Array  # (N, 2) when the shuttle was launched
    speed_m_s: Array  # (N, 2) of the base then
    type: NDArray[np.int8]  # (N,)
    land_m: Array  # (N, 2) where the real receiver met it; where it fell if nobody did
    tempo_s: Array  # (N,) until then
    returned: NDArray[np.bool_]  # (N,)
    fault: NDArray[np.int8]  # (N,) index in FAULTS
    shot: NDArray[np.int8]  # (N,) type that was meant; UNKNOWN without a decision
    target_m: Array  # (N, 2) where it was meant to fall
    reach: Array  # (N,) the low level's energy for it when it was chosen


@dataclass(frozen=True)
class CoverTraining:
    """How much is played, and the fit."""

    strokes: int = 4000
    steps: int = 600  # more of them learn the strokes by heart
    batch: int = 256
    noise_m: float = 0.15  # of the base and the place where the reply is met: neighbours are returned alike
    held_out: float = 0.1
    seed: int = 0


class _Job(NamedTuple):
    path: str
    config: Config
    lessons: Lessons


class Lessons(NamedTuple):
    """What is played: rows of the feed, and the base when the shuttle is launched."""

    rows: NDArray[np.int64]  # (N,)
    base_m: Array  # (N, 2)
    speed_m_s: Array  # (N, 2)

    def part(self, which: slice) -> Lessons:
        """Some of them."""
        return Lessons(self.rows[which], self.base_m[which], self.speed_m_s[which])


def lessons(c: CoverTraining, feed: FeedTable) -> Lessons:
    """As a rally brings the base there: on its way from the real player's last hit to a place, half of the places
    anywhere, half about the middle. More strokes are the same ones and others."""
    rng = np.random.default_rng([c.seed, 41])
    rows = rng.permutation(np.flatnonzero(feed.type != UNKNOWN))
    contexts = Contexts(load_strokes(), "train", feed.id[rows])
    n = len(rows)
    anywhere = np.stack([rng.uniform(*span, n) for span in HALF_M], axis=-1)
    place = np.where(rng.random((n, 1)) < 0.5, anywhere, rng.normal(MIDDLE_M, 1.2, (n, 2)))
    place = np.clip(place, *np.array(HALF_M).T)
    base, speed = on_the_way(contexts.stood_m, place, contexts.time_s, BASE.speed_m_s, BASE.acceleration_m_s2)
    base = np.clip(base, *np.array(HALF_M).T)
    return Lessons(rows, base, speed).part(slice(c.strokes))


def collect_covered(
    config: Config, out: Path, c: CoverTraining, workers: int = 2, progress: Report | None = None
) -> Covered:
    """Play the lessons with the configured agent, in spawned processes."""
    out.mkdir(parents=True, exist_ok=True)
    feed = load_feed("train")
    to_play = lessons(c, feed)
    parts = [slice(k, k + SHARD) for k in range(0, c.strokes, SHARD)]
    jobs = [_Job(str(out / f"cover_{k:04d}.npz"), config, to_play.part(p)) for k, p in enumerate(parts)]
    shards = [Shard(Path(job.path), len(job.lessons.rows), job) for job in jobs]
    play_missing(_play, shards, workers, progress)
    return Covered(*joined([shard.path for shard in shards], Covered._fields))


def _play(job: _Job) -> int:
    from hjepa import api, build
    from hjepa.evaluation.episodes import run

    build.use_one_thread()
    system = api.load(job.config)
    feed = load_feed("train").take(job.lessons.rows)
    states = [home_at(system.spec, xy, v) for xy, v in zip(*job.lessons[1:], strict=True)]
    with closing(system.world()) as world:
        c = job.config
        agent = system.agent(c.agent.name)
        asked = _Asked(agent)
        rows = []
        for p in run(world, agent, feed, starts_of(states), replan_period_ms=c.low.replan_period_ms):
            r = p.result
            shot = TYPES.index(r.commanded_type) if r.commanded_type in TYPES else UNKNOWN
            rows.append((r.returned, FAULTS.index(r.fault), shot, r.target_xy_m, asked.reach()))
    returned, fault, shots, target, reach = (np.array(x) for x in zip(*rows, strict=True))
    met, _ = fly_to(feed.x0_m, feed.v0_m_s, feed.time_s)
    base, speed = (
        np.stack([x[:2] for x in parts]) for parts in zip(*((s.q_rad, s.dq_rad_s) for s in states), strict=True)
    )
    save_arrays(
        Path(job.path),
        Covered(
            base,
            speed,
            feed.type,
            met[:, :2],
            feed.time_s,
            returned,
            fault.astype(np.int8),
            shots.astype(np.int8),
            target,
            reach,
        )._asdict(),
    )
    return len(job.lessons.rows)


class _Asked:
    """What the low level said of the goal that was chosen."""

    def __init__(self, agent: object) -> None:
        self._agent = agent
        self._energies = np.empty(0)
        if isinstance(agent, HierarchicalAgent):
            self._ask = agent.low.reachability
            agent.low.reachability = self._asked  # type: ignore[method-assign,assignment]

    def _asked(self, *situation: Any) -> Array:
        self._energies = self._ask(*situation)
        return self._energies

    def reach(self) -> float:
        """Its energy; nan where nothing was chosen."""
        goal = self._agent.thought.goal if isinstance(self._agent, HierarchicalAgent) else None
        if goal is None or len(goal.energies) != len(self._energies):
            return float("nan")
        return float(self._energies[int(np.argmin(goal.energies))])


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
    """Fit both parts on all but a tenth, on which their figures in the header are: log loss, that of the mean, and area
    under the curve."""
    torch.manual_seed(c.seed)
    order = np.random.default_rng([c.seed, 43]).permutation(len(played.returned))
    held, kept = np.split(order, [round(c.held_out * len(order))])
    chosen = (played.shot != UNKNOWN) & np.isfinite(played.reach)
    inputs, shots, target = _tensors(played), _shots(played), torch.from_numpy(played.returned).float()
    flip = torch.tensor([1.0, -1.0])
    cover, risk = CoverModel(), ShotRisk()

    def fit(model: nn.Module, rows: NDArray[np.int64], loss_of: Callable[[Tensor, int], Tensor], total: int) -> None:
        known = torch.from_numpy(rows)

        def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
            generator = torch.Generator().manual_seed(c.seed * 1_000_003 + step)
            return loss_of(known[torch.randint(len(known), (c.batch,), generator=generator)], step), {}

        def report(step: int, figures: dict[str, float]) -> None:
            if progress:
                progress(step + 1, total, figures)

        optimise(model, step_loss, LoopConfig(total, 2e-3, 1e-2), report=report)
        model.eval()

    def cover_loss(rows: Tensor, step: int) -> Tensor:
        base, speed, kind, land, tempo = (x[rows] for x in inputs)
        if step % 2:  # the court is the same from left to right, the arm nearly so
            base, speed, land = base * flip, speed * flip, land * flip
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + step + 500_000)
        base, land = (x + c.noise_m * torch.randn(x.shape, generator=generator) for x in (base, land))
        return F.binary_cross_entropy_with_logits(cover(base, speed, kind, land, tempo), target[rows])

    def risk_loss(rows: Tensor, step: int) -> Tensor:
        return F.binary_cross_entropy_with_logits(risk(*(x[rows] for x in shots)), 1.0 - target[rows])

    fit(cover, kept, cover_loss, c.steps)
    fit(risk, kept[chosen[kept]], risk_loss, c.steps)
    seen = held[chosen[held]]
    with torch.no_grad():
        p = torch.sigmoid(cover(*(x[held] for x in inputs))).numpy()
        fails = torch.sigmoid(risk(*(x[seen] for x in shots))).numpy()
    figures = _figures(p, played.returned[held])
    figures |= {f"risk_{k}": v for k, v in _figures(fails, ~played.returned[seen]).items()}
    path = out / "cover.safetensors"
    save_cover(path, CoverBundle(cover, risk, {"strokes": len(order), "figures": figures, **identity}))
    return path


def _shots(played: Covered) -> tuple[Tensor, Tensor, Tensor]:
    numbers = (torch.from_numpy(np.nan_to_num(x)).float() for x in (played.target_m, played.reach))
    target, reach = numbers
    return torch.from_numpy(played.shot.clip(0)).long(), target, reach


def _tensors(played: Covered) -> tuple[Tensor, ...]:
    base, speed, land, tempo = (
        torch.from_numpy(x).float() for x in (played.base_m, played.speed_m_s, played.land_m, played.tempo_s)
    )
    return base, speed, torch.from_numpy(played.type).long(), land, tempo


def _figures(p: Array, returned: NDArray[np.bool_]) -> dict[str, float]:
    mean = returned.mean()

    def loss(q: Any) -> float:
        return float(-np.log(np.where(returned, q, 1.0 - q)).mean())

    above = (p[returned][:, None] > p[~returned]).mean() if returned.any() and not returned.all() else np.nan
    return {"log_loss": loss(p), "log_loss_of_mean": loss(mean), "auc": float(above), "returned": float(mean)}
