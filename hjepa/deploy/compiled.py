"""The low level's programs compiled ahead of time (torch.export, AOTInductor): one package for each function.

A package is a library for the device and processor that it was compiled on; it holds its weights. Candidates come in
any number, but torch specialises the case of one row, so functions over rows have a package for one and one for many.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hjepa.errors import BundleError
from hjepa.planning.body import Body
from hjepa.planning.compiled import compile_file, loaded
from hjepa.planning.objectives import Limits
from hjepa.planning.programs import Call, Function, Iteration, LowPrograms, Residuals, example, plain

MOST_ROWS, MOST_CANDIDATES = 4096, 256
Inputs = tuple[Tensor, ...]
Progress = Callable[[int, int, str], None]  # done, of, name


class Program:
    """A function to compile: the module, an example, and which inputs (by position) have a row for each candidate."""

    def __init__(self, module: nn.Module, inputs: Inputs, rows: tuple[int, ...] = (), most: int = 0) -> None:
        self.module, self.inputs, self.rows, self.most = module.eval(), inputs, rows, most

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the plain function gives."""
        with torch.no_grad():
            found = self.module(*inputs)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    def sizes(self) -> tuple[Any, ...] | None:
        """What torch.export is told of each input's."""
        if not self.most:
            return None
        rows = torch.export.Dim("rows", min=2, max=self.most)
        return tuple({0: rows} if k in self.rows else None for k in range(len(self.inputs)))


def programs(level: Any, limits: Limits, joints: int, body: Body | None = None) -> dict[str, Program]:
    """All that a low level computes while it plans, by name; sizes are those of a robot of so many joints."""
    shapes, straight = example(level, joints), plain(level, limits, body)
    residuals = Residuals(level, limits, body)
    iteration = Iteration(residuals)
    with torch.no_grad():
        count = residuals(*shapes.residuals(1)).shape[1]
    scored, searched = (0, 8, 9), (0, 1, 2, 3, 4, 5, 6, 7, 16, 17)
    return {
        "see": Program(Call(level, straight.see), shapes.see),
        "decode": Program(Call(level, straight.decode), shapes.decode),
        "foresee": Program(Call(level, straight.foresee), shapes.foresee),
        "residuals_one": Program(residuals, shapes.residuals(1)),
        "residuals": Program(residuals, shapes.residuals(3), scored, MOST_ROWS),
        "iterate_one": Program(iteration, shapes.iterate(1, count)),
        "iterate": Program(iteration, shapes.iterate(3, count), searched, MOST_CANDIDATES),
    }


def compile_all(made: Mapping[str, Program], folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Compile programs into NAME.pt2 files of a folder; BundleError if the compiler is missing or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, Path] = {}
    for k, (name, program) in enumerate(made.items()):
        if progress is not None:
            progress(k, len(made), name)
        out[name] = folder / f"{name}.pt2"
        try:
            compile_file(program.module, program.inputs, out[name], program.sizes())
        except Exception as error:  # noqa: BLE001 (torch has no class for what its compilers may raise)
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise BundleError(
                f"'{name}' could not be compiled: {said[0]} (a C++ compiler is needed: apt install g++)"
            ) from error
    if progress is not None:
        progress(len(made), len(made), "")
    return out


def opened(packages: Mapping[str, bytes], folder: Path) -> dict[str, Function]:
    """The functions of packages that were checked: their code runs. BundleError if torch cannot load one.

    folder: a private one, which may be removed once each function has been called.
    """
    with _unpacking_into(folder):
        return {name: _loaded(name, data) for name, data in packages.items()}


def as_programs(f: Mapping[str, Function]) -> LowPrograms:
    """Such functions as the low level calls them."""
    residuals, iterate = _by_rows(f["residuals_one"], f["residuals"], 2), _by_rows(f["iterate_one"], f["iterate"], 0)
    return LowPrograms(lambda *x: f["see"](*x)[0], f["decode"], f["foresee"], lambda *x: residuals(*x)[0], iterate)


def _loaded(name: str, data: bytes) -> Function:
    try:
        return loaded(data)
    except RuntimeError as error:
        raise BundleError(f"program '{name}' cannot be loaded here: {str(error).splitlines()[0]}") from error


@contextmanager
def _unpacking_into(folder: Path) -> Iterator[None]:
    """torch's loader unpacks where TMPDIR says, and never tidies up after a process that ends at once, as nodes do."""
    tempfile.gettempdir()  # Python asks TMPDIR once, and must not remember this folder
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before


def _by_rows(one: Function, many: Function, shared: int) -> Function:
    """Chooses by the rows of x; `shared`: how many of the last inputs may have one row for all."""

    def call(*inputs: Tensor) -> Any:
        rows = len(inputs[0])
        cut = len(inputs) - shared
        spread = [part if len(part) == rows else part.expand(rows, *part.shape[1:]) for part in inputs[cut:]]
        return (one if rows == 1 else many)(*inputs[:cut], *spread)

    return call
