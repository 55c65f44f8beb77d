"""First stage of the high level: encoder, predictor, inverse dynamics and readings, trained together on stroke chains.

Every batch is drawn from (seed, step), so that a resumed run is the run that was killed. Legend: B chains, T strokes of
a chain, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.high import HighConfig, HighModel, StrokeEncoder, scale_aim
from hjepa.models.layers import clean_mask
from hjepa.models.losses import SIGReg, effective_rank
from hjepa.training.chains import Chains, chain_rows, chains
from hjepa.training.progress import Report, Step, Writer, keep, resume, tell
from hjepa.training.rallies import Pool, Rows
from hjepa.training.ranks import ALONE, Ranks

CHAIN = 4  # strokes of a chain: predictions of up to three steps


@dataclass(frozen=True)
class EncoderTraining:
    """Training of the high level; the weights were set by the readings on validation strokes."""

    steps: int = 7000
    chains: int = 224  # B
    rate: float = 2.5e-3
    freeze_statistics: float = 0.6  # share of the steps after which the projector's statistics stand still
    prediction: float = 1.0
    sigreg: float = 0.05
    inverse: float = 0.3
    reading: float = 1.0
    type: float = 0.3
    aim: float = 1.0  # readings of predictions against the macro-action
    seed: int = 0
    save_every: int = 250


def train_encoder(
    out: Path,
    config: EncoderTraining,
    model: HighConfig,
    pool: Pool,
    report: Report | None = None,
    writer: Writer | None = None,
    ranks: Ranks = ALONE,
) -> HighModel:
    """The first stage; goes on from `out`/encoder.pt if it is there."""
    torch.manual_seed(config.seed)
    high = HighModel(model)
    set_statistics(high, pool, np.random.default_rng([config.seed, 1]))
    high.to(ranks.device)
    parts = (high.encoder, high.action, high.predictor, high.inverse, high.read_linear, high.read_type)
    parameters = [p for part in parts for p in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=config.steps, pct_start=0.1)
    first = ranks.agree(resume(out / "encoder.pt", config, high, optimiser, schedule), out / "encoder.pt")
    sigreg = SIGReg().to(ranks.device)
    draw = Sampler(pool)

    def step_loss(step: int) -> Step:
        rng = np.random.default_rng([config.seed, 2, step])
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        high.train()
        if step >= config.freeze_statistics * config.steps:
            high.encoder.project.eval()
        batch = chains(pool, chain_rows(pool, draw(config.chains, rng), CHAIN), rng, cut=0.6)
        return encoder_loss(high, ranks.part(batch), config, sigreg, generator, ranks)

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
        tell(step, result.parts, report, writer, "high/encoder")
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            keep(out / "encoder.pt", config, step + 1, high, optimiser, schedule)
    return high.cpu().eval()


class Sampler:
    """Rows for a batch: half real strokes, a third answers, the rest free strokes."""

    def __init__(self, pool: Pool, shares: tuple[float, float, float] = (0.5, 0.34, 0.16)) -> None:
        answer = ~pool.real & (pool.previous >= 0)
        self.groups = [np.flatnonzero(group) for group in (pool.real, answer, ~pool.real & ~answer)]
        self.shares = shares

    def __call__(self, n: int, rng: np.random.Generator) -> Rows:
        some = [(g, s) for g, s in zip(self.groups, self.shares, strict=True) if g.size]
        total = sum(s for _, s in some)
        return np.concatenate([rng.choice(g, max(1, round(n * s / total))) for g, s in some])


def set_statistics(high: HighModel, pool: Pool, rng: np.random.Generator) -> None:
    """Means and scales of features and readings."""
    encoder: StrokeEncoder = high.encoder
    rows = rng.choice(len(pool.type), min(8192, len(pool.type)), replace=False)
    batch = chains(pool, rows[:, None], rng, cut=0.3)
    coefficients, _ = encoder.coefficients(batch.window_m[:, 0], clean_mask(batch.window_m[:, 0], batch.mask[:, 0]))
    encoder.mean.copy_(coefficients.mean(0))
    encoder.scale.copy_(coefficients.std(0))
    reading = pool.reading[rows]
    high.read_mean.copy_(torch.from_numpy(np.nanmean(reading, axis=0)))
    high.read_scale.copy_(torch.from_numpy(np.nanstd(reading, axis=0)))


def encode_chains(high: HighModel, batch: Chains) -> Tensor:
    """(B, T, D), zeros where a chain has no stroke."""
    there = batch.there.bool()
    s = batch.window_m.new_zeros(*there.shape, high.config.latent)
    s[there] = high.encode(batch.window_m[there], batch.mask[there])
    return s


def encoder_loss(
    high: HighModel, batch: Chains, c: EncoderTraining, sigreg: SIGReg, generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> Step:  # fmt: skip
    """All terms of the first stage on one batch, or on a rank's rows of it."""
    s = encode_chains(high, batch)
    there = batch.there.bool()
    predicted = predict_chains(high, batch, s, generator, ranks)
    error, aim = prediction_error(high, batch, s, predicted, ranks)
    full = batch.full.bool()
    seen = ranks.whole(s)[ranks.whole(batch.full).bool()]
    some = torch.randperm(len(seen), generator=generator)[:256]  # the statistic's cost grows with samples
    gauss = sigreg(seen[some.to(seen.device)], generator)
    reading = reading_loss(high, batch, s, ranks)
    inverse, kind = inverse_and_type(high, batch, s, generator, ranks)
    loss = (
        c.prediction * error.mean()
        + c.aim * aim
        + c.sigreg * gauss
        + c.reading * reading
        + c.inverse * inverse
        + c.type * kind
    )
    with torch.no_grad():
        copy = copy_last_error(batch, s)
        rank = effective_rank(s[there])
        miss = (high.readings(s[full]) * high.read_scale + high.read_mean - batch.reading[full])[:, :3]
    parts = {
        "loss": loss,
        **{f"ahead{k + 1}_over_copy": e / k_copy for k, (e, k_copy) in enumerate(zip(error, copy, strict=True))},
        "rank": rank,
        "sigreg": gauss,
        "reading": reading,
        "aim": aim,
        "inverse": inverse,
        "type": kind,
        "landing_m": miss[:, :2].norm(dim=-1).median(),
        "floor_s": miss[:, 2].abs().median(),
    }
    return Step(loss, {name: float(value.detach()) for name, value in parts.items()})


def predict_chains(
    high: HighModel, batch: Chains, s: Tensor, generator: torch.Generator, ranks: Ranks = ALONE
) -> list[Tensor]:
    """Element k: predictions k + 1 strokes ahead, (B, T - 1 - k, D): stroke t + k + 1 seen from stroke t."""
    length = s.shape[1]
    out: list[list[Tensor]] = [[] for _ in range(length - 1)]
    for start in range(length - 1):
        now, before = s[:, start], (s[:, start - 1] if start else torch.zeros_like(s[:, 0]))
        before_there = batch.there[:, start - 1] if start else torch.zeros_like(batch.there[:, 0])
        for t in range(start + 1, length):
            keep = (ranks.uniform(len(s), 3, generator=generator) < 0.65).float()
            context = batch.context(t, before, before_there, batch.there[:, start], keep)
            ahead = high.predict(context, now, batch.macro[:, t])
            out[t - start - 1].append(ahead)
            now, before, before_there = ahead, now, batch.there[:, start]
    return [torch.stack(steps, dim=1) for steps in out]


def prediction_error(
    high: HighModel, batch: Chains, s: Tensor, predicted: list[Tensor], ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Mean squared error (T - 1,) by how many strokes ahead, and the error of the aim that predictions show."""
    errors, aims = [], []
    for k, ahead in enumerate(predicted):
        weight = batch.there[:, : -k - 1] * batch.there[:, k + 1 :]
        total = ranks.over(weight)
        gap = (ahead - s[:, k + 1 :]).pow(2).mean(-1)
        errors.append((gap * weight).sum() / total)
        y = high.readings(ahead)[..., :3] * high.read_scale[:3] + high.read_mean[:3]
        miss = (y - batch.macro[:, k + 1 :, 1:]) / y.new_tensor([0.15, 0.15, 0.05])
        aims.append((F.smooth_l1_loss(miss, torch.zeros_like(miss), reduction="none").mean(-1) * weight).sum() / total)
    return torch.stack(errors), torch.stack(aims).mean()


def copy_last_error(batch: Chains, s: Tensor) -> list[Tensor]:
    """Error of taking the last known stroke for the one k strokes ahead."""
    out = []
    for k in range(1, s.shape[1]):
        weight = batch.there[:, :-k] * batch.there[:, k:]
        gap = (s[:, :-k] - s[:, k:]).pow(2).mean(-1)
        out.append((gap * weight).sum() / weight.sum().clamp_min(1.0))
    return out


_PRECISE = torch.tensor(
    [0.10, 0.10, 0.03, 0.15, 0.10, 0.15, 0.15, 0.15, 0.10]
)  # m, m, s, m, ...: an error that costs 1


def reading_loss(high: HighModel, batch: Chains, s: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Smooth L1 of the readings in units that grow as the window shrinks (the data allow no better)."""
    there = batch.there.bool()
    samples = batch.mask[there].sum(-1, keepdim=True).clamp_min(4.0)
    unit = _PRECISE.to(s.device) * 40.0 / samples
    target = batch.reading[there]
    y = high.readings(s[there]) * high.read_scale + high.read_mean
    miss = torch.nan_to_num((y - target) / unit)
    weight = torch.isfinite(target) * y.new_tensor([2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    return (F.smooth_l1_loss(miss, torch.zeros_like(miss), reduction="none") * weight).sum() / ranks.over(weight)


def inverse_and_type(
    high: HighModel, batch: Chains, s: Tensor, generator: torch.Generator, ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Inverse dynamics (s, s') -> w, and cross entropy of the type (with and without the stroke before)."""
    before, after = s[:, :-1].flatten(0, 1), s[:, 1:].flatten(0, 1)
    pair = (batch.there[:, :-1] * batch.there[:, 1:]).flatten().bool()
    macro = batch.macro[:, 1:].flatten(0, 1)
    w = high.infer(before, after)
    named = macro[:, 0] >= 0

    def mean(x: Tensor) -> Tensor:
        return x.sum() / ranks.over(torch.ones_like(x))

    inverse = mean(F.smooth_l1_loss(w[pair, :3], scale_aim(macro[pair, 1:]), reduction="none"))
    some = pair & named
    inverse = inverse + 0.1 * mean(F.cross_entropy(w[some, 3:], macro[some, 0].long(), reduction="none"))
    seen = pair.float() * (ranks.uniform(*batch.there[:, 1:].shape, generator=generator).flatten() < 0.8)
    also = batch.there[:, 1:].flatten().bool() & named
    kind = F.cross_entropy(high.type_logits(after, before, seen)[also], macro[also, 0].long(), reduction="none")
    return inverse, mean(kind)
