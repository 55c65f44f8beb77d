"""Trains the low level on paired swings and flights: prediction, anti-collapse, bridge, inverse dynamics, heads.

Legend: B batch, K window slots, F slots after the event, S joint samples after it, J joints, G goal space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hjepa.models.losses import SIGReg, effective_rank, vicreg
from hjepa.models.low import HEAD_SCALE, LowAction, LowFuture, LowInput, LowLevel
from hjepa.models.motor import MotorCodec
from hjepa.training.body import RacketKinematics
from hjepa.training.collect import BEFORE, Swings
from hjepa.training.pairs import Flights, Pairs
from hjepa.training.ranks import ALONE, Ranks, device_of, moved
from hjepa.types import Array

BABBLE_PART = 4  # one row of a batch in so many also babbles: the body has learned itself before
DELAY_SLOTS = 3  # slots younger than 25 ms have not arrived
OTHER_NOISE_M, OTHER_DELAY, OTHER_DROPOUT = 0.030, 6, 0.06  # at most, of a worse tracker
GAP_SLOTS = 5, 40  # for so long a shuttle is hidden: 50 to 400 ms
LEAST_SEEN = 5  # samples that no gap takes away


@dataclass(frozen=True)
class LowTraining:
    """Weights and length of the training. A weight of 0 switches a loss off (ablations)."""

    steps: int = 3000
    batch: int = 512
    rate: float = 2e-3
    noise_m: float = 0.010
    dropout: float = 0.02
    other_sensors: float = 0.25  # share of rows seen by a better or worse tracker
    hidden: float = 0.3  # share of rows whose shuttle is hidden for a while, half of them until now
    reuse: int = 4  # times that a batch is learned from: what the memory recalls of it is found once
    prediction: float = 1.0
    collapse: float = 0.02
    regulariser: str = "sigreg"  # or "vicreg", "none"
    stop_gradient: bool = False  # stop the prediction's gradient at the target
    bridge: float = 1.0
    bridge_shapes: bool = True  # the bridge's gradients shape the level (False: it is a read-out only)
    labelled: float = 1.0  # share of swings whose outcome is told in hindsight (bridge and heads)
    inverse: float = 0.1
    heads: float = 1.0
    heads_shape: bool = True  # heads' gradients shape the level (False: they are read-outs only)
    outcomes_shape: bool = True  # those of offset, landing, net and time; the own racket is observed
    tick: float = 0.05
    seed: int = 0


class Batch(NamedTuple):
    """One draw of training data."""

    now: LowInput
    action: LowAction
    future: LowFuture
    goal: Tensor  # (B, G) upper level's embedding of the stroke it turned out to be
    seen: Tensor  # (B,) 1 where enough of the future is visible to embed
    labels: dict[str, Tensor]
    contact: Tensor  # (B, 3 + 3 + 3) own racket at the event: centre, normal, velocity
    later: LowInput  # 80 ms on
    joints_q: Tensor  # (B, 4, J) commanded on the way, every 20 ms
    joints_dq: Tensor  # (B, 4, J)
    shuttle_at: Tensor  # (B, 3) tracker measurement at the event time
    shuttle_ok: Tensor  # (B,)
    context: Tensor  # (B, C) the world it happened in
    babble: Tensor  # (B / 4, M) latents far and near, never carried out
    babbled: Tensor  # (B / 4, 9) the racket the own body's kinematics give for them


class LowData:
    """Arrays a batch is drawn from. Split by flight and swing is made by the caller."""

    def __init__(
        self,
        swings: Swings,
        flights: Flights,
        pairs: Pairs,
        goals: Array,
        codec: MotorCodec,
        kinematics: RacketKinematics,
    ) -> None:
        self.swings, self.flights, self.pairs = swings, flights, pairs
        self.goals: NDArray[np.float32] = goals.astype(np.float32)
        self.path = np.nan_to_num(flights.x_m)
        self.airborne = np.isfinite(flights.x_m[..., 0])
        self.context = flights.context()
        self.codec, self.kinematics = codec, kinematics
        k = codec.config.arm_code
        latent = swings.latent[pairs.swing].copy()
        latent[:, k : k + 2] += pairs.shift_m / codec.xy_std.numpy()
        self.latent = latent.astype(np.float32)
        at = BEFORE
        q, dq = torch.tensor(swings.q_rad[:, at]), torch.tensor(swings.dq_rad_s[:, at])
        with torch.no_grad():
            self.racket = torch.cat(kinematics(q, dq), dim=-1).numpy()
        self.lot = np.random.default_rng(0).random(len(self.racket))  # which swings are labelled, if not all are

    def __len__(self) -> int:
        return len(self.pairs.swing)

    def draw(
        self,
        rows: NDArray[np.int64],
        rng: np.random.Generator,
        noise_m: float,
        dropout: float,
        to_go_s: Array | None = None,
        other_sensors: float = 0.0,
        labelled: float = 1.0,
        hidden: float = 0.0,
    ) -> Batch:
        """A batch for pair rows (B,): a random moment before the event, or `to_go_s` (B,) before it.

        labelled: share of swings whose outcome is known; of the others goal and labels are missing. hidden: share of
        rows with a gap in the tracker's window.
        """
        p, n = self.pairs, len(rows)
        sight = draw_sight(n, rng, noise_m, dropout, other_sensors)
        gaps = draw_gaps(n, rng, hidden)
        swing, flight, event = p.swing[rows], p.flight[rows], p.event_s[rows].astype(np.float64)
        longest = np.minimum(self.swings.samples[swing] / 100.0, event - 0.04)
        to_go = rng.uniform(0.03, np.maximum(longest, 0.06)) if to_go_s is None else np.minimum(to_go_s, longest)
        tick = np.maximum(np.round((event - to_go) * 100).astype(np.int64), 4)
        to_go = event - tick / 100.0
        now = self._input(flight, swing, rows, tick, to_go, rng, sight, gaps)
        later_tick = tick + 8
        later = self._input(flight, swing, rows, later_tick, to_go - 0.08, rng, sight, np.zeros_like(gaps))
        way = np.stack([self._joints(swing, rows, to_go - 0.02 * (h + 1)) for h in range(4)], axis=2)  # (2, B, 4, J)
        after = np.stack([self._joints(swing, rows, np.full(n, -0.1 * s)) for s in range(5)], axis=2)
        seen_at = event / 0.01
        k = np.clip(seen_at.astype(np.int64), 0, self.path.shape[1] - 2)
        f = (seen_at - k)[:, None]
        shuttle = self.path[flight, k] * (1 - f) + self.path[flight, k + 1] * f + noise_m * rng.normal(size=(n, 3))
        window = p.after_m[rows]
        mask = np.isfinite(window[..., 0]) & (rng.random(window.shape[:2]) > sight.dropout[:, None])
        window = np.nan_to_num(window + sight.noise_m[:, None, None] * rng.normal(size=window.shape)) * mask[..., None]
        labels = {
            "offset_m": p.offset_m[rows],
            "landing_m": p.landing_m[rows],
            "net_m": p.net_m[rows][:, None],
            "time_s": p.late_s[rows][:, None],
        }
        known = self.lot[swing] < labelled
        racket = self.racket[swing].copy()
        racket[:, :2] += p.shift_m[rows]

        def t(x: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))

        return Batch(
            now,
            LowAction(t(self.latent[rows]), t(to_go[:, None])),
            LowFuture(t(window), t(mask), t(after[0]), t(after[1])),
            t(self.goals[rows]),
            t((mask.sum(1) >= 6) & known),
            {k: t(np.where(known[:, None], v, np.nan)) for k, v in labels.items()},
            t(racket),
            later,
            t(way[0]),
            t(way[1]),
            t(shuttle),
            t(self.airborne[flight, k + 1]),
            t(self.context[flight]),
            *self.babble(rows[: n // BABBLE_PART], rng),
        )

    @torch.no_grad()
    def babble(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Motor babbling in the mind: latents around the recorded ones, and their rackets, so that a search cannot
        leave for latents whose racket the level has never been asked about."""
        spread = rng.choice([0.2, 0.5, 1.0], (len(rows), 1), p=[0.4, 0.4, 0.2])
        noise = (spread * rng.normal(size=(len(rows), self.latent.shape[1]))).astype(np.float32)
        m = torch.from_numpy(self.latent[rows] + noise)
        m = torch.minimum(torch.maximum(m, 1.2 * self.codec.low), 1.2 * self.codec.high)
        event = self.codec.decode(m)
        return m, torch.cat(self.kinematics(event.q_rad, event.dq_rad_s), dim=-1)

    def _joints(self, swing: NDArray[np.int32], rows: NDArray[np.int64], to_go: Array) -> Array:
        """Measured q and dq, shifted, `to_go` (B,) before the event: (2, B, J)."""
        x = np.clip(BEFORE - to_go * 100.0, 0, self.swings.q_rad.shape[1] - 1.001)
        k = x.astype(np.int64)
        f = (x - k)[:, None]
        q = self.swings.q_rad[swing, k] * (1 - f) + self.swings.q_rad[swing, k + 1] * f
        dq = self.swings.dq_rad_s[swing, k] * (1 - f) + self.swings.dq_rad_s[swing, k + 1] * f
        q[:, :2] += self.pairs.shift_m[rows]
        return np.stack([q, dq])

    def _input(
        self, flight: NDArray[np.int32], swing: NDArray[np.int32], rows: NDArray[np.int64], tick: NDArray[np.int64],
        to_go: Array, rng: np.random.Generator, sight: Sight, gaps: NDArray[np.bool_],
    ) -> LowInput:  # fmt: skip
        """Tracker window and joints at `tick` (10 ms) after the launch."""
        slots = tick[:, None] - np.arange(63, -1, -1)
        inside = (slots >= 0) & (np.arange(63, -1, -1) >= sight.delay[:, None])
        index = np.clip(slots, 0, self.path.shape[1] - 1)
        mask = inside & self.airborne[flight[:, None], index] & (rng.random(slots.shape) > sight.dropout[:, None])
        mask &= ~gaps | ((mask & ~gaps).sum(axis=1) < LEAST_SEEN)[:, None]
        noise = sight.noise_m[:, None, None].astype(np.float32) * rng.standard_normal((*slots.shape, 3), np.float32)
        window = self.path[flight[:, None], index] + noise
        q, dq = self._joints(swing, rows, to_go)
        arrays = (window * mask[..., None], mask, q, dq)
        return LowInput(*(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in arrays))


class Sight(NamedTuple):
    """The tracker of each row."""

    noise_m: Array  # (B,)
    dropout: Array  # (B,)
    delay: NDArray[np.int64]  # (B,) slots that have not arrived


def draw_sight(n: int, rng: np.random.Generator, noise_m: float, dropout: float, other: float) -> Sight:
    """The tracker as it is, in a share `other` of n rows a better or worse one."""
    worse = rng.random(n) < other
    return Sight(
        np.where(worse, rng.uniform(0.0, OTHER_NOISE_M, n), noise_m),
        np.where(worse, rng.uniform(0.0, OTHER_DROPOUT, n), dropout),
        np.where(worse, rng.integers(0, OTHER_DELAY + 1, n), DELAY_SLOTS),
    )


def draw_gaps(n: int, rng: np.random.Generator, share: float, window: int = 64) -> NDArray[np.bool_]:
    """(n, window) True where the shuttle is hidden: in a share of rows one stretch, in half of them until now."""
    length = rng.integers(GAP_SLOTS[0], GAP_SLOTS[1] + 1, n)
    end = np.where(rng.random(n) < 0.5, window, rng.integers(LEAST_SEEN, window + 1, n))
    slot = np.arange(window)
    inside = (slot >= (end - length)[:, None]) & (slot < end[:, None])
    return inside & (rng.random(n) < share)[:, None]


@cache
def _sigreg(device: torch.device) -> SIGReg:
    return SIGReg(directions=64).to(device)


def loss(
    level: LowLevel, b: Batch, c: LowTraining, generator: torch.Generator, root: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
    """Total loss and its parts. `root` (G, G): the upper level's metric, in which the bridge is measured too.

    Each term is a mean over rows, so that own rows do for one of several ranks, but for those against collapse.
    """
    z = level.in_context(level.encode(b.now), b.context)
    u = level.action(b.action.m)
    predicted = level.predictor(level.ahead(z, b.action.to_go_s), u, b.action.to_go_s)
    target = level.target(b.future)
    aim = target.detach() if c.stop_gradient else target
    parts = {"prediction": c.prediction * F.mse_loss(predicted, aim)}
    if c.regulariser == "sigreg" and c.collapse:
        parts["collapse"] = c.collapse * sum(
            _sigreg(target.device)(ranks.whole(e)[::2], generator) for e in (target, predicted)
        )
    elif c.regulariser == "vicreg" and c.collapse:
        parts["collapse"] = (
            c.collapse * torch.stack([t for e in (target, predicted) for t in vicreg(ranks.whole(e))]).sum()
        )
    if c.bridge:
        seen = b.seen[:, None]
        sides = (predicted, target) if c.bridge_shapes else (predicted.detach(), target.detach())
        ours, theirs = (_bridge(level.goal_of(e), b.goal, seen, root) for e in sides)
        parts["bridge"] = c.bridge * (ours + theirs)
    if c.inverse:
        parts["inverse"] = c.inverse * F.mse_loss(
            level.inverse(torch.cat([z[:, : level.config.state], target], dim=-1)), b.action.m
        )
    if c.heads:
        parts |= _heads(level, b, c, z, u, predicted, target)
    if c.tick:
        n = len(z) // 4  # a quarter of the batch is enough for a side loss
        ahead = level.rollout(z[:n], b.joints_q[:n], b.joints_dq[:n])[:, -1]
        with torch.no_grad():
            later = level.encoder.features(LowInput(*(part[:n] for part in b.later[:4])))[0]
        parts["tick"] = c.tick * F.smooth_l1_loss(ahead, later)
    total = torch.stack(list(parts.values())).sum()
    return total, {k: float(v.detach()) for k, v in parts.items()}


def _bridge(mapped: Tensor, goal: Tensor, seen: Tensor, root: Tensor | None) -> Tensor:
    """Distance in the upper latent, plainly and in its metric (what a goal determines counts more)."""
    plain = _robust(mapped, goal, seen)
    if root is None:
        return plain
    return 0.5 * plain + 0.5 * _robust((mapped - goal) @ root.T / 10.0, torch.zeros_like(goal), seen)


def _robust(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 with a knee at 0.05, so that centimetres keep counting once the bulk fits."""
    return (F.smooth_l1_loss(x, y, beta=0.05, reduction="none") * weight).mean() * 4.0


def _heads(
    level: LowLevel, b: Batch, c: LowTraining, z: Tensor, u: Tensor, predicted: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """Supervised read-outs: of the outcome on both sides, and of the own racket."""
    if not c.heads_shape:
        z, u, predicted, target = z.detach(), u.detach(), predicted.detach(), target.detach()
    if not c.outcomes_shape:
        predicted, target = predicted.detach(), target.detach()
    out: dict[str, Tensor] = {}
    for name, label in b.labels.items():
        ok = torch.isfinite(label).all(dim=-1, keepdim=True)
        y = torch.nan_to_num(label) / HEAD_SCALE[name]
        for side, e in (("", predicted), ("_target", target)):
            out[f"{name}{side}"] = 0.5 * c.heads * _robust(level.heads[name](e), y, ok)
    if c.heads_shape:
        out["racket"] = c.heads * (racket_error(u, b.contact) + racket_error(level.action(b.babble), b.babbled))
    return out


def racket_error(u: Tensor, racket: Tensor) -> Tensor:
    """Embedded action (B, 12) against a racket's centre, normal and velocity (B, 9)."""
    told = torch.cat([u[:, :3] / 0.1, u[:, 3:5] / 0.1, u[:, 6:9]], dim=-1)
    real = torch.cat([racket[:, :3] / 0.1, racket[:, 4:6] / 0.1, racket[:, 6:9]], dim=-1)
    return F.smooth_l1_loss(told, real, beta=0.1)


def forget_body(x: LowInput, generator: torch.Generator) -> LowInput:
    """Half the time another row's joints: the way to an event must not be guessed from where the arm happens to be."""
    keep = (torch.rand(len(x.q_rad), 1, generator=generator) < 0.5).float()
    other = torch.randperm(len(x.q_rad), generator=generator)
    return x._replace(
        q_rad=keep * x.q_rad + (1 - keep) * x.q_rad[other], dq_rad_s=keep * x.dq_rad_s + (1 - keep) * x.dq_rad_s[other]
    )


@torch.no_grad()
def probe(level: LowLevel, data: LowData, rows: NDArray[np.int64], seed: int = 0) -> dict[str, float]:
    """Held-out medians: offset, landing, net height, own racket, shuttle ahead, bridge, by time to go."""
    level.eval()
    rng = np.random.default_rng(seed)
    out: dict[str, float] = {}
    for to_go in (0.8, 0.4, 0.2, 0.1):
        b = moved(data.draw(rows, rng, 0.010, 0.02, np.full(len(rows), to_go)), device_of(level))
        z = level.in_context(level.encode(b.now), b.context)
        u = level.action(b.action.m)
        e = level.predictor(level.ahead(z, b.action.to_go_s), u, b.action.to_go_s)
        target = level.target(b.future)
        near = (b.labels["offset_m"].norm(dim=-1) < 0.25) & torch.isfinite(b.labels["landing_m"]).all(-1)
        hit = near & (b.labels["offset_m"].norm(dim=-1) < 0.1)
        read, seen = level.read(e), level.read(target)
        tag = f"@{to_go}"
        out["offset_m" + tag] = float((read["offset_m"] - b.labels["offset_m"])[near].norm(dim=-1).median())
        out["landing_m" + tag] = float((read["landing_m"] - b.labels["landing_m"])[hit].norm(dim=-1).median())
        out["goal" + tag] = float((level.goal_of(e) - b.goal)[hit].norm(dim=-1).median())
        ahead = level.ahead(z, b.action.to_go_s)[:, :3]
        ok = b.shuttle_ok > 0
        out["shuttle_m" + tag] = float((ahead - b.shuttle_at)[ok].norm(dim=-1).median())
        if to_go == 0.4:
            out["target_offset_m"] = float((seen["offset_m"] - b.labels["offset_m"])[near].norm(dim=-1).median())
            out["target_landing_m"] = float((seen["landing_m"] - b.labels["landing_m"])[hit].norm(dim=-1).median())
            net = torch.isfinite(b.labels["net_m"][:, 0])
            out["target_net_m"] = float((seen["net_m"] - b.labels["net_m"])[net].abs().median())
            out["target_time_s"] = float((seen["time_s"] - b.labels["time_s"]).abs().median())
            out["target_goal"] = float((level.goal_of(target) - b.goal)[hit].norm(dim=-1).median())
            told = level.action(b.babble)
            out["babble_m"] = float((told[:, :3] - b.babbled[:, :3]).norm(dim=-1).median())
            out["racket_m"] = float((u[:, :3] - b.contact[:, :3]).norm(dim=-1).median())
            out["racket_normal_deg"] = float(torch.rad2deg((u[:, 3:5] - b.contact[:, 4:6]).norm(dim=-1).median()))
            out["racket_speed_m_s"] = float((u[:, 6:9] - b.contact[:, 6:9]).norm(dim=-1).median())
            out["rank"] = float(effective_rank(target))
    level.train()
    return out
