"""What the sampling searches share: draw around a mean, score in one call of the model, keep the best, refit.

Everything a round needs lies in buffers that a later search of the same shape takes up again. The searches differ in
how noise is drawn, how many candidates a round has, and how mean and spread follow from what was scored. Whatever they
do, the best candidates seen stay in the pool with their energies, the starts among them: they are never scored twice,
and the result is never worse than a start. Nothing here knows its device: it is that of the starts. Legend:
B situations, C starts, N candidates a round, E elites (the pool), X search variables, R residuals.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from hjepa.planning.protocols import Plan, Residual

SHAPES_KEPT = 8  # sets of buffers


class Buffers:
    """Memory of the searches of one shape."""

    def __init__(self, B: int, N: int, E: int, X: int, like: Tensor) -> None:
        self._sizes = B, E, X
        self.noise = like.new_empty(N, X)  # the same for every situation
        self.white = like.new_empty(N, X)
        self.mean, self.std = like.new_empty(B, 1, X), like.new_empty(B, 1, X)
        self.pool_x, self.pool_e = like.new_empty(B, E, X), like.new_empty(B, E)
        self.order = like.new_empty(B, E, dtype=torch.long)
        self._x, self._e = like.new_empty(B * N * X), like.new_empty(B * N)
        self._all_x, self._all_e = like.new_empty(B * (N + E) * X), like.new_empty(B * (N + E))

    def candidates(self, n: int) -> tuple[Tensor, Tensor]:
        """x (B, n, X) and energy (B, n) of a round, contiguous whatever n."""
        B, _, X = self._sizes
        return self._x[: B * n * X].view(B, n, X), self._e[: B * n].view(B, n)

    def score(self, residual: Residual, n: int) -> Tensor:
        """Energies of the round's candidates, one call of the model; their residuals (B, n, R)."""
        x, energy = self.candidates(n)
        rows = residual(x.view(-1, x.shape[-1]))
        torch.linalg.vector_norm(rows, dim=-1, out=energy.view(-1))
        energy.square_().mul_(0.5).nan_to_num_(nan=torch.inf)
        return rows.view(*energy.shape, -1)

    def keep(self, kept: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Fill the pool, least energy first, from its best `kept` and the round's candidates. All that was compared,
        x (B, kept + n, X) with energies, and where in it the best one stood (B, 1)."""
        B, E, X = self._sizes
        (x, energy), m, e = self.candidates(n), kept + n, min(E, kept + n)
        all_x, all_e = self._all_x[: B * m * X].view(B, m, X), self._all_e[: B * m].view(B, m)
        torch.cat([self.pool_x[:, :kept], x], dim=1, out=all_x)
        torch.cat([self.pool_e[:, :kept], energy], dim=1, out=all_e)
        order = self.order[:, :e]
        torch.topk(all_e, e, dim=1, largest=False, out=(self.pool_e[:, :e], order))
        torch.gather(all_x, 1, order[..., None].expand(B, e, X), out=self.pool_x[:, :e])
        return all_x, all_e, order[:, :1]


class Sampling:
    """A search that draws candidates. What a child says: `draw`, `count`, `refit`.

    candidates, elites: N and E; spread: standard deviation of the first round, in search units; floor: least one.
    """

    kept = 1.0  # share of the pool that competes with the next round

    def __init__(
        self, candidates: int = 128, elites: int = 12, spread: float = 0.3, floor: float = 0.01, seed: int = 0
    ) -> None:
        self.candidates, self.elites, self.spread, self.floor = candidates, elites, spread, floor
        self._buffers: dict[tuple[object, ...], Buffers] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self.reset(seed)

    def reset(self, seed: int = 0) -> None:
        """Begin a new sequence of random numbers."""
        self._seed = seed
        self._generators.clear()

    def draw(self, b: Buffers, n: int, generator: torch.Generator) -> None:
        """Fill `b.noise` (N, X) up to row n with unit variance."""
        b.noise[:n].normal_(generator=generator)

    def count(self, most: int, least: int, k: int) -> int:
        """Candidates of round k, from `least` to `most`."""
        return most

    def refit(self, b: Buffers, x: Tensor, energy: Tensor) -> None:
        """Mean and std (B, 1, X) from the pool, or from all that was compared: x (B, n, X), energy (B, n)."""
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
        least = min(2 * b.pool_e.shape[1], most)
        low, high = residual.low.view(-1, 1, X), residual.high.view(-1, 1, X)
        begun = best = starts
        for k in range(max(iterations, 1)):
            if deadline_s is not None and k > 0:
                b.pool_e[0, 0].item()  # elsewhere than on the CPU work is only begun until somebody asks
                took, now = time.monotonic() - now, time.monotonic()
            late = deadline_s is not None and now - began + took > deadline_s
            if k > 0 and (late or (budget is not None and evaluations >= budget)):
                break
            n = self.count(most, least, k) if iterations else C
            x, _ = b.candidates(n)
            if k == 0:
                self._around(b, starts, x, generator)
            else:
                self.draw(b, n, generator)
                b.noise[0].zero_()  # the mean itself
                torch.addcmul(b.mean, b.std, b.noise[:n], out=x)
            torch.clamp(x, low, high, out=x)
            r = b.score(residual, n)
            evaluations += n
            all_x, all_e, place = b.keep(kept, n)
            place = (place - kept)[..., None]  # among this round's candidates; below zero: an older one
            found = r.gather(1, place.clamp(min=0).expand(B, 1, r.shape[-1]))[:, 0]
            begun, best = (r[:, 0].clone(), found) if k == 0 else (begun, torch.where(place[:, 0] >= 0, found, best))
            kept = max(1, round(self.kept * min(b.pool_e.shape[1], n)))
            if iterations:
                self.refit(b, all_x, all_e)
                b.std.clamp_(min=self.floor)
        x, energy = b.pool_x[:, : min(C, b.pool_e.shape[1])].clone(), b.pool_e[:, 0].tolist()
        return [Plan(x[i, 0], energy[i], x[i], evaluations, best[i], begun[i]) for i in range(B)]

    def _around(self, b: Buffers, starts: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """The first round: the starts themselves, then points around each of them in turn."""
        C, n = starts.shape[1], x.shape[1]
        b.std.fill_(self.spread)
        x[:, :C] = starts
        if n > C:
            self.draw(b, n, generator)
            which = torch.arange(C, n, device=starts.device) % C
            torch.addcmul(starts[:, which], b.std, b.noise[C:n], out=x[:, C:])
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
