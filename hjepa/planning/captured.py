"""Programs as CUDA graphs: on a GPU a search of this size is all launches, and a graph is one.

Each function is captured for the sizes that it is called with, the first time: three calls to warm up, then one that
is recorded. From then on a call copies its inputs into the graph's own, replays it, and copies what came out. Legend
as in planning.programs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hjepa.planning.programs import Function, LowPrograms

_WARM_UP = 3  # calls before the capture, as torch's documentation asks for


class _Recorded(NamedTuple):
    """A graph with its inputs and outputs."""

    graph: Any  # torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: Tensor | tuple[Tensor, ...]


class Captured:
    """A function of tensors on one GPU; it must not look at their values."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Any:
        sizes = tuple(x.shape for x in inputs)
        found = self._recorded.get(sizes)
        if found is None:
            found = self._recorded[sizes] = self._record(inputs)
        for own, given in zip(found.inputs, inputs, strict=True):
            own.copy_(given)
        found.graph.replay()
        if isinstance(found.outputs, Tensor):
            return found.outputs.clone()
        return tuple(x.clone() for x in found.outputs)

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recorded:
        own = tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._function(*own)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._function(*own)
        return _Recorded(graph, own, outputs)


def captured(programs: LowPrograms) -> LowPrograms:
    """Programs on a GPU, as graphs, but for the encoder: its least squares ask the host whether they went well."""
    return LowPrograms(programs.see, *(Captured(function) for function in programs[1:]))
