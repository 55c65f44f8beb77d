"""What every training stage needs around its step: progress, TensorBoard, and a state that survives a kill."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hjepa.errors import WeightsError

Report = Callable[[int, dict[str, float]], None]


class Writer(Protocol):
    """The one method used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...


class Step(NamedTuple):
    """Loss of one batch and its parts."""

    loss: Tensor
    parts: dict[str, float]


def tell(step: int, parts: dict[str, float], report: Report | None, writer: Writer | None, tag: str) -> None:
    """Progress every 25 steps, to whoever wants it."""
    if step % 25:
        return
    if report:
        report(step, parts)
    if writer:
        for name, value in parts.items():
            writer.add_scalar(f"{tag}/{name}", value, step)


def keep(path: Path, config: Any, step: int, module: torch.nn.Module, optimiser: Any, schedule: Any) -> None:
    """Training state, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"config": asdict(config), "step": step, "module": module.state_dict()}
    state |= {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def resume(path: Path, config: Any, module: torch.nn.Module, optimiser: Any, schedule: Any) -> int:
    """Step to go on from; 0 without a file. WeightsError if it is damaged or of another configuration."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["config"] != asdict(config):
            raise WeightsError(f"'{path}' was started with another configuration; delete it, or train elsewhere")
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        return int(state["step"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise WeightsError(f"'{path}' is damaged ({error}): delete it to start again") from error
