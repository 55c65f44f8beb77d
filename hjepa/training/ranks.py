"""Training in several processes at once (torchrun): each takes its part of every batch, gradients are averaged.

A batch stays what one process would draw. Rank r of W has its rows r, r + W, ...; what is computed over a whole batch
(BatchNorm, SIGReg, means over some rows only) is computed over all ranks' rows, so that a step is one process's step up
to rounding. torch's SyncBatchNorm would do for CUDA alone; the sums below do anywhere. Legend: B rows of a whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hjepa.errors import ConfigError, WeightsError

DEVICES = ("auto", "cpu", "cuda")
PATIENCE = timedelta(hours=2)  # rank 0 pairs swings and probes the level while the others wait
Tree = TypeVar("Tree")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """Who this process is among those that train together, and where it computes."""

    rank: int = 0
    count: int = 1  # W
    device: torch.device = torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this one writes, reports and evaluates."""
        return self.rank == 0

    def on_cpu(self) -> Ranks:
        """The same processes for what is trained on the CPU anyhow."""
        return replace(self, device=torch.device("cpu"))

    def part(self, batch: Tree) -> Tree:
        """The own rows of a batch (a tensor, None, or a NamedTuple or dict of such), on the own device."""
        return _each(batch, self._rows)

    def _rows(self, x: Tensor) -> Tensor:
        if len(x) % self.count:
            raise ConfigError(f"a batch of {len(x)} rows in {self.count} processes; allowed: numbers that divide it")
        return x[self.rank :: self.count].to(self.device)

    def uniform(self, rows: int, *shape: int, generator: torch.Generator) -> Tensor:
        """Numbers in [0, 1) for the own `rows`, (rows, ...): those that one process would draw for them."""
        return self.part(torch.rand(rows * self.count, *shape, generator=generator))

    def whole(self, x: Tensor) -> Tensor:
        """The own rows (B / W, ...) with all others', as one process has them: (B, ...). Differentiable."""
        if self.count == 1:
            return x
        rows = x.new_zeros(len(x) * self.count, *x.shape[1:])
        rows[self.rank :: self.count] = x
        return total(rows)

    def over(self, weight: Tensor) -> Tensor:
        """What to divide a sum of own rows, weighed by `weight`, by: the ranks' mean is then the mean over all rows."""
        mine = weight.sum()
        return (mine if self.count == 1 else total(mine)).clamp_min(1.0) / self.count

    def averaged(self, module: nn.Module, step_loss: Callable[[int], Result]) -> Callable[[int], Result]:
        """`step_loss`, a loss of `module`, such that its gradients come out averaged over the ranks.

        The BatchNorm layers of `module` become RanksNorm.
        """
        if self.count == 1:
            return step_loss
        _use_ranks_norm(module)
        return nn.parallel.DistributedDataParallel(
            _Stepped(module, step_loss),
            forward_sync_buffers=False,
            static_graph=True,  # parts of a level that a stage does not train are left out in every step
        )

    def wait(self) -> None:
        """Until every rank is here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The block is run by rank 0, then by the others, who find what it has kept in files."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def agree(self, step: int, path: Path | None) -> int:
        """The step to go on from; WeightsError if the ranks do not see the same checkpoint."""
        if self.count > 1:
            steps = self.whole(torch.tensor([float(step)], device=self.device))
            if (steps != step).any():
                found = ", ".join(f"{s:.0f}" for s in steps.tolist())
                raise WeightsError(f"'{path}' is at step {found} for ranks 0, 1, ...; allowed: a folder that all see")
        return step


ALONE = Ranks()


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """The processes that torchrun started, connected while the block runs; or this one alone.

    device: auto (CUDA if there is a device), cpu or cuda. ConfigError where there is none.
    """
    local = int(os.environ.get("LOCAL_RANK", 0)) if dist.is_torchelastic_launched() else 0
    place = chosen(device, local)
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Ranks(device=place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # parts of the training stay on the CPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def chosen(device: str, local: int = 0) -> torch.device:
    """The device a name stands for; `local`: number of this process on its machine."""
    if device not in DEVICES:
        raise ConfigError(f"--device {device}; allowed: {', '.join(DEVICES)}")
    count = torch.cuda.device_count() if device != "cpu" else 0
    if device == "cuda" and not count:
        raise ConfigError("--device cuda: torch finds no CUDA device here; allowed: auto, cpu")
    if not count:
        return torch.device("cpu")
    if local >= count:
        raise ConfigError(
            f"process {local} of this machine finds {count} CUDA devices; allowed: --nproc-per-node {count}"
        )
    return torch.device("cuda", local)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def moved(batch: Tree, device: torch.device) -> Tree:
    """A batch (a tensor, None, or a NamedTuple or dict of such) on a device."""
    return _each(batch, lambda x: x.to(device))


def _each(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if batch is None:
        return None
    if isinstance(batch, dict):
        return {name: _each(x, change) for name, x in batch.items()}
    parts = [_each(x, change) for x in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)


class _Total(torch.autograd.Function):
    """Sum over ranks. Every rank's loss depends on it, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.contiguous().clone()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        out = gradients[0].contiguous().clone()
        dist.all_reduce(out)
        return out


def total(x: Tensor) -> Tensor:
    """Sum of x over all ranks, the same in each. Differentiable."""
    out: Tensor = _Total.apply(x)
    return out


class RanksNorm(nn.BatchNorm1d):
    """BatchNorm1d without gain and shift whose statistics in training are those of all ranks' rows, (B / W, D)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        counted = total(torch.cat([x.sum(0), x.new_tensor([len(x)])]))
        n, mean = counted[-1].detach(), counted[:-1] / counted[-1].detach()
        gap = x - mean
        variance = total(gap.pow(2).sum(0)) / n
        with torch.no_grad():
            for kept, now in ((self.running_mean, mean), (self.running_var, variance * n / (n - 1))):
                assert kept is not None and self.momentum is not None
                kept.lerp_(now, self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        return gap * torch.rsqrt(variance + self.eps)


def _use_ranks_norm(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm1d and not child.affine:
                norm = RanksNorm(child.num_features, child.eps, child.momentum, affine=False)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm.to(device_of(module)).train(child.training))


class _Stepped(nn.Module):
    """A module whose forward is its loss: what DistributedDataParallel looks for."""

    def __init__(self, module: nn.Module, step_loss: Callable[[int], Any]) -> None:
        super().__init__()
        self.module, self.step_loss = module, step_loss

    def forward(self, step: int) -> Any:
        return self.step_loss(step)
