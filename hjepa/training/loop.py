"""One training loop: one-cycle AdamW, progress, checkpoints that a killed run resumes from, TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Report = Callable[[int, dict[str, float]], None]


class Writer(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...


@dataclass(frozen=True)
class LoopConfig:
    """Length and rate of one run."""

    steps: int
    rate: float = 2e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    warm_share: float = 0.05
    report_every: int = 50
    checkpoint_every: int = 500
    muon: bool = False


def optimise(
    module: nn.Module,
    step_loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    config: LoopConfig,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
    writer: Writer | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Minimise `step_loss(step) -> (loss, parts)`; goes on from `checkpoint` if that exists, and writes it."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimisers = _optimisers(module, config)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda k: _one_cycle(k, config)) for o in optimisers]
    first = _resume(checkpoint, module, optimisers, schedules)
    module.train()
    for step in range(first, config.steps):
        loss, parts = step_loss(step)
        module.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        for optimiser in optimisers:
            optimiser.step()
        for schedule in schedules:
            schedule.step()
        last = step + 1 == config.steps
        if step % config.report_every == 0 or last:
            values = {"loss": float(loss.detach())} | parts
            if evaluate and (step % config.checkpoint_every == 0 or last):
                values |= evaluate()
            for name, value in values.items():
                if writer:
                    writer.add_scalar(name, value, step)
            if report:
                report(step, values)
        if checkpoint and ((step + 1) % config.checkpoint_every == 0 or last):
            _store(checkpoint, step + 1, module, optimisers, schedules)


def _optimisers(module: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) on the weight matrices, if asked for, and AdamW on the rest."""
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2 and min(p.shape) >= 32] if config.muon else []
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=config.rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        matrices, lr=config.rate * 5, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, muon]


def _one_cycle(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a half cosine down to a thousandth."""
    warm = max(1, round(config.warm_share * config.steps))
    if step < warm:
        return (step + 1) / warm
    x = min(1.0, (step - warm) / max(1, config.steps - warm))
    return 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * x))


def _store(path: Path, step: int, module: nn.Module, optimisers: Sequence[Any], schedules: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    state = {"step": step, "module": module.state_dict()}
    state["optimisers"] = [o.state_dict() for o in optimisers]
    state["schedules"] = [{"last_epoch": s.last_epoch, "_step_count": s._step_count} for s in schedules]
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path | None, module: nn.Module, optimisers: Sequence[Any], schedules: Sequence[Any]) -> int:
    if path is None or not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    for part, stored in zip(optimisers, state["optimisers"], strict=True):
        part.load_state_dict(stored)
    for part, stored in zip(schedules, state["schedules"], strict=True):
        part.__dict__.update(stored)
    return int(state["step"])
