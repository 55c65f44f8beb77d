"""Collects executed swings: latents near the teacher's events, decoded, driven by the simulated robot, recorded.

A swing starts where the last one left the robot. Racket motion does not depend on the shuttle, so no shuttle is needed
here: pairs.py pairs swings with flights. Shards are made by workers and written here, whole (temporary name, then
renamed): a killed run loses at most the shards in the making, and a second call makes those that are missing. Whoever
makes a shard, it is the same: it follows from the seed and its number. Legend: J joints, P samples before the event,
Q after it, R racket instants (1 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hjepa import motion, stroke
from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.models import checkpoint
from hjepa.models.motor import MotorCodec
from hjepa.training.shards import Spread, connected, processes
from hjepa.training.teacher import Events
from hjepa.types import NS, Array, Launch, RobotSpec, RobotState

BEFORE = 130  # P samples (100 Hz) kept before the event; the event is sample P
AFTER = 45  # Q samples after it
MAX_USE = 1.1  # share of the limits a collected swing may ask for
_SHARES = np.linspace(0.1, 0.9, 9)[:, None]  # instants of the way that are looked at
RACKET_MS = 40  # racket instants kept on either side of the event
_ASIDE = Launch(np.array([4.0, 0.0, 1.0]), np.array([2.0, 0.0, 1.0]))  # a shuttle that never comes near


@dataclass(frozen=True)
class CollectConfig:
    """How many swings, and how far from the teacher."""

    swings: int = 10000
    shard: int = 200
    latent_noise: float = 0.15  # standard deviation in units of the data's spread
    noisy_share: float = 0.7
    babble_share: float = 0.08  # latents drawn from the whole box
    switch_share: float = 0.35  # swings whose latent is changed on the way
    time_stretch: tuple[float, float] = (0.85, 1.25)
    seed: int = 0


class Swings(NamedTuple):
    """N recorded swings, times relative to the event (100 Hz)."""

    latent: Array  # (N, M)
    samples: Array  # (N,) valid samples before the event, at most P
    q_rad: Array  # (N, P + Q + 1, J) measured
    dq_rad_s: Array  # (N, P + Q + 1, J) measured
    centre_m: Array  # (N, R, 3) true racket, per ms
    rotation: Array  # (N, R, 3, 3)
    v_m_s: Array  # (N, R, 3)
    w_rad_s: Array  # (N, R, 3)


class _Shared(NamedTuple):
    """What every shard of a collection needs; no paths, for workers may be on other machines."""

    spec: RobotSpec
    world: str  # 'module:Class' of a World taking a RobotSpec
    codec: Mapping[str, Array]
    header: dict[str, Any]
    events: Events
    config: CollectConfig


def collect(
    spec: RobotSpec,
    world: str,
    codec_path: Path,
    events: Events,
    config: CollectConfig,
    out: Path,
    *,
    spread: Spread = processes(2),  # noqa: B008 (keeps no state)
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Fill `out` with shards; returns the number of swings there. `progress(done, total)` is called per shard."""
    out.mkdir(parents=True, exist_ok=True)
    shards = -(-config.swings // config.shard)
    todo = [k for k in range(shards) if not _shard_path(out, k).exists()]
    tensors, header = checkpoint.load(codec_path)
    shared = _Shared(spec, world, {k: v.numpy() for k, v in tensors.items()}, header, events, config)
    done = shards - len(todo)
    if progress:
        progress(done * config.shard, shards * config.shard)
    for k, columns in spread(_make_shard, shared, todo):
        save_arrays(_shard_path(out, k), columns)
        done += 1
        if progress:
            progress(done * config.shard, shards * config.shard)
    return done * config.shard


def load_swings(folder: Path) -> Swings:
    """All shards of a folder; DataError if there is none or one is damaged."""
    paths = sorted(folder.glob("swings_*.npz"))
    if not paths:
        raise DataError(f"no swings in '{folder}': expected swings_*.npz; run `hjepa collect` first")
    parts = [load_arrays(path, Swings._fields, "shard", "delete it and collect again") for path in paths]
    return Swings(*(np.concatenate([part[name] for part in parts]) for name in Swings._fields))


def _shard_path(out: Path, k: int) -> Path:
    return out / f"swings_{k:04d}.npz"


def _make_shard(shared: _Shared, k: int) -> tuple[int, dict[str, Any]]:
    """Number and arrays of shard k."""
    torch.set_num_threads(1)
    codec = checkpoint.codec_of({name: torch.tensor(x) for name, x in shared.codec.items()}, shared.header)
    rng = np.random.default_rng([shared.config.seed, k])
    with connected(shared.world, shared.spec) as world:
        rows = list(_swings(world, codec, shared, rng))
    fields = enumerate(Swings._fields)
    return k, {field: np.stack([row[i] for row in rows]).astype(np.float32) for i, field in fields}


def _swings(world: Any, codec: MotorCodec, shared: _Shared, rng: np.random.Generator) -> Iterator[tuple[Array, ...]]:
    spec, c = shared.spec, shared.config
    state = RobotState(_start(spec, rng), np.zeros(spec.joints))
    for n in range(c.shard):
        if n % 25 == 24:  # now and then from a fresh place, so that a shard is not one long walk
            state = RobotState(_start(spec, rng), np.zeros(spec.joints))
        now = stroke.JointState(state.q_rad, state.dq_rad_s, np.zeros(spec.joints))
        latent, time_s = _choose(codec, spec, shared.events, now, c, rng)
        later = _choose(codec, spec, shared.events, now, c, rng)[0] if rng.random() < c.switch_share else None
        row, state = _execute(world, codec, spec, now, latent, later, time_s, rng)
        yield row


def _start(spec: RobotSpec, rng: np.random.Generator) -> Array:
    q = spec.q_home_rad.copy()
    q[:2] = np.clip(rng.normal([-3.4, 0.0], [1.3, 1.0]), spec.q_min_rad[:2] + 0.1, spec.q_max_rad[:2] - 0.1)
    q[2:] += rng.normal(0.0, 0.2, spec.joints - 2)
    return q


def _choose(
    codec: MotorCodec,
    spec: RobotSpec,
    events: Events,
    now: stroke.JointState,
    c: CollectConfig,
    rng: np.random.Generator,
) -> tuple[Array, float]:
    """A latent near one of the teacher's events, moved to start from where the robot stands, and its duration."""
    for _ in range(60):
        i = rng.integers(len(events.time_s))
        shift = now.q_rad[:2] - events.q0_rad[i, :2]
        q = events.q_hit_rad[i].copy()
        q[:2] += shift
        xy = events.contact_m[i, :2] + shift
        with torch.no_grad():
            m = codec.encode(_row(q), _row(events.dq_hit_rad_s[i]), _row(xy), _row(events.before_s[i : i + 1]))[0]
        latent = _disturb(codec, m.numpy().astype(np.float64), c, rng)
        time_s = round(float(np.clip(events.time_s[i] * rng.uniform(*c.time_stretch), 0.3, 1.6)), 2)
        if limit_use(spec, now, decode_event(codec, latent, time_s)) < MAX_USE:
            break
    return latent, time_s


def _disturb(codec: MotorCodec, m: Array, c: CollectConfig, rng: np.random.Generator) -> Array:
    """Noise around a latent (M,), or another arm code altogether (motor babbling); kept in the box of the data."""
    k = codec.config.arm_code
    if rng.random() < c.babble_share:
        m[:k] = rng.normal(0.0, 0.8, k)
    elif rng.random() < c.noisy_share:
        m += rng.normal(0.0, c.latent_noise, len(m)) * np.append(np.ones(k), [0.5, 0.5, 1.0])
    low, high = codec.low.numpy(), codec.high.numpy()
    m[:k] = m[:k].clip(low[:k], high[:k])
    m[-1] = m[-1].clip(low[-1], high[-1])
    return m


def limit_use(spec: RobotSpec, now: stroke.JointState, event: stroke.Event) -> float:
    """Largest share of a speed or acceleration limit the way to an event uses; inf if a joint leaves its range."""
    way = motion.solve(*now, event.q_rad, event.dq_rad_s, np.array([event.to_go_s]), event.before_s)
    base, v = event.q_rad[:2], event.dq_rad_s[:2]
    stop = base + v * np.abs(v) / (1.4 * spec.ddq_max_rad_s2[:2])
    after = event.q_rad.copy()
    after[:2] = stop
    room = np.concatenate([motion.evaluate(way, _SHARES * event.to_go_s)[0], event.q_rad[None], after[None]])
    if ((room < spec.q_min_rad) | (room > spec.q_max_rad)).any():  # a backswing can leave a range as well
        return float("inf")
    a = np.maximum(np.abs(way.A1), np.abs(way.A2)) / spec.ddq_max_rad_s2
    return float(max(a.max(), (motion.peak_speed(way) / spec.dq_max_rad_s).max()))


def _row(x: Array) -> torch.Tensor:
    return torch.tensor(np.atleast_2d(x), dtype=torch.float32)


def decode_event(codec: MotorCodec, latent: Array, to_go_s: float) -> stroke.Event:
    """The joint event a latent (M,) names, `to_go_s` from now."""
    with torch.no_grad():
        event = codec.decode(_row(latent))
    q, dq, before = (x[0].numpy().astype(np.float64) for x in event)
    return stroke.Event(q, dq, before, to_go_s)


def _execute(
    world: Any, codec: MotorCodec, spec: RobotSpec, now: stroke.JointState, latent: Array, later: Array | None,
    time_s: float, rng: np.random.Generator,
) -> tuple[tuple[Array, ...], RobotState]:  # fmt: skip
    """Drive one swing towards `latent`, from a moment on the way towards `later` if the limits allow; record it."""
    observation = world.reset(RobotState(now.q_rad, now.dq_rad_s), _ASIDE, int(rng.integers(2**31)))
    world.record_racket(time_s - RACKET_MS / 1000, time_s + RACKET_MS / 1000)
    ticks, end = round(time_s * 100), round(time_s * 100) + round(100 * (stroke.RECOVERY_S + 0.1))
    switch = int(rng.integers(5, max(6, ticks - 25))) if later is not None else -1

    def command(now: stroke.JointState, m: Array, tick: int) -> stroke.JointTrajectory:
        event = decode_event(codec, m, time_s - tick / 100)
        return stroke.trajectory(
            now, event, spec.q_home_rad, spec.ddq_max_rad_s2, start_ns=tick * NS // 100, valid_ns=9 * NS
        )

    current = command(now, latent, 0)
    world.send(current)
    q, dq = [observation.q_rad], [observation.dq_rad_s]
    for tick in range(end):
        if tick == switch and later is not None:
            there = stroke.state_at(current, tick * NS // 100)
            if limit_use(spec, there, decode_event(codec, later, time_s - tick / 100)) < MAX_USE:
                latent = later
                current = command(there, latent, tick)
                world.send(current)
        observation = world.tick()
        q.append(observation.q_rad)
        dq.append(observation.dq_rad_s)
    track = world.racket_at_ms()
    middle = int(np.argmin(np.abs(track.time_s - time_s)))
    rows = slice(middle - RACKET_MS, middle + RACKET_MS + 1)
    valid = min(ticks, BEFORE)
    pad = BEFORE - valid
    window = [
        np.concatenate([np.repeat(x[:1], pad, 0), x[ticks - valid : ticks + AFTER + 1]])
        for x in (np.array(q), np.array(dq))
    ]
    record = (latent, np.array(valid), *window, *(x[rows] for x in track[1:]))
    return record, world.joints()


def describe(config: CollectConfig) -> dict[str, Any]:
    """Configuration as plain values."""
    return asdict(config)
