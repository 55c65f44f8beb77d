"""What the low level is trained on: pairs, the upper level's embedding of every stroke, and the split.

Legend: N pairs, F flights, W samples after the event, G goal space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.models.high import HighModel, canonical
from hjepa.models.motor import MotorCodec
from hjepa.training.body import RacketKinematics
from hjepa.training.collect import Swings
from hjepa.training.low import LowData, LowTraining
from hjepa.training.pairs import Flights, PairConfig, Pairs, make_flights, pair
from hjepa.types import Array, RobotSpec

HELD = 10  # every tenth flight and swing is never trained on
_NONE: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


class Prepared(NamedTuple):
    """Training data with its split: no held-out flight or swing is in a training pair."""

    data: LowData
    train: NDArray[np.int64]
    held: NDArray[np.int64]
    s_in: Tensor  # (F, G) embeddings of the incoming flights
    searched: NDArray[np.int64] = _NONE  # rows whose motions a search has chosen; in `train` they are not
    searched_held: NDArray[np.int64] = _NONE  # the same against flights never trained on


def held_out(index: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which flights or swings (N,), by number, are never trained on."""
    return np.asarray(index % HELD == 0)


def prepare(
    spec: RobotSpec,
    codec: MotorCodec,
    swings: Swings,
    launches: tuple[Array, Array],
    high: HighModel,
    pairing: PairConfig,
    training: LowTraining,
    cache: Path | None = None,
) -> Prepared:
    """Pairs (kept in `cache`), the upper level's embedding of every stroke, and the split."""
    flights = make_flights(*launches, seed=pairing.seed)
    pairs = _cached_pairs(spec, swings, flights, pairing, cache)
    rng = np.random.default_rng(pairing.seed + 1)
    goals = embed_strokes(high, pairs.after_m, rng, training.noise_m)
    data = LowData(swings, flights, pairs, goals, codec, RacketKinematics(spec))
    out_flight, out_swing = held_out(pairs.flight), held_out(pairs.swing)
    window = torch.tensor(np.nan_to_num(flights.x_m[:, :40]))
    mask = torch.tensor(np.isfinite(flights.x_m[:, :40, 0]).astype(np.float32))
    with torch.no_grad():
        s_in = high.encode(window, mask)
    train, held = np.flatnonzero(~out_flight & ~out_swing), np.flatnonzero(out_flight & out_swing)[:3000]
    if len(train) < training.batch or not len(held):
        found = f"{len(swings.latent)} swings and {len(flights.x_m)} flights give {len(train)} contacts to learn from"
        raise DataError(f"{found} and {len(held)} to test on: too few; collect more with `hjepa collect --swings`")
    return Prepared(data, train, held, s_in)


def _cached_pairs(spec: RobotSpec, swings: Swings, flights: Flights, config: PairConfig, cache: Path | None) -> Pairs:
    if cache and cache.exists():
        kept = load_arrays(cache, (*Pairs._fields, "swings", "flights"), "file of pairs", "delete it and run again")
        if int(kept["swings"]) == len(swings.latent) and int(kept["flights"]) == len(flights.x_m):
            return Pairs(*(kept[name] for name in Pairs._fields))
    pairs = pair(spec, swings, flights, config)
    if cache:
        counts = {"swings": len(swings.latent), "flights": len(flights.x_m)}
        save_arrays(cache, pairs._asdict() | counts)
    return pairs


def embed_strokes(high: HighModel, after_m: Array, rng: np.random.Generator, noise_m: float, draws: int = 3) -> Array:
    """The upper level's embedding (N, G) of what was observed after each event (N, W, 3), mean over noise draws."""
    out: Array = np.zeros((len(after_m), high.config.latent))
    with torch.no_grad():
        for first in range(0, len(after_m), 20000):
            clean = after_m[first : first + 20000]
            mask = np.isfinite(clean[..., 0])
            for _ in range(draws):
                seen = np.nan_to_num(clean + noise_m * rng.normal(size=clean.shape)) * mask[..., None]
                window = canonical(torch.tensor(seen, dtype=torch.float32))
                s = high.encode(window, torch.tensor(mask, dtype=torch.float32))
                out[first : first + 20000] += s.numpy() / draws
    return out
