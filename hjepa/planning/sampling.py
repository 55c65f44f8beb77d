"""What the sampling searches share: draw around a mean, score in one call of the model, keep the best, refit.

Everything a round needs lies in buffers that a later search of the same shape takes up again. The searches differ in
how noise is drawn, how many candidates a round has, and how mean and spread follow from what was compared. Whatever
they do, the best candidates seen, the starts among them, stay in the pool with their energies: they are never scored
twice, and the result is never worse than a start. Nothing here knows its device: it is that of the starts. Legend:
B situations, C starts, N candidates a round, E elites (the pool), X search variables, R residuals.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from hjepa.planning.protocols import Plan, Residual

SHAPES_KEPT = 8  # sets of buffers


class Round(NamedTuple):
    """Views of the memory that a round with n candidates works in, beside the m best of earlier ones."""

    noise: Tensor  # (n, X)
    x: Tensor  # (B, n, X) the candidates
    rows: Tensor  # (B n, X) the same
    size: Tensor  # (B, n) |r| of each
    sizes: Tensor  # (B n,) the same
    older: tuple[Tensor, Tensor]  # (B, m, X), (B, m)
    all_x: Tensor  # (B, m + n, X) all that is compared
    all_size: Tensor  # (B, m + n)
    pool: tuple[Tensor, Tensor]  # (B, e, X), (B, e): the best of it, least first
    order: Tensor  # (B, e) where in all_x they stood
    where: Tensor  # (B, e, X) the same


class Buffers:
    """Memory of the searches of one shape."""

    def __init__(self, B: int, N: int, E: int, X: int, like: Tensor) -> None:
        self.shape = B, N, E, X
        self.noise = like.new_empty(N, X)  # the same for every situation
        self.white = like.new_empty(N, X)
        self.mean, self.std = like.new_empty(B, 1, X), like.new_empty(B, 1, X)
        self.pool_x, self.pool_size = like.new_empty(B, E, X), like.new_empty(B, E)
        self.order = like.new_empty(B, E, dtype=torch.long)
        self.x, self.size = like.new_empty(B * N * X), like.new_empty(B * N)
        self.all_x, self.all_size = like.new_empty(B * (N + E) * X), like.new_empty(B * (N + E))
        self._rounds: dict[tuple[int, int], Round] = {}

    def round(self, n: int, m: int) -> Round:
        """What a round works in; contiguous whatever its size."""
        if (n, m) not in self._rounds:
            B, _, E, X = self.shape
            e = min(E, m + n)
            rows, sizes, order = self.x[: B * n * X].view(B * n, X), self.size[: B * n], self.order[:, :e]
            self._rounds[n, m] = Round(
                self.noise[:n],
                rows.view(B, n, X),
                rows,
                sizes.view(B, n),
                sizes,
                (self.pool_x[:, :m], self.pool_size[:, :m]),
                self.all_x[: B * (m + n) * X].view(B, m + n, X),
                self.all_size[: B * (m + n)].view(B, m + n),
                (self.pool_x[:, :e], self.pool_size[:, :e]),
                order,
                order[..., None].expand(B, e, X),
            )
        return self._rounds[n, m]


def compare(t: Round) -> list[int]:
    """Fill the pool with the best of the older ones and of the round's; where the best of all stood, per situation."""
    torch.cat([t.older[0], t.x], dim=1, out=t.all_x)
    torch.cat([t.older[1], t.size], dim=1, out=t.all_size)
    torch.topk(t.all_size, t.order.shape[1], dim=1, largest=False, out=(t.pool[1], t.order))  # what is no number: last
    torch.gather(t.all_x, 1, t.where, out=t.pool[0])
    return [int(k) for k in t.order[:, 0].tolist()]


class Sampling:
    """A search that draws candidates. What a child says: `draw`, `count`, `refit`.

    candidates, elites: N and E; spread: standard deviation of the first round, in search units; floor: least one.
    """

    kept = 1.0  # share of the pool that competes with the next round

    def __init__(
        self, candidates: int = 128, elites: int = 12, spread: float = 0.3, floor: float = 0.003, seed: int = 0
    ) -> None:
        self.candidates, self.elites, self.spread, self.floor = candidates, elites, spread, floor
        self._buffers: dict[tuple[object, ...], Buffers] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self.reset(seed)

    def reset(self, seed: int = 0) -> None:
        """Begin a new sequence of random numbers."""
        self._seed = seed
        self._generators.clear()

    def draw(self, b: Buffers, noise: Tensor, generator: torch.Generator) -> None:
        """Fill noise (n, X), the first rows of b.noise, with unit variance."""
        noise.normal_(generator=generator)

    def count(self, most: int, least: int, k: int) -> int:
        """Candidates of round k, from `least` to `most`."""
        return most

    def refit(self, b: Buffers, t: Round) -> None:
        """Mean and std (B, 1, X) from the pool, or from all that was compared."""
        torch.mean(b.pool_x, 1, keepdim=True, out=b.mean)
        torch.std(b.pool_x, 1, keepdim=True, out=b.std)

    def plan(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> Plan:
        """Minimise from starts (C, X): the first round samples around each of them; without iterations they are scored
        alone. `deadline_s` seconds from now on, no iteration is begun that would end later than that if it took as long
        as the one before it, and none once `budget` candidates were scored."""
        return self.plan_many(residual, starts[None], iterations, deadline_s, budget)[0]

    @torch.no_grad()
    def plan_many(
        self,
        residual: Residual,
        starts: Tensor,
        iterations: int,
        deadline_s: float | None = None,
        budget: int | None = None,
    ) -> list[Plan]:
        """B searches side by side, from starts (B, C, X): rows (B n, X) of the residual are n candidates for each of
        its B situations, its box is (X,) or (B, X). All draw the same noise, so that each finds what it would find
        alone. `budget`: candidates of each."""
        began = now = time.monotonic()
        took, evaluations, kept = 0.0, 0, 0
        B, C, X = starts.shape
        most = max(self.candidates, C)
        b, generator = self._memory(B, most, starts), self._generator(starts.device)
        E = b.shape[2]
        low, high = residual.low.view(-1, 1, X), residual.high.view(-1, 1, X)
        begun, best = starts.new_empty(0), list(starts[:, 0])
        for k in range(max(iterations, 1)):
            took, now = time.monotonic() - now, time.monotonic()
            late = deadline_s is not None and now - began + took > deadline_s
            if k > 0 and (late or (budget is not None and evaluations >= budget)):
                break
            t = b.round(self.count(most, min(2 * E, most), k) if iterations else C, kept)
            if k == 0:
                self._around(b, starts, t, generator)
            else:
                self.draw(b, t.noise, generator)
                t.noise[0].zero_()  # the mean itself
                torch.addcmul(b.mean, b.std, t.noise, out=t.x)
            torch.clamp(t.x, low, high, out=t.x)
            r = residual(t.rows)
            torch.linalg.vector_norm(r, dim=-1, out=t.sizes)
            evaluations += len(t.noise)
            r = r.view(B, len(t.noise), -1)
            begun = r[:, 0].clone() if k == 0 else begun
            for i, place in enumerate(compare(t)):
                if place >= kept:  # one of this round's
                    best[i] = r[i, place - kept].clone()
            kept = max(1, round(self.kept * t.order.shape[1]))
            if iterations:
                self.refit(b, t)
                b.std.clamp_(min=self.floor)
        x, energy = b.pool_x[:, : min(C, E)].clone(), (0.5 * b.pool_size[:, 0] ** 2).tolist()
        return [Plan(x[i, 0], energy[i], x[i], evaluations, best[i], begun[i]) for i in range(B)]

    def _around(self, b: Buffers, starts: Tensor, t: Round, generator: torch.Generator) -> None:
        """The first round: the starts themselves, then points around each of them in turn."""
        C, n = starts.shape[1], len(t.noise)
        b.std.fill_(self.spread)
        t.x[:, :C] = starts
        if n > C:
            self.draw(b, t.noise, generator)
            which = torch.arange(C, n, device=starts.device) % C
            torch.addcmul(starts[:, which], b.std, t.noise[C:], out=t.x[:, C:])
        torch.mean(starts, 1, keepdim=True, out=b.mean)

    def _memory(self, B: int, N: int, starts: Tensor) -> Buffers:
        key = (B, N, starts.shape[-1], starts.device, starts.dtype)
        if key not in self._buffers:
            if len(self._buffers) == SHAPES_KEPT:
                self._buffers.clear()
            self._buffers[key] = Buffers(B, N, min(self.elites, N), starts.shape[-1], starts)
        return self._buffers[key]

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
