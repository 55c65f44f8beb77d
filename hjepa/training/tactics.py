"""Trains the rally level on real rallies: every prefix of a rally tells what comes after it, up to eight strokes on.

Legend: B rallies of a batch, T strokes, P positions (a rally and its last stroke), D latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.losses import SIGReg, effective_rank
from hjepa.models.rally import RallyConfig, RallyModel
from hjepa.models.strokes import TYPES, Macro, Readings, Strokes, bin_of, clamp_left, scale_land
from hjepa.models.transformer import StrokeTransformer, TransformerConfig
from hjepa.tasks.badminton.rallies import Rallies
from hjepa.training.loop import LoopConfig, Report, Writer, optimise

READ = ("type", "depth", "width", "tempo")


@dataclass(frozen=True)
class TacticsTraining:
    """Training of the rally level; weights were set on validation rallies."""

    steps: int = 2500
    rallies: int = 64  # B
    positions: int = 448  # P
    rate: float = 2e-3
    weight_decay: float = 3e-2
    ahead: int = 8  # steps of the expectation
    told: int = 4  # steps of the predictor that is told what is played
    longest: int = 32  # T
    latent: float = 1.0
    sigreg: float = 0.03
    inverse: float = 0.2
    depth: float = 0.4
    width: float = 0.4
    tempo: float = 0.2
    end: float = 0.2
    unknown_left: float = 0.3
    unknown_feet: float = 0.3
    unknown_marks: float = 0.3  # of single strokes: how one's own last stroke will be met is not known yet
    mirrored: float = 0.5
    seed: int = 0


class Padded(NamedTuple):
    """R rallies of at most T strokes, as tensors; nan and -1 where there is none."""

    strokes: Strokes  # (R, T, ...)
    tempo_s: Tensor  # (R, T)
    many: Tensor  # (R,) strokes there are
    length: Tensor  # (R,) of the whole rally, 0 not known
    won: Tensor  # (R, T) +1, -1, 0 not known

    def pick(self, rows: Tensor) -> Padded:
        """Some rallies."""
        return Padded(Strokes(*(x[rows] for x in self.strokes)), *(x[rows] for x in self[1:]))


def padded(rallies: Rallies, longest: int = 0) -> Padded:
    """All rallies from their serves on, cut at `longest` strokes (0: none is)."""
    many = np.bincount(rallies.rally, minlength=len(rallies.name))
    cut = int(many.max(initial=1)) if longest == 0 else longest
    keep = rallies.shot < cut
    at = rallies.rally[keep], rallies.shot[keep]
    shape = (len(many), cut)

    def column(values: np.ndarray, blank: float, dtype: torch.dtype = torch.float32) -> Tensor:
        out = np.full((*shape, *values.shape[1:]), blank)
        out[at] = values[keep]
        return torch.from_numpy(out).to(dtype)

    tempo = np.r_[rallies.since_s[1:], np.nan]
    tempo[np.r_[rallies.shot[1:] == 0, True]] = np.nan
    known = (rallies.low > 0).astype(float)
    marks = np.stack([rallies.backhand * known, rallies.around * known, (rallies.low == 2) * known, known], axis=-1)
    strokes = Strokes(
        column(rallies.type, -1, torch.long), column(rallies.land_m, np.nan), column(rallies.hitter_m, np.nan),
        column(rallies.receiver_m, np.nan), column(np.clip(rallies.since_s, 0.0, 3.0), np.nan),
        column(marks, 0.0),
    )  # fmt: skip
    length = np.zeros(len(many), dtype=np.int64)
    length[rallies.rally] = rallies.length
    return Padded(
        strokes, column(np.clip(tempo, 0.0, 3.0), np.nan), torch.from_numpy(many.clip(max=cut)),
        torch.from_numpy(length), column(rallies.won, 0),
    )  # fmt: skip


def train_tactics(
    rallies: Rallies,
    config: TacticsTraining,
    model: RallyConfig = RallyConfig(),  # noqa: B008 (frozen value)
    checkpoint: Path | None = None,
    report: Report | None = None,
    writer: Writer | None = None,
    every: int = 250,
) -> RallyModel:
    """From scratch, or on from the checkpoint, which is written `every` so many steps."""
    torch.manual_seed(config.seed)
    level = RallyModel(model)
    set_edges(level.read, rallies)
    data = padded(rallies, config.longest)
    sigreg = SIGReg(128)

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout's
        if step >= 0.6 * config.steps:
            level.project.eval()
        batch = disturbed(
            data.pick(torch.randint(len(data.many), (config.rallies,), generator=generator)), config, generator
        )
        return tactics_loss(level, batch, config, sigreg, generator)

    loop = LoopConfig(config.steps, config.rate, config.weight_decay, clip=2.0, report_every=25, checkpoint_every=every)
    optimise(level, step_loss, loop, checkpoint=checkpoint, report=report, writer=writer)
    return level.eval()


def set_edges(read: Readings, rallies: Rallies) -> None:
    """Bins of equal mass; the outermost ones end at the 0.2 and 99.8 percent quantiles."""
    tempo = rallies.since_s[(rallies.shot > 0) & (rallies.since_s > 0.1)]
    land = rallies.land_m[np.isfinite(rallies.land_m).all(axis=1)]
    for values, edges in (
        (land[:, 0], read.depth_edges),
        (land[:, 1], read.width_edges),
        (tempo, read.tempo_edges),
    ):
        share = np.linspace(0.0, 1.0, len(edges))
        share[[0, -1]] = 0.002, 0.998
        edges.copy_(torch.from_numpy(np.quantile(values, share)).float())


def disturbed(batch: Padded, c: TacticsTraining, generator: torch.Generator) -> Padded:
    """Rallies mirrored left to right, and with feet and marks forgotten at random."""

    def chance(p: float) -> Tensor:
        return torch.rand(len(batch.many), generator=generator) < p

    s = batch.strokes
    flip = torch.where(chance(c.mirrored), -1.0, 1.0)[:, None, None] * torch.tensor([0.0, 1.0]) + torch.tensor(
        [1.0, 0.0]
    )
    slots = torch.arange(s.type.shape[1])
    until = torch.where(chance(c.unknown_feet), torch.randint(1, 12, (len(batch.many),), generator=generator), 10**6)
    unseen = (slots >= until[:, None])[..., None]  # nobody watched from some stroke on
    unmarked = (torch.rand(s.type.shape, generator=generator) < c.unknown_marks)[..., None]
    strokes = s._replace(
        land_m=s.land_m * flip,
        hitter_m=torch.where(unseen, torch.nan, s.hitter_m * flip),
        receiver_m=torch.where(unseen, torch.nan, s.receiver_m * flip),
        since_s=torch.where(unseen[..., 0], torch.nan, s.since_s),
        marks=torch.where(unseen | unmarked, 0.0, s.marks),
    )
    length = torch.where(chance(c.unknown_left), -1, batch.length)
    return batch._replace(strokes=strokes, length=length)


def tactics_loss(
    level: RallyModel, batch: Padded, c: TacticsTraining, sigreg: SIGReg, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """All terms on one batch."""
    s = level.encode(batch.strokes)
    slots = torch.arange(s.shape[1])
    there = slots < batch.many[:, None]
    b, t = torch.nonzero(slots < batch.many[:, None] - 1, as_tuple=True)
    some = torch.randperm(len(b), generator=generator)[: c.positions]
    b, t = b[some], t[some]
    parts: dict[str, list[Tensor]] = {}
    _roll(level, batch, s, b, t, c.ahead, None, parts, c)
    _roll(level, batch, s, b, t, c.told, "told", parts, c)
    loss = c.latent * _mean(parts["expected"]) + c.latent * _mean(parts["told"])
    read = {name: _first_and_later(parts[name]) if name in parts else s.new_zeros(()) for name in READ}
    loss = loss + read["type"] + c.depth * read["depth"] + c.width * read["width"] + c.tempo * read["tempo"]
    # inverse dynamics, and how the rally ends
    nxt = s[b, t + 1]
    guess = level.infer(s[b, t], nxt)
    kind = batch.strokes.type[b, t + 1]
    land = scale_land(batch.strokes.land_m[b, t + 1])
    there_too = torch.isfinite(land).all(-1)
    inverse = F.cross_entropy(guess[:, :TYPES], kind, ignore_index=-1)
    inverse = inverse + F.smooth_l1_loss(guess[there_too, TYPES:], land[there_too])
    end = _end_loss(level, batch, s[there], there)
    flat = s[there]
    gauss = sigreg(flat[torch.randperm(len(flat), generator=generator)[:256]], generator)
    loss = loss + c.inverse * inverse + c.end * end + c.sigreg * gauss
    with torch.no_grad():
        rank = effective_rank(flat)
        copy = (s[b, t] - nxt).pow(2).mean()
    values = read | {
        "type_1": parts["type"][0], "expected_over_copy": parts["expected"][0] / copy,
        "told_over_copy": parts["told"][0] / copy, "inverse": inverse, "end": end, "sigreg": gauss, "rank": rank,
    }  # fmt: skip
    return loss, {name: float(value.detach()) for name, value in values.items()}


def _roll(
    level: RallyModel, batch: Padded, s: Tensor, b: Tensor, t: Tensor, steps: int, told: str | None,
    parts: dict[str, list[Tensor]], c: TacticsTraining,
) -> None:  # fmt: skip
    """Predictions from positions (P,): by the expectation, or by the predictor that is told what is played."""
    now = s[b, t]
    name = told or "expected"
    for k in range(steps):
        alive = t + k + 1 < batch.many[b]
        if not bool(alive.any()):
            return
        b, t, now = b[alive], t[alive], now[alive]
        at = t + k + 1
        left = clamp_left(torch.where(batch.length[b] < 0, -1, batch.length[b] - at))
        w = Macro(batch.strokes.type[b, at], batch.strokes.land_m[b, at], batch.tempo_s[b, at])
        if k > 0 or told is None:  # the first readings are the same for both
            for part, value in reading_losses(level.read, now, left, w).items():
                parts.setdefault(part, []).append(value)
        now = level.predict(now, w, left) if told else level.expect(now, left)
        parts.setdefault(name, []).append((now - s[b, at]).pow(2).mean())


def reading_losses(read: Readings, s: Tensor, left: Tensor, w: Macro) -> dict[str, Tensor]:
    """Negative log likelihoods of the strokes w that followed the states s, where they are known."""
    named = w.type >= 0
    s, left, w = s[named], left[named], Macro(*(x[named] for x in w))
    found = {"type": F.cross_entropy(read.type_logits(s, left), w.type)}
    there = torch.isfinite(w.land_m).all(-1)
    s, left, w = s[there], left[there], Macro(*(x[there] for x in w))
    depth, across = w.land_m[:, 0], w.land_m[:, 1]
    found["depth"] = F.cross_entropy(read.depth_logits(s, left, w.type), bin_of(depth, read.depth_edges))
    found["width"] = F.cross_entropy(read.width_logits(s, left, w.type, depth), bin_of(across, read.width_edges))
    timed = torch.isfinite(w.tempo_s)
    if bool(timed.any()):
        logits = read.tempo_logits(s[timed], left[timed], w.type[timed], w.land_m[timed])
        found["tempo"] = F.cross_entropy(logits, bin_of(w.tempo_s[timed], read.tempo_edges))
    return found


def _end_loss(level: RallyModel, batch: Padded, s: Tensor, there: Tensor) -> Tensor:
    over, wins = level.end_logits(s)
    slots = torch.arange(there.shape[1])
    last = (slots + 1 == batch.many[:, None]) & (batch.many[:, None] == batch.length[:, None].abs().clamp(min=1))
    known = (batch.length[:, None] > 0).expand_as(there)[there]
    loss = F.binary_cross_entropy_with_logits(over, last[there].float(), reduction="none")
    loss = (loss * known).sum() / known.sum().clamp_min(1)
    won = batch.won[there]
    told = won != 0
    if not bool(told.any()):
        return loss
    return loss + F.binary_cross_entropy_with_logits(wins[told], (won[told] > 0).float())


def _first_and_later(values: list[Tensor]) -> Tensor:
    """The next stroke counts as much as all later ones together."""
    return values[0] + _mean(values[1:]) if len(values) > 1 else values[0]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def train_transformer(
    rallies: Rallies,
    config: TacticsTraining,
    model: TransformerConfig = TransformerConfig(),  # noqa: B008 (frozen value)
    checkpoint: Path | None = None,
    report: Report | None = None,
    writer: Writer | None = None,
) -> StrokeTransformer:
    """The baseline, on the same batches: the next stroke after every prefix, and nothing else."""
    torch.manual_seed(config.seed)
    transformer = StrokeTransformer(model)
    set_edges(transformer.read, rallies)
    data = padded(rallies, config.longest)

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        torch.manual_seed(config.seed * 1_000_003 + step)
        rows = torch.randint(len(data.many), (config.rallies,), generator=generator)
        batch = disturbed(data.pick(rows), config, generator)
        s = transformer.encode(batch.strokes)
        b, t = torch.nonzero(torch.arange(s.shape[1]) < batch.many[:, None] - 1, as_tuple=True)
        left = clamp_left(torch.where(batch.length[b] < 0, -1, batch.length[b] - t - 1))
        w = Macro(batch.strokes.type[b, t + 1], batch.strokes.land_m[b, t + 1], batch.tempo_s[b, t + 1])
        parts = reading_losses(transformer.read, s[b, t], left, w)
        weights = {"type": 1.0, "depth": config.depth, "width": config.width, "tempo": config.tempo}
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    loop = LoopConfig(config.steps, config.rate / 2, config.weight_decay, clip=1.0, report_every=25)
    optimise(transformer, step_loss, loop, checkpoint=checkpoint, report=report, writer=writer)
    return transformer.eval()


@torch.no_grad()
def next_log_loss(model: RallyModel | StrokeTransformer, rallies: Rallies) -> NDArray[np.float64]:
    """-log p(type) (M,) of every stroke but the serves, each from the true strokes before it (teacher-forced)."""
    data = padded(rallies)
    s = model.encode(data.strokes)
    b, t = torch.nonzero(torch.arange(s.shape[1]) < data.many[:, None] - 1, as_tuple=True)
    logits = model.read.type_logits(s[b, t], clamp_left(data.length[b] - t - 1))
    return F.cross_entropy(logits, data.strokes.type[b, t + 1], reduction="none").double().numpy()
