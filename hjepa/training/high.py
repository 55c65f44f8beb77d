"""Trains the high level from scratch: encoder (encoder.py), then the decision (rally.py), then alarm and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hjepa.errors import WeightsError
from hjepa.models.high import TYPES, HighConfig, HighModel, save_high
from hjepa.models.losses import effective_rank
from hjepa.training.chains import observe
from hjepa.training.encoder import EncoderTraining, train_encoder
from hjepa.training.precision import held_out, set_precision
from hjepa.training.progress import Report, Writer
from hjepa.training.rallies import WINDOW, Pool, Rows, build_pool
from hjepa.training.rally import Cache, RallyTraining, cache, code_of, replies, train_rally
from hjepa.training.ranks import ALONE, Ranks

LIMITS = {"landing_m": 0.10, "net_height_m": 0.06, "floor_s": 0.02, "aim_landing_m": 0.05, "aim_floor_s": 0.03}


@dataclass(frozen=True)
class HighTraining:
    """Data and stages of the high level; `seed` is every stage's."""

    simulated: int = 60000  # free strokes, and as many answers
    held: int = 8000  # the same, for the report
    seed: int = 0
    encoder: EncoderTraining = EncoderTraining()
    rally: RallyTraining = RallyTraining()


def train_high(
    out: Path,
    config: HighTraining | None = None,
    report: Report | None = None,
    writer: Writer | None = None,
    ranks: Ranks = ALONE,
    model: HighConfig = HighConfig(),  # noqa: B008 (frozen value)
    limits: Mapping[str, float] = LIMITS,
) -> Path:
    """Both stages from scratch, or on from where a killed run stopped; returns the weights' path.

    WeightsError when the finished level cannot tell landing, time or net height of strokes it has not seen (`limits` of
    the figures): rank and standard deviation do not show that kind of collapse.
    """
    c = config or HighTraining()
    c = replace(c, encoder=replace(c.encoder, seed=c.seed), rally=replace(c.rally, seed=c.seed))
    pool = build_pool("train", c.simulated, c.seed)
    high = train_encoder(out, c.encoder, model, pool, report, writer, ranks)
    high = train_rally(high, c.rally, pool, out, report, writer, ranks)
    held = build_pool("val", c.held, c.seed)
    set_precision(high, held, c.seed)
    figures = evaluate_high(high, held, c.seed)
    wrong = [
        f"{name} {figures[name]:.3f} (at most {most})" for name, most in limits.items() if not figures[name] <= most
    ]
    if wrong:
        raise WeightsError(f"the trained high level lost the stroke, nothing written: {', '.join(wrong)}")
    path = out / "high.safetensors"
    if ranks.leads:
        save_high(path, high, {"training": asdict(c), "figures": figures})
    ranks.wait()
    return path


@torch.no_grad()
def evaluate_high(high: HighModel, pool: Pool, seed: int = 0) -> dict[str, float]:
    """Median errors of the readings on strokes and predictions, R2 of the predictions, rank, and the rally's heads."""
    rng = np.random.default_rng([seed, 13])
    ahead = np.flatnonzero(pool.reading[:, 0] < 0)
    rows = rng.choice(ahead, min(4000, len(ahead)), replace=False)
    out: dict[str, float] = {}
    for samples in (WINDOW, 20, 10):
        window, mask = observe(pool, rows, np.full(len(rows), samples), rng)
        s = high.encode(window, mask)
        read, true = high.read(s), torch.from_numpy(pool.reading[rows])
        tail = "" if samples == WINDOW else f"_{samples}"
        out[f"landing_m{tail}"] = _median((read.landing_m - true[:, :2]).norm(dim=-1))
        out[f"floor_s{tail}"] = _median((read.floor_s - true[:, 2]).abs())
        if samples == WINDOW:
            out["net_height_m"] = float((read.net_height_m - true[:, 4]).abs().nanmedian())
            out["rank"] = float(effective_rank(s))
    return out | _ahead(high, pool, rows[pool.previous[rows] >= 0], seed)


def _ahead(high: HighModel, pool: Pool, rows: Rows, seed: int) -> dict[str, float]:
    """Figures of predictions for answers `rows`, as the agent would make them."""
    rng = np.random.default_rng([seed, 17])
    seen = cache(high, pool, seed + 99)
    context, s_in, w = held_out(pool, seen, rows, rng)
    s, predicted = seen.full[torch.from_numpy(rows)], high.predict(context, s_in, w)
    read = high.read(predicted)
    out: dict[str, float] = {}
    out["aim_landing_m"] = _median((read.landing_m - w[:, 1:3]).norm(dim=-1))
    out["aim_floor_s"] = _median((read.floor_s - w[:, 3]).abs())
    out["r2"] = 1.0 - float((s - predicted).pow(2).sum() / (s - s.mean(0)).pow(2).sum())
    out["goal_energy"] = _median(high.goal_energy(s, predicted))
    return out | _rally(high, pool, rows, seen, rng)


def _rally(high: HighModel, pool: Pool, rows: Rows, seen: Cache, rng: np.random.Generator) -> dict[str, float]:
    """Figures of the heads on real answers: how often the likeliest type of reply is the real one, how well winning
    strokes are told from losing ones (area under the curve), how many real answers are among the likeliest codes."""
    rows = rows[pool.real[rows]]
    code = code_of(pool, high.codebook.numpy())
    context, s_in, _ = held_out(pool, seen, rows, rng)
    s = seen.full[torch.from_numpy(rows)]
    out: dict[str, float] = {}
    top = high.code_log_prior(context, s_in).topk(16, dim=-1).indices.numpy()
    out["support_16"] = float((top == code[rows, None]).any(axis=1)[code[rows] >= 0].mean())
    reply = replies(pool)[rows]
    some = (reply >= 0) & (pool.type[reply] >= 0)
    named = high.reply_types(s, context).argmax(-1).numpy()
    count = max(1, int(some.sum()))
    out["reply_type"] = float((named == pool.type[reply])[some].sum() / count)
    out["reply_type_most_usual"] = float(np.bincount(pool.type[reply[some]], minlength=TYPES).max() / count)
    won, p = pool.won[rows], high.win_probability(s, s_in, context).numpy()
    out["win_auc"] = float((p[won > 0, None] > p[won < 0]).mean())
    return out


def _median(x: torch.Tensor) -> float:
    return float(x.median())
