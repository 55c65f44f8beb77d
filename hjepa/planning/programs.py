"""What the low level computes while it plans, as a few functions of tensors alone.

A search scores a few dozen candidates at a time; at that size most of the time goes into calling operations, not into
arithmetic. So a whole iteration is one function, and there are three forms of it with the same numbers: plain (Python),
recorded (TorchScript, made in a second at start-up, without Python between the operations), and compiled ahead of time
(hjepa.deploy, from a bundle). Legend: C candidates, N rows, X search variables, R residuals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hjepa.planning.gradient import Iterate, beginning, iterate
from hjepa.planning.objectives import TIME_S, Limits, LowWeights, Situation, StrokeResidual, search_box

Function = Callable[..., Any]


class LowPrograms(NamedTuple):
    """The functions; situation: the tensors of `tensors(Situation)`, goal and root with as many rows as x or one;
    weights (W,): LowWeights.tensor(), so that they may change while the level plans."""

    see: Function  # window (1, K, 3), mask (1, K), q, dq (1, J) -> z
    decode: Function  # m (1, M) -> ContactEvent
    foresee: Function  # z, x (1, X) -> outcome (1, E), landing point (1, 2)
    residuals: Function  # x (N, X), weights, *situation -> (N, R)
    iterate: Function  # *Iterate with C rows, low, high (C, X), sizes (2,), weights, *situation -> Iterate


class Residuals(nn.Module):
    """StrokeResidual with the weights and the situation's parts as arguments."""

    def __init__(self, level: Any, limits: Limits) -> None:
        super().__init__()
        self.level = level
        for name, limit in limits._asdict().items():
            self.register_buffer(name, limit.clone())
        self.box = search_box(level.codec, limits)  # made once: a CUDA graph takes nothing from the host

    def forward(self, x: Tensor, weights: Tensor, *situation: Any) -> Tensor:
        """(N, X) -> (N, R)."""
        level: Any = self.level
        limits = Limits(*(getattr(self, name) for name in Limits._fields))
        each: Any = weights.unbind()  # numbers, but for torch
        return StrokeResidual(level, limits, LowWeights(*each), Situation(*situation), box=self.box)(x)


class Iteration(nn.Module):
    """planning.gradient.iterate over Residuals; a situation's rows are the candidates'."""

    def __init__(self, residuals: Residuals) -> None:
        super().__init__()
        self.residuals = residuals

    def forward(self, x: Tensor, best: Tensor, energy: Tensor, residuals: Tensor, jacobian: Tensor, damping: Tensor,
                low: Tensor, high: Tensor, sizes: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        """Iterate's parts, box, sizes, weights and situation -> Iterate's parts."""
        *own, goal, root = rest
        parts = (*own, _spread(goal, x), _spread(root, x))
        before = Iterate(x, best, energy, residuals, jacobian, damping)
        return tuple(iterate(lambda probes: self.residuals(probes, *parts), before, low, high, sizes))


def _spread(part: Tensor, x: Tensor) -> Tensor:
    """(C, ...) for the candidates x (C, X) -> (C (X + 1), ...): for each of them and its neighbours."""
    times = x.shape[1] + 1
    return part[:, None].expand(-1, times, *part.shape[1:]).flatten(0, 1)


class Call(nn.Module):
    """A function of a level's as a module of its own."""

    def __init__(self, level: nn.Module, function: Function) -> None:
        super().__init__()
        self.level, self.function = level, function

    def forward(self, *inputs: Tensor) -> Any:
        """What the function gives."""
        return self.function(*inputs)


class Example(NamedTuple):
    """Inputs of the right shapes, on the level's device, by which functions are recorded or compiled."""

    see: tuple[Tensor, ...]
    decode: tuple[Tensor, ...]
    foresee: tuple[Tensor, ...]
    weights: Tensor
    situation: tuple[Tensor, ...]
    size: int  # X

    def x(self, rows: int) -> Tensor:
        """(rows, X)."""
        return self.situation[0].new_full((rows, self.size), 0.5)

    def residuals(self, rows: int) -> tuple[Tensor, ...]:
        """Of so many rows."""
        *own, goal, root = self.situation
        return self.x(rows), self.weights, *own, goal.repeat(rows, 1), root.repeat(rows, 1, 1)

    def iterate(self, rows: int, count: int) -> tuple[Tensor, ...]:
        """Of so many candidates; count: R."""
        x, *rest = self.residuals(rows)
        return *beginning(x, 0.03, count), x - 9.0, x + 9.0, x.new_tensor([0.02, 0.6]), *rest


def example(level: Any, joints: int) -> Example:
    """For a level and a robot of so many joints."""
    c, X, zeros = level.config, len(level.codec.low) + 1, level.codec.low.new_zeros
    q = zeros(1, joints)
    parts = Situation(zeros(1, c.whole), q, q, q, 0.0, zeros(1, c.goal), zeros(1, c.goal, c.goal))
    see = (zeros(1, c.window, 3), zeros(1, c.window) + 1.0, q, q)
    weights = LowWeights().tensor(zeros(1).device)
    return Example(see, (zeros(1, X - 1),), (zeros(1, c.whole), zeros(1, X)), weights, tensors(parts), X)


def tensors(s: Situation) -> tuple[Tensor, ...]:
    """A situation as arguments."""
    return (s.z, s.q, s.dq, s.ddq, s.z.new_tensor(s.latency_s), s.goal, s.root)


def plain(level: Any, limits: Limits) -> LowPrograms:
    """As the level computes it."""
    residuals = Residuals(level, limits)
    outcome = lambda z, x: _outcome(level, z, x)  # noqa: E731
    return LowPrograms(level.see, level.codec.decode, outcome, residuals, Iteration(residuals))


def recorded(level: Any, limits: Limits, joints: int) -> LowPrograms:
    """Recorded as TorchScript, for a robot of so many joints."""
    shapes = example(level, joints)
    made, residuals = plain(level, limits), Residuals(level, limits)
    rows = shapes.residuals(2)
    count = residuals(*rows).shape[1]
    return LowPrograms(
        record(Call(level, made.see), shapes.see),
        record(Call(level, made.decode), shapes.decode),
        record(Call(level, made.foresee), shapes.foresee),
        record(residuals, rows),
        record(Iteration(residuals), shapes.iterate(2, count)),
    )


def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> Function:
    """A module recorded as TorchScript: the rows may be others than the example's, the other sizes not."""
    with warnings.catch_warnings(), torch.no_grad():  # constants become constant, as they should
        warnings.simplefilter("ignore")
        call = torch.jit.freeze(torch.jit.trace(module.eval(), inputs, check_trace=False))

    def run(*inputs: Tensor) -> Any:
        with torch.jit.optimized_execution(False):  # its optimiser would specialise again for every number of rows
            return call(*inputs)

    return run


def _outcome(level: Any, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The outcome embedding (N, E) that x (N, X) brings, and the landing point (N, 2) read of it."""
    outcome, _ = level.foresee(z, x[:, :-1], x[:, -1:] * TIME_S)
    return outcome, level.read(outcome)["landing_m"]


class Fused:
    """Residuals of candidate strokes by such functions: one situation, or one for each of C candidates (their goals and
    roots). A Residual, with the `step` that GaussNewton looks for."""

    def __init__(
        self, programs: LowPrograms, box: tuple[Tensor, Tensor], count: int, weights: Tensor, situation: Situation
    ) -> None:
        """box: low and high (X,) of the search; count: R; weights (W,)."""
        self._programs, self._count, self.situation = programs, count, situation
        self.low, self.high = box[0], box[1].clone()
        self._parts = weights, *tensors(situation)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R); with C goals, N = k C, and k rows in turn belong to each."""
        *own, goal, root = self._parts
        if 1 < len(goal) < len(x):
            goal, root = (part.repeat_interleave(len(x) // len(goal), 0) for part in (goal, root))
        out: Tensor = self._programs.residuals(x, *own, goal, root)
        return out

    def energy(self, x: Tensor) -> Tensor:
        """(N, X) -> (N,)."""
        return 0.5 * (self(x) ** 2).sum(-1)

    def step(self, s: Iterate, sizes: Tensor) -> Iterate:
        """One iteration of Gauss-Newton."""
        *own, goal, root = self._parts
        C, X = s.x.shape
        s = s._replace(residuals=s.residuals.expand(C, self._count), jacobian=s.jacobian.expand(C, X, self._count))
        box = self.low.expand(C, X), self.high.expand(C, X)
        goals = goal.expand(C, -1), root.expand(C, -1, -1)
        return Iterate(*self._programs.iterate(*s, *box, sizes, *own, *goals))
