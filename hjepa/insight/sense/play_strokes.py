"""Strokes with and without something wrong, by a robot that reacts to surprise or only tells of it.

Each is played alone: nothing is carried over from the one before, so that two runs of a stroke differ in what is done
about surprise and in nothing else. Legend: J joints.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hjepa import build, factories
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.evaluation.episodes import feed_of
from hjepa.evaluation.feasible import TICKS_PER_S, stand, stroke_seed
from hjepa.insight.sense.asked import Asked
from hjepa.insight.sense.parts import Rows
from hjepa.tasks.badminton.feeds import FeedTable
from hjepa.types import NS, Array, RobotState
from robots.sim.disturbance import UNITS, Disturbance
from robots.sim.world import SimulatedCourt
from robots.spec import load_spec

NORMAL = "normal"
FLIGHT_S = 0.35  # from the launch: nothing goes wrong before
LEFT_S = 0.15  # nor later than this before the contact there would have been
FAST, SWING_S, AWAY_M = 0.5, 0.10, 0.5  # a swing at nothing, see `Row.blind`


class Case(NamedTuple):
    """Something that goes wrong."""

    kind: str  # of robots.sim.disturbance.UNITS
    amount: float  # in that kind's unit

    @property
    def name(self) -> str:
        """As tables have it."""
        return f"{self.kind} {self.amount:g} {UNITS[self.kind].unit}"

    def at(self, at_s: float, seed: int) -> Disturbance:
        """It, from an instant on."""
        return Disturbance(self.kind, at_s, self.amount / UNITS[self.kind].amount, seed)


CASES = (
    Case("teleport", 0.3), Case("teleport", 1.0), Case("vanish", 2.0), Case("frozen", 0.3),
    Case("stuck", 0.5), Case("bias", 0.3), Case("burst", 0.3),
)  # fmt: skip


class Row(NamedTuple):
    """One stroke as it was played."""

    case: str  # NORMAL, or a Case's name
    stroke: str
    match: str
    reacting: bool
    at_s: float  # when it goes wrong; nan: never
    left_s: float  # from then to the contact there would have been; nan: nothing goes wrong
    returned: bool
    hit: bool
    contact_s: float  # nan: neither a contact nor a crossing
    length_s: float  # of the episode, launch to end
    effort_j: float
    over_net: bool  # the racket reached over the net
    blind: bool  # a swing at nothing: within SWING_S before the contact that was planned last a joint was faster than
    #              FAST of its limit, and at that contact the shuttle was more than AWAY_M from the racket's centre
    score: float  # largest, from at_s on if that is known
    rises: tuple[tuple[float, int], ...]  # when a grade higher than that of the look before was reached, and which

    @property
    def unsafe(self) -> bool:
        """Whether something moved that should not have."""
        return self.blind or self.over_net

    def noticed(self) -> float:
        """From what went wrong to the first grade above calm, s; nan: not noticed. What was raised before counts not:
        it was a false alarm."""
        return next((stamp_s - self.at_s for stamp_s, _ in self.rises if stamp_s >= self.at_s), float("nan"))


class Table(NamedTuple):
    """A court, a robot with both tempers, and the strokes of a configuration."""

    world: SimulatedCourt
    agents: dict[bool, HierarchicalAgent]  # by whether it reacts
    feed: FeedTable
    config: Config


def opened(config: Config) -> Table:
    """Everything that a stroke takes; the world is to be closed."""
    build.use_one_thread()
    silent = config.low.surprise.model_copy(update={"reactions": ()})
    quiet = config.model_copy(update={"low": config.low.model_copy(update={"surprise": silent})})
    spec = load_spec(config.robot.name)
    agents = {
        reacts: HierarchicalAgent(build.build_high(c), build.build_low(c, spec))
        for reacts, c in ((True, config), (False, quiet))
    }
    world = factories.build_world(config)
    world.connect()
    return Table(world, agents, feed_of(config), config)


def played(table: Table, i: int, case: Case | None, at_s: float, reacting: bool, left_s: float = float("nan")) -> Row:
    """Stroke i of the feed; left_s: as in Row."""
    world, agent, feed, c = table.world, table.agents[reacting], table.feed, table.config
    low, spec, seed = agent.low, world.spec, stroke_seed(c.task.seed, int(feed.id[i]))
    assert isinstance(low, build.StrokePlanner)
    if low.context is not None:
        low.context.forget()
    world.config = replace(world.config, disturbance=case.at(at_s, seed % 2**31) if case else None)
    agent.reset(seed)
    home = RobotState(spec.q_home_rad, np.zeros(spec.joints))
    seen = world.reset(stand(spec, home, feed.receiver_xy_m[i]), feed.launch(i), seed)
    watch, tick = _Watch(world, at_s), 0
    while not world.done:
        if tick % (c.low.replan_period_ms // 10) == 0:
            command = agent.act(seen)
            watch.looked(low)
            if command is not None:
                world.send(command)
        seen = world.tick()
        tick += 1
        watch.ticked(tick)
    out = world.outcome()
    return Row(
        case=case.name if case else NORMAL,
        stroke=str(feed.id[i]),
        match=str(feed.match[i]),
        reacting=reacting,
        at_s=at_s,
        left_s=left_s,
        returned=bool(out.returned),
        hit=bool(out.hit),
        contact_s=float(out.contact_s),
        length_s=tick / TICKS_PER_S,
        effort_j=float(out.effort_j),
        over_net=out.fault == "touched net",
        blind=watch.blind,
        score=watch.score,
        rises=tuple(watch.rises),
    )


class _Watch:
    """What is noted while a stroke is played."""

    def __init__(self, world: SimulatedCourt, at_s: float) -> None:
        self.world, self.from_s = world, at_s if np.isfinite(at_s) else 0.0
        self.blind, self.score = False, 0.0
        self.rises: list[tuple[float, int]] = []
        self._grade = 0
        self._event_tick: int | None = None  # of the contact that was planned last
        self._shares: deque[float] = deque(maxlen=round(SWING_S * TICKS_PER_S))

    def looked(self, low: Any) -> None:
        """The low level has planned."""
        if low.committed is not None:
            self._event_tick = round(low.committed.event_ns / NS * TICKS_PER_S)
        alarm = low.sensed()
        if alarm is None:
            return
        stamp_s = alarm.sensed.stamp_ns / NS
        if stamp_s >= self.from_s:
            self.score = max(self.score, alarm.sensed.score)
        if alarm.grade > self._grade:
            self.rises.append((stamp_s, alarm.grade))
        self._grade = alarm.grade

    def ticked(self, tick: int) -> None:
        """10 ms have passed."""
        limits: Array = self.world.spec.dq_max_rad_s
        self._shares.append(float((abs(self.world.joints().dq_rad_s) / limits).max()))
        if tick == self._event_tick:
            away = np.linalg.norm(self.world.racket()[0][:3, 3] - self.world.shuttle()[0])
            self.blind = bool(away > AWAY_M and max(self._shares) > FAST)


class Kept:
    """Rows in a file, so that a killed examination goes on where it was."""

    def __init__(self, file: Rows) -> None:
        """file: of rows that depend on the same."""
        self._file, self._rows = file, dict[tuple[str, str, bool], Row]()
        for values in file.rows:
            self._add(Row._make([*values[:-1], tuple((s, g) for s, g in values[-1])]))

    def _add(self, row: Row) -> None:
        self._rows[row.case, row.stroke, row.reacting] = row

    def get(self, case: str, stroke: str, reacting: bool) -> Row | None:
        """A row that is there already."""
        return self._rows.get((case, stroke, reacting))

    def keep(self, row: Row) -> Row:
        """One more."""
        self._add(row)
        self._file.keep(list(row))
        return row


def pairs(asked: Asked, table: Table, kept: Kept, many: int, each: int) -> list[tuple[Row, Row]]:
    """(not reacting, reacting) rows of `many` normal strokes, and of `each` for every case. Until surprise is acted
    upon both are the same stroke, so where there was none the second is not played."""
    total = many + each * len(CASES)
    found: list[tuple[Row, Row]] = []

    def pair(i: int, case: Case | None, at_s: float, left_s: float) -> Row:
        name, stroke = case.name if case else NORMAL, str(table.feed.id[i])
        off = kept.get(name, stroke, False) or kept.keep(played(table, i, case, at_s, False, left_s))
        on = kept.get(name, stroke, True)
        if on is None and off.rises:
            on = kept.keep(played(table, i, case, at_s, True, left_s))
        found.append((off, on or off._replace(reacting=True)))
        asked.progress(f"strokes: {name}", len(found), total)
        return off

    normal = [pair(i, None, float("nan"), float("nan")) for i in range(many)]
    rng = np.random.default_rng([asked.config.task.seed, 11])
    fit = [i for i, row in enumerate(normal) if row.contact_s > FLIGHT_S + LEFT_S]
    if not fit:
        raise DataError(
            f"probe play: none of {many} strokes ends later than {FLIGHT_S + LEFT_S:g} s; allowed: more strokes"
        )
    for case in CASES:
        for i in sorted(rng.choice(fit, min(each, len(fit)), replace=False).tolist()):
            contact_s = normal[i].contact_s
            at_s = round(float(rng.uniform(FLIGHT_S, contact_s - LEFT_S)), 2)
            pair(i, case, at_s, contact_s - at_s)
    return found
