"""The same state, two motor latents: how the outcome differs as predicted, beside how it does in the simulation.

The agent plays until its contact is near; the latent in force and one drawn around it are then carried out, each in a
world that has come to the same state. Legend: P pairs, M motor latent, C candidates, O outcome numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hjepa import api, build, stroke
from hjepa.config import Config
from hjepa.evaluation.feasible import stroke_seed
from hjepa.evaluation.metrics import Interval
from hjepa.insight import origin
from hjepa.insight.sense.levels_played import key_of
from hjepa.insight.sense.levels_probes import RESAMPLES, interval
from hjepa.insight.sense.parts import Parts
from hjepa.models.low import LowAction, LowInput, LowLevel
from hjepa.planning.held import SHAPE, Committed, latest_switch
from hjepa.planning.objectives import TIME_S
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.badminton.flight import land
from hjepa.training.collect import decode_event, limit_use
from hjepa.types import NS, Array, JointTrajectory, Launch, Observation, RobotSpec, RobotState

RULE = 1  # counts up when what is kept changes
PART = 10  # strokes of a file
AHEAD_S, LEAST_S = 0.40, 0.15  # before the contact: where the two latents part; nearer than LEAST_S no more
DRAWN = 256  # latents around the one in force, C
SPREAD = (0.03, 0.4)  # of them, in units of the motor latent, drawn evenly in its logarithm
INSIDE = 0.7  # of the hitting ellipse: predicted contacts further out are left out
USE = 1.0  # of speed and acceleration limits
OUTCOME = ("landing depth", "landing across", "height over the net", "offset along", "offset across")  # O
UNITS = ("m", "m", "m", "m", "m")
_KEPT = ("stroke", "predicted", "simulated", "hit", "asked")


class Pairs(NamedTuple):
    """P pairs of actions."""

    stroke: NDArray[np.int64]  # (P,) row of the stroke table
    predicted: Array  # (P, 2, O)
    simulated: Array  # (P, 2, O) nan where there is no such thing
    hit: NDArray[np.bool_]  # (P, 2)
    asked: int  # strokes that were tried

    def change(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Second minus first, predicted and simulated (P, O), and where both were hit (P,)."""
        both: NDArray[np.bool_] = self.hit[:, 0] & self.hit[:, 1]
        return self.predicted[:, 1] - self.predicted[:, 0], self.simulated[:, 1] - self.simulated[:, 0], both


class Agreement(NamedTuple):
    """Simulated differences against predicted ones, of one outcome number."""

    r2: Interval  # share of the simulated differences' variance that the predicted ones are right about
    correlation: Interval
    slope: Interval  # simulated by predicted
    spread: float  # standard deviation of the simulated differences
    pairs: int


def agreement(predicted: Array, simulated: Array, rng: np.random.Generator) -> Agreement:
    """Of differences (P,) each; intervals resample pairs."""
    known = np.isfinite(predicted) & np.isfinite(simulated)
    x, y = predicted[known], simulated[known]
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    if len(x) < 3:
        return Agreement(nothing, nothing, nothing, float("nan"), len(x))
    value = _fits(x[None], y[None])
    rows = rng.integers(len(x), size=(RESAMPLES, len(x)))
    drawn = _fits(x[rows], y[rows])
    r2, r, slope = (interval(a[0], b) for a, b in zip(value, drawn, strict=True))
    return Agreement(r2, r, slope, float(y.std()), len(x))


def _fits(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """R2, correlation and slope (B,) of y by x (B, P)."""
    dx, dy = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    xx, yy, xy = ((a * b).sum(axis=1) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1.0 - ((y - x) ** 2).sum(axis=1) / yy, xy / np.sqrt(xx * yy), xy / xx


def pairs(config: Config, strokes: int, folder: Path, progress: Callable[[int, int], None]) -> Pairs:
    """Of so many test strokes; parts are kept under the hash of what they depend on, weights included."""
    task = config.task.model_copy(update={"feed": "test", "feed_csv": "", "strokes": strokes})
    agent = config.agent.model_copy(update={"name": "hjepa"})
    levels, low = config.levels.model_copy(update={"count": 2}), config.low.model_copy(update={"adapt": False})
    system = api.load(config.model_copy(update={"task": task, "agent": agent, "levels": levels, "low": low}))
    weights = origin.weights(config, ("low", "high"))
    asked = repr((RULE, key_of(system), weights, config.low.model_dump_json(), config.high.model_dump_json()))
    key = hashlib.sha256(asked.encode()).hexdigest()[:12]
    kept, parts = Parts(folder, key), []
    for first in range(0, strokes, PART):
        rows = range(first, min(first + PART, strokes))
        parts.append(kept.arrays(f"actions_{first // PART:03d}", _KEPT, partial(_part, system, rows)))
        progress(rows[-1] + 1, strokes)
    whole: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in _KEPT[:-1]}
    return Pairs(**whole, asked=sum(int(part["asked"]) for part in parts))


def _part(system: api.System, rows: range) -> dict[str, Any]:
    starts = system.starts()
    level, found = build.low_bundle(system.config, system.spec).level, []
    agent: Any = system.agent("hjepa")
    with system.world() as world:
        for i in rows:
            seed = stroke_seed(system.config.task.seed, int(system.feed.id[i]))
            made = _pair(system, agent, world, level, (starts.state(i), system.feed.launch(i), seed))
            if made is not None:
                found.append((int(system.feed.id[i]), *made))
    blank = np.zeros((0, 2, len(OUTCOME)))
    empty = (np.zeros(0, np.int64), blank, blank, np.zeros((0, 2), bool))
    columns = [np.array(column) for column in zip(*found, strict=True)] if found else empty
    return dict(zip(_KEPT, (*columns, len(rows)), strict=True))


class _Parting(NamedTuple):
    """Where the two actions part."""

    seen: Observation
    plan: Committed
    tick: int
    sent: dict[int, JointTrajectory]  # commands before, by tick


def _pair(
    system: api.System, agent: Any, world: Any, level: LowLevel, begin: tuple[RobotState, Launch, int]
) -> tuple[Array, Array, Array] | None:
    """Predicted and simulated outcomes (2, O) and hits (2,) of a stroke; None where the agent has no plan in time, or
    no other latent is within the limits."""
    spec, seed = system.spec, begin[2]
    agent.reset(seed)
    here = _approach(agent, world, world.reset(*begin), system.config.low.replan_period_ms // 10)
    if here is None:
        return None
    start_ns = here.seen.stamp_ns + round(system.config.low.latency_ms * NS / 1000)
    state, left_s = stroke.state_at(here.plan.command, start_ns), (here.plan.event_ns - start_ns) / NS
    both = _two(spec, level, here, state, left_s, np.random.default_rng(seed))
    if both is None:
        return None
    simulated, hit = [], []
    for m in both[0]:
        event = decode_event(level.codec, m, left_s)
        last = stroke.trajectory(state, event, spec.q_home_rad, spec.ddq_max_rad_s2, start_ns=start_ns, valid_ns=9 * NS)
        world.reset(*begin)
        outcome = _carry_out(world, here.sent | {here.tick: last})
        simulated.append(outcome[0])
        hit.append(outcome[1])
    return both[1], np.stack(simulated), np.array(hit)


def _approach(agent: Any, world: Any, seen: Observation, period: int) -> _Parting | None:
    """Play until the planned contact is AHEAD_S away; None if there is no plan before LEAST_S."""
    sent: dict[int, JointTrajectory] = {}
    tick = 0
    while not world.done:
        if tick % period == 0:
            command = agent.act(seen)
            plan = agent.low.committed
            to_go_s = float("inf") if plan is None else (plan.event_ns - seen.stamp_ns) / NS
            if to_go_s <= AHEAD_S:
                return _Parting(seen, plan, tick, sent) if to_go_s >= LEAST_S else None
            if command is not None:
                world.send(command)
                sent[tick] = command
        seen = world.tick()
        tick += 1
    return None


def _two(
    spec: RobotSpec, level: LowLevel, here: _Parting, state: stroke.JointState, left_s: float, rng: np.random.Generator
) -> tuple[Array, Array] | None:
    """The latent in force and another (2, M) within the limits that is predicted to hit, and outcomes (2, O)."""
    own = here.plan.x[:-1].double().numpy()
    spread = np.exp(rng.uniform(math.log(SPREAD[0]), math.log(SPREAD[1]), (DRAWN, 1)))
    m = np.concatenate([own[None], own + spread * rng.standard_normal((DRAWN, len(own)))])
    latest = latest_switch(level.codec, torch.tensor([left_s / TIME_S])).item()
    m[:, SHAPE + 1] = np.minimum(m[:, SHAPE + 1], latest)  # SHAPE counts from the end of x, which has the time too
    outcome = predict(level, here.seen, m, (here.plan.event_ns - here.seen.stamp_ns) / NS)
    inside = np.all(np.abs(outcome[:, 3:]) <= INSIDE * spec.racket_semi_axes_m, axis=1)
    for k in 1 + rng.permutation(DRAWN):
        if inside[k] and limit_use(spec, state, decode_event(level.codec, m[k], left_s)) <= USE:
            return m[[0, k]], outcome[[0, k]]
    return None


@torch.no_grad()
def predict(level: LowLevel, seen: Observation, m: Array, to_go_s: float) -> Array:
    """Outcomes (C, O) that the level reads of its predictions for latents m (C, M), in the nominal world."""

    def row(x: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))

    window = seen.tracker_xyz_m * seen.tracker_mask[:, None]
    parts = (window, seen.tracker_mask, seen.q_rad, seen.dq_rad_s)
    z = level.encode(LowInput(*(row(part[None]) for part in parts))).expand(len(m), -1)
    read = level.read(level.predict(z, LowAction(row(m), torch.full((len(m), 1), to_go_s))))
    return torch.cat([read["landing_m"], read["net_m"], read["offset_m"]], dim=-1).double().numpy()


def _carry_out(world: Any, sent: dict[int, JointTrajectory]) -> tuple[Array, bool]:
    """Commands at their ticks, up to the contact: the outcome (O,) of a flight that no net stops; and a hit."""
    tick = 0
    while not world.done and not world.outcome().hit:
        if tick in sent:
            world.send(sent[tick])
        world.tick()
        tick += 1
    out = world.outcome()
    if not out.hit:
        return np.array([np.nan, np.nan, np.nan, *out.offset_m]), False
    fall = land(out.contact_m[None], out.u_out_m_s[None], world.config.drag_length_m)
    over_m = fall.net_height_m - net_height_at(fall.net_y_m)  # as the level reads it: above the tape
    return np.array([*fall.xy_m[0], over_m[0], *out.offset_m]), True
