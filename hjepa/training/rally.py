"""Second stage of the high level, the encoder frozen: predictor, support, replies and value, and what a goal weighs.

Legend: N strokes of a pool, B batch, T strokes of a chain, D embedding, C codebook, R replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.high import Context, HighModel
from hjepa.training.chains import Chains, chain_rows, chains, observe
from hjepa.training.encoder import CHAIN, Sampler, predict_chains, prediction_error
from hjepa.training.progress import Report, Step, Writer, keep, resume, tell
from hjepa.training.rallies import WINDOW, Pool, Rows
from hjepa.training.ranks import ALONE, Ranks, device_of, moved

SAFE_M = 0.35  # codebook placements stay this far inside the lines and behind the net
FAR_M = 0.7  # strokes that fall farther than this outside the safe box do not shape the codebook
_UNIT = np.array([1.0, 1.0, 0.25])  # placement in m, tempo in s: distances of the codebook
_SAFE = np.array([[-6.70 + SAFE_M, -2.59 + SAFE_M], [-SAFE_M, 2.59 - SAFE_M]])
REPLY_SIGMA = 0.5  # width of a reply's mode, in standard deviations of an embedding


@dataclass(frozen=True)
class RallyTraining:
    """The second stage."""

    steps: int = 3500
    chains: int = 256  # B
    rate: float = 1.5e-3
    refresh: int = 1200  # steps after which the tracker's noise is drawn again
    aim: float = 1.0
    seed: int = 0
    save_every: int = 250


class Cache(NamedTuple):
    """Embeddings of a pool under one draw of the noise."""

    full: Tensor  # (N, D) whole windows
    short: Tensor  # (N, D) windows cut at random


@torch.no_grad()
def cache(high: HighModel, pool: Pool, seed: int) -> Cache:
    """Encode a pool."""
    rng = np.random.default_rng(seed)
    out: list[list[Tensor]] = [[], []]
    for rows in np.array_split(np.arange(len(pool.type)), max(1, len(pool.type) // 4096)):
        for kind, low in enumerate((WINDOW, 6)):
            seen = rng.integers(low, WINDOW + 1, len(rows))
            window, mask = moved(observe(pool, rows, seen, rng), device_of(high))
            out[kind].append(high.encode(window, mask).cpu())
    return Cache(*(torch.cat(parts) for parts in out))


def make_codebook(pool: Pool, codes: int, seed: int) -> np.ndarray:
    """(C, 4) macro-actions: for each type of reply, k-means centres of real placements and tempos.

    A type gets centres by its share to the power 0.7, so that rare types are not left with one. Placements are moved
    into the safe box first: a player may aim at the line, a robot that errs by decimetres may not.
    """
    rng = np.random.default_rng([seed, 5])
    aim = pool.reading[:, :3].astype(np.float64)
    safe = _into_safe(aim)
    use = pool.real & (pool.previous >= 0) & (pool.type >= 2) & (np.abs(aim - safe).max(axis=1) < FAR_M)
    types = np.unique(pool.type[use])
    share = np.array([(pool.type[use] == k).mean() for k in types]) ** 0.7
    size = np.maximum(1, np.floor(codes * share / share.sum())).astype(int)
    size[int(size.argmax())] += codes - size.sum()
    rows = []
    for kind, n in zip(types, size, strict=True):
        points = safe[use & (pool.type == kind)]
        centres = _kmeans(points / _UNIT, int(n), rng) * _UNIT
        rows.append(np.concatenate([np.full((len(centres), 1), float(kind)), centres], axis=1))
    return np.concatenate(rows).astype(np.float32)


def _into_safe(aim: np.ndarray) -> np.ndarray:
    return np.concatenate([aim[..., :2].clip(*_SAFE), aim[..., 2:]], axis=-1)


def _kmeans(points: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's algorithm on (N, 3), started from random points; 25 rounds. Exactly n centres (repeats if N < n)."""
    points = points[rng.permutation(len(points))[:6000]]
    centres = points[rng.choice(len(points), n, replace=len(points) < n)]
    for _ in range(25):
        nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(axis=1)
        for k in np.unique(nearest):
            centres[k] = points[nearest == k].mean(axis=0)
    return centres


def code_of(pool: Pool, codebook: np.ndarray) -> Rows:
    """(N,) the nearest code of the same type; -1 where the type is not in the codebook."""
    safe = _into_safe(pool.reading[:, :3].astype(np.float64)) / _UNIT
    out = np.full(len(pool.type), -1, dtype=np.int64)
    for kind in np.unique(codebook[:, 0]):
        rows, codes = np.flatnonzero(pool.type == kind), np.flatnonzero(codebook[:, 0] == kind)
        gap = ((safe[rows, None] - codebook[codes, 1:] / _UNIT) ** 2).sum(-1)
        out[rows] = codes[gap.argmin(axis=1)]
    return out


def train_rally(
    high: HighModel,
    config: RallyTraining,
    pool: Pool,
    out: Path,
    report: Report | None = None,
    writer: Writer | None = None,
    ranks: Ranks = ALONE,
) -> HighModel:
    """Train everything behind the encoder; goes on from `out`/rally.pt if it is there."""
    high.eval().requires_grad_(False)
    codebook = make_codebook(pool, high.config.codes, config.seed)
    high.codebook.copy_(torch.from_numpy(codebook))
    high.to(ranks.device)
    parts = (high.action, high.predictor, high.prior, high.reply, high.value, high.ending, high.named)
    parameters = [p.requires_grad_(True) for part in parts for p in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=config.steps, pct_start=0.1)
    first = ranks.agree(resume(out / "rally.pt", config, high, optimiser, schedule), out / "rally.pt")
    batches = Batches(pool, code_of(pool, codebook))
    seen: Cache | None = None

    def step_loss(step: int) -> Step:
        nonlocal seen
        if seen is None or step % config.refresh == 0:
            seen = cache(high, pool, config.seed * 1009 + step // config.refresh)
        rng = np.random.default_rng([config.seed, 3, step])
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step + 500_000)
        return rally_loss(high, ranks.part(batches.draw(seen, config.chains, rng)), config, generator, ranks)

    stepped = ranks.averaged(high, step_loss)
    for step in range(first, config.steps):
        result = stepped(step)
        optimiser.zero_grad()
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()
        schedule.step()
        if not ranks.leads:
            continue
        tell(step, result.parts, report, writer, "high/rally")
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            keep(out / "rally.pt", config, step + 1, high, optimiser, schedule)
    return high.cpu().eval().requires_grad_(False)


class Batch(NamedTuple):
    """B chains as embeddings, and the labels of each chain's last stroke."""

    chains: Chains  # without windows
    s: Tensor  # (B, T, D) the oldest of a chain seen in part, half of the time
    code: Tensor  # (B,) -1: none
    named: Tensor  # (B, 10) nan where the classifier cannot say
    after: Tensor  # (B, D) embedding of the reply
    answered: Tensor  # (B,) 1 where there is one
    real: Tensor  # (B,)


def replies(pool: Pool) -> Rows:
    """(N,) row of the real stroke that answers each stroke, -1: none."""
    reply = np.full(len(pool.type), -1, dtype=np.int64)
    real = np.flatnonzero(pool.real & (pool.previous >= 0))
    reply[pool.previous[real]] = real
    return reply


class Batches:
    """Draws batches from a pool."""

    def __init__(self, pool: Pool, code: Rows) -> None:
        self.pool, self.code = pool, code
        self.draw_rows = Sampler(pool, (0.62, 0.33, 0.05))
        self.reply = replies(pool)

    def draw(self, seen: Cache, n: int, rng: np.random.Generator) -> Batch:
        """n chains."""
        rows = self.draw_rows(n, rng)
        chain = chain_rows(self.pool, rows, CHAIN)
        batch = chains(self.pool, chain, rng, cut=0.5, windows=False)
        i = torch.from_numpy(chain.clip(0))
        s = torch.where(batch.full[..., None] > 0, seen.full[i], seen.short[i]) * batch.there[..., None]
        reply = self.reply[rows]
        return Batch(
            batch,
            s,
            torch.from_numpy(self.code[rows]),
            torch.from_numpy(self.pool.named[rows]),
            seen.full[torch.from_numpy(reply.clip(0))],
            torch.from_numpy((reply >= 0).astype(np.float32)),
            torch.from_numpy(self.pool.real[rows].astype(np.float32)),
        )


def situation(batch: Batch, generator: torch.Generator, ranks: Ranks = ALONE) -> tuple[Context, Tensor, Tensor]:
    """Context before each chain's last stroke (parts dropped at random), the incoming stroke, and if it is known."""
    c = batch.chains
    keep_parts = (ranks.uniform(len(batch.s), 3, generator=generator) < batch.s.new_tensor([0.8, 0.5, 0.5])).float()
    context = c.context(CHAIN - 1, batch.s[:, -3], c.there[:, -3], c.there[:, -2], keep_parts)
    return context, batch.s[:, -2], c.there[:, -2]


def rally_loss(
    high: HighModel, batch: Batch, config: RallyTraining, generator: torch.Generator, ranks: Ranks = ALONE
) -> Step:
    """All terms of the second stage on one batch, or on a rank's rows of it."""

    def masked(x: Tensor, weight: Tensor) -> Tensor:
        return (x * weight).sum() / ranks.over(weight)

    predicted = predict_chains(high, batch.chains, batch.s, generator, ranks)
    error, aim = prediction_error(high, batch.chains, batch.s, predicted, ranks)
    context, s_in, known = situation(batch, generator, ranks)
    s = batch.s[:, -1]
    support = masked(
        F.nll_loss(high.code_log_prior(context, s_in), batch.code.clamp_min(0), reduction="none"),
        known * batch.real * (batch.code >= 0),
    )
    told = torch.isfinite(batch.named[:, 0]).float()
    named = torch.nan_to_num(batch.named)
    kinds = [high.named_logits(x, s_in, known) for x in (s, predicted[0][:, -1].detach())]
    kind = torch.stack([masked(-(named * F.log_softmax(k, dim=-1)).sum(-1), told * known) for k in kinds]).sum()
    reply = masked(reply_nll(high, s, context, batch.after), batch.answered)
    won, last = batch.chains.won[:, -1], batch.chains.last[:, -1]
    value = masked(_bce(high.win_logit(s, s_in, known), won > 0), batch.real * (won != 0))
    over, by_hitter = high.ends(s, context)
    ending = masked(_bce(over, last), batch.real) + masked(_bce(by_hitter, won > 0), last * (won != 0))
    loss = error.mean() + config.aim * aim + 0.3 * support + 0.3 * kind + 0.1 * reply + 0.5 * value + 0.5 * ending
    parts = {"loss": loss, "ahead1": error[0], "ahead3": error[-1], "aim": aim, "support": support, "named": kind}
    parts |= {"reply": reply, "value": value, "ending": ending}
    return Step(loss, {name: float(x.detach()) for name, x in parts.items()})


def reply_nll(high: HighModel, s: Tensor, context: Context, after: Tensor) -> Tensor:
    """(B,) negative log likelihood (up to a constant) of the reply under a mixture of R round Gaussians."""
    reply = high.replies(s, context)
    gap = (reply.embedding - after[:, None]).pow(2).sum(-1) / (2 * REPLY_SIGMA**2)
    return -torch.logsumexp(reply.log_prior - gap, dim=-1)


def _bce(logit: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, target.float(), reduction="none")
