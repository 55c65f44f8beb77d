"""One training loop for every level: one-cycle AdamW, progress, checkpoints that a killed run resumes from, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
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
    """Minimise `step_loss(step) -> (loss, parts)`; goes on from `checkpoint` if that file exists, writes it as it goes."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.rate, total_steps=config.steps + 1, pct_start=config.warm_share, final_div_factor=1e3
    )
    first = _resume(checkpoint, module, optimiser, schedule)
    module.train()
    for step in range(first, config.steps):
        loss, parts = step_loss(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
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
            _store(checkpoint, step + 1, module, optimiser, schedule)


def _store(path: Path, step: int, module: nn.Module, optimiser: Any, schedule: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    state = {"step": step, "module": module.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path | None, module: nn.Module, optimiser: Any, schedule: Any) -> int:
    if path is None or not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
