"""From nothing to a data set of swings: the teacher's events, the motor codec fitted to them, executed swings; and from
data to weights, of both levels and of the baseline `bc`.

Every stage keeps its result in the data folder, so that a killed run goes on where it was. Legend: F launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError, WeightsError
from hjepa.models.checkpoint import check_robot, load_codec, save_codec
from hjepa.models.cloned import CloneConfig, save_clone
from hjepa.models.high import HighConfig, HighModel
from hjepa.models.low import load_low
from hjepa.models.rally import RallyConfig, save_rally
from hjepa.tasks.badminton.feeds import RandomFeedConfig, load_feed, random_feed
from hjepa.tasks.badminton.rallies import Rallies, from_strokes, joined, load_rallies
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.training import cloning
from hjepa.training.body import BodyConfig, fit_codec
from hjepa.training.collect import CollectConfig, collect, load_swings
from hjepa.training.high import LIMITS, HighTraining, train_high
from hjepa.training.progress import Writer, tell
from hjepa.training.ranks import ALONE, Ranks
from hjepa.training.shards import Spread, processes
from hjepa.training.tactics import TacticsTraining, next_log_loss, train_tactics
from hjepa.training.teacher import Events, teach
from hjepa.training.train_low import LowRun, train, with_seed
from hjepa.types import Array, RobotSpec

Progress = Callable[[int, int, Mapping[str, float]], None]
DEFAULTS: Mapping[str, int] = {}  # no size is other than its default
EVENTS, CODEC = "events.npz", "codec.safetensors"
_FLIGHT_S = (0.6, 2.0)  # of random launches: wider than what is fed in evaluation


@dataclass(frozen=True)
class SwingRun:
    """Everything that is chosen about a data set."""

    real: int = 2600  # launches the teacher answers: real strokes of the training matches
    drawn: int = 1400  # and random ones
    per_launch: int = 8
    body: BodyConfig = BodyConfig(steps=6000)
    collect: CollectConfig = CollectConfig()
    seed: int = 0


def launches(real: int, drawn: int, seed: int) -> tuple[Array, Array, Array]:
    """x0, v0 (F, 3) and where the robot stands (F, 2): strokes of the training matches, then random ones."""
    rng = np.random.default_rng([seed, 1])
    feed = load_feed("train")
    feed = feed.take(rng.choice(len(feed.id), min(real, len(feed.id)), replace=False))
    extra = random_feed(drawn, seed, RandomFeedConfig(flight_s=_FLIGHT_S))
    stand = np.concatenate([feed.receiver_xy_m, rng.normal([-3.4, 0.0], [1.2, 1.0], (drawn, 2))])
    return np.concatenate([feed.x0_m, extra.x0_m]), np.concatenate([feed.v0_m_s, extra.v0_m_s]), stand


def collect_swings(
    spec: RobotSpec,
    world: str,
    out: Path,
    run: SwingRun,
    *,
    spread: Spread = processes(2),  # noqa: B008 (keeps no state)
    progress: Progress | None = None,
    codec_of: Path | None = None,
) -> int:
    """Fill `out` with swings; `world` is 'module:Class' of a World taking a RobotSpec. Returns how many are there.

    codec_of: weights of a low level whose motor codec is used, so that it can be settled again; None: one is fitted.
    """
    out.mkdir(parents=True, exist_ok=True)
    total = run.collect.swings

    def tell(figures: Mapping[str, float]) -> None:
        if progress:
            progress(0, total, figures)

    events = _events(spec, out / EVENTS, run, spread, tell)
    codec = out / CODEC
    if not codec.exists() and codec_of is not None:
        low = load_low(codec_of)
        check_robot(codec_of, low.header, spec, "hjepa train low")
        save_codec(codec, low.level.codec, spec.identity)
    elif not codec.exists():
        torch.set_num_threads(1)
        fitted, errors = fit_codec(
            events, spec, run.body, report=lambda step, parts: tell({"codec step": step, "racket": parts["racket"]})
        )
        save_codec(codec, fitted, spec.identity | {"errors": errors})
    return collect(
        spec,
        world,
        codec,
        events,
        run.collect,
        out,
        spread=spread,
        progress=None if progress is None else lambda done, whole: progress(done, whole, {}),
    )


def _events(
    spec: RobotSpec, path: Path, run: SwingRun, spread: Spread, tell: Callable[[Mapping[str, float]], None]
) -> Events:
    """The teacher's events, from `path` if they are there."""
    if path.exists():
        return Events(**load_arrays(path, Events._fields, "file of the teacher's events", "delete it and run again"))
    tell({"launches for the teacher": float(run.real + run.drawn)})
    events = teach(spec, *launches(run.real, run.drawn, run.seed), run.per_launch, run.seed, spread)
    save_arrays(path, events._asdict())
    return events


def train_high_level(
    out: Path,
    seed: int,
    progress: Progress | None,
    writer: Any,
    ranks: Ranks = ALONE,
    run: HighTraining = HighTraining(),  # noqa: B008 (frozen value)
    limits: Mapping[str, float] = LIMITS,
    sizes: Mapping[str, int] = DEFAULTS,
) -> Path:
    """Train the high level on the real strokes; returns the path of the weights. sizes: of HighConfig's."""
    torch.set_num_threads(1)
    run = replace(run, seed=seed)
    first, total = run.encoder.steps, run.encoder.steps + run.rally.steps

    def report(step: int, figures: dict[str, float]) -> None:
        if progress:
            progress(step + 1 + (first if "support" in figures else 0), total, figures)

    return train_high(out, run, report, writer, ranks, HighConfig(**sizes), limits)


def train_rally_level(
    out: Path,
    seed: int,
    progress: Progress | None,
    writer: Any,
    played: Rallies | None = None,
    run: TacticsTraining = TacticsTraining(),  # noqa: B008 (frozen value)
    sizes: Mapping[str, int] = DEFAULTS,
) -> Path:
    """Train the rally level on the training matches' rallies, and on those `played`. sizes: of RallyConfig's."""
    run = replace(run, seed=seed)
    parts = [from_strokes(load_strokes(), "train")] + ([played] if played is not None else [])

    def report(step: int, figures: dict[str, float]) -> None:
        if progress:
            progress(step + 1, run.steps, figures)

    rallies = joined(parts)
    level = train_tactics(
        rallies, run, RallyConfig(**sizes), checkpoint=out / "tactics.pt", report=report, writer=writer
    )
    figures = {"val_next_log_loss": float(next_log_loss(level, load_rallies().of("val")).mean())}
    path = out / "rally.safetensors"
    save_rally(path, level, {"training": asdict(run), "rallies": len(rallies.name), "figures": figures})
    return path


def train_low_level(
    spec: RobotSpec,
    data: Path,
    high: HighModel,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    writer: Any = None,
    run: LowRun = LowRun(),  # noqa: B008 (frozen value)
    flights: tuple[int, int] = (7000, 3000),
    ranks: Ranks = ALONE,
    alarm: bool = True,
    sizes: Mapping[str, int] = DEFAULTS,
    start: Path | None = None,
) -> Path:
    """Train the low level on the swings in `data`; returns the path of the weights.

    flights: how many real and random ones the swings are paired with. sizes: of LowConfig's; goals are as large as
    the high level's embeddings. WeightsError when probes say that the finished level cannot tell contact, landing, net
    height or time of strokes it has not seen, unless `alarm` is off. start: weights of a low level that is settled
    again, on swings that were collected with its motor codec (DataError if they were not).
    """
    swings = load_swings(data)
    x0, v0, _ = launches(*flights, seed)
    codec = load_codec(data / CODEC)
    run = with_seed(replace(run, model=replace(run.model, goal=high.config.latent, **sizes)), seed)
    begun = None
    if start is not None:
        low = load_low(start)
        check_robot(start, low.header, spec, "hjepa train low")
        if not _same(low.level.codec, codec):
            raise DataError(
                f"the swings in '{data}' were collected with another motor codec than that of '{start}': collect them "
                f"anew with `hjepa collect --codec {start}`"
            )
        run, begun = replace(run, model=low.level.config), (low.level, low.proposal)
    told: dict[str, Any] = {"progress": progress, "writer": writer, "ranks": ranks, "start": begun}
    path = train(spec, codec, swings, (x0, v0), high, run, out, **told)
    alarms = load_low(path).header["alarms"]
    if alarms and alarm:
        raise WeightsError(f"the low level in '{path}' lost the stroke: {', '.join(alarms)} too large")
    return path


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether two modules hold the same numbers."""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(part, theirs[name]) for name, part in ours.items())


def train_clone(
    spec: RobotSpec,
    world: str,
    teacher: Callable[[RobotSpec], cloning.Teacher],
    strokes: Sequence[cloning.Stroke],
    data: Path,
    path: Path,
    seed: int,
    *,
    replan_period_ms: int = 40,
    workers: int = 2,
    progress: Progress | None = None,
    writer: Writer | None = None,
    run: cloning.CloneTraining = cloning.CloneTraining(),  # noqa: B008 (frozen value)
) -> Path:
    """Play strokes with the teacher into the folder `data` (resumable) and fit `bc` to them; `path`, its weights."""
    torch.set_num_threads(1)

    def report(step: int, losses: dict[str, float]) -> None:
        if progress:
            progress(step, run.steps, losses)

    examples = cloning.collect(
        spec,
        world,
        teacher,
        strokes,
        data,
        replan_period_ms=replan_period_ms,
        workers=workers,
        progress=None if progress is None else lambda done, whole: progress(done, whole, {}),
    )
    clone = cloning.fit(
        examples,
        replace(run, seed=seed),
        CloneConfig(joints=spec.joints),
        lambda step, losses: tell(step, losses, report, writer, "bc"),
    )
    save_clone(path, clone, spec)
    return path
