"""Trains a level from motor babbling: several steps ahead in the latent, inverse dynamics, no collapse; then the two
predictors again with the encoders held still; then watching things that move by themselves.

Legend: B batch, J joints, K steps, W slots of a glimpse, P past glimpses, D embedding, L slots of a watched stretch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hjepa.errors import DataError
from hjepa.models.babbled import BabbledConfig, BabbledLevel, Units, save_babbled
from hjepa.models.losses import SIGReg, effective_rank
from hjepa.training.babble import TICK_S, Babble
from hjepa.training.loop import LoopConfig, Writer, optimise
from hjepa.types import Array, RobotSpec

Progress = Callable[[int, int, Mapping[str, float]], None]
Moving = Callable[[int], Callable[[Array], Array]]
"""A seed to the path of something that moves by itself: times (K,) to positions (K, 3)."""
FEATURES = 300  # of the probe
WORST_M = 0.01  # the tool's place, read by a linear probe from what is expected: above this the level is blind


@dataclass(frozen=True)
class BabbledTraining:
    """Everything that is chosen about a training run."""

    model: BabbledConfig = BabbledConfig()
    steps: int = 2000
    settle_steps: int = 6000
    watch_steps: int = 2000
    batch: int = 192
    sequences: int = 40
    horizon: int = 4  # K
    rate: float = 3e-3
    collapse: float = 0.001
    inverse: float = 0.1
    paths: int = 400  # watched
    path_s: float = 12.0
    noise_m: float = 0.002
    dropout: float = 0.02
    delay_slots: tuple[int, int] = (0, 6)
    lead_s: tuple[float, float] = (0.02, 0.36)  # from the newest glimpse
    held_share: float = 0.1  # of the shards, for the figures
    seed: int = 0


class Columns(NamedTuple):
    """The babbling as tensors, and where a batch may begin."""

    q: Tensor  # (N, J)
    dq: Tensor
    seen: Tensor  # (N, 3)
    mask: Tensor  # (N,)
    action: Tensor  # (N, J) in dq_std
    ticks: Tensor  # indices with a whole glimpse behind them
    knots: Tensor  # indices of knots with K chunks ahead


def units_of(babble: Babble) -> Units:
    """Statistics of the recordings."""
    place = babble.seen_m[babble.mask > 0]
    spread = np.sqrt(place.var(0).mean())
    return Units(
        *(torch.tensor(x, dtype=torch.float32) for x in (
            babble.q_rad.mean(0), babble.q_rad.std(0), babble.dq_rad_s.std(0), place.mean(0), spread[None],
        ))
    )  # fmt: skip


def columns_of(babble: Babble, rows: Array, units: Units, run: BabbledTraining) -> Columns:
    """The rows (a mask of whole shards) as tensors."""
    q, dq, seen, mask, knots = (torch.tensor(x[rows], dtype=torch.float32) for x in babble[:5])
    shard = torch.tensor(babble.shard[rows])
    n, W = len(q), run.model.glimpse
    steps = round(run.model.chunk_s / TICK_S)
    i = torch.arange(n)
    whole = (i >= W - 1) & (shard[(i - W + 1).clamp(min=0)] == shard)
    whole &= mask.cumsum(0) - torch.cat([torch.zeros(W), mask.cumsum(0)])[:n] > 0  # something was seen
    end = (i + run.horizon * steps).clamp(max=n - 1)
    begin = whole & knots.isfinite().all(-1) & (i + run.horizon * steps < n) & (shard[end] == shard)
    for k in range(run.horizon + 1):
        begin &= whole[(i + k * steps).clamp(max=n - 1)]
    return Columns(q, dq, seen, mask, knots / units.dq_std_rad_s, i[whole], i[begin])


def glimpses(level: BabbledLevel, c: Columns, at: Tensor) -> Tensor:
    """What was seen in the 40 ms up to ticks `at` (...): (..., D)."""
    slots = at[..., None] + torch.arange(1 - level.config.glimpse, 1)
    flat = slots.reshape(-1, level.config.glimpse)
    return level.glimpse(c.seen[flat], c.mask[flat]).reshape(*at.shape, -1)


class Losses(NamedTuple):
    """Parts of the loss, scalars."""

    seen: Tensor  # expected against seen, at once and after 1..K chunks
    body: Tensor  # the arm's state, predicted against encoded
    inverse: Tensor
    collapse: Tensor


def losses(
    level: BabbledLevel, c: Columns, rng: np.random.Generator, run: BabbledTraining, sigreg: SIGReg | None,
    generator: torch.Generator | None = None,
) -> Losses:  # fmt: skip
    """One batch: single ticks (B), and sequences of K chunks."""
    steps = round(level.config.chunk_s / TICK_S)
    now = c.ticks[torch.as_tensor(rng.integers(len(c.ticks), size=run.batch))]
    begin = c.knots[torch.as_tensor(rng.integers(len(c.knots), size=run.sequences))]
    at = begin[:, None] + steps * torch.arange(run.horizon + 1)  # (B, K + 1)
    e_now, e = glimpses(level, c, now), glimpses(level, c, at)
    z_now, z = level.body(c.q[now], c.dq[now]), level.body(c.q[at], c.dq[at])
    action = c.action[at[:, :-1]]  # (B, K, J)
    rolled = [z[:, 0]]
    for k in range(run.horizon):
        rolled.append(level.predict(rolled[-1], action[:, k]))
    ahead = torch.stack(rolled, dim=1)
    seen = (level.see(z_now) - e_now).pow(2).mean() + (level.see(ahead) - e).pow(2).mean()
    body = (ahead - z).pow(2).mean()
    inverse = (level.inverse(z[:, :-1], z[:, 1:]) - action).pow(2).mean()
    flat = z_now.new_zeros(()) if sigreg is None else sigreg(e_now, generator) + sigreg(z_now, generator)
    return Losses(seen, body, inverse, flat)


class Embedded(NamedTuple):
    """The babbling once the encoders are held still."""

    z: Tensor  # (N, 2J)
    e: Tensor  # (N, D); of no meaning at ticks without a whole glimpse
    action: Tensor  # (N, J)
    ticks: Tensor
    knots: Tensor


@torch.no_grad()
def embedded(level: BabbledLevel, c: Columns) -> Embedded:
    """Every tick encoded once."""
    e = torch.zeros(len(c.q), level.config.seen)
    for at in c.ticks.split(8192):
        e[at] = glimpses(level, c, at)
    z = torch.cat([level.body(q, dq) for q, dq in zip(c.q.split(8192), c.dq.split(8192), strict=True)])
    return Embedded(z, e, c.action, c.ticks, c.knots)


def settle_losses(
    level: BabbledLevel, c: Embedded, rng: np.random.Generator, run: BabbledTraining
) -> tuple[Tensor, Tensor]:
    """Parts `seen` and `body` of one batch, from encoded babbling."""
    steps = round(level.config.chunk_s / TICK_S)
    now = c.ticks[torch.as_tensor(rng.integers(len(c.ticks), size=2 * run.batch))]
    begin = c.knots[torch.as_tensor(rng.integers(len(c.knots), size=run.sequences))]
    at = begin[:, None] + steps * torch.arange(run.horizon + 1)
    rolled = [c.z[begin]]
    for k in range(run.horizon):
        rolled.append(level.predict(rolled[-1], c.action[at[:, k]]))
    ahead = torch.stack(rolled[1:], dim=1)
    few = ahead[:, :2].flatten(0, 1)  # as far as a motion is planned
    expected = level.see(torch.cat([c.z[now], few]))
    seen = (expected - torch.cat([c.e[now], c.e[at[:, 1:3]].flatten(0, 1)])).pow(2).mean()
    return seen, (ahead - c.z[at[:, 1:]]).pow(2).mean()


@torch.no_grad()
def probe(level: BabbledLevel, train: Columns, held: Columns, run: BabbledTraining) -> dict[str, float]:
    """Figures on recordings never trained on: the tool's place read from glimpses and from what is expected.

    The probe is a ridge regression on random features of the embedding (Rahimi & Recht 2008), fitted to glimpses of
    the training recordings: it says what an embedding tells, and does not shape it.
    """
    rng = np.random.default_rng(5)

    def some(c: Columns, n: int) -> Tensor:
        return c.ticks[torch.as_tensor(rng.integers(len(c.ticks), size=n))]

    def middle(c: Columns, at: Tensor) -> Tensor:
        slots = at[:, None] + torch.arange(1 - level.config.glimpse, 1)
        weight = c.mask[slots][..., None]
        return (c.seen[slots] * weight).sum(1) / weight.sum(1)

    fit, at = some(train, 6000), some(held, 3000)
    X, Y = _features(glimpses(level, train, fit)).double(), middle(train, fit).double()
    W = torch.linalg.solve(X.T @ X + 1e-4 * torch.eye(X.shape[1]), X.T @ Y)
    z, e = level.body(held.q[at], held.dq[at]), glimpses(level, held, at)
    steps = round(level.config.chunk_s / TICK_S)
    begin = held.knots[torch.as_tensor(rng.integers(len(held.knots), size=3000))]
    later = level.body(held.q[begin], held.dq[begin])
    copied = glimpses(level, held, begin)
    for k in range(2):
        later = level.predict(later, held.action[begin + k * steps])
    end = begin + 2 * steps
    truth, expected = glimpses(level, held, end), level.see(later)

    def off(embedding: Tensor, c: Columns, at: Tensor) -> float:
        return float((_features(embedding).double() @ W - middle(c, at)).norm(dim=-1).median())

    return {
        "glimpse_m": off(e, held, at),
        "tool_m": off(level.see(z), held, at),
        "ahead_m": off(expected, held, end),
        "error": float((expected - truth).pow(2).mean() / (copied - truth).pow(2).mean()),  # against copy-last
        "rank": float(effective_rank(e)),
    }


def _features(e: Tensor) -> Tensor:
    """1, e, and tanh of random projections: (B, D) -> (B, 1 + D + FEATURES), the same ones for every call."""
    generator = torch.Generator().manual_seed(7)
    direction = torch.randn(e.shape[1], FEATURES, generator=generator)
    offset = torch.randn(FEATURES, generator=generator)
    return torch.cat([torch.ones_like(e[:, :1]), e, torch.tanh(e @ direction + offset)], dim=-1)


@torch.no_grad()
def precision_root(level: BabbledLevel, held: Columns, run: BabbledTraining) -> Tensor:
    """Root (D, D) of the precision of what is expected two chunks ahead, scaled to a mean diagonal of 1."""
    rng = np.random.default_rng(6)
    steps = round(level.config.chunk_s / TICK_S)
    begin = held.knots[torch.as_tensor(rng.integers(len(held.knots), size=4000))]
    z = level.body(held.q[begin], held.dq[begin])
    for k in range(2):
        z = level.predict(z, held.action[begin + k * steps])
    gap = (level.see(z) - glimpses(level, held, begin + 2 * steps)).double()
    precision = torch.linalg.inv(gap.T @ gap / len(gap) + 1e-6 * torch.eye(gap.shape[1]))
    return torch.linalg.cholesky(precision).T.float()


class Watched(NamedTuple):
    """Things that moved by themselves, as a tracker saw them every 10 ms."""

    seen: Tensor  # (paths, L, 3)
    mask: Tensor  # (paths, L)


def watch(moving: Moving, run: BabbledTraining) -> Watched:
    """Look at that many paths, without any robot."""
    rng = np.random.default_rng([run.seed, 21])
    times: Array = TICK_S * np.arange(round(run.path_s / TICK_S), dtype=np.float64)
    x = np.stack([moving(int(rng.integers(2**31)))(times) for _ in range(run.paths)])
    mask = rng.random(x.shape[:2]) >= run.dropout
    x = (x + run.noise_m * rng.normal(size=x.shape)) * mask[..., None]
    return Watched(torch.tensor(x, dtype=torch.float32), torch.tensor(mask, dtype=torch.float32))


def past_slots(config: BabbledConfig, newest: Tensor) -> Tensor:
    """Slots (B, P, W) of the past glimpses whose newest one ends at slot `newest` (B,)."""
    back = config.past_step * torch.arange(config.past)
    return newest[:, None, None] - back[:, None] + torch.arange(1 - config.glimpse, 1)


def watch_loss(level: BabbledLevel, w: Watched, rng: np.random.Generator, run: BabbledTraining) -> Tensor:
    """What was expected of the thing ahead against what was seen of it then."""
    c, B = level.config, run.batch
    row = torch.as_tensor(rng.integers(len(w.seen), size=B))
    nearest, furthest = (round(x / TICK_S) for x in run.lead_s)
    lead = torch.as_tensor(rng.integers(nearest, furthest, size=B))
    span = c.past * c.past_step + c.glimpse
    newest = torch.as_tensor(rng.integers(span, w.seen.shape[1] - 40, size=B))
    with torch.no_grad():
        slots = past_slots(c, newest)
        seen, mask = w.seen[row[:, None, None], slots], w.mask[row[:, None, None], slots]
        born = torch.as_tensor(rng.integers(1, 3 * c.past, size=B))  # sometimes it has only just come into sight
        mask = mask * (torch.arange(c.past) < born[:, None])[..., None]
        known = (mask.sum(-1) > 0).float()
        past = level.glimpse(seen.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, (B, c.past))
        future = (newest + lead)[:, None] + torch.arange(1 - c.glimpse, 1)
        truth = level.glimpse(w.seen[row[:, None], future], w.mask[row[:, None], future])
    gap = level.ahead(past, known, TICK_S * lead[:, None].float()) - truth
    usable = known[:, :1] * (w.mask[row[:, None], future].sum(-1, keepdim=True) > 0)
    return (gap.pow(2) * usable).mean()


def train_babbled(
    spec: RobotSpec,
    babble: Babble,
    moving: Moving,
    run: BabbledTraining,
    out: Path,
    path: Path,
    *,
    progress: Progress | None = None,
    writer: Writer | None = None,
) -> Path:
    """All stages; writes and returns `path`. Checkpoints lie in `out`: call again after a kill."""
    began = time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    level, units = BabbledLevel(replace(run.model, joints=spec.joints)), units_of(babble)
    level.measure_in(units)
    last = max(1, round(run.held_share * (babble.shard.max() + 1)))
    out_rows = babble.shard > babble.shard.max() - last
    train, held = (columns_of(babble, rows, units, run) for rows in (~out_rows, out_rows))
    if not min(len(part) for c in (train, held) for part in (c.ticks, c.knots)):
        found = f"{TICK_S * len(babble.shard):g} s of motion in {babble.shard.max() + 1} pieces"
        raise DataError(
            f"{found}: too little to learn from and to test on; allowed: two pieces of 3 s, seen by a tracker"
        )
    total, done = run.steps + run.settle_steps + run.watch_steps, 0

    def stage(
        name: str, salt: int, steps: int, rate: float, parts: list[nn.Module],
        step: Callable[[np.random.Generator], tuple[Tensor, dict[str, float]]],
    ) -> None:  # fmt: skip
        nonlocal done
        level.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        before = done
        optimise(
            level,
            lambda k: step(np.random.default_rng([run.seed, salt, k])),
            LoopConfig(steps, rate=rate, weight_decay=1e-5),
            checkpoint=out / f"{name}.ckpt",
            report=None if progress is None else lambda k, figures: progress(before + k + 1, total, figures),
            writer=writer,
            evaluate=lambda: probe(level.eval(), train, held, run),
        )
        done += steps

    sigreg, generator = SIGReg(directions=64), torch.Generator().manual_seed(run.seed)

    def learn(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        part = losses(level, train, rng, run, sigreg, generator)
        loss = part.seen + part.body + run.inverse * part.inverse + run.collapse * part.collapse
        return loss, {name: float(value.detach()) for name, value in part._asdict().items()}

    fixed: list[Embedded] = []  # made when the encoders are done with

    def settle(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if not fixed:
            fixed.append(embedded(level, train))
        seen, body = settle_losses(level, fixed[0], rng, run)
        return seen + body, {"seen": float(seen.detach()), "body": float(body.detach())}

    things = watch(moving, run)

    def look(rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        loss = watch_loss(level, things, rng, run)
        return loss, {"watched": float(loss.detach())}

    stepping, watching = [level.step_line, level.step_bend], [level.ahead_line, level.ahead_bend]
    everything = [
        level.body_line,
        level.body_bend,
        level.glimpse_line,
        level.glimpse_bend,
        level.see_net,
        level.inverse_net,
        *stepping,
    ]
    stage("level", 1, run.steps, run.rate, everything, learn)
    stage("settle", 2, run.settle_steps, 0.7 * run.rate, [level.see_net, *stepping], settle)
    stage("watch", 3, run.watch_steps, run.rate, watching, look)
    level.eval()
    level.root.copy_(precision_root(level, held, run))
    figures = probe(level, train, held, run)
    minutes = (time.process_time() - began) / 60
    header: dict[str, Any] = dict(spec.identity) | {
        "probe": figures,
        "seed": run.seed,
        "cpu_minutes": round(minutes, 2),
    }
    save_babbled(path, level, header)
    return path
