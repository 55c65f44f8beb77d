"""What a search calls, compiled to machine code: arithmetic between the matrix products is fused into few loops.

At a few hundred candidates a third of a call goes into reading and writing what lies between two products. torch.export
and AOTInductor leave the products as they are and fuse the rest. Compiling takes half a minute and a C++ compiler, so
what was compiled is kept as a file, which needs neither. Legend: N candidates, X search variables, R residuals.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    compile_file(module, example, file, rows)
    return load_rows(file)


def load_rows(file: Path) -> Call:
    """What `compile_rows` wrote. It is code: load only files of your own."""
    call = loaded(file.read_bytes())
    return lambda *inputs: call(*inputs)[0]


def compile_file(module: nn.Module, inputs: tuple[Tensor, ...], file: Path, rows: tuple[Any, ...] | None) -> None:
    """Write a module as code for one thread; `rows`: what torch.export is told of each input's sizes, None: they stay.
    torch's own errors where it cannot be exported, or where there is no compiler."""
    # each input a tensor of its own: torch.export takes one that comes twice for a single input
    own = tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
    options = {"cpp.threads": 1, "pattern_matcher": False}  # it would join again what was taken apart
    with _quietly(), torch.no_grad():
        exported = torch.export.export(_Listed(_apart(module)), own, dynamic_shapes=None if rows is None else (rows,))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(file), inductor_configs=options)


def loaded(data: bytes) -> Callable[..., list[Tensor]]:
    """The function of a file's content: tensors in, a list of tensors out. It is code: of your own, or signed by
    somebody you trust. RuntimeError if this torch or machine cannot load it.

    By the loader itself: torch._inductor, which compiles, takes two seconds to import.
    """
    with tempfile.NamedTemporaryFile(suffix=".pt2") as file:  # mode 0600: nobody puts anything else in its place
        file.write(data)
        file.flush()
        loader = torch._C._aoti.AOTIModelPackageLoader(file.name, "model", True, 1, -1)

    def call(*inputs: Tensor) -> list[Tensor]:
        out: list[Tensor] = loader.run([x.contiguous() for x in inputs])
        return out

    return call


@contextmanager
def _quietly() -> Iterator[None]:
    """torch warns of what does no harm here: operators without a C shim, classes on their way out."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Apart(nn.Module):
    """A linear layer as a product and a sum: the sum is fused into what follows, and costs no pass of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: (inputs, outputs)."""
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        product = x @ self.weight
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
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, _Apart(child.weight.t(), child.bias))
            elif callable(apart := getattr(child, "apart", None)):  # a layer that says itself how its weight lies
                setattr(parent, name, _Apart(*apart()))
            elif isinstance(child, nn.LayerNorm) and len(child.normalized_shape) == 1 and child.elementwise_affine:
                setattr(parent, name, _OnePass(child))
    return copied


class _Listed(nn.Module):
    """A module whose inputs can be named in order, and whose outputs are a plain tuple: files know no classes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.module(*inputs)
        return (found,) if isinstance(found, Tensor) else tuple(found)
