"""The low level: what the arm sees, does and expects. A stroke ends at an event (contact, or the plane crossing).

    z = encoder(tracker window, mask, joints | c)      what is known now, shuttle and own body; c: the slow context
    u = action(m, time to go)                           a motor latent, embedded
    e^ = predictor(z, u)                                embedding of what will follow the event
    e = target(tracker and joints for 0.4 s after it)   embedding of what did follow
    U(e), U(e^)                                         bridge into the upper level's stroke embedding: goals live there

Everything is read off observations; no flight, impact or kinematic model is inside. The context c stands for what no
window shows before contact (how the strings rebound) or shows badly (drag); training varies both, and the planner finds
c from how past strokes came out (planning/context.py). Legend: B batch, K window slots, F slots after the event,
S joint samples after it, J joints, M motor latent, D latent, C context, E outcome embedding, G goal space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hjepa.errors import WeightsError
from hjepa.models import checkpoint
from hjepa.models.flight import FlightMemory, recalled_size
from hjepa.models.layers import GatedMLP, WindowFit, clean_mask
from hjepa.models.motor import ContactEvent, MotorCodec, MotorConfig
from hjepa.models.proposal import Proposal

SLOT_S = 0.01
POSE = 5  # numbers of z that place it on the court: position now (3), cosine and sine of the heading


@dataclass(frozen=True)
class LowConfig:
    """Sizes of the low level."""

    window: int = 64  # K
    future: int = 40  # F: 0.4 s
    joint_samples: int = 5  # S, 0.1 s apart
    joints: int = 8
    latent: int = 96  # D
    outcome: int = 32  # E
    goal: int = 16  # G
    context: int = 2  # C
    width: int = 144
    depth: int = 3

    @property
    def state(self) -> int:
        """Size of z's first part: features, context, and where on the court the shuttle is."""
        return self.latent + self.context + POSE

    @property
    def whole(self) -> int:
        """Size of z: the state, what is recalled of the flight (R, see models.flight), and the own joints."""
        return self.state + recalled_size(self.context) + 2 * self.joints


class LowInput(NamedTuple):
    """What the agent sees now."""

    window_m: Tensor  # (B, K, 3) tracker, world, oldest first, zeros where masked
    mask: Tensor  # (B, K) 1 where measured
    q_rad: Tensor  # (B, J)
    dq_rad_s: Tensor  # (B, J)
    recalled: Tensor | None = None  # (B, R) of the flight, if the memory has been asked before


class LowAction(NamedTuple):
    """A motor latent and when its event comes."""

    m: Tensor  # (B, M)
    to_go_s: Tensor  # (B, 1)


class LowFuture(NamedTuple):
    """What is observed from the event on."""

    window_m: Tensor  # (B, F, 3) tracker, world
    mask: Tensor  # (B, F)
    q_rad: Tensor  # (B, S, J)
    dq_rad_s: Tensor  # (B, S, J)


FITS = ((1, 9.0), (2, 9.0), (3, 9.0), (2, 0.30), (2, 0.16))  # degree, span in s of each smooth fit to the window


class ShuttleEncoder(nn.Module):
    """Tracker window and joints -> z (B, Z): features in the shuttle's own frame, its place, what is recalled, joints.

    Z = Z + R + 2 J. The context's place holds zeros, the nominal world, until `in_context` fills it.

    Flight looks the same from anywhere and in any direction, so the window is moved to the fitted position at `now` and
    turned about the vertical into the fitted heading before it is encoded.
    """

    age: Tensor
    recent: Tensor
    scale: Tensor

    def __init__(self, c: LowConfig) -> None:
        super().__init__()
        times = -torch.arange(c.window - 1, -1, -1, dtype=torch.float32) * SLOT_S
        # few samples want a low degree, many a high one; what is near wants the latest samples alone
        self.fits = nn.ModuleList(WindowFit(times, degree=k) for k, _ in FITS)
        self.register_buffer("recent", torch.stack([(-times < span).float() for _, span in FITS]))
        self.register_buffer("age", -times)
        inputs = 3 * sum(k for k, _ in FITS) + 3 * (len(FITS) - 1) + 4 * c.window + 3 + 2 * c.joints
        self.net = GatedMLP(inputs, c.width, c.depth, c.latent)
        self.register_buffer("scale", torch.tensor([1.0, 5.0, 3.0, 2.0])[:, None])
        self.joint_scale = 5.0
        self.context = c.context
        self.memory = FlightMemory(c.window, c.context, SLOT_S)

    def forward(self, x: LowInput) -> Tensor:
        """(B, Z). The memory learns by itself, from flights alone."""
        with torch.no_grad():
            recalled = self.memory.recall(x.window_m, x.mask) if x.recalled is None else x.recalled
        window, mask = self.memory.filled(x.window_m, x.mask, recalled)
        features, now, heading = self.features(x._replace(window_m=window, mask=mask))
        nominal = now.new_zeros(len(now), self.context)
        own = x.q_rad, x.dq_rad_s / self.joint_scale
        return torch.cat([features, nominal, now, heading, recalled, *own], dim=-1)

    def features(self, x: LowInput) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, D), and the shuttle's place (B, 3) and heading (B, 2) in whose frame they are."""
        fitted = [fit(x.window_m, x.mask * r)[0] for fit, r in zip(self.fits, self.recent, strict=True)]
        now = fitted[1][:, 0]
        heading = torch.nn.functional.normalize(fitted[0][:, 1, :2], dim=-1, eps=1e-3)
        turned = [_turn(c, heading, -1.0) for c in fitted]
        smooth = self.fits[1].basis @ fitted[1]
        residual = _turn((x.window_m - smooth) * x.mask[..., None], heading, -1.0)
        oldest = (x.mask * self.age).amax(dim=-1, keepdim=True)
        newest = torch.where(x.mask > 0, self.age, 9.0).amin(dim=-1, keepdim=True).clamp(max=1.0)
        features = [
            *((c[:, 1:] / self.scale[1 : c.shape[1]]).flatten(1).clamp(-6.0, 6.0) for c in turned),
            *((c[:, 0] - turned[1][:, 0]).clamp(-0.6, 0.6) / 0.1 for c in (turned[0], *turned[2:])),
            (residual / 0.03).clamp(-4.0, 4.0).flatten(1),
            x.mask,
            oldest,
            newest,
            now[:, 2:] / 2.0,
            x.q_rad,
            x.dq_rad_s / self.joint_scale,
        ]
        return self.net(torch.cat(features, dim=-1)), now, heading


def _turn(v: Tensor, heading: Tensor, sign: float) -> Tensor:
    """Vectors (B, ..., 3) turned about z by the heading (B, 2) = (cos, sin), or back (sign -1)."""
    shape = (-1,) + (1,) * (v.ndim - 2)
    c, s = heading[:, 0].view(shape), sign * heading[:, 1].view(shape)
    return torch.stack([c * v[..., 0] - s * v[..., 1], s * v[..., 0] + c * v[..., 1], v[..., 2]], dim=-1)


class ShuttleAhead(nn.Module):
    """z's features and a time to go -> what is expected of the shuttle then, beside its place (B, 45): free numbers."""

    def __init__(self, c: LowConfig) -> None:
        super().__init__()
        self.net = GatedMLP(c.latent + c.context + 4, 112, 2, 48)

    def forward(self, known: Tensor, heading: Tensor, to_go_s: Tensor) -> Tensor:
        """Features and context (B, D + C), heading (B, 2), time (B, 1)."""
        t = to_go_s
        out = self.net(torch.cat([known, t, t * t, torch.exp(-t / 0.15), torch.exp(-t / 0.6)], dim=-1))
        # the first three were the place, which the memory knows better: the width is that of the shipped weights
        return torch.cat([_turn(10.0 * out[:, 3:6], heading, 1.0), out[:, 6:]], dim=-1)


class MotorAction(nn.Module):
    """Embeds a motor latent as the racket it will bring: 12 numbers, nothing that the predictor could misread.

    The codec's linear read-out plus a learned correction; three numbers are free.
    """

    SIZE = 12
    correction: Tensor

    def __init__(self, codec: MotorCodec) -> None:
        super().__init__()
        self.codec = codec
        self.net = GatedMLP(codec.config.latent + 26, 160, 3, self.SIZE)
        self.register_buffer("correction", torch.tensor([0.05, 0.05, 0.1, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))

    def forward(self, m: Tensor, event: ContactEvent | None = None) -> Tensor:
        """(B, 12): contact point (3), face normal y, z and a spare, velocity (3), free (3). event: decode(m)."""
        event = self.codec.decode(m) if event is None else event
        contact = m[:, -3:-1] * self.codec.xy_std + self.codec.xy_mean
        arm = event.q_rad[:, 2:]
        offset = contact - event.q_rad[:, :2]
        dq = event.dq_rad_s
        body = torch.cat([torch.sin(arm), torch.cos(arm), offset, dq / 5.0, dq[:, :4] / 2.0], dim=-1)
        read = self.codec.read_racket(m)
        zero = torch.zeros_like(read[:, :1])
        plain = torch.cat([read[:, :3], read[:, 3:5], zero, read[:, 5:], zero, zero, zero], dim=-1)
        code = torch.cat([m[:, :-3], torch.zeros_like(m[:, -3:-1]), m[:, -1:]], dim=-1)  # not where on the court
        return plain + self.net(torch.cat([code, body], dim=-1)) * self.correction


class EventPredictor(nn.Module):
    """(shuttle ahead, u, time to go) -> outcome embedding; geometry enters as shuttle relative to racket."""

    def __init__(self, c: LowConfig) -> None:
        super().__init__()
        self.ahead = ShuttleAhead(c)
        self.net = GatedMLP(3 + 3 + 3 + 3 + 9 + 42 + c.context + 1, c.width, c.depth, c.outcome)

    def forward(self, shuttle: Tensor, u: Tensor, to_go_s: Tensor) -> Tensor:
        """The shuttle ahead (B, 48 + C) and the action (B, 12) -> outcome (B, E)."""
        relative = shuttle[:, :3] - u[:, :3]
        geometry = [
            relative / 0.1,
            torch.tanh(relative / 0.5),
            shuttle[:, 3:6] / 10.0,
            u[:, :3] / 3.0,
            u[:, 3:6],
            u[:, 6:9] / 5.0,
            u[:, 9:],
            shuttle[:, 6:],
            to_go_s,
        ]
        return self.net(torch.cat(geometry, dim=-1))


class FutureEncoder(nn.Module):
    """The observed future -> e (B, E), unit variance per number by a BatchNorm projector."""

    scale: Tensor

    def __init__(self, c: LowConfig) -> None:
        super().__init__()
        self.fit = WindowFit(torch.arange(c.future, dtype=torch.float32) * SLOT_S, degree=4)
        self.register_buffer("scale", torch.tensor([3.0, 5.0, 3.0, 2.0, 2.0])[:, None])
        inputs = 15 + 3 + 3 * c.future + c.future + 2 * c.joint_samples * c.joints + 12
        self.net = GatedMLP(inputs, c.width, c.depth, c.outcome)
        self.project = nn.BatchNorm1d(c.outcome, affine=False)

    def forward(self, x: LowFuture) -> Tensor:
        coefficients, residual = self.fit(x.window_m, x.mask)
        arm = x.q_rad[:, 0, 2:]
        relative = coefficients[:, 0, :] - torch.nn.functional.pad(x.q_rad[:, 0, :2], (0, 1))
        features = [
            (coefficients / self.scale).flatten(1),
            relative,
            (residual / 0.02).clamp(-4.0, 4.0).flatten(1),
            x.mask,
            x.q_rad.flatten(1),
            x.dq_rad_s.flatten(1) / 5.0,
            torch.sin(arm),
            torch.cos(arm),
        ]
        return self.project(self.net(torch.cat(features, dim=-1)))


HEADS = {"offset_m": 2, "landing_m": 2, "net_m": 1, "time_s": 1}
HEAD_SCALE = {"offset_m": 0.1, "landing_m": 2.0, "net_m": 1.0, "time_s": 0.02}


class LowLevel(nn.Module):
    """All parts of the low level. Verbs: encode, predict, rollout, and `goal_of` (the bridge)."""

    def __init__(self, config: LowConfig, codec: MotorCodec) -> None:
        super().__init__()
        c = self.config = config
        self.encoder = ShuttleEncoder(c)
        self.action = MotorAction(codec)
        self.predictor = EventPredictor(c)
        self.target = FutureEncoder(c)
        self.bridge = GatedMLP(c.outcome, 96, 1, c.goal)
        self.inverse = GatedMLP(c.state + c.outcome, 128, 1, codec.config.latent)
        self.heads = nn.ModuleDict({k: GatedMLP(c.outcome, 64, 1, n) for k, n in HEADS.items()})
        self.tick = GatedMLP(c.latent + 2 * c.joints, 128, 1, c.latent)

    @property
    def codec(self) -> MotorCodec:
        """The frozen motor codec."""
        return self.action.codec

    def encode(self, x: LowInput) -> Tensor:
        """Observation -> z (B, Z) in the nominal world."""
        return self.encoder(x)

    def in_context(self, z: Tensor, context: Tensor) -> Tensor:
        """z with a context (B or 1, C) in its place."""
        k, c = self.config.latent, self.config.context
        return torch.cat([z[:, :k], context.expand(len(z), -1), z[:, k + c :]], dim=-1)

    def context_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What the flight by itself says of the context, and its doubt (B, C), in units of the prior's spread."""
        c = self.config
        first = c.state + 6 + 6 * c.context
        return z[:, first : first + c.context], z[:, first + c.context : first + 2 * c.context]

    def scatter(self, window_m: Tensor, mask: Tensor) -> Tensor:
        """How far samples (B, K, 3), mask (B, K), lie off the free flight that explains them best, per axis (B,), m."""
        return self.encoder.memory(window_m, mask).residual_m

    def see(self, window_m: Tensor, mask: Tensor, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        """`encode` with the observation's parts given apart."""
        return self.encode(LowInput(window_m, mask, q_rad, dq_rad_s))

    def see_after(self, window_m: Tensor, mask: Tensor, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        """Target encoder: what was observed from the event on, (B, F, 3), (B, F), (B, S, J) twice -> outcome (B, E)."""
        mask = clean_mask(window_m, mask)  # nothing from the net or the floor on
        return self.target(LowFuture(window_m * mask[..., None], mask, q_rad, dq_rad_s))

    def predict(self, z: Tensor, a: LowAction) -> Tensor:
        """Outcome embedding (B, E) expected if the latent is carried out."""
        return self.predictor(self.ahead(z, a.to_go_s), self.action(a.m), a.to_go_s)

    def ahead(self, z: Tensor, to_go_s: Tensor) -> Tensor:
        """Where the shuttle will be in z's context if nothing meets it, and what is expected of it then: position (m),
        velocity, free numbers, context (B, 48 + C). The position is recalled, and carried on by the learned flight."""
        c = self.config
        known, pose = z[:, : c.latent + c.context], z[:, c.latent + c.context : c.state]
        recalled = z[:, c.state : c.state + recalled_size(c.context)]
        context = known[:, c.latent :]
        where = self.encoder.memory.where(recalled, context, to_go_s)
        return torch.cat([where, self.predictor.ahead(known, pose[:, 3:], to_go_s), context], dim=-1)

    def foresee(
        self, z: Tensor, m: Tensor, to_go_s: Tensor, event: ContactEvent | None = None
    ) -> tuple[Tensor, Tensor]:
        """`predict` for search: the outcome embedding (B, E), and the contact gap (B, 3). event: decode(m), if known.

        The gap is the shuttle minus the racket's centre at the event, both predicted: it leads a search from afar.
        """
        u, shuttle = self.action(m, event), self.ahead(z, to_go_s)
        return self.predictor(shuttle, u, to_go_s), shuttle[:, :3] - u[:, :3]

    def rollout(self, z: Tensor, q_rad: Tensor, dq_rad_s: Tensor) -> Tensor:
        """Tick predictor, 20 ms a step: z (B, Z) and commanded joints (B, H, J) -> features (B, H, D)."""
        features, out = z[:, : self.config.latent], []
        for h in range(q_rad.shape[1]):
            step = torch.cat([features, q_rad[:, h], dq_rad_s[:, h] / 5.0], dim=-1)
            features = features + self.tick(step)
            out.append(features)
        return torch.stack(out, dim=1)

    def goal_of(self, outcome: Tensor) -> Tensor:
        """Bridge: outcome embedding (B, E) -> the upper level's stroke embedding (B, G)."""
        return self.bridge(outcome)

    def read(self, outcome: Tensor) -> dict[str, Tensor]:
        """Heads: signed offset at the crossing (m), landing point (m), height at the net (m), event time error (s)."""
        return {k: head(outcome) * HEAD_SCALE[k] for k, head in self.heads.items()}

    def describe(self) -> dict[str, int]:
        """Configuration as plain values, for the checkpoint."""
        return asdict(self.config)


class LowBundle(NamedTuple):
    """What the low level's weights hold: the level (with its motor codec), mode 1, and the goal energy's metric."""

    level: LowLevel
    proposal: Proposal
    doubt: Tensor  # (G, G): 1/2 |doubt (U(P(z, m)) - U(e))|^2 is how unlikely an outcome e is, its context known
    header: dict[str, Any]
    normal: Mapping[str, Tensor] = MappingProxyType({})  # how high each surprise gets in normal strokes (N,), by cause


def save_low(path: Path, bundle: LowBundle) -> None:
    """Write a low level whole or not at all."""
    tensors = {f"low.{k}": v for k, v in bundle.level.state_dict().items()}
    tensors |= {f"proposal.{k}": v for k, v in bundle.proposal.state_dict().items()} | {"doubt": bundle.doubt}
    tensors |= {f"normal.{cause}": scores for cause, scores in bundle.normal.items()}
    sizes = {"low": bundle.level.describe(), "motor": bundle.level.codec.describe(), "heads": bundle.proposal.heads}
    checkpoint.save(path, tensors, bundle.header | sizes)


def load_low(path: Path) -> LowBundle:
    """A frozen low level; WeightsError if the file is missing, damaged or of another make."""
    tensors, header = checkpoint.load(path)
    try:
        config, codec = LowConfig(**header["low"]), MotorCodec(MotorConfig(**header["motor"]))
        level = LowLevel(config, codec)
        proposal = Proposal(config.state, config.goal, config.joints, codec.config.latent + 1, header["heads"])
        doubt = tensors["doubt"]
    except (KeyError, TypeError) as error:
        raise WeightsError(f"'{path}' holds no low level of this version ({error})") from error
    checkpoint.load_module(level, tensors, "low")
    checkpoint.load_module(proposal, tensors, "proposal")
    for part in (level, proposal):
        part.eval().requires_grad_(False)
    normal = {name.removeprefix("normal."): part for name, part in tensors.items() if name.startswith("normal.")}
    return LowBundle(level, proposal, doubt, header, normal)
