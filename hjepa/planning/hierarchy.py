"""The high level's decision: which macro-action answers the stroke that is coming.

    E(w) = - win log-odds                     of winning after the opponent's reply to P(context, s_in, w)
           - support log p(w | situation)     real players answer with this here
           - name log p(type of w | P(...))   it will be the shot that it is called
           + reach reachability(P(...))       the low level's energy for that goal
           - mixing Gumbel noise              a mixed strategy: argmin then samples exp(-E / mixing)

The search stays inside the support: only macro-actions of a codebook of real strokes, the most probable ones, well
inside the court. Implements protocols.HighLevel. Legend: C candidates, D upper latent, K window slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.planning.tuned import check_weights
from hjepa.protocols import Reachability
from hjepa.types import NS, Array, Goal, Observation, Weighed

USUAL_MARGIN_M = 0.30  # real strokes that land nearer to a line are no examples; those of a lob need to be deep
NET_M, HALF_LENGTH_M, HALF_SINGLES_M = 1.524, 6.70, 2.59  # BWF Law 1; planning knows no task
NEAR = 1.0  # 99 % of real strokes are nearer than this to a macro-action of the codebook, in units of AIM
TUNABLE = ("win", "support", "name", "reach", "mixing")  # weights of HighPlanConfig
AIM = torch.tensor([2.0, 1.7, 0.4])  # of placement (m, m) and tempo (s): about a standard deviation of real strokes


class Readable(Protocol):
    """The readings of an embedding that the decision uses."""

    @property
    def landing_m(self) -> Tensor: ...

    @property
    def floor_s(self) -> Tensor: ...

    @property
    def net_height_m(self) -> Tensor: ...

    @property
    def hit_m(self) -> Tensor: ...


class Shots(Protocol):
    """What the decision asks of a high level."""

    codebook: Tensor  # (C, 4)

    def encode(self, window: Tensor, mask: Tensor) -> Tensor: ...

    def context(self, batch: int = 1, hitter_m: Tensor | None = None) -> Any: ...

    def code_log_prior(self, context: Any, s_in: Tensor) -> Tensor: ...

    def predict(self, context: Any, s_in: Tensor, w: Tensor) -> Tensor: ...

    def read(self, s: Tensor, s_in: Tensor | None = None) -> Readable: ...

    def named_logits(self, s: Tensor, s_in: Tensor | None = None) -> Tensor: ...

    def metric(self, s: Tensor, s_in: Tensor | None = None, kind: Tensor | None = None) -> Tensor: ...

    def win_probability(self, s: Tensor, s_in: Tensor, context: Any) -> Tensor: ...


@dataclass(frozen=True)
class HighPlanConfig:
    """Weights and budget of the decision."""

    candidates: int = 16
    shots: tuple[str, ...] = ()  # types that the robot can play; (): all
    in_support: bool = True  # False: macro-actions are drawn uniformly, and no prior or name is asked
    prior_floor: float = 0.003  # macro-actions less probable than this are outside the support
    margin_m: float = 0.45  # targets lie this far inside the singles court
    behind_net_m: float = 0.60  # and this far behind the net: nearer ones pass the tape by less than a plan is sure of
    net_margin_m: float = 0.10  # predicted height over the tape
    name_floor: float = 0.5  # least probability that the shot is what it is called
    win: float = 1.0
    support: float = 1.0
    name: float = 2.0
    reach: float = 0.15
    mixing: float = 1.0
    scatter_m: float = 0.35  # placements are drawn this far around those of the codebook: targets off a fixed grid
    shortlist: int = 8  # of the candidates, cheapest first: the low level is asked about these
    samples: int = 6  # tracker samples before anything is decided
    latency_s: float = 0.04  # from the observation to the goal in force
    window: int = 40  # K
    late: int = 0  # V, other places that the same shot may still be turned to: what a feint chooses from
    late_m: tuple[float, ...] = (1.3, 1.9)  # how far away these are, in turn


class Candidates(NamedTuple):
    """Macro-actions in question. Targets are in the world frame, the opponent's side at x > 0."""

    embeddings: Array  # (C, D) predicted embeddings: the goals
    roots: Array  # (C, D, D) what counts in each: energy 1/2 |root (s - embedding)|^2
    macro: Array  # (C, 4) type index, canonical placement x, y, tempo
    types: tuple[str, ...]  # (C,)
    target_xy_m: Array  # (C, 2)
    log_prior: Array  # (C,)
    win: Array  # (C,) probability of winning the rally
    named: Array  # (C,) probability of the type, as the frozen classifier would have it
    net_height_m: Array  # (C,) predicted, over x = 0
    codes: Array  # (C,) rows of the codebook

    def rows(self, index: NDArray[np.int64]) -> Candidates:
        """Some of them."""
        picked = (tuple(np.array(part)[index].tolist()) if part is self.types else part[index] for part in self)
        return Candidates(*picked)  # type: ignore[arg-type]  # each column stays what it is

    def terms(self, config: HighPlanConfig) -> dict[str, Array]:
        """Terms (C,) of the energy that ask nobody."""
        odds = np.log(self.win) - np.log1p(-self.win)
        return {
            "win": -config.win * odds,
            "support": -config.support * self.log_prior,
            "name": -config.name * np.log(self.named),
        }


class Incoming(NamedTuple):
    """The stroke that is to be answered."""

    model: Shots
    s_in: Tensor  # (1, D)
    hitter_m: Tensor | None  # (1, 2) the robot's feet, canonical

    def context(self, count: int) -> Any:
        """As so many candidates need it."""
        return self.model.context(count, None if self.hitter_m is None else self.hitter_m.expand(count, -1))


class HighPlanner:
    """One decision a stroke. `types` are the names of the type indices; `feet` tells where the robot stands (x, y)."""

    def __init__(
        self,
        model: Shots,
        types: Sequence[str],
        config: HighPlanConfig = HighPlanConfig(),  # noqa: B008 (frozen value)
        feet: Callable[[Observation], Array] = lambda observation: observation.q_rad[:2],
    ) -> None:
        self.model, self.types, self.config, self.feet = model, tuple(types), config, feet
        self._seed = self._decisions = 0
        self._decided = False
        self._told: Weighed | None = None
        self._able = torch.tensor([not config.shots or name in config.shots for name in self.types])
        self._allowed = _inside(model.codebook[:, 1:3], config)
        kinds = model.codebook[:, 0].long().unique()
        able = kinds[self._able[kinds]]
        self._kinds = able if len(able) else kinds
        self.candidates(np.zeros((config.window, 3)), np.zeros(config.window))  # the first decision is as fast as any

    def reset(self, seed: int = 0) -> None:
        """A new stroke comes; `seed` fixes the mixed strategy's draw."""
        self._seed, self._decided = seed, False

    @torch.no_grad()
    def candidates(self, window: Array, mask: Array, feet_xy_m: Array | None = None) -> Candidates:
        """Macro-actions for an incoming window (K, 3), mask (K,) (hitter at x > 0) and the robot's feet (2,), world."""
        c, model = self.config, self.model
        self._seen = seen = self._see(window, mask, feet_xy_m)
        if not c.in_support:
            return self._weighed(seen, self._anywhere(), torch.zeros(c.candidates), torch.arange(c.candidates))
        every = model.code_log_prior(seen.context(1), seen.s_in)[0].masked_fill(~self._allowed, -torch.inf)
        log_prior, codes = every.topk(c.candidates)
        return self._weighed(seen, self._scattered(model.codebook[codes]), log_prior, codes)

    def _see(self, window: Array, mask: Array, feet_xy_m: Array | None) -> Incoming:
        hitter = None if feet_xy_m is None else -_row(feet_xy_m)
        return Incoming(self.model, self.model.encode(_row(window), _row(mask)), hitter)

    def _weighed(self, seen: Incoming, w: Tensor, log_prior: Tensor, codes: Tensor) -> Candidates:
        """Macro-actions w (C, 4) as candidates, without those that are not to be played."""
        c, model = self.config, self.model
        many, context = seen.s_in.expand(len(w), -1), seen.context(len(w))
        ahead = model.predict(context, many, w)
        named = model.named_logits(ahead, many).softmax(-1).gather(1, w[:, :1].long())[:, 0]
        if not c.in_support:
            named = torch.ones_like(named)
        net = model.read(ahead, many).net_height_m
        wins = model.win_probability(ahead, many, context)
        able = self._able[w[:, 0].long()]
        keep = _kept(log_prior, named, net, able, c)
        return Candidates(
            embeddings=_array(ahead[keep]),
            roots=_array(model.metric(ahead[keep], many[keep], w[keep, 0].long())),
            macro=_array(w[keep]),
            types=tuple(self.types[int(k)] for k in w[keep, 0]),
            target_xy_m=-_array(w[keep, 1:3]),
            log_prior=_array(log_prior[keep]),
            win=_array(wins[keep].clamp(1e-4, 1 - 1e-4)),
            named=_array(named[keep].clamp_min(1e-4)),
            net_height_m=_array(net[keep]),
            codes=_array(codes[keep]),
        )

    @torch.no_grad()
    def _late(self, chosen: Candidates) -> Candidates:
        """The chosen shot (one row) towards other places around its own; perhaps none."""
        c = self.config
        turn = 2.0 * np.pi * np.random.default_rng([self._seed, 2]).random()
        angle = turn + 2.0 * np.pi * np.arange(c.late) / c.late
        far_m = np.resize(c.late_m, c.late)[:, None]
        away = far_m * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        w = torch.from_numpy(np.repeat(chosen.macro, c.late, axis=0)).float()
        place = self._within(w[:, 1:3] + torch.from_numpy(away).float())
        far = (place - w[:, 1:3]).norm(dim=-1) > 0.7 * min(c.late_m)
        w = torch.cat([w[:, :1], place, w[:, 3:]], dim=-1)[far]
        if not len(w):
            return chosen.rows(np.zeros(0, dtype=np.int64))
        code = torch.from_numpy(chosen.codes).long().expand(len(w))
        found = self._weighed(self._seen, w, torch.zeros(len(w)), code)
        good = (found.net_height_m >= NET_M + c.net_margin_m) & (found.named >= c.name_floor)
        return found.rows(np.flatnonzero(good))

    def _scattered(self, w: Tensor) -> Tensor:
        """Macro-actions (C, 4) with their placements moved a little, still inside the margin."""
        noise = np.random.default_rng([self._seed, 1]).standard_normal((len(w), 2))
        place = w[:, 1:3] + self.config.scatter_m * torch.from_numpy(noise).float()
        return torch.cat([w[:, :1], self._within(place), w[:, 3:]], dim=-1)

    def _within(self, place: Tensor) -> Tensor:
        """Placements (C, 2) moved inside the margin."""
        c = self.config
        depth = place[:, :1].clamp(c.margin_m - HALF_LENGTH_M, -c.behind_net_m)
        wide = HALF_SINGLES_M - c.margin_m
        return torch.cat([depth, place[:, 1:].clamp(-wide, wide)], dim=-1)

    def _anywhere(self) -> Tensor:
        """Macro-actions (C, 4), uniform over types, the singles court and the tempos that there are."""
        rng = np.random.default_rng([self._seed, 2])
        kinds = self._kinds[torch.from_numpy(rng.integers(len(self._kinds), size=self.config.candidates))]
        tempo = self.model.codebook[:, 3]
        low = np.array([-HALF_LENGTH_M, -HALF_SINGLES_M, float(tempo.min())])
        high = np.array([0.0, HALF_SINGLES_M, float(tempo.max())])
        aim = torch.from_numpy(rng.uniform(low, high, (self.config.candidates, 3))).float()
        return torch.cat([kinds[:, None].float(), aim], dim=-1)

    @torch.no_grad()
    def called(self, s: Tensor, s_in: Tensor) -> Tensor:
        """Macro-actions (N, 4) that embeddings (N, D) say they are, in answer to s_in (N, D)."""
        read = self.model.read(s, s_in)
        kinds = self.model.named_logits(s, s_in).argmax(-1)
        return torch.cat([kinds[:, None].float(), read.landing_m, read.floor_s[:, None]], dim=-1)

    @torch.no_grad()
    def apart(self, window: Array, mask: Array, feet_xy_m: Array, macro: Array) -> float:
        """How far a macro-action (4,) is from the support: from the nearest one of its type that real players answer
        the window with, in units of AIM; inf if there is none. Beyond NEAR it is outside."""
        seen = self._see(window, mask, feet_xy_m)
        likely = self.model.code_log_prior(seen.context(1), seen.s_in)[0] >= np.log(self.config.prior_floor)
        w, codes = _row(macro), self.model.codebook
        gaps = ((codes[:, 1:] - w[:, 1:]) / AIM).norm(dim=-1)[likely & (codes[:, 0] == w[:, 0])]
        return float(gaps.min()) if len(gaps) else float("inf")

    def energies(self, candidates: Candidates, reach: Array) -> Array:
        """(C,) with the low level's energies (C,) and this stroke's draw of the mixed strategy."""
        return np.asarray(sum(self.terms(candidates, reach).values()))

    def terms(self, candidates: Candidates, reach: Array) -> dict[str, Array]:
        """The terms (C,) of that energy."""
        c = self.config
        rng = np.random.default_rng(self._seed)  # the same stroke, the same draw, whatever was played before
        noise = rng.gumbel(size=len(self._allowed))[candidates.codes.astype(np.int64)]
        return candidates.terms(c) | {"reach": c.reach * reach, "mixing": -c.mixing * noise}

    def tunable(self) -> dict[str, float]:
        """Weights of the decision by name."""
        return {name: getattr(self.config, name) for name in TUNABLE}

    def tune(self, values: dict[str, float]) -> None:
        """Other weights, from the next decision on."""
        check_weights(values, TUNABLE)
        changed: dict[str, Any] = dict(values)
        self.config = replace(self.config, **changed)

    def weighed(self) -> Weighed | None:
        """What the latest decision was between."""
        return self._told

    def choose(self, candidates: Candidates, reach: Array) -> int:
        """Index of the candidate of least energy."""
        return int(np.argmin(self.energies(candidates, reach)))

    def decide(self, observation: Observation, reachability: Reachability) -> Goal | None:
        """The goal, once enough of the flight has been seen; None before and after: the last goal stays in force."""
        if self._decided or int(observation.tracker_mask.sum()) < self.config.samples:
            return None
        found = self.candidates(*flight_window(observation, self.config.window), self.feet(observation))
        found = found.rows(np.argsort(self.energies(found, 0.0 * found.win), kind="stable")[: self.config.shortlist])
        terms = self.terms(found, reachability(found.embeddings, found.roots))
        energies = np.asarray(sum(terms.values()))
        i = int(np.argmin(energies))
        self._decided = True
        self._decisions += 1
        self._told = Weighed(self._decisions, "\n".join(found.types), found.target_xy_m, energies, **terms)
        return Goal(
            id=self._decisions,
            stamp_ns=observation.stamp_ns,
            start_ns=observation.stamp_ns + round(self.config.latency_s * NS),
            embedding=found.embeddings[i],
            root=found.roots[i],
            target_xy_m=found.target_xy_m[i],
            type=found.types[i],
            candidates=found.embeddings,
            energies=energies,
            **self._other_places(found.rows(np.array([i]))),
        )

    def _other_places(self, chosen: Candidates) -> dict[str, Array]:
        """Late goals of the chosen shot, as a Goal names them."""
        if not self.config.late:
            return {}
        late = self._late(chosen)
        return {"late": late.embeddings, "late_roots": late.roots, "late_xy_m": late.target_xy_m}


def flight_window(observation: Observation, slots: int = 40) -> tuple[Array, Array]:
    """The incoming flight from its first measured slot on: window (K, 3) and mask (K,), world frame."""
    first = int(np.argmax(observation.tracker_mask))
    seen = observation.tracker_xyz_m[first : first + slots]
    window, mask = np.zeros((slots, 3)), np.zeros(slots)
    window[: len(seen)] = seen
    mask[: len(seen)] = observation.tracker_mask[first : first + slots]
    return window, mask


def _inside(placement: Tensor, c: HighPlanConfig) -> Tensor:
    """(C,) True where a canonical placement (C, 2) of the codebook lies inside the opponent's singles court and behind
    the net; targets are moved further in, see `_scattered`."""
    depth, across = -placement[:, 0], placement[:, 1].abs()
    within = (depth <= HALF_LENGTH_M - USUAL_MARGIN_M) & (across <= HALF_SINGLES_M - USUAL_MARGIN_M)
    return within & (depth >= c.behind_net_m)


def _kept(log_prior: Tensor, named: Tensor, net_m: Tensor, able: Tensor, c: HighPlanConfig) -> Tensor:
    """(C,) True for candidates in the support that the robot can play, that pass the net and are what they are called;
    never none."""
    likely = log_prior >= np.log(c.prior_floor)
    over, true = net_m >= NET_M + c.net_margin_m, named >= c.name_floor
    for keep in (able & likely & over & true, able & likely & over, able & likely):
        if bool(keep.any()):
            return keep
    usual = log_prior.masked_fill(~able, -torch.inf) if bool(able.any()) else log_prior
    return usual >= usual.max()


def _row(x: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))[None]


def _array(x: Tensor) -> Array:
    return x.double().numpy()
