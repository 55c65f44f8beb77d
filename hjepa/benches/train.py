"""One training step of each level, beside the time of bare matrix products of as many operations.

Batches are synthetic and of the shapes and sizes of `hjepa train`; what their numbers are makes no difference to the
time. A step is loss, backward pass, clipping and AdamW; drawing the batch is timed apart. Operations are those of the
forward pass's matrix products, counted by torch, three times: the backward pass takes two of them for each.
Legend: B batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hjepa.errors import ConfigError, nearest
from hjepa.models.high import HighConfig, HighModel
from hjepa.models.losses import SIGReg
from hjepa.models.low import HEAD_SCALE, LowAction, LowConfig, LowFuture, LowInput, LowLevel
from hjepa.models.motor import MotorCodec, MotorConfig
from hjepa.training import encoder, low
from hjepa.training.chains import Chains, chain_rows, chains
from hjepa.training.rallies import with_simulated
from hjepa.training.ranks import Ranks, moved

POOL = 600  # simulated strokes from which batches of the high level are drawn
SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is the bare time
WARM, PRODUCTS = 2, 5
Report = Callable[[int, int, Mapping[str, float]], None]
Draw = Callable[[int], Any]
Loss = Callable[[Any], Tensor]


class Task(NamedTuple):
    """What is trained: how batches are drawn, on the host, and what is minimised."""

    module: nn.Module
    draw: Draw
    loss: Loss
    rate: float
    samples: int  # of a batch


class Steps(NamedTuple):
    """A level's training on a device."""

    samples: int
    draw_ms: float
    step_ms: float
    steps_per_s: float  # drawing included
    samples_per_s: float
    gflop: float  # of a step
    bare_ms: float  # of matrix products of as many operations
    of_bare: float  # share of the bare speed that a step reaches


def devices() -> list[str]:
    """What can be trained on here."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def run(
    seconds: float = 10.0, chosen: Sequence[str] | None = None, report: Report | None = None
) -> dict[str, dict[str, Steps]]:
    """Both levels on devices (None: all that are here), so many seconds each: device -> level -> figures."""
    makers = {"high": high_task, "low": low_task}
    found: dict[str, dict[str, Steps]] = {}
    here = devices()
    for device in chosen or ():
        if device not in here:
            raise ConfigError(f"no device '{device}'; {nearest(device, here)}")
    total = len(makers) * len(chosen or here)
    for device in chosen or here:
        rate = bare_flop_per_s(device)
        found[device] = {}
        for name, make in makers.items():
            found[device][name] = measure(make(device), device, seconds, rate)
            if report is not None:
                report(sum(map(len, found.values())), total, {})
    return found


def measure(task: Task, device: str, seconds: float, bare_flop_per_s: float) -> Steps:
    """Medians over so many seconds of training."""
    module = task.module.train()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=task.rate, fused=True)

    def step(batch: Any) -> None:
        loss = task.loss(batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        _finish(device)

    with FlopCounterMode(display=False) as counter:
        task.loss(task.draw(0))
    flop = 3.0 * counter.get_total_flops()
    drawn_s, spent_s, begun = [], [], time.perf_counter()
    for k in range(10**9):
        at = time.perf_counter()
        batch = task.draw(k)
        between = time.perf_counter()
        step(batch)
        if k >= WARM:
            drawn_s.append(between - at)
            spent_s.append(time.perf_counter() - between)
        if time.perf_counter() - begun > seconds and len(spent_s) >= 3:
            break
    draw_s, step_s = statistics.median(drawn_s), statistics.median(spent_s)
    bare_s = flop / bare_flop_per_s
    return Steps(
        task.samples, 1e3 * draw_s, 1e3 * step_s, 1 / (draw_s + step_s), task.samples / (draw_s + step_s),
        flop / 1e9, 1e3 * bare_s, bare_s / step_s,
    )  # fmt: skip


def bare_flop_per_s(device: str) -> float:
    """Operations a second of a large product of float32 matrices, the best of a few."""
    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    spent = []
    for _ in range(WARM + PRODUCTS):
        begun = time.perf_counter()
        torch.mm(a, b)
        _finish(device)
        spent.append(time.perf_counter() - begun)
    return 2.0 * side**3 / min(spent)


def high_task(device: str) -> Task:
    """The high level's first stage, encoder and predictor over chains of strokes."""
    c = encoder.EncoderTraining()
    pool = with_simulated(None, POOL, np.random.default_rng(0))
    model, ranks = HighModel(HighConfig()).to(device), Ranks(device=torch.device(device))
    generator, sigreg = torch.Generator().manual_seed(0), SIGReg().to(device)
    draw_rows = encoder.Sampler(pool)

    def draw(k: int) -> Chains:
        rng = np.random.default_rng([2, k])
        rows = chain_rows(pool, draw_rows(c.chains, rng), encoder.CHAIN)
        return moved(chains(pool, rows, rng, cut=0.6), torch.device(device))

    def loss(batch: Chains) -> Tensor:
        return encoder.encoder_loss(model, batch, c, sigreg, generator, ranks).loss

    return Task(model, draw, loss, c.rate, c.chains)


def low_task(device: str) -> Task:
    """The low level's main stage."""
    c = low.LowTraining()
    level = LowLevel(LowConfig(), MotorCodec(MotorConfig())).to(device)
    generator, ranks = torch.Generator().manual_seed(0), Ranks(device=torch.device(device))
    root = torch.eye(level.config.goal, device=device)

    def draw(k: int) -> low.Batch:
        return moved(synthetic(level, c.batch, np.random.default_rng([3, k])), torch.device(device))

    def loss(batch: low.Batch) -> Tensor:
        return low.loss(level, batch, c, generator, root, ranks)[0]

    return Task(level, draw, loss, c.rate, c.batch)


def synthetic(level: LowLevel, rows: int, rng: np.random.Generator) -> low.Batch:
    """A batch of the low level's training, of random numbers, on the host."""
    c, codec = level.config, level.codec.config

    def t(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    def ones(*shape: int) -> Tensor:
        return torch.from_numpy(np.ones(shape, dtype=np.float32))

    def now() -> LowInput:
        return LowInput(t(rows, c.window, 3), ones(rows, c.window), t(rows, c.joints), t(rows, c.joints))

    few = rows // low.BABBLE_PART
    return low.Batch(
        now=now(),
        action=LowAction(t(rows, codec.latent), ones(rows, 1)),
        future=LowFuture(
            t(rows, c.future, 3),
            ones(rows, c.future),
            t(rows, c.joint_samples, c.joints),
            t(rows, c.joint_samples, c.joints),
        ),
        goal=t(rows, c.goal),
        seen=ones(rows),
        labels={name: t(rows, 2 if name in ("offset_m", "landing_m") else 1) for name in HEAD_SCALE},
        contact=t(rows, 9),
        later=now(),
        joints_q=t(rows, 4, c.joints),
        joints_dq=t(rows, 4, c.joints),
        shuttle_at=t(rows, 3),
        shuttle_ok=ones(rows),
        context=t(rows, c.context),
        babble=t(few, codec.latent),
        babbled=t(few, 9),
    )


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
