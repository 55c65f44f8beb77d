"""The high level: one step is a stroke. s = E(window) | s' = P(context, s, w) | w = I(s, s') | readings R(s) | reply.

Every stroke is seen in its own canonical frame: the hitter at x > 0, the shuttle flies towards x < 0; world metres.
The macro-action w is four readable numbers: type index (0-9, -1 unknown), placement x, y (where the flight falls if
nobody hits it) and tempo (s to the floor). Positions, landing and time are read linearly from s, so that a straight
line in s is nearly a straight line on the court. Legend: B batch, K window slots, D embedding, C codebook, R replies.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjepa.models.checkpoint import load, load_module, save
from hjepa.models.layers import ConditionedMLP, GatedMLP, WindowFit, clean_mask

TYPES = 10
SAMPLE_S = 0.01
GOAL_TOLERANCE = {"landing_x": 0.1, "landing_y": 0.1, "floor_s": 0.4}  # m, m, s: what costs 1/2; set on validation
NAME_TOLERANCE = 3.0  # log-odds of the type
READINGS = ("landing_x", "landing_y", "floor_s", "apex", "net_height", "hit_x", "hit_y", "hit_z", "log_speed")


@dataclass(frozen=True)
class HighConfig:
    """Sizes of the high level."""

    latent: int = 16  # D
    width: int = 128
    depth: int = 3
    window: int = 40  # K
    early: int = 12  # samples of the second, shorter fit; 0: none
    action: int = 6
    codes: int = 96  # C
    replies: int = 8  # R


class Reading(NamedTuple):
    """What an embedding says of its stroke (probes and costs)."""

    landing_m: Tensor  # (B, 2) floor point if nobody hits it
    floor_s: Tensor  # (B,) from the hit to the floor
    apex_m: Tensor  # (B,)
    net_height_m: Tensor  # (B,) height above the floor over x = 0
    hit_m: Tensor  # (B, 3)
    speed_m_s: Tensor  # (B,) at the launch
    type_logits: Tensor  # (B, 10)


class Context(NamedTuple):
    """What is known before a stroke, in that stroke's canonical frame. Unknown rows hold zeros and known = 0."""

    hitter_m: Tensor  # (B, 2) where the hitter stood when the incoming stroke was played
    receiver_m: Tensor  # (B, 2)
    before: Tensor  # (B, D) embedding of the stroke before the incoming one
    known: Tensor  # (B, 4) 1 or 0 for: hitter, receiver, before, incoming stroke


class Reply(NamedTuple):
    """The opponent's answers, one for each value of the discrete latent."""

    embedding: Tensor  # (B, R, D)
    log_prior: Tensor  # (B, R)


def canonical(window: Tensor) -> Tensor:
    """Turn points (..., 3) or floor points (..., 2) by 180 degrees about z: a robot's stroke, as if hit from x > 0."""
    sign = torch.tensor([-1.0, -1.0, 1.0], dtype=window.dtype, device=window.device)
    return window * sign[: window.shape[-1]]


class StrokeEncoder(nn.Module):
    """E: the first 6 to 40 tracker samples after a hit, 10 ms apart -> s (B, D), about unit variance per dimension."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: HighConfig) -> None:
        super().__init__()
        self.config = config
        times = torch.arange(config.window) * SAMPLE_S
        self.fit = WindowFit(times, degree=4)
        if config.early:
            self.early = WindowFit(times[: config.early], degree=2)  # the same however much of the window is seen
        fitted = 15 + 9 * bool(config.early)
        inputs = fitted + 3 * config.window + config.window
        self.body = GatedMLP(inputs, config.width, config.depth, config.latent)
        self.project = nn.BatchNorm1d(config.latent, affine=False, momentum=0.02)
        self.register_buffer("mean", torch.zeros(fitted))
        self.register_buffer("scale", torch.ones(fitted))

    def coefficients(self, window: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (B, 24) of both fits, and the residuals (B, K, 3) of the first."""
        seen = window * kept[..., None]
        whole, residual = self.fit(seen, kept)
        if not self.config.early:
            return whole.flatten(1), residual
        early, _ = self.early(seen[:, : self.config.early], kept[:, : self.config.early])
        return torch.cat([whole.flatten(1), early.flatten(1)], dim=-1), residual

    def features(self, window: Tensor, mask: Tensor) -> Tensor:
        """(B, K, 3), (B, K) -> (B, F): standardised polynomial coefficients, residuals in units of 2 cm, mask."""
        kept = clean_mask(window, mask)
        coefficients, residual = self.coefficients(window, kept)
        flat = (coefficients - self.mean) / self.scale
        return torch.cat([flat.clamp(-8, 8), (residual * 50).flatten(1).clamp(-8, 8), kept], dim=-1)

    def forward(self, window: Tensor, mask: Tensor) -> Tensor:
        return self.project(self.body(self.features(window, mask)))


class ActionEncoder(nn.Module):
    """A: w (B, 4) -> (B, 6). Placement and tempo enter linearly, the type by an embedding (index 10: unknown)."""

    def __init__(self, config: HighConfig) -> None:
        super().__init__()
        self.kind = nn.Embedding(TYPES + 1, 8)
        self.linear = nn.Linear(3 + 8, config.action)
        self.bend = GatedMLP(3 + 8, 48, 1, config.action)

    def forward(self, w: Tensor) -> Tensor:
        index = w[:, 0].round().long()
        kind = self.kind(torch.where(index < 0, TYPES, index))
        x = torch.cat([scale_aim(w[:, 1:]), kind], dim=-1)
        return self.linear(x) + 0.1 * self.bend(x)


def scale_aim(aim: Tensor) -> Tensor:
    """Placement and tempo (B, 3) in m, m, s to about unit scale."""
    return (aim - aim.new_tensor([-4.0, 0.0, 1.2])) / aim.new_tensor([2.0, 1.7, 0.4])


def unscale_aim(aim: Tensor) -> Tensor:
    """Inverse of scale_aim."""
    return aim * aim.new_tensor([2.0, 1.7, 0.4]) + aim.new_tensor([-4.0, 0.0, 1.2])


class HighModel(nn.Module):
    """Encoder, predictor, inverse dynamics and heads of the high level; `precision` weighs the goal energy."""

    read_mean: Tensor
    read_scale: Tensor
    precision: Tensor
    codebook: Tensor

    def __init__(self, config: HighConfig) -> None:
        super().__init__()
        self.config = c = config
        context = 4 + c.latent + 4  # positions, stroke before, what is known
        self.encoder = StrokeEncoder(c)
        self.action = ActionEncoder(c)
        self.predictor = ConditionedMLP(c.latent + context, c.action, c.width, c.depth, c.latent)
        self.inverse = GatedMLP(2 * c.latent, 64, 2, 3 + TYPES)
        self.read_linear = nn.Linear(c.latent, len(READINGS))
        self.read_type = GatedMLP(2 * c.latent + 1, 64, 2, TYPES)
        self.named = GatedMLP(2 * c.latent + 1, 64, 2, TYPES)
        self.prior = GatedMLP(c.latent + context, 96, 2, c.codes)
        self.reply = GatedMLP(c.latent + 4 + 4, 96, 2, c.replies * (c.latent + 1))
        self.value = GatedMLP(2 * c.latent + 1, 64, 2, 1)
        self.ending = GatedMLP(c.latent + 4 + 4, 64, 2, 2)
        self.register_buffer("read_mean", torch.zeros(len(READINGS)))
        self.register_buffer("read_scale", torch.ones(len(READINGS)))
        self.register_buffer("precision", torch.eye(c.latent))
        self.register_buffer("codebook", torch.zeros(c.codes, 4))

    def encode(self, window: Tensor, mask: Tensor) -> Tensor:
        """Canonical window (B, K, 3) and mask (B, K) -> s (B, D)."""
        return self.encoder(window, mask)

    def predict(self, context: Context, s_in: Tensor, w: Tensor) -> Tensor:
        """Embedding (B, D) of the stroke that will be played when w (B, 4) answers the incoming stroke s_in (B, D)."""
        return self.predictor(self._situation(context, s_in), self.action(w))

    def read(self, s: Tensor, s_in: Tensor | None = None) -> Reading:
        """Readings of s (B, D); the type is told better with the stroke it answers."""
        y = self.readings(s) * self.read_scale + self.read_mean
        logits = self.type_logits(s, s_in)
        return Reading(y[:, 0:2], y[:, 2], y[:, 3], y[:, 4], y[:, 5:8], y[:, 8].exp(), logits)

    def readings(self, s: Tensor) -> Tensor:
        """Standardised readings (B, len(READINGS)), linear in s (B, D)."""
        return self.read_linear(s)

    def type_logits(self, s: Tensor, s_in: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """(B, 10); s_in None, or known (B,) 0: a service, or a stroke whose predecessor nobody saw."""
        return self.read_type(_pair(s, s_in, known))

    def named_logits(self, s: Tensor, s_in: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """(B, 10): what the frozen shot-type classifier would call this stroke (it never reads the hit height)."""
        return self.named(_pair(s, s_in, known))

    def infer(self, s_in: Tensor, s: Tensor) -> Tensor:
        """Inverse dynamics (B, 3 + 10): scaled placement and tempo, type logits."""
        return self.inverse(torch.cat([s_in, s], dim=-1))

    def code_log_prior(self, context: Context, s_in: Tensor) -> Tensor:
        """log p(code | situation) (B, C): which macro-actions real players answer with here."""
        return F.log_softmax(self.prior(self._situation(context, s_in)), dim=-1)

    def context(
        self,
        batch: int = 1,
        hitter_m: Tensor | None = None,
        receiver_m: Tensor | None = None,
        before: Tensor | None = None,
    ) -> Context:
        """A context (B, ...) of what is known (feet (B, 2), canonical; before (B, D)) besides the incoming stroke."""
        known = torch.tensor([[hitter_m is not None, receiver_m is not None, before is not None, True]]).float()
        two, latent = torch.zeros(batch, 2), torch.zeros(batch, self.config.latent)
        parts = (two if hitter_m is None else hitter_m, two if receiver_m is None else receiver_m)
        return Context(*parts, latent if before is None else before, known.expand(batch, -1))

    def metric(self, s: Tensor, s_in: Tensor | None = None, kind: Tensor | None = None) -> Tensor:
        """Root (B, D, D) of the goal energy 1/2 |root (s' - s)|^2: goals s (B, D) are compared by what they determine.

        A shot determines where, and less sharply when, the shuttle comes down, and what it is called: landing and time
        to the floor are read linearly, the log-odds of the type `kind` (B,) (-1: of none) are linear near s. The full
        inverse covariance also weighed directions that the goal leaves open (docs/log.md, Gate B).
        """
        root = s.new_zeros(len(s), self.config.latent, self.config.latent)
        rows = self.read_linear.weight * self.read_scale[:, None]  # readings per unit of s
        for k, (name, tolerance) in enumerate(GOAL_TOLERANCE.items()):
            root[:, k] = rows[READINGS.index(name)].detach() / tolerance
        if kind is None:
            return root
        with torch.enable_grad():
            at = s.detach().requires_grad_(True)
            logits, index = self.named_logits(at, s_in), kind.clamp(min=0)[:, None]
            ours, others = logits.gather(1, index)[:, 0], logits.scatter(1, index, -torch.inf)
            (slope,) = torch.autograd.grad((ours - others.logsumexp(dim=1)).sum(), at)
        root[:, len(GOAL_TOLERANCE)] = slope * (kind >= 0)[:, None] / NAME_TOLERANCE
        return root

    def win_probability(self, s: Tensor, s_in: Tensor, context: Context) -> Tensor:
        """(B,) that the hitter of s (B, D) wins the rally: it ends here, or the opponent replies and does not win.

        p(end) p(win | end) + (1 - p(end)) sum_r p(reply r) (1 - p(the opponent wins | reply r))
        """
        over, by_hitter = self.ends(s, context)
        reply = self.replies(s, context)
        count = reply.embedding.shape[1]
        theirs = self.win_logit(reply.embedding.flatten(0, 1), s.repeat_interleave(count, 0)).unflatten(0, (-1, count))
        after = (reply.log_prior.exp() * torch.sigmoid(-theirs)).sum(-1)
        return torch.lerp(after, torch.sigmoid(by_hitter), torch.sigmoid(over))

    def replies(self, s: Tensor, context: Context) -> Reply:
        """The opponent's answers to s (B, D)."""
        out = self.reply(_with_positions(s, context)).unflatten(-1, (self.config.replies, -1))  # (B, R, D + 1)
        return Reply(out[..., 1:], F.log_softmax(out[..., 0], dim=-1))

    def reply_types(self, s: Tensor, context: Context) -> Tensor:
        """Probabilities (B, 10) of the type of the opponent's answer to s (B, D)."""
        reply = self.replies(s, context)
        count = reply.embedding.shape[1]
        kinds = self.type_logits(reply.embedding.flatten(0, 1), s.repeat_interleave(count, 0)).softmax(-1)
        return (reply.log_prior.exp()[..., None] * kinds.unflatten(0, (-1, count))).sum(1)

    def win_logit(self, s: Tensor, s_in: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Logit (B,) that the hitter of s wins the rally."""
        return self.value(_pair(s, s_in, known))[:, 0]

    def ends(self, s: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Logits (B,), (B,): the rally ends with s; if it does, its hitter wins."""
        out = self.ending(_with_positions(s, context))
        return out[:, 0], out[:, 1]

    def goal_energy(self, s: Tensor, goal: Tensor) -> Tensor:
        """(s - g)^T precision (s - g) for (..., D)."""
        gap = s - goal
        return ((gap @ self.precision) * gap).sum(-1)

    def _situation(self, context: Context, s_in: Tensor) -> Tensor:
        place = torch.cat([context.hitter_m / 3.0, context.receiver_m / 3.0], dim=-1)
        k = context.known
        spread = torch.cat([k[:, :1].expand(-1, 2), k[:, 1:2].expand(-1, 2)], dim=-1)
        return torch.cat([s_in * k[:, 3:], place * spread, context.before * k[:, 2:3], k], dim=-1)


def _pair(s: Tensor, s_in: Tensor | None, known: Tensor | None) -> Tensor:
    if s_in is None:
        return torch.cat([s, torch.zeros_like(s), s.new_zeros(len(s), 1)], dim=-1)
    some = s.new_ones(len(s), 1) if known is None else known[:, None]
    return torch.cat([s, s_in * some, some], dim=-1)


def _with_positions(s: Tensor, context: Context) -> Tensor:
    k = context.known
    place = torch.cat([context.hitter_m * k[:, :1], context.receiver_m * k[:, 1:2]], dim=-1) / 3.0
    return torch.cat([s, place, k], dim=-1)


def save_high(path: Path, model: HighModel, header: dict[str, Any]) -> None:
    """Write a high level whole or not at all."""
    save(path, {f"high.{k}": v for k, v in model.state_dict().items()}, header | {"high": asdict(model.config)})


def load_high(path: Path) -> HighModel:
    """A frozen high level; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = load(path)
    model = HighModel(HighConfig(**header["high"]))
    load_module(model, tensors, "high")
    return model.eval().requires_grad_(False)
