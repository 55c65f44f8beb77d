"""What the low level learns before it is asked for strokes: how a free shuttle flies, and its own body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from hjepa.models.low import LowLevel
from hjepa.training.flight import Legs, flight_error, flight_loss
from hjepa.training.loop import LoopConfig, Writer, optimise
from hjepa.training.low import LowData, racket_error
from hjepa.training.low_data import Prepared, held_out
from hjepa.training.low_run import LowRun, Progress, relay
from hjepa.training.ranks import ALONE, Ranks


def learn_flight(
    level: LowLevel, prepared: Prepared, run: LowRun, out: Path, progress: Progress | None, writer: Writer | None,
    ranks: Ranks = ALONE,
) -> None:  # fmt: skip
    """Free flight, from flights alone: what the memory explains by, and how it goes on when nothing is seen."""
    if not run.flight_steps:
        return
    flight = level.encoder.memory.flight.to(ranks.device)
    every = np.arange(len(prepared.data.flights.x_m))
    apart = held_out(every)
    legs, held = (Legs(prepared.data.flights, every[rows]) for rows in (~apart, apart))

    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        error = flight_loss(flight, legs, run.flight_batch, (run.level.seed, 11, k), ranks)
        return error, {"flight": float(error.detach())}

    loop = LoopConfig(run.flight_steps, rate=4e-3, weight_decay=0.0)
    optimise(
        flight,
        step,
        loop,
        checkpoint=out / "flight.ckpt",
        report=relay(progress, loop.steps),
        writer=writer,
        evaluate=lambda: flight_error(flight, held),
        ranks=ranks,
    )
    level.encoder.memory.cpu()


def learn_body(
    level: LowLevel, data: LowData, run: LowRun, progress: Progress | None, writer: Writer | None,
    ranks: Ranks = ALONE,
) -> None:  # fmt: skip
    """Own-body babbling: which racket a latent will bring. Needs no shuttle and no simulator, so it comes first."""
    level.to(ranks.device)

    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([run.level.seed, 7, k])
        m, racket = ranks.part(data.babble(rng.integers(len(data), size=run.body_batch), rng))
        error = racket_error(level.action(m), racket)
        return error, {"body": float(error.detach())}

    steps = run.body_steps
    loop = LoopConfig(steps, rate=2e-3)
    optimise(level.action, step, loop, report=relay(progress, steps), writer=writer, ranks=ranks)
