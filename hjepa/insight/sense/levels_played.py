"""Real strokes played by the oracle, and what is seen and true every 20 ms of them.

What is kept does not depend on any weights: the levels are asked afterwards. Parts lie in a folder under the hash of
all that they depend on, so that a killed run goes on and another configuration never meets them.
Legend: N strokes, S moments, K tracker slots, F slots of the flight window, J joints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa import api
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.evaluation.feasible import stroke_seed
from hjepa.insight.sense.parts import Parts
from hjepa.planning.hierarchy import HighPlanConfig, flight_window
from hjepa.protocols import Agent
from hjepa.tasks.badminton.flight import land
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.types import NS, Array, Observation

RULE = 2  # counts up when what is kept changes
PART = 20  # strokes of a file
STEP = 2  # ticks between two moments: 20 ms
FEWEST = HighPlanConfig.samples  # tracker samples before any level is asked
DRAWS = 9  # of the oracle's candidates at its first decision: the median of its plans is when it usually hits
LONGEST_S = 1.2  # moments earlier than this before the contact are not kept


class Played(NamedTuple):
    """S moments of strokes that the oracle hit, stroke by stroke, in order of time."""

    stroke: NDArray[np.int64]  # (S,) row of the stroke table
    to_go_s: Array  # (S,) until the oracle's contact
    usual_s: Array  # (S,) until it usually hits such a stroke; nan where it found no plan at first
    window_m: NDArray[np.float32]  # (S, K, 3) tracker, as observed
    mask: NDArray[np.bool_]  # (S, K)
    q_rad: Array  # (S, J) as observed
    dq_rad_s: Array  # (S, J)
    flight_m: NDArray[np.float32]  # (S, F, 3) the flight from its hit on, as far as it has been seen
    flight_mask: NDArray[np.bool_]  # (S, F)
    shuttle_m: Array  # (S, 3) true
    shuttle_m_s: Array  # (S, 3)
    true_q_rad: Array  # (S, J)
    true_dq_rad_s: Array  # (S, J)
    racket_m: Array  # (S, 3) centre
    face: Array  # (S, 3) unit normal
    racket_m_s: Array  # (S, 3)
    hit_m: Array  # (S, 3) where the opponent hit it
    landing_m: Array  # (S, 2) where it would fall if nobody hit it
    to_floor_s: Array  # (S,) and when, from now

    def at(self, rows: NDArray[Any]) -> Played:
        """Some moments."""
        columns: list[Any] = [column[rows] for column in self]
        return Played(*columns)


class Side(NamedTuple):
    """The strokes of one split."""

    split: str
    played: Played
    contact_s: Array  # (N, 2) of all strokes: with two draws of the oracle's candidates; nan where it did not hit

    @property
    def asked(self) -> int:
        """Strokes that were played; of those that were not hit nothing is kept."""
        return len(self.contact_s)

    @property
    def hit(self) -> int:
        """Strokes that something is kept of."""
        return int(np.isfinite(self.contact_s[:, 0]).sum())


UNITS = {
    "shuttle position": "m",
    "shuttle velocity": "m/s",
    "landing point": "m",
    "time to contact": "s",
    "time to usual contact": "s",
    "time to floor": "s",
    "racket position": "m",
    "racket face": "1",
    "racket velocity": "m/s",
    "base position": "m",
    "base velocity": "m/s",
    "joint angles": "rad",
    "joint speeds": "rad/s",
    "opponent's feet": "m",
    "opponent's hit": "m",
}


def truths(played: Played) -> dict[str, Array]:
    """What levels may know (S, n), in the order of UNITS; nan where the stroke table does not say."""
    p, feet_m = played, load_strokes().hitter_m[played.stroke]
    q, dq = p.true_q_rad, p.true_dq_rad_s
    times = (column[:, None] for column in (p.to_go_s, p.usual_s, p.to_floor_s))
    racket = p.racket_m, p.face, p.racket_m_s
    body = q[:, :2], dq[:, :2], q[:, 2:], dq[:, 2:]
    columns = p.shuttle_m, p.shuttle_m_s, p.landing_m, *times, *racket, *body, feet_m, p.hit_m
    return dict(zip(UNITS, columns, strict=True))


def state(played: Played) -> Array:
    """The true state (S, 6 + 2 J) of shuttle and body: what nobody can see better."""
    parts = played.shuttle_m, played.shuttle_m_s, played.true_q_rad, played.true_dq_rad_s
    return np.concatenate(parts, axis=1)


def play(
    config: Config, split: str, strokes: int, folder: Path, progress: Callable[[int, int], None], twice: bool = False
) -> Side:
    """So many strokes of a split's matches, as evaluation draws and starts them.

    twice: play each once more with another draw, to see how far its contact is the oracle's choice."""
    changed = config.task.model_copy(update={"feed": split, "feed_csv": "", "strokes": strokes})
    agent = config.agent.model_copy(update={"name": "oracle"})
    system = api.load(config.model_copy(update={"task": changed, "agent": agent}))
    kept, names = Parts(folder, key_of(system)), [*Played._fields, "contact_s"]
    parts: list[Mapping[str, NDArray[Any]]] = []
    for first in range(0, strokes, PART):
        rows = np.arange(first, min(first + PART, strokes))
        name = f"{split}{'_twice' if twice else ''}_{first // PART:03d}"
        parts.append(kept.arrays(name, names, partial(_part, system, rows, twice)))
        progress(int(rows[-1]) + 1, strokes)
    return joined(split, parts)


def joined(split: str, parts: Sequence[Mapping[str, NDArray[Any]]]) -> Side:
    """The parts of a split; DataError if no stroke of any was hit."""
    contacts = np.concatenate([part["contact_s"] for part in parts])
    some = [part for part in parts if len(part["stroke"])]
    if not some:
        raise DataError(f"the oracle hit none of {len(contacts)} {split} strokes; allowed: more strokes, another world")
    return Side(split, Played(*(np.concatenate([part[name] for part in some]) for name in Played._fields)), contacts)


def key_of(system: api.System) -> str:
    """Hash of everything that the moments depend on."""
    c = system.config
    digest = hashlib.sha256(repr((RULE, c.task.seed, c.robot.driver, system.spec.fingerprint)).encode())
    digest.update(c.world.model_dump_json().encode())
    digest.update(repr((c.low.replan_period_ms, c.low.latency_ms)).encode())
    for column in (system.feed.id, system.feed.x0_m, system.feed.v0_m_s):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:12]


def _part(system: api.System, rows: NDArray[np.int64], twice: bool) -> dict[str, NDArray[Any]]:
    """The moments of some strokes, and when they were hit."""
    feed, starts = system.feed.take(rows), system.starts().take(rows)
    drag_m, period = system.config.world.drag_length_m, system.config.low.replan_period_ms // 10
    found: list[tuple[Any, ...]] = []
    contacts = np.full((len(feed.id), 2), np.nan)
    with system.world() as world:
        agent, other = system.agent("oracle"), system.agent("oracle")

        def once(i: int, draw: int, usual: Callable[[Observation], None] = lambda seen: None) -> tuple[Any, float]:
            seed = stroke_seed(system.config.task.seed, int(feed.id[i]))
            agent.reset(seed + draw)
            return _stroke(world, agent, world.reset(starts.state(i), feed.launch(i), seed), period, usual)

        for i in range(len(feed.id)):
            plans: list[float] = []
            moments, contact_s = once(i, 0, partial(_planned, other, plans))
            contacts[i] = contact_s, once(i, 1)[1] if twice else np.nan
            usual_s = float(np.median(plans)) if plans else float("nan")
            fall = land(feed.x0_m[i][None], feed.v0_m_s[i][None], drag_m)
            found += [
                (
                    int(feed.id[i]),
                    contact_s - stamp_s,
                    usual_s - stamp_s,
                    *values,
                    feed.x0_m[i],
                    fall.xy_m[0],
                    fall.time_s[0] - stamp_s,
                )
                for stamp_s, values in moments
                if 0.0 <= contact_s - stamp_s <= LONGEST_S  # none of a stroke that was not hit
            ]
    columns = [np.array(column) for column in zip(*found, strict=True)] or [np.zeros(0)] * len(Played._fields)
    return dict(zip(Played._fields, columns, strict=True)) | {"contact_s": contacts}


_Moment = tuple[float, tuple[Any, ...]]


def _planned(oracle: Any, plans: list[float], seen: Observation) -> None:
    """When each of its draws would hit, s from the launch, decided now."""
    for draw in range(DRAWS):
        oracle.reset(1000 + draw)
        oracle.act(seen)
        if oracle.event is not None:
            plans.append(oracle.event[1] / NS)


def _stroke(
    world: Any, agent: Agent, seen: Observation, period: int, first: Callable[[Observation], None]
) -> tuple[list[_Moment], float]:
    """Moments of a stroke up to its contact (stamp in s, columns of Played from the window on), and the contact; nan
    if there is none. first: told the observation of the first command."""
    waiting = True
    moments: list[_Moment] = []
    tick, flight = 0, flight_window(seen)
    while not world.done and not world.outcome().hit:
        if tick % period == 0:
            command = agent.act(seen)
            if command is not None:
                if waiting:
                    waiting = False
                    first(seen)
                world.send(command)
        if tick < len(seen.tracker_mask):  # later the hit has left the window: what was seen of it stays in force
            flight = flight_window(seen)
        if tick % STEP == 0 and flight[1].sum() >= FEWEST:
            moments.append((seen.stamp_ns / NS, (*_seen(seen, flight), *_true(world))))
        seen = world.tick()
        tick += 1
    out = world.outcome()
    return moments, float(out.contact_s) if out.hit else float("nan")


def _seen(seen: Observation, flight: tuple[Array, Array]) -> tuple[NDArray[Any], ...]:
    window = (seen.tracker_xyz_m * seen.tracker_mask[:, None]).astype(np.float32)
    return window, seen.tracker_mask, seen.q_rad, seen.dq_rad_s, flight[0].astype(np.float32), flight[1] > 0


def _true(world: Any) -> tuple[Array, ...]:
    racket, joints = world.racket(), world.joints()
    T_world_racket = racket[0]
    return (*world.shuttle(), *joints, T_world_racket[:3, 3], T_world_racket[:3, 2], racket[1])
