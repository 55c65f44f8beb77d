"""Plays strokes: one agent, one world, a feed. lockstep: time waits for the agent; realtime: nobody waits.

In lockstep an agent is asked every re-planning period, its command starts `latency` after the observation it answers,
and two runs of a seed are identical. In realtime the world's ticks follow the monotonic clock, the agent thinks in a
thread of its own, and what comes too late is counted. Legend: N strokes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from hjepa.config import Config
from hjepa.errors import ConfigError, DataError
from hjepa.evaluation.feasible import TICKS_PER_S, Court, NextLaunch, Starts, stroke_seed
from hjepa.evaluation.metrics import placement_entropy
from hjepa.evaluation.results import NOWHERE, Played, Point, Recording, StrokeResult
from hjepa.protocols import Agent, Avoids, Scans
from hjepa.tasks.badminton import classify
from hjepa.tasks.badminton.feeds import FeedTable, RandomFeedConfig, load_feed, random_feed, read_feed_csv, type_name
from hjepa.tasks.badminton.strokes import TYPES, load_strokes
from hjepa.types import NS, Array, Decision, JointTrajectory, Launch, Observation, Outcome, RobotState

Progress = Callable[[int, int], None]
FREEZE_S = 0.30  # before the contact: the latest moment at which a target is committed
TICK_NS = NS // TICKS_PER_S


class _Track:
    """What is noted while a stroke is played."""

    def __init__(self, world: Court, record: bool) -> None:
        self.world, self.record = world, record
        self.decisions: list[tuple[int, Decision]] = []  # stamp of the observation, what was decided
        self.misses = 0
        self.next_launch = NextLaunch(world)
        self._rows: list[tuple[float, Array, Array]] = []

    def decided(self, stamp_ns: int, decision: Decision | None) -> None:
        """Note a decision if it is a new one."""
        if decision is not None and (not self.decisions or decision is not self.decisions[-1][1]):
            self.decisions.append((stamp_ns, decision))

    def seen(self, observation: Observation) -> None:
        """Note an instant."""
        self.next_launch.watch(observation)
        if self.record:
            shuttle, _ = self.world.shuttle()
            self._rows.append((observation.stamp_ns / NS, self.world.joints().q_rad, shuttle))

    def recording(self) -> Recording | None:
        if not self._rows:
            return None
        times, q, shuttle = zip(*self._rows, strict=True)
        return Recording(np.array(times), np.stack(q), np.stack(shuttle))


def run(
    world: Court,
    agent: Agent,
    feed: FeedTable,
    starts: Starts,
    *,
    clock: Literal["lockstep", "realtime"] = "lockstep",
    replan_period_ms: int = 20,
    seed: int = 0,
    weights_seed: int = 0,
    carry_over: bool = False,
    record: bool = False,
    progress: Progress | None = None,
) -> Iterator[Played]:
    """Play every fed stroke, one by one, from the given start states, and yield what came of it.

    carry_over: each stroke starts where this agent's last one left the robot, 0.90 s after its contact (the first one
    from starts). seed: of sensors and agent, together with the stroke's id; weights_seed is only noted in the results.
    """
    if replan_period_ms <= 0 or replan_period_ms % 10:
        raise ConfigError(f"re-planning period {replan_period_ms} ms; allowed: whole multiples of 10 ms")
    if len(starts.feasible) != len(feed.id):
        raise DataError(f"{len(starts.feasible)} start states for {len(feed.id)} strokes; allowed: one each")
    play = {"lockstep": _lockstep, "realtime": _realtime}[clock]
    own: RobotState | None = None
    for i in range(len(feed.id)):
        start = own if carry_over and own is not None else starts.state(i)
        now = stroke_seed(seed, int(feed.id[i]))
        track = _Track(world, record)
        agent.reset(now)
        play(world, agent, world.reset(start, feed.launch(i), now), replan_period_ms // 10, track)
        own = track.next_launch.state()
        yield Played(
            measure(
                feed,
                i,
                world.outcome(),
                track.decisions,
                misses=track.misses,
                feasible=bool(starts.feasible[i]),
                weights_seed=weights_seed,
                carried=carry_over,
            ),
            track.recording(),
        )
        if progress:
            progress(i + 1, len(feed.id))


def _zones(world: Court) -> Array | None:
    """What a safety scanner sees now; None: there is none."""
    return world.zones() if isinstance(world, Scans) else None


def _act(agent: Agent, seen: Observation, zones: Array | None) -> JointTrajectory | None:
    if zones is not None and isinstance(agent, Avoids):
        agent.avoid(zones)
    return agent.act(seen)


def _lockstep(world: Court, agent: Agent, seen: Observation, period: int, track: _Track) -> None:
    tick = 0
    track.seen(seen)
    while not world.done:
        if tick % period == 0:
            command = _act(agent, seen, _zones(world))
            track.decided(seen.stamp_ns, getattr(agent, "decision", None))
            if command is not None:
                world.send(command)
        seen = world.tick()
        track.seen(seen)
        tick += 1


def _realtime(world: Court, agent: Agent, seen: Observation, period: int, track: _Track) -> None:
    """Ticks at their time; an agent still busy at a re-planning instant, or late with a command, misses a deadline."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="agent") as thinker:
        begun, tick = time.monotonic_ns(), 0
        thought: Future[JointTrajectory | None] | None = None
        asked_ns = 0
        track.seen(seen)
        while not world.done:
            if tick % period == 0:
                if thought is None:
                    thought, asked_ns = thinker.submit(_act, agent, seen, _zones(world)), seen.stamp_ns
                else:
                    track.misses += 1
            due = begun + (tick + 1) * TICK_NS
            if thought is not None and wait([thought], _until(due)).done:
                command, thought = thought.result(), None
                track.decided(asked_ns, getattr(agent, "decision", None))
                if command is not None:
                    track.misses += command.start_ns < seen.stamp_ns
                    if command.start_ns + command.valid_ns > seen.stamp_ns:
                        world.send(command)
            time.sleep(_until(due))
            seen = world.tick()
            track.seen(seen)
            tick += 1


def _until(due_ns: int) -> float:
    """Seconds left until an instant of the monotonic clock."""
    return max(0.0, (due_ns - time.monotonic_ns()) / NS)


def measure(
    feed: FeedTable,
    i: int,
    out: Outcome,
    decisions: list[tuple[int, Decision]],
    *,
    misses: int = 0,
    feasible: bool = True,
    weights_seed: int = 0,
    carried: bool = False,
) -> StrokeResult:
    """Figures of stroke i of a feed; decisions: (stamp of the observation, what was decided on it), in order."""
    made = [d for _, d in decisions]
    first = committed(decisions, out.contact_s)
    return StrokeResult(
        id=str(feed.id[i]),
        match=str(feed.match[i]) if feed.match[i] >= 0 else "",
        seed=weights_seed,
        feed_type=type_name(int(feed.type[i])),
        start="carried" if carried else "receiver",
        feasible=feasible,
        hit=out.hit,
        returned=out.returned,
        fault=out.fault,
        commanded_type="" if first is None or first.type not in TYPES else first.type,
        realised_type=realised_type(feed.launch(i), out) if out.hit else "",
        target_xy_m=_point(first.target_xy_m if first else None),
        predicted_xy_m=_point(made[-1].predicted_xy_m if made else None),
        landing_xy_m=_point(out.landing_m),
        contact_s=float(out.contact_s),
        landing_s=float(out.landing_s),
        racket_speed_m_s=float(out.racket_speed_m_s),
        effort_j=float(out.effort_j),
        plan_ms_low=tuple(d.plan_ms for d in made if np.isfinite(d.plan_ms)),
        plan_ms_high=tuple(d.high_ms for d in made if np.isfinite(d.high_ms)),
        candidates=float(np.mean([d.candidates for d in made])) if made else 0.0,
        mflop=float(np.mean([d.mflop for d in made])) if made else 0.0,
        deadline_misses=misses,
    )


def committed(decisions: list[tuple[int, Decision]], contact_s: float) -> Decision | None:
    """The decision whose target counts: the first plan; if it named no target, the next that did in time.

    In time is 0.30 s before the contact (a first plan later than that still counts: it had no earlier chance).
    """
    latest = (contact_s - FREEZE_S) * NS if np.isfinite(contact_s) else np.inf
    named = [d for k, (stamp, d) in enumerate(decisions) if d.target_xy_m is not None and (k == 0 or stamp <= latest)]
    return named[0] if named else (decisions[0][1] if decisions else None)


def realised_type(launch: Launch, out: Outcome) -> str:
    """Type of the robot's stroke by the frozen classifier, from its flight."""
    columns = (launch.x_m, launch.v_m_s, np.float64(out.contact_s), out.contact_m, out.u_out_m_s)
    features = classify.robot_features(*(np.asarray(column)[None] for column in columns))
    return TYPES[int(classify.classify(features)[0].argmax())]


def _point(xy: Array | None) -> Point:
    return NOWHERE if xy is None else (float(xy[0]), float(xy[1]))


class Reference(NamedTuple):
    """Figures of the humans, to print beside an agent's."""

    classifier_accuracy: float  # of the frozen shot-type classifier on real test strokes
    humans_entropy: float  # bits: placement of real test strokes over 1 m cells


@cache
def humans() -> Reference:
    """Both figures from the strokes of the test matches."""
    strokes = load_strokes()
    rows = classify.usable_rows(strokes, "test")
    score = classify.evaluate(classify.load_classifier(), classify.table_features(strokes, rows), strokes.type[rows])
    landings = strokes.floor_m[rows]
    return Reference(score.accuracy, placement_entropy([(-x, -y) for x, y in landings.tolist()]))


def feed_of(config: Config) -> FeedTable:
    """The strokes a configuration asks for: a random choice of a split, in the order of play; or a file's first."""
    c = config.task
    if c.feed_csv:
        table = read_feed_csv(c.feed_csv)
        return table.take(np.arange(min(c.strokes, len(table.id))))
    if c.feed == "random":
        return random_feed(c.strokes, c.seed, RandomFeedConfig(**c.random.model_dump()))
    table = load_feed(c.feed)
    if c.strokes > len(table.id):
        raise DataError(f"task.strokes is {c.strokes}; allowed: at most {len(table.id)}, the {c.feed} matches' strokes")
    return table.take(np.sort(np.random.default_rng(c.seed).choice(len(table.id), c.strokes, replace=False)))
