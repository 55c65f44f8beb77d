"""The low level from swings to weights: pair, train the level, measure the goal metric, train the proposals.

Every stage keeps its result in the output folder, so that a killed run goes on where it was. Legend: N pairs,
G goal space.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjepa.models.high import HighModel
from hjepa.models.low import LowBundle, LowLevel, save_low
from hjepa.models.motor import MotorCodec
from hjepa.models.proposal import Proposal
from hjepa.planning.held import limits_of
from hjepa.planning.objectives import Limits, LowWeights, Situation, StrokeResidual
from hjepa.training.collect import Swings
from hjepa.training.lessons import Lessons
from hjepa.training.loop import LoopConfig, Writer, optimise
from hjepa.training.low import LowData, forget_body, loss, probe, racket_error
from hjepa.training.low_alone import learn_body, learn_flight
from hjepa.training.low_data import Prepared, embed_strokes, held_out, prepare
from hjepa.training.low_run import LowRun, Progress, relay
from hjepa.training.precision import spread
from hjepa.training.proposal import energy_loss, hindsight_loss
from hjepa.training.ranks import ALONE, Ranks
from hjepa.training.searched import Wanted, add, moments, search
from hjepa.training.surprise import CalibrationConfig, normal_flights
from hjepa.types import Array, RobotSpec

PLAN_LATENCY_S = 0.05  # what proposals are trained to expect between observation and command
ALARMS = {"target_offset_m": 0.03, "target_landing_m": 0.15, "target_net_m": 0.06, "target_time_s": 0.005}


def train_level(
    prepared: Prepared,
    codec: MotorCodec,
    root: Tensor,
    run: LowRun,
    out: Path,
    progress: Progress | None,
    writer: Writer | None,
    ranks: Ranks = ALONE,
) -> LowLevel:
    """What moves by itself first, then the own body, then the level."""
    torch.manual_seed(run.level.seed)
    level = LowLevel(run.model, copy.deepcopy(codec))  # its own: what draws batches stays on the CPU
    if not (out / "level.ckpt").exists():
        learn_flight(level, prepared, run, out, progress, writer, ranks)
    if run.body_steps and not (out / "level.ckpt").exists():
        learn_body(level, prepared.data, run, progress, writer, ranks)
    loop = LoopConfig(run.level.steps, rate=run.level.rate)
    return _fit(level, prepared, root, run, loop, out / "level.ckpt", progress, writer, ranks)


def settle(
    level: LowLevel,
    prepared: Prepared,
    root: Tensor,
    run: LowRun,
    out: Path,
    progress: Progress | None,
    writer: Writer | None,
    ranks: Ranks = ALONE,
) -> LowLevel:
    """The level again with the polished body held fixed: the predictor learns to read the racket as it now is."""
    if not run.settle_steps:
        return level
    level.requires_grad_(True)
    level.action.requires_grad_(False)
    loop = LoopConfig(run.settle_steps, rate=0.6 * run.level.rate)
    return _fit(level, prepared, root, run, loop, out / "settle.ckpt", progress, writer, ranks)


def _fit(
    level: LowLevel, prepared: Prepared, root: Tensor, run: LowRun, loop: LoopConfig, checkpoint: Path,
    progress: Progress | None, writer: Writer | None, ranks: Ranks,
) -> LowLevel:  # fmt: skip
    c = run.level
    salt = [c.seed, len(checkpoint.name)]
    generator = torch.Generator().manual_seed(c.seed)
    level, root = level.to(ranks.device), root.to(ranks.device)

    level.encoder.memory.requires_grad_(False)
    lessons = Lessons(level, prepared, run, salt, ranks)

    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        batch = lessons.batch(k)
        batch = batch._replace(now=forget_body(batch.now, generator))  # other rows' joints: before it is parted
        return loss(level, ranks.part(batch), c, generator, root, ranks)

    optimise(
        level,
        step,
        loop,
        checkpoint=checkpoint,
        report=relay(progress, loop.steps),
        writer=writer,
        evaluate=lambda: probe(level, prepared.data, prepared.held),
        ranks=ranks,
    )
    return level.cpu().eval().requires_grad_(False)


@torch.no_grad()
def doubt(level: LowLevel, prepared: Prepared) -> Tensor:
    """Root (G, G) of the precision of predicted outcomes shortly before the event, on strokes never trained on."""
    data, rows = prepared.data, prepared.held[prepared.data.pairs.hit[prepared.held]]
    b = data.draw(rows, np.random.default_rng(5), 0.010, 0.02, np.full(len(rows), 0.1))
    z = level.in_context(level.encode(b.now), b.context)
    gap = level.goal_of(level.predict(z, b.action)) - level.goal_of(level.target(b.future))
    precision = torch.linalg.inv(spread(gap) + 1e-4 * torch.eye(gap.shape[1]))
    return torch.linalg.cholesky(precision.double()).T.float()


def calibrate(bundle: LowBundle, prepared: Prepared, config: CalibrationConfig) -> dict[str, Tensor]:
    """How surprising normal strokes are at most (N,), by cause; of flights that were never trained on."""
    flights = prepared.data.flights
    scores = normal_flights(bundle.level.eval(), flights, np.flatnonzero(held_out(np.arange(len(flights.x_m)))), config)
    return {cause: torch.from_numpy(values).float() for cause, values in scores.items()}


def train_proposal(
    level: LowLevel, prepared: Prepared, high: HighModel, spec: RobotSpec, run: LowRun, out: Path,
    progress: Progress | None, writer: Writer | None, proposal: Proposal | None = None, ranks: Ranks = ALONE,
) -> Proposal:  # fmt: skip
    """Mode 1: hindsight first, then through the frozen energy for goals the high level would set; or refine one."""
    c, data, pairs, ranks = run.proposal, prepared.data, prepared.data.pairs, ranks.on_cpu()
    name = "proposal.ckpt" if proposal is None else "refined.ckpt"
    if proposal is None:
        torch.manual_seed(run.level.seed + 1)
        proposal = Proposal(run.model.state, run.model.goal, run.model.joints, level.codec.config.latent + 1)
    proposal.requires_grad_(True)
    good = pairs.hit & (np.linalg.norm(pairs.offset_m, axis=1) < 0.07) & (pairs.event_s > 0.35)
    good &= (pairs.landing_m[:, 0] > -0.2) & (pairs.landing_m[:, 0] < 7.2)
    shown = prepared.train[good[prepared.train]]
    late = prepared.train[pairs.event_s[prepared.train] > 0.35]
    energy = _energy(level, proposal.heads, limits_of(spec), run.weights)

    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([run.level.seed + 1, len(name), k])
        if k < c.hindsight_steps:
            rows = shown[rng.integers(len(shown), size=c.batch)]
            return hindsight_loss(proposal, level, data, rows, rng, c, ranks), {}
        rows = late[rng.integers(len(late), size=c.batch)]
        wished = _wished(high, prepared.s_in[torch.as_tensor(pairs.flight[rows].astype(np.int64))], rng)
        return energy_loss(proposal, level, energy, data, rows, ranks.part(wished), rng, c, ranks)

    steps = c.hindsight_steps + c.energy_steps
    optimise(
        proposal,
        step,
        LoopConfig(steps, rate=c.rate),
        checkpoint=out / name,
        report=relay(progress, steps),
        writer=writer,
        ranks=ranks,
    )
    return proposal.eval().requires_grad_(False)


def polish_body(
    level: LowLevel, proposal: Proposal, prepared: Prepared, high: HighModel, run: LowRun,
    progress: Progress | None, writer: Writer | None, ranks: Ranks = ALONE,
) -> None:  # fmt: skip
    """Own-body babbling around what will be searched: latents the proposals name, and near them.

    The free numbers of the action are held where the predictor learned to read them.
    """
    if not run.polish_steps:
        return
    ranks = ranks.on_cpu()
    pool = _proposed(level, proposal, prepared, high, run)
    data, codec = prepared.data, level.codec
    learned = copy.deepcopy(level.action)
    level.action.net.requires_grad_(True)

    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([run.level.seed, 8, k])
        n = run.body_batch // 3
        m = pool[torch.as_tensor(rng.integers(len(pool), size=2 * n))]
        spread = torch.tensor(rng.choice([0.05, 0.2, 0.4], (2 * n, 1)), dtype=torch.float32)
        m = m + spread * torch.tensor(rng.normal(size=m.shape), dtype=torch.float32)
        m = torch.minimum(torch.maximum(m, 1.15 * codec.low), 1.15 * codec.high)
        with torch.no_grad():
            event = codec.decode(m)
            racket = torch.cat(data.kinematics(event.q_rad, event.dq_rad_s), dim=-1)
            far, far_racket = data.babble(rng.integers(len(data), size=n), rng)
            m, racket = torch.cat([m, far]), torch.cat([racket, far_racket])
            m, racket = ranks.part((m, racket))
            free = learned(m)[:, [5, 9, 10, 11]]
        u = level.action(m)
        error, drift = racket_error(u, racket), (u[:, [5, 9, 10, 11]] - free).pow(2).mean()
        return error + 0.2 * drift, {"body": float(error.detach()), "drift": float(drift.detach())}

    steps = run.polish_steps
    loop = LoopConfig(steps, rate=1.5e-3, weight_decay=1e-4)
    optimise(level.action, step, loop, report=relay(progress, steps), writer=writer, ranks=ranks)
    level.eval().requires_grad_(False)


def add_searched(
    level: LowLevel, proposal: Proposal, prepared: Prepared, high: HighModel, spec: RobotSpec, run: LowRun
) -> Prepared:
    """The training data with the motions that a search with this level would choose, and what they meet."""
    c, data = run.searched, prepared.data
    if not c.motions:
        return prepared
    rng = np.random.default_rng([run.level.seed, 10])
    late = [rows[data.pairs.event_s[rows] > 0.35] for rows in (prepared.train, prepared.held)]
    rows = np.concatenate(
        [some[rng.integers(len(some), size=n)] for some, n in zip(late, (c.motions, c.motions // 10))]
    )
    s_in = prepared.s_in[torch.as_tensor(data.pairs.flight[rows].astype(np.int64))]
    wanted = Wanted(rows, moments(data, rows, rng, c), *_wished(high, s_in, rng))
    found = search(level.eval(), proposal, data, wanted, spec, run.weights, rng, c)
    goals = np.concatenate([data.goals, embed_strokes(high, found.pairs.after_m, rng, run.level.noise_m)])
    swings, pairs = add(data.swings, data.pairs, found)
    more = LowData(swings, data.flights, pairs, goals, data.codec, data.kinematics)
    new = np.arange(len(data), len(more))
    out = held_out(pairs.flight[new])
    return prepared._replace(data=more, searched=new[~out], searched_held=new[out])


@torch.no_grad()
def _proposed(level: LowLevel, proposal: Proposal, prepared: Prepared, high: HighModel, run: LowRun) -> Tensor:
    """Latents (N, M) that the proposals name for goals the high level would set."""
    data, pairs, c = prepared.data, prepared.data.pairs, run.proposal
    late = prepared.train[pairs.event_s[prepared.train] > 0.35]
    rng = np.random.default_rng([run.level.seed, 9])
    pool = []
    for _ in range(run.polish_batches):
        rows = late[rng.integers(len(late), size=128)]
        b = data.draw(
            rows, rng, 0.010, 0.02, pairs.event_s[rows] - rng.uniform(c.earliest_s, c.latest_s + 0.1, len(rows))
        )
        goal, _ = _wished(high, prepared.s_in[torch.as_tensor(pairs.flight[rows].astype(np.int64))], rng)
        z = level.in_context(level.encode(b.now), b.context)
        pool.append(proposal(z, goal, b.now.q_rad, b.now.dq_rad_s).flatten(0, 1)[:, :-1])
    return torch.cat(pool)


def _wished(high: HighModel, s_in: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Goals (B, G), of no type and anywhere in the opponent's court, at tempi that fit the depth; and their metric."""
    n = len(s_in)
    depth = rng.uniform(0.8, 6.3, n)
    tempo = rng.uniform(0.75, 1.2, n) + 0.08 * depth
    w = np.stack([np.full(n, -1.0), -depth, rng.uniform(-2.3, 2.3, n), tempo], axis=-1)
    with torch.no_grad():
        goal = high.predict(high.context(n), s_in, torch.tensor(w, dtype=torch.float32))
        return goal, high.metric(goal)


def _energy(level: LowLevel, heads: int, limits: Limits, weights: LowWeights) -> Callable[..., Tensor]:
    def energy(z: Tensor, q: Tensor, dq: Tensor, goal: Tensor, root: Tensor, x: Tensor) -> Tensor:
        def each(a: Tensor) -> Tensor:
            return a.repeat_interleave(heads, 0)

        rest = torch.zeros_like(each(q))
        situation = Situation(each(z), each(q), each(dq), rest, PLAN_LATENCY_S, each(goal), each(root))
        return StrokeResidual(level, limits, weights, situation).energy(x)

    return energy


def train(
    spec: RobotSpec,
    codec: MotorCodec,
    swings: Swings,
    launches: tuple[Array, Array],
    high: HighModel,
    run: LowRun,
    out: Path,
    *,
    header: dict[str, Any] | None = None,
    progress: Progress | None = None,
    writer: Writer | None = None,
    ranks: Ranks = ALONE,
    start: tuple[LowLevel, Proposal] | None = None,
) -> Path:
    """All stages; returns the path of the weights, `out`/low.safetensors. Resumable: call again after a kill."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    with ranks.leader_first():
        prepared = prepare(spec, codec, swings, launches, high, run.pairs, run.level, out / "pairs.npz")
    told: dict[str, Any] = {"header": header, "progress": progress, "writer": writer, "ranks": ranks}
    return fit(spec, prepared, high, run, out, start=start, **told)


def fit(
    spec: RobotSpec,
    prepared: Prepared,
    high: HighModel,
    run: LowRun,
    out: Path,
    *,
    header: dict[str, Any] | None = None,
    progress: Progress | None = None,
    writer: Writer | None = None,
    ranks: Ranks = ALONE,
    start: tuple[LowLevel, Proposal] | None = None,
) -> Path:
    """All stages on data that are ready; returns the path of the weights. start: what is settled again, instead of
    being trained from nothing."""
    codec = prepared.data.codec
    high_root = torch.linalg.cholesky(high.precision.double()).T.float()
    if start is None:
        level = train_level(prepared, codec, high_root, run, out, progress, writer, ranks)
        proposal = train_proposal(level, prepared, high, spec, run, out, progress, writer, ranks=ranks)
        polish_body(level, proposal, prepared, high, run, progress, writer, ranks)
    else:
        level, proposal = start
    prepared = add_searched(level, proposal, prepared, high, spec, run)
    level = settle(level, prepared, high_root, run, out, progress, writer, ranks)
    figures = probe(level, prepared.data, prepared.held)
    if len(prepared.searched_held):
        figures |= {f"searched_{k}": v for k, v in probe(level, prepared.data, prepared.searched_held).items()}
    level.eval()
    if run.refine_steps:
        again = replace(run.proposal, hindsight_steps=0, energy_steps=run.refine_steps, rate=run.refine_rate)
        refine = replace(run, proposal=again)
        proposal = train_proposal(level, prepared, high, spec, refine, out, progress, writer, proposal, ranks)
    alarms = [name for name, most in ALARMS.items() if figures[name] > most]
    notes = (header or {}) | spec.identity | {"probe": figures, "alarms": alarms, "seed": run.level.seed}
    if ranks.leads:
        bundle = LowBundle(level, proposal, doubt(level, prepared), notes)
        save_low(out / "low.safetensors", bundle._replace(normal=calibrate(bundle, prepared, run.surprise)))
    ranks.wait()
    return out / "low.safetensors"
