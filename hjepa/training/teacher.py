"""The teacher: contact events that the physics oracle finds good; motor codec and collection start from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.stroke import JointState
from hjepa.tasks.badminton.oracle import Oracle, OracleConfig
from hjepa.tasks.badminton.refine import trouble
from hjepa.training.shards import Spread, processes
from hjepa.types import Array, RobotSpec

ELEVATION_DEG = (-25.0, 58.0)  # of the launches: steeper than a careful oracle plays, or drops and smashes stay rare


class Events(NamedTuple):
    """N contact events of the teacher. World frame; times from the start of the swing."""

    q0_rad: Array  # (N, J) start of the swing, at rest
    q_hit_rad: Array  # (N, J)
    dq_hit_rad_s: Array  # (N, J)
    time_s: Array  # (N,)
    before_s: Array  # (N,)
    contact_m: Array  # (N, 3)


class _Chunk(NamedTuple):
    number: int
    x0_m: Array
    v0_m_s: Array
    stand_m: Array


def _from_launches(shared: tuple[RobotSpec, int, int], chunk: _Chunk) -> tuple[int, Events]:
    """Number and events of a chunk of launches."""
    spec, per_launch, seed = shared
    k, x0, v0, stand = chunk
    rng = np.random.default_rng(seed * 10007 + k)
    oracle = Oracle(spec, OracleConfig(solved=64, candidates=800, net_margin_m=0.05, elevation_deg=ELEVATION_DEG))
    rows: list[tuple[Array, ...]] = []
    for x, v, xy in zip(x0, v0, stand, strict=True):
        q0 = spec.q_home_rad.copy()
        q0[:2] = np.clip(xy + rng.normal(0.0, 0.4, 2), spec.q_min_rad[:2], spec.q_max_rad[:2])
        q0[2:] += rng.normal(0.0, 0.15, spec.joints - 2)
        targets = np.stack([rng.uniform(0.8, 6.5, 12), rng.uniform(-2.4, 2.4, 12)], axis=-1)
        zero = np.zeros(spec.joints)
        found = oracle.candidates(q0, zero, zero, x, v, targets, rng, earliest_s=0.2)
        if found is None:
            continue
        good = np.flatnonzero(found.use < 1.05)
        way = found.q_hit_rad[good], found.dq_hit_rad_s[good], found.time_s[good], found.before_s[good]
        good = good[~trouble(spec, JointState(q0, zero, zero), *way)]
        if good.size:
            i = rng.choice(good, min(per_launch, good.size), replace=False)
            start = np.repeat(q0[None], len(i), 0)
            rows.append(
                (
                    start,
                    found.q_hit_rad[i],
                    found.dq_hit_rad_s[i],
                    found.time_s[i],
                    found.before_s[i, 0],
                    found.contact_m[i],
                )
            )
    return k, Events(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def teach(
    spec: RobotSpec,
    x0_m: Array,
    v0_m_s: Array,
    stand_m: Array,
    per_launch: int,
    seed: int,
    spread: Spread = processes(2),  # noqa: B008 (keeps no state)
) -> Events:
    """Events for launches x0, v0 (F, 3) with the base starting near stand (F, 2); deterministic for a seed.

    Up to `per_launch` random good candidates are kept for each launch.
    """
    parts = np.array_split(np.arange(len(x0_m)), max(1, len(x0_m) // 100))
    chunks = [_Chunk(k, x0_m[c], v0_m_s[c], stand_m[c]) for k, c in enumerate(parts)]
    found = dict(spread(_from_launches, (spec, per_launch, seed), chunks))
    return Events(*(np.concatenate(column) for column in zip(*(found[c.number] for c in chunks), strict=True)))
