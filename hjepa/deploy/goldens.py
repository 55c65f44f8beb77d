"""Golden pairs: what the builder's plain programs gave for inputs and its agent decided, replayed on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from hjepa.agent import HierarchicalAgent
from hjepa.deploy.compiled import Program
from hjepa.deploy.rehearsal import LAUNCHES, Decided, rehearse
from hjepa.errors import BundleError
from hjepa.planning.programs import Function
from hjepa.types import RobotSpec

TOLERANCE = 2e-3  # of a number and of the largest beside it: other kernels round differently
SLOPE = 10.0  # times that where differences are divided by the distance of neighbours, and a linear system is solved
DECISION = {"goal": 2e-3, "target_m": 5e-3, "energy": 0.15, "command": 0.5}  # embedding, m, share, rad and rad/s:
# of two motions of about the same energy, rounding may choose the other one


class Compared(NamedTuple):
    """One golden pair."""

    name: str
    worst: float  # difference over tolerance: at most 1 passes


def draw(programs: Mapping[str, Program], seed: int = 0) -> dict[str, bytes]:
    """Inputs near the examples, and what the plain programs give for them, by program (safetensors)."""
    out = {}
    for name, program in programs.items():
        g = torch.Generator().manual_seed(seed)
        inputs = tuple(_near(x, g) for x in program.inputs)
        with torch.no_grad():
            found = program.module(*inputs)
        pairs = {f"in{k}": x for k, x in enumerate(inputs)} | {f"out{k}": y for k, y in enumerate(found)}
        out[name] = save({key: value.cpu().contiguous().clone() for key, value in pairs.items()})
    return out


def _near(x: Tensor, g: torch.Generator) -> Tensor:
    """The example, disturbed; masks and single numbers as they are."""
    if x.ndim == 0 or x.shape == (2,) or bool((x == 1.0).all()) or bool(torch.isinf(x).any()):
        return x.clone()
    return (x.cpu() + 0.1 * torch.randn(x.shape, generator=g)).to(x.device)


def replay(goldens: Mapping[str, bytes], programs: Mapping[str, Function], device: str) -> list[Compared]:
    """Compare every program with its golden pair."""
    out = []
    for name, function in programs.items():
        if name not in goldens:
            raise BundleError(f"no golden pair for program '{name}'")
        pairs = load(goldens[name])
        inputs = [pairs[f"in{k}"].to(device) for k in range(_count(pairs, "in"))]
        wanted = [pairs[f"out{k}"] for k in range(_count(pairs, "out"))]
        with torch.no_grad():
            found = function(*inputs)
        scale = TOLERANCE * (SLOPE if name.startswith("iterate") else 1.0)
        out.append(Compared(name, max(_worst(a.cpu(), b) / scale for a, b in zip(found, wanted, strict=True))))
    return out


def decisions(agent: HierarchicalAgent, spec: RobotSpec) -> bytes:
    """What an agent decides when rehearsing (safetensors)."""
    tensors = {}
    for launch in range(len(LAUNCHES)):
        for name, value in rehearse(agent, spec, launch)._asdict().items():
            tensors[f"{launch}.{name}"] = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float64))
    return save(tensors)


def replay_decisions(data: bytes, agent: HierarchicalAgent, spec: RobotSpec) -> list[Compared]:
    """Compare whole decisions with the builder's."""
    kept, out = load(data), []
    for launch in range(len(LAUNCHES)):
        wanted = Decided(*(kept[f"{launch}.{name}"].numpy() for name in Decided._fields))
        found = rehearse(agent, spec, launch)
        for name, tolerance in DECISION.items():
            a, b = getattr(found, name), getattr(wanted, name)
            same = a.shape == b.shape and bool((np.isnan(a) == np.isnan(b)).all())
            scale = tolerance * np.maximum(1.0, np.abs(np.nan_to_num(b)))
            gap = np.nanmax(np.abs(a - b) / scale, initial=0.0) if same else np.inf
            out.append(Compared(f"decision {launch} {name}", float(gap)))
    return out


def check(compared: list[Compared]) -> None:
    """BundleError names the worst pair that does not agree."""
    worst = max(compared, key=lambda pair: pair.worst if np.isfinite(pair.worst) else np.inf)
    if not worst.worst <= 1.0:
        raise BundleError(
            f"golden pair '{worst.name}' differs by {worst.worst:.1f} times its tolerance: this machine computes "
            "something else than the builder's"
        )


def _count(pairs: Mapping[str, Tensor], prefix: str) -> int:
    return sum(key.startswith(prefix) for key in pairs)


def _worst(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or not bool((torch.isfinite(a) == torch.isfinite(b)).all()):
        return float("inf")
    a, b = a.nan_to_num(), b.nan_to_num()
    return float(((a - b).abs() / (b.abs().max().clamp(min=1.0) + b.abs())).max())
