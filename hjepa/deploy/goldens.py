"""Golden pairs: what the builder's plain programs gave for inputs and its agent decided, replayed on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from hjepa.deploy.compiled import Program
from hjepa.deploy.rehearsal import LAUNCHES, Asked, Explaining, decide, follow, rehearse
from hjepa.errors import BundleError
from hjepa.planning.programs import Function
from hjepa.protocols import HighLevel
from hjepa.types import Array, Goal, Observation, RobotSpec

TOLERANCE = 2e-3  # of a number and of the largest beside it: other kernels round differently
SLOPE = 10.0  # times that where differences are divided by the distance of neighbours, and a linear system is solved
GOAL = ("id", "stamp_ns", "start_ns", "embedding", "root", "target_xy_m", "candidates", "energies")
DECISION = {"embedding": 2e-3, "target_xy_m": 5e-3, "energy": 0.15, "command": 0.5}  # m, share, rad and rad/s:
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
        found = program(*inputs)
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


def decisions(high: HighLevel, low: Explaining, spec: RobotSpec) -> bytes:
    """What both levels decide when rehearsing (safetensors)."""
    tensors = {}
    for launch in range(len(LAUNCHES)):
        kept = rehearse(high, low, spec, launch)
        parts = {"at": np.array([kept.at]), "energy": kept.energy, "command": kept.command}
        parts |= {f"asked.{name}": value for name, value in kept.asked._asdict().items()}
        parts |= {f"goal.{name}": np.asarray(getattr(kept.goal, name)) for name in GOAL}
        for name, value in parts.items():
            tensors[f"{launch}.{name}"] = torch.from_numpy(np.array(value, dtype=np.float64, order="C"))
    return save(tensors)


def replay_high(data: bytes, high: HighLevel, spec: RobotSpec) -> list[Compared]:
    """Compare the high level's decisions with the builder's; it is told what the builder's low level answered."""
    out = []
    for launch in range(len(LAUNCHES)):
        kept = _kept(data, launch)
        energies = kept["asked.energies"]

        def ask(_: Observation, candidates: Array, roots: Array, told: Array = energies) -> Array:
            return told if len(candidates) == len(told) else np.full(len(candidates), np.inf)

        decided = decide(high, spec, launch, ask)
        for name in ("embedding", "target_xy_m"):
            found = np.full_like(kept[f"goal.{name}"], np.nan) if decided is None else getattr(decided[1], name)
            out.append(_compared(f"decision {launch} {name}", found, kept[f"goal.{name}"], DECISION[name]))
    return out


def replay_low(data: bytes, low: Explaining, spec: RobotSpec) -> list[Compared]:
    """Compare what the low level answers and plans for the builder's goals with what the builder's did."""
    out = []
    for launch in range(len(LAUNCHES)):
        kept = _kept(data, launch)
        asked = Asked(*(kept[f"asked.{name}"] for name in Asked._fields))
        values: dict[str, Any] = {name: kept[f"goal.{name}"] for name in GOAL}
        goal = Goal(**values | {name: int(values[name]) for name in ("id", "stamp_ns", "start_ns")}, type="")
        found = follow(low, spec, launch, int(kept["at"][0]), asked, goal)
        out += [
            _compared(f"decision {launch} reachability", found.asked.energies, asked.energies, DECISION["energy"]),
            _compared(f"decision {launch} energy", found.energy, kept["energy"], DECISION["energy"]),
            _compared(f"decision {launch} command", found.command, kept["command"], DECISION["command"]),
        ]
    return out


def _kept(data: bytes, launch: int) -> dict[str, Array]:
    prefix = f"{launch}."
    return {name.removeprefix(prefix): x.numpy() for name, x in load(data).items() if name.startswith(prefix)}


def _compared(name: str, a: Array, b: Array, tolerance: float) -> Compared:
    if a.shape != b.shape or bool((np.isnan(a) != np.isnan(b)).any()):
        return Compared(name, float("inf"))
    scale = tolerance * np.maximum(1.0, np.abs(np.nan_to_num(b)))
    return Compared(name, float(np.nanmax(np.abs(a - b) / scale, initial=0.0)))


def check(compared: list[Compared]) -> None:
    """BundleError names the worst pair that does not agree."""
    if not compared:
        raise BundleError("the bundle holds no golden pairs")
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
