"""Trains both levels, tiny, in the processes that torchrun started: `torchrun ... -m tests.ranked`.

OUT [high] [--kill-at STEP]     weights go to OUT; the first rank kills itself when it reports that step
"""

from __future__ import annotations

import copy
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hjepa.models.high import HighConfig, HighModel
from hjepa.models.losses import SIGReg
from hjepa.models.low import LowLevel
from hjepa.models.motor import ContactEvent
from hjepa.training.chains import chain_rows, chains
from hjepa.training.encoder import EncoderTraining, Sampler, encoder_loss, set_statistics, train_encoder
from hjepa.training.low import LowTraining
from hjepa.training.low import loss as low_loss
from hjepa.training.low_alone import learn_flight
from hjepa.training.low_data import Prepared, prepare
from hjepa.training.low_run import LowRun
from hjepa.training.pairs import PairConfig
from hjepa.training.pipeline import launches
from hjepa.training.proposal import ProposalTraining
from hjepa.training.rallies import Pool, with_simulated
from hjepa.training.rally import Batches, RallyTraining, cache, code_of, make_codebook, rally_loss, train_rally
from hjepa.training.ranks import ALONE, Ranks, joined
from hjepa.training.searched import SearchedConfig, Way, as_swings
from hjepa.training.surprise import CalibrationConfig
from hjepa.training.train_low import fit
from tests import tiny

VICREG = LowTraining(regulariser="vicreg", heads_shape=False)
SMALL = HighConfig(width=32, depth=1, codes=12)
ENCODER = EncoderTraining(steps=30, chains=16, save_every=10)
RALLY = RallyTraining(steps=6, chains=16, refresh=4, save_every=3)
LOW = LowRun(
    pairs=PairConfig(pairs=3000),
    level=LowTraining(steps=4, batch=64),
    proposal=ProposalTraining(hindsight_steps=2, energy_steps=2, batch=32),
    searched=SearchedConfig(motions=40),
    model=tiny.LOW,
    flight_steps=0,  # learned apart (FLIGHT): a memory that knows little of it makes rounding into other lessons
    body_steps=2,
    body_batch=96,
    polish_steps=2,
    polish_batches=2,
    settle_steps=2,
    surprise=CalibrationConfig(strokes=20),
    refine_steps=2,
)

FLIGHT = replace(LOW, flight_steps=4, flight_batch=512)


def pool() -> Pool:
    """Simulated strokes; half of the answers are dressed up as real rallies."""
    made = with_simulated(None, 300, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    real = (made.previous >= 0) & (made.type >= 2) & (rng.random(len(made.type)) < 0.5)
    last = real & (rng.random(len(real)) < 0.2)
    return made._replace(real=real, won=np.where(real, rng.choice([-1, 1], len(real)), 0), last=last)


def prepared(high: HighModel | None = None) -> Prepared:
    """Swings near home, and what they meet, with goals of the high level (None: tiny's)."""
    spec, motor, n = tiny.SPEC, tiny.codec(), 60
    g = torch.Generator().manual_seed(2)
    home = torch.tensor(spec.q_home_rad, dtype=torch.float32).expand(n, -1)
    event = ContactEvent(
        home + 0.2 * torch.randn(n, 8, generator=g), torch.randn(n, 8, generator=g), torch.full((n, 1), 0.3)
    )
    with torch.no_grad():
        m = motor.encode(event.q_rad, event.dq_rad_s, event.q_rad[:, :2], event.before_s).double().numpy()
    swings = as_swings(spec, Way.solve(spec, home, torch.zeros(n, 8), event, np.full((n, 1), 0.7)), m)
    x0, v0, _ = launches(60, 20, 0)
    return prepare(spec, motor, swings, (x0, v0), high or tiny.high(), LOW.pairs, LOW.level)


def train_high(out: Path, ranks: Ranks = ALONE, kill_at: int = -1) -> HighModel:
    """Both stages of the high level."""

    def report(step: int, figures: dict[str, float]) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    strokes = pool()
    high = train_encoder(out, ENCODER, SMALL, strokes, report, ranks=ranks)
    high = train_rally(high, RALLY, strokes, out, report, ranks=ranks)
    if ranks.leads:
        torch.save(high.state_dict(), out / "high.pt")
    return high


def train_low(out: Path, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """All stages of the low level; its weights."""
    from hjepa.models import checkpoint

    data = prepared()
    learn_flight(LowLevel(LOW.model, tiny.codec()), data, FLIGHT, out, None, None, ranks)
    return checkpoint.load(fit(tiny.SPEC, data, tiny.high(), LOW, out, ranks=ranks))[0]


Loss = Callable[[int], tuple[Tensor, dict[str, float]]]


def losses(ranks: Ranks = ALONE) -> dict[str, tuple[nn.Module, Loss]]:
    """One loss of each level's stages, and of what module, as the stages compute it."""
    strokes, data, level, high = pool(), prepared(), tiny.low().level.train(), HighModel(SMALL)
    rng = np.random.default_rng(4)
    set_statistics(high, strokes, rng)
    high.requires_grad_(True).train()
    frozen = copy.deepcopy(high).eval()
    chain = chains(strokes, chain_rows(strokes, Sampler(strokes)(16, rng), 4), rng, cut=0.6)
    seen, codes = cache(frozen, strokes, 5), code_of(strokes, make_codebook(strokes, SMALL.codes, 0))
    rallies = Batches(strokes, codes).draw(seen, 16, rng)
    swings = data.data.draw(data.train[:64], rng, 0.01, 0.02)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(6)

    level.requires_grad_(True)
    return {
        "encoder": (
            high,
            lambda k: encoder_loss(high, ranks.part(chain), ENCODER, SIGReg().to(ranks.device), generator(), ranks),
        ),
        "rally": (frozen, lambda k: rally_loss(frozen, ranks.part(rallies), RALLY, generator(), ranks)),
        "low": (level, lambda k: low_loss(level, ranks.part(swings), LOW.level, generator(), None, ranks)),
        "vicreg": (
            level,
            lambda k: low_loss(level, ranks.part(swings), VICREG, generator(), None, ranks),
        ),
    }


def gradients(ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """Of every loss, by the name of the loss and the parameter."""
    out = {}
    for name, (module, loss) in losses(ranks).items():
        module.zero_grad()
        module.to(ranks.device)
        stepped = ranks.averaged(module, loss)
        stepped(0)[0].backward()
        out |= {f"{name} {k}": p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    return out


def main(out: Path, *words: str) -> None:
    """As the module's docstring says."""
    torch.set_num_threads(1)
    kill_at = int(words[words.index("--kill-at") + 1]) if "--kill-at" in words else -1
    with joined("cpu") as ranks:
        if "high" not in words:
            train_low(out, ranks)
            found = gradients(ranks)
            if ranks.leads:
                torch.save(found, out / "gradients.pt")
        train_high(out, ranks, kill_at)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
