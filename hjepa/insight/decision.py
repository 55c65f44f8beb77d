"""One real decision of both levels, and the energies that it was chosen from.

Legend: M motor latent, X = M + 1 search variables, R residuals, C candidates, S grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hjepa import api, build
from hjepa.config import Config
from hjepa.errors import ConfigError, DataError
from hjepa.handover import Handover
from hjepa.planning.body import Body
from hjepa.planning.hierarchy import HighPlanner
from hjepa.planning.objectives import TIME_S
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import Array, Goal, Weighed
from hjepa.viewer.pictures.energy import Landscape, Slice, Stacked

RISE = 12.0  # of the energy at the edge of a slice, if it were a parabola
WIDEST, NARROWEST = 2.0, 0.05  # half of a slice, in units of the motor latent
LATE_S = 0.1  # half of a slice in time
NUDGE = 0.02  # of finite differences, as the search has it
TERMS = {
    "win": "unlikely to win",
    "support": "not what players do",
    "name": "not what it is called",
    "reach": "hard to reach",
    "mixing": "chance (mixed strategy)",
}


class Decided(NamedTuple):
    """What both levels decided, and on what."""

    goal: Goal
    weighed: Weighed  # the candidates that the low level was asked about, and the terms of their energies
    x: Tensor  # (X,) the plan
    energy: float  # as the plan tells it
    residual: Callable[[Tensor], Tensor]  # (N, X) -> (N, R): what the plan minimised
    codec: Any
    body: Body | None = None  # what it kept off itself, the net and people

    @property
    def high_terms(self) -> dict[str, Array]:
        """(C,) each, in words."""
        return {said: getattr(self.weighed, name) for name, said in TERMS.items()}


def landscape(config: Config, grid: int) -> Landscape:
    """Of the first stroke of the configuration, on slices of grid x grid points."""
    if config.agent.name not in build.HIERARCHICAL or config.high.feint:
        allowed = f"agent.name one of {', '.join(build.HIERARCHICAL)}, high.feint false"
        raise ConfigError(
            f"agent '{config.agent.name}', high.feint {config.high.feint}: no single search; allowed: {allowed}"
        )
    system = api.load(config)
    spec = system.spec
    high, low = build.build_high(config, config.agent.name), build.build_low(config, spec, config.agent.name)
    made = decide(system, high, low)
    names = tuple(
        f"{kind} to {xy[0]:.1f}, {xy[1]:+.1f} m"
        for kind, xy in zip(made.weighed.names.split("\n"), made.weighed.target_xy_m, strict=True)
    )
    chosen = int(np.argmin(made.weighed.energies))
    launch = system.feed.launch(0)
    return Landscape(
        f"Answer to a {launch.type} (stroke {system.feed.id[0]})",
        made.energy,
        slices(made, grid),
        Stacked(("plan",), low_terms(made, spec.joints), 0),
        Stacked(names, made.high_terms, chosen),
    )


def decide(system: api.System, high: HighPlanner, low: StrokePlanner, stroke: int = 0) -> Decided:
    """Feed a stroke until both levels have decided; nothing moves before that."""
    start, launch, seed = system.stroke(stroke)
    handover = Handover()
    for part in (high, low):
        part.reset(seed)
    world = system.world()
    try:
        seen = world.reset(start, launch, seed)
        while not world.done:
            goal = high.decide(seen, lambda *goals, now=seen: low.reachability(now, *goals))
            if goal is not None:
                handover.offer(goal)
            force, weighed = handover.at(seen.stamp_ns), high.weighed()
            if force is not None and weighed is not None:
                residual = low.objective(seen, force)
                if low.plan(seen, force) is not None and low.committed is not None:
                    return Decided(
                        force, weighed, low.committed.x, low.explain().energy, residual, low.level.codec, low.body
                    )
            seen = world.tick()
    finally:
        world.close()
    raise DataError(f"stroke {stroke}: it was over before both levels had decided; give another --seed")


def low_terms(made: Decided, joints: int) -> dict[str, Array]:
    """Terms (1,) of the plan's energy, in the order of planning.objectives.StrokeResidual."""
    arm = made.codec.config.arm_code
    parts_of = 0 if made.body is None else len(made.body.radius)
    own = {"limits": 3 * joints + 2, "effort": joints, "haste": joints}
    if made.body is not None:
        own["body"] = len(made.body.reach) + parts_of + 1
    own |= {"support": arm, "usual latents": arm, "follow-through": 1}
    rest = {"contact": 3, "offset": 2, "net": 1, "people": 2 * parts_of, **own}
    r = made.residual(made.x[None])[0]
    sizes = {"goal": len(r) - sum(rest.values()), **rest}
    parts = torch.split(0.5 * r**2, list(sizes.values()))
    return {name: part.sum()[None].double().numpy() for name, part in zip(sizes, parts, strict=True)}


def slices(made: Decided, grid: int) -> tuple[Slice, ...]:
    """Planes through the plan: its two stiffest directions, its two softest, the stiffest and time."""
    X = len(made.x)
    probes = made.x + NUDGE * torch.cat([torch.zeros(1, X), torch.eye(X)])
    r = made.residual(probes)
    J = ((r[1:] - r[:1]) / NUDGE)[:-1]  # (M, R)
    curvature, directions = torch.linalg.eigh(J @ J.T)  # softest first
    axes = torch.cat([directions.T, torch.zeros(X - 1, 1)], dim=1)
    late = torch.zeros(X)
    late[-1] = 1.0 / TIME_S
    reach = (2 * RISE / curvature.clamp(min=1e-6)).sqrt().clamp(NARROWEST, WIDEST).tolist()
    steps = np.linspace(-1.0, 1.0, grid + 1 - grid % 2)  # an odd number: the plan is one of them

    def plane(title: str, a: tuple[str, Tensor, float], b: tuple[str, Tensor, float]) -> Slice:
        x, y = a[2] * steps, b[2] * steps
        v, u = torch.meshgrid(torch.from_numpy(y).float(), torch.from_numpy(x).float(), indexing="ij")
        energy = _energy(made, made.x + u.reshape(-1, 1) * a[1] + v.reshape(-1, 1) * b[1])
        return Slice(title, a[0], b[0], x, y, energy.reshape(len(y), len(x)))

    def along(k: int, name: str) -> tuple[str, Tensor, float]:
        return f"{name} direction: {_moves(made, axes[k])}", axes[k], reach[k]

    return (
        plane("low level: the two stiffest directions", along(-1, "stiffest"), along(-2, "next")),
        plane("low level: the two softest directions", along(0, "softest"), along(1, "next")),
        plane("low level: stiffest direction and time", along(-1, "stiffest"), ("later, s", late, LATE_S)),
    )


def _energy(made: Decided, x: Tensor) -> Array:
    with torch.no_grad():
        out: Array = torch.cat([0.5 * (made.residual(part) ** 2).sum(-1) for part in x.split(512)]).double().numpy()
    return out


def _moves(made: Decided, direction: Tensor) -> str:
    """What a unit step in a direction does to the racket, in words: the codec's linear read-out."""
    m = torch.stack([made.x, made.x + direction])[:, :-1]
    here, there = made.codec.read_racket(m).double().numpy()
    by = there - here
    return f"1 = contact {np.linalg.norm(by[:3]):.2f} m, racket {np.linalg.norm(by[5:8]):.1f} m/s"
