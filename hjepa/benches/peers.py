"""stable-worldmodel's solvers on our energies, and behind our `Planner`: for benchmarks, in an environment of its own
(tests/benchmarks/peers_setup.sh). Nothing of theirs is copied; they are asked through their own protocol,

    get_cost(info (B, ...), candidates (B, S, H, A)) -> (B, S)

They know neither deadlines nor boxes nor a best-seen candidate. Candidates outside the box cost what the nearest point
inside costs; the number of steps that a deadline leaves room for follows from how long steps took before; a result is
returned only where it is better than the best start. Legend: B requests, S candidates, H horizon, A action, C starts,
X = H A search variables.
"""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjepa.errors import ConfigError, nearest
from hjepa.planning.protocols import Plan, Residual

SOLVERS = {"cem": "CEMSolver", "icem": "ICEMSolver", "mppi": "MPPISolver", "gradient": "GradientSolver"}
KINDS = tuple(SOLVERS)
_VISION = torch.library.Library("torchvision", "FRAGMENT")


def solvers() -> Any:
    """Their module of solvers; ConfigError where it is not installed."""
    # torchvision's wheel is built for CUDA: beside a CPU torch its operators are missing, and so would be its import
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            _VISION.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from stable_worldmodel import solver
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"no package '{error.name}' here: tests/benchmarks/peers_setup.sh FOLDER makes an environment with it"
        ) from error
    return solver


class CostModel(torch.nn.Module):
    """A residual in one situation as their cost model."""

    def __init__(self, residual: Residual) -> None:
        super().__init__()
        self.residual, self.evaluations = residual, 0

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """(B, S, H, A) -> (B, S): 1/2 |r|^2 within the box."""
        x = action_candidates.flatten(0, 1).flatten(1)
        self.evaluations += len(x)
        x = torch.minimum(torch.maximum(x, self.residual.low), self.residual.high)
        return (0.5 * self.residual(x).square().sum(-1)).view(action_candidates.shape[:2])

    criterion = get_cost


class PeerSolver:
    """One of their solvers on one of our residuals, as their policy would set it up."""

    def __init__(
        self,
        kind: str,
        residual: Residual,
        *,
        horizon: int = 1,
        samples: int = 300,
        topk: int = 30,
        spread: float = 1.0,
        seed: int = 1234,
        rate: float = 0.1,
    ) -> None:
        """samples, topk, spread: theirs where they are not given; rate: of Adam, for the gradient solver, which has no
        default (H-JEPA's planner descends with 0.06 to 0.1)."""
        if kind not in KINDS:
            raise ConfigError(f"unknown solver '{kind}': {nearest(kind, KINDS)}")
        from gymnasium.spaces import Box

        theirs = solvers()
        more: dict[str, Any] = {} if kind == "gradient" else {"topk": topk}
        if kind == "icem" and horizon == 1:  # 0.1.1 fails there: a sequence of single numbers with white noise instead
            horizon, more = residual.low.shape[-1], {**more, "noise_beta": 0.0}
        if kind == "gradient":
            more = {"n_steps": 1, "optimizer_cls": torch.optim.Adam, "optimizer_kwargs": {"lr": rate}}
        self.model, self.horizon = CostModel(residual), horizon
        make = getattr(theirs, SOLVERS[kind])
        self.solver = make(model=self.model, seed=seed, num_samples=samples, var_scale=spread, **more)
        from stable_worldmodel.policy import PlanConfig

        low, high = (t.view(horizon, -1)[:1].numpy() for t in (residual.low, residual.high))
        config = PlanConfig(horizon=horizon, receding_horizon=1)
        self.solver.configure(action_space=Box(low, high), n_envs=1, config=config)
        self.on(residual)

    def on(self, residual: Residual) -> None:
        """From now on another residual of the same size."""
        self.model.residual = residual
        if hasattr(self.solver, "_action_low"):  # iCEM clamps, to the box of one action; ours may differ along the way
            self.solver._action_low = residual.low.view(self.horizon, -1)
            self.solver._action_high = residual.high.view(self.horizon, -1)

    def solve(self, steps: int, start: Tensor | None = None) -> Tensor:
        """x (X,) within the box after so many of their steps; start (X,): their first mean, zero otherwise."""
        self.solver.n_steps = steps
        init = None if start is None else start.view(1, self.horizon, -1).clone()
        with redirect_stdout(io.StringIO()), torch.enable_grad():  # they print how long they took
            found = self.solver.solve({"situation": torch.zeros(1, 1)}, init)["actions"]
        residual = self.model.residual
        return torch.minimum(torch.maximum(found.flatten().clone(), residual.low), residual.high)


class PeerPlanner:
    """Our `Planner` around one of their solvers: the best start is their first mean."""

    def __init__(self, kind: str, *, most: int = 400, **options: Any) -> None:
        """most: steps, however much time there is; options: of PeerSolver."""
        self.kind, self.most, self.options = kind, most, options
        self._solver: PeerSolver | None = None
        self._step_s: list[float] = []  # of the latest searches
        self.reset()

    def reset(self, seed: int = 0) -> None:
        """Begin a new sequence of random numbers."""
        self._seed = seed
        if self._solver is not None:
            self._solver.solver.torch_gen.manual_seed(seed)

    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """From starts (C, X); without iterations they are scored alone. As many steps as the deadline leaves room for,
        by the upper quartile of a step's time so far."""
        began = time.monotonic()
        with torch.no_grad():
            x = torch.minimum(torch.maximum(starts, residual.low), residual.high)
            rows = residual(x)
            order = torch.argsort(0.5 * rows.square().sum(-1))
        begun, x, rows, scored = rows[0], x[order], rows[order], len(x)
        left = None if deadline_s is None else deadline_s - (time.monotonic() - began)
        steps = self._steps(residual, iterations, left, budget)
        if steps > 0:
            solver = self._on(residual)
            solver.model.evaluations = 0
            start_s = time.monotonic()
            found = solver.solve(steps, x[0])[None]
            self._step_s = [*self._step_s[-30:], (time.monotonic() - start_s) / steps]
            scored += solver.model.evaluations + 1
            with torch.no_grad():
                r = residual(found)
            if float(r.square().sum()) < float(rows[0].square().sum()):
                x, rows = torch.cat([found, x])[: len(x)], torch.cat([r, rows])[: len(rows)]
        return Plan(x[0], float(0.5 * rows[0].square().sum()), x, scored, rows[0], begun)

    def _on(self, residual: Residual) -> PeerSolver:
        """The solver, told of this residual."""
        if self._solver is None:
            self._solver = PeerSolver(self.kind, residual, seed=self._seed, **self.options)
        self._solver.on(residual)
        return self._solver

    def _steps(self, residual: Residual, iterations: int, left_s: float | None, budget: int | None) -> int:
        if left_s is None or not iterations:
            steps = iterations
        else:
            if not self._step_s:
                self._calibrate(residual)
            steps = int(left_s / float(np.quantile(self._step_s, 0.75)))
        if budget is not None:
            steps = min(steps, budget // int(self.options.get("samples", 300)))
        return min(steps, self.most)

    def _calibrate(self, residual: Residual) -> None:
        """Once, outside of any deadline: how long a step takes."""
        solver = self._on(residual)
        for k in range(6):
            began = time.monotonic()
            solver.solve(5)
            if k:
                self._step_s.append((time.monotonic() - began) / 5)
        solver.solver.torch_gen.manual_seed(self._seed)
