"""One training loop: one-cycle AdamW, progress, checkpoints that a killed run resumes from, TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hjepa.errors import WeightsError
from hjepa.training.ranks import ALONE, Ranks

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


def optimise(
    module: nn.Module,
    step_loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    config: LoopConfig,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
    writer: Writer | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Minimise `step_loss(step) -> (loss, parts)`; goes on from `checkpoint` if that exists, and writes it.

    Of several ranks the first one writes, evaluates and reports; the loss reported is that of its own rows.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: _one_cycle(k, config))
    first = ranks.agree(_resume(checkpoint, module, optimiser, schedule, config), checkpoint)
    module.train()
    stepped = ranks.averaged(module, step_loss)
    for step in range(first, config.steps):
        loss, parts = stepped(step)
        module.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
        schedule.step()
        if not ranks.leads:
            continue
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
            _store(checkpoint, step + 1, module, optimiser, schedule, config)


def _one_cycle(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a half cosine down to a thousandth."""
    warm = max(1, round(config.warm_share * config.steps))
    if step < warm:
        return (step + 1) / warm
    x = min(1.0, (step - warm) / max(1, config.steps - warm))
    return 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * x))


def _course(config: LoopConfig) -> dict[str, float]:
    """What a run that goes on must have in common with the one that was cut short."""
    return {name: getattr(config, name) for name in ("steps", "rate", "weight_decay", "clip", "warm_share")}


def _store(path: Path, step: int, module: nn.Module, optimiser: Any, schedule: Any, config: LoopConfig) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    state: dict[str, Any] = {"step": step, "course": _course(config), "module": module.state_dict()}
    state["optimiser"] = optimiser.state_dict()
    state["schedule"] = {"last_epoch": schedule.last_epoch, "_step_count": schedule._step_count}
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path | None, module: nn.Module, optimiser: Any, schedule: Any, config: LoopConfig) -> int:
    if path is None or not path.exists():
        return 0
    remedy = "give the settings it was begun with, another --out, or delete it"
    state = torch.load(path, weights_only=True, map_location="cpu")
    ours, theirs = _course(config), state.get("course", {})
    if theirs != ours:
        other = ", ".join(f"{k} {v}" for k, v in theirs.items() if v != ours.get(k)) or "settings it does not tell"
        raise WeightsError(f"'{path}' is of a run with {other}; allowed: {remedy}")
    try:
        module.load_state_dict(state["module"])
    except RuntimeError as error:
        raise WeightsError(f"'{path}' is of a model of other sizes; allowed: {remedy}") from error
    optimiser.load_state_dict(state["optimiser"])
    schedule.__dict__.update(state["schedule"])
    return int(state["step"])
