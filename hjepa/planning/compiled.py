"""What a search calls, compiled to machine code: arithmetic between the matrix products is fused into few loops.

At a few hundred candidates a third of a call goes into reading and writing what lies between two products. torch.export
and AOTInductor leave the products as they are and fuse the rest. Compiling takes half a minute and a C++ compiler, so
what was compiled is kept as a file, which needs neither. Legend: N candidates, X search variables, R residuals.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Call = Callable[..., Tensor]


def compile_rows(module: nn.Module, example: tuple[Tensor, ...], file: Path) -> Call:
    """A function of tensors as one piece of code for one thread, written to `file` (.pt2) and loaded from it.

    example: inputs; the first one's rows (N) may be any number from two on, the others keep their shapes. The module's
    weights go into the file as they are now.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: tuple[dict[int, Any], ...] = ({0: torch.export.Dim.DYNAMIC}, *({} for _ in example[1:]))
    with torch.no_grad():
        program = torch.export.export(_Rows(_apart(module)), example, dynamic_shapes=(rows,))
        options = {"cpp.threads": 1, "pattern_matcher": False}  # it would join again what was taken apart
        torch._inductor.aoti_compile_and_package(program, package_path=str(file), inductor_configs=options)
    return load_rows(file)


def load_rows(file: Path) -> Call:
    """What `compile_rows` wrote. It is code: load only files of your own."""
    package = torch._inductor.aoti_load_package(str(file))

    def run(*inputs: Tensor) -> Tensor:
        out: Tensor = package(*inputs)
        return out

    return run


class _Apart(nn.Module):
    """A linear layer as a product and a sum: the sum is fused into what follows, and costs no pass of its own."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        product = x @ self.weight.t()
        return product if self.bias is None else product + self.bias


class _OnePass(nn.Module):
    """Layer normalisation from sum and sum of squares: one pass over the row instead of Welford's division at every
    number. Activations are of the order of one, so that nothing cancels."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x * x).mean(-1, keepdim=True) - mean * mean
        scale = (variance.clamp(min=0.0) + self.eps).rsqrt()
        return (x - mean) * scale * self.weight + self.bias


def _apart(module: nn.Module) -> nn.Module:
    """A copy whose layers are made of what fuses well."""
    copied = copy.deepcopy(module).eval()
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, _Apart(child))
            elif isinstance(child, nn.LayerNorm) and len(child.normalized_shape) == 1 and child.elementwise_affine:
                setattr(parent, name, _OnePass(child))
    return copied


class _Rows(nn.Module):
    """A module whose inputs can be named in order, whatever its own arguments are called."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = self.module(*inputs)
        return out
