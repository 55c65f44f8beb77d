"""How near a search comes to its own matrix products: the time of a search over that of the bare products in it.

The limit of a case is every product of one scoring of its candidates, as often as the search scores them: the same
shapes, one thread, `torch.addmm` (`torch.mm` where there is no bias) into memory that is there already, nothing in
between. Legend: N candidates,
X search variables, R residuals, H horizon, D latent, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hjepa.models.babbled import BabbledLevel
from hjepa.planning.compiled import compile_rows
from hjepa.planning.follow import FollowConfig, FollowResidual, FollowSituation
from hjepa.planning.held import limits_of
from hjepa.planning.objectives import Limits
from hjepa.planning.protocols import Residual
from hjepa.tasks.reach import nodes
from hjepa.tasks.reach.settings import ReachSettings
from robots.spec import load_spec

HORIZON = 5
PRODUCTS = ("addmm", "mm", "bmm")


@dataclass
class Boxed:
    """A residual made of a function."""

    call: Callable[[Tensor], Tensor]
    low: Tensor  # (X,)
    high: Tensor  # (X,)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, X) -> (N, R)."""
        return self.call(x)


class Case(NamedTuple):
    """A model to search: as a module of x (N, X) and what belongs to one situation, plain and in bfloat16."""

    name: str
    module: nn.Module
    narrow: nn.Module  # the same with its networks in bfloat16
    situation: tuple[Tensor, ...]
    box: tuple[Tensor, Tensor]
    start: Tensor  # (1, X)

    def plain(self) -> Boxed:
        """As PyTorch runs it."""
        return Boxed(lambda x: self.module(x, *self.situation), *self.box)

    def compiled(self, folder: Path, rows: int, narrow: bool = False) -> Boxed:
        """As machine code; compiled anew in `folder`, about half a minute."""
        x, kind = self.start.expand(rows, -1).contiguous(), "bfloat16" if narrow else "float32"
        module = self.narrow if narrow else self.module
        call = compile_rows(module, (x, *self.situation), folder / f"{self.name.replace(' ', '-')}-{kind}.pt2")
        return Boxed(lambda x: call(x, *self.situation), *self.box)


class _Follow(nn.Module):
    """FollowResidual with the situation's parts as arguments."""

    def __init__(self, level: nn.Module, limits: Limits, home: Tensor, config: FollowConfig) -> None:
        super().__init__()
        self.level, self.limits, self.home, self.config = level, limits, home, config

    def forward(self, x: Tensor, *situation: Tensor) -> Tensor:
        level: Any = self.level
        return FollowResidual(level, self.limits, self.home, self.config, FollowSituation(*situation))(x)


class _Narrow(nn.Module):
    """A babbled level whose predictions are computed in bfloat16; its state stays in float32 between them."""

    def __init__(self, level: BabbledLevel) -> None:
        super().__init__()
        self.plain, self.config = level, level.config
        self.narrow = _copy(level)
        self.dq_std, self.q_mean, self.q_std, self.root = level.dq_std, level.q_mean, level.q_std, level.root

    def body(self, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        return self.plain.body(q_rad, dq_rad_s)

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        x, n = torch.cat([z, action], dim=-1), self.narrow
        return z + self.plain.step_line(x) + 0.1 * n.step_bend(x.bfloat16()).float()

    def see(self, z: Tensor) -> Tensor:
        return self.narrow.see(z.bfloat16()).float()


def _copy(level: BabbledLevel) -> BabbledLevel:
    copy = BabbledLevel(level.config)
    copy.load_state_dict(level.state_dict())
    return copy.eval().requires_grad_(False).bfloat16()


def follow_case() -> Case:
    """The level that follows with a Panda, five chunks ahead; its target moves as the tool would at certain speeds."""
    settings = ReachSettings.model_validate({"robot": {"name": "panda"}})
    level, _ = nodes.level(settings)
    spec, config = load_spec("panda"), nodes.follow_config(settings)
    config = FollowConfig(**{**vars(config), "chunks": HORIZON})
    limits = limits_of(spec)
    q = torch.from_numpy(spec.q_home_rad.astype(np.float32))
    dq = torch.zeros(1, spec.joints)
    with torch.no_grad():
        z, goal = level.body(q[None], dq), []
        for k in range(HORIZON):
            z = level.predict(z, 0.6 * torch.tensor([[1.0, -1, 1, -1, 1, -1, 1]]) * (1.0 - 0.1 * k))
            goal.append(level.see(z)[0])
    root = (level.root / config.tolerance).expand(HORIZON, -1, -1).contiguous()
    situation = FollowSituation(q[None], dq, torch.stack(goal), root)
    module, narrow = _Follow(level, limits, q, config), _Follow(_Narrow(level), limits, q, config)
    box = FollowResidual(level, limits, q, config, situation)
    start = torch.zeros(1, HORIZON * spec.joints)
    return Case("reach level", module, narrow, tuple(situation), (box.low, box.high), start)


class _Rollout(nn.Module):
    """A plain dynamics network z' = z + f(z, a): every predicted state against a goal."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, x: Tensor, z: Tensor, goal: Tensor) -> Tensor:
        z, parts = z.expand(x.shape[0], -1), []
        for action in x.unflatten(-1, (HORIZON, -1)).unbind(1):
            z = z + self.net(torch.cat([z, action], dim=-1).to(self.dtype)).to(z.dtype)
            parts.append(z - goal)
        return torch.cat(parts, dim=-1)


def mlp_case(latent: int = 32, action: int = 8, width: int = 248) -> Case:
    """0.14 M random weights in three hidden layers."""
    torch.manual_seed(0)
    sizes = (latent + action, width, width, width, latent)
    layers = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
    net = nn.Sequential(*layers).requires_grad_(False)
    wide, narrow = (_Rollout(n, d) for n, d in ((net, torch.float32), (_bfloat16(net), torch.bfloat16)))
    z, goal = torch.randn(1, latent), torch.randn(1, latent)
    start, box = torch.zeros(1, HORIZON * action), torch.full((HORIZON * action,), 3.0)
    return Case("MLP 0.14 M", wide, narrow, (z, goal), (-box, box), start)


def _bfloat16(net: nn.Sequential) -> nn.Sequential:
    copies = [nn.Linear(p.in_features, p.out_features) if isinstance(p, nn.Linear) else nn.ReLU() for p in net]
    copy = nn.Sequential(*copies)
    copy.load_state_dict(net.state_dict())
    return copy.requires_grad_(False).bfloat16()


class _Products(TorchDispatchMode):
    """Notes every matrix product: shapes of its factors, whose memory the second one is, whether a bias comes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Size, torch.Size, int, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            self.seen.append((args[-2].shape, args[-1].shape, args[-1].data_ptr(), name == "addmm"))
        return func(*args, **(kwargs or {}))


class Bare:
    """All products of one call of a residual with N rows, and nothing else. Memory is shared as a model might at best:
    each weight is one, the candidates' side and the result of all products of a shape are one."""

    def __init__(self, residual: Residual, rows: int, start: Tensor) -> None:
        with torch.no_grad(), _Products() as products:
            residual(start.expand(rows, -1).contiguous())
        self.flop = sum(2 * a.numel() * b[-1] for a, b, _, _ in products.seen)
        left: dict[torch.Size, Tensor] = {}
        right: dict[int, Tensor] = {}
        out: dict[tuple[int, int], Tensor] = {}
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        for a, b, place, biased in products.seen:
            weight = right.setdefault(place, torch.randn(b[1], b[0]).t())  # as nn.Linear keeps it
            shape, bias = (a[0], b[1]), torch.randn(b[1]) if biased else None
            result = out.setdefault(shape, torch.empty(shape))
            self._parts.append((left.setdefault(a, torch.randn(a)), weight, result, bias))

    def __call__(self) -> None:
        """One call's worth."""
        for a, b, out, bias in self._parts:
            if bias is None:
                torch.mm(a, b, out=out)
            else:
                torch.addmm(bias, a, b, out=out)


def interleaved(work: dict[str, Callable[[], Any]], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """CPU-seconds of each piece of work, one after another, so many rounds: what disturbs the machine disturbs all."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for k in range(warm + rounds):
        for name, run in work.items():
            began = process_time()
            run()
            if k >= warm:
                taken[name].append(process_time() - began)
    return taken


def ratio(taken: Sequence[float], bare: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return float(np.median(np.asarray(taken) / np.asarray(bare)))
