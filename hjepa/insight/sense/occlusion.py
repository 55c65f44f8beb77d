"""The shuttle hidden in flight: what is still known of it, beside Kalman filters, and what that costs in play.

Legend: N strokes or flights, H hidden spans, A instants at which is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hjepa import __version__, api, build, factories
from hjepa.config import Config
from hjepa.errors import DataError
from hjepa.evaluation.episodes import feed_of
from hjepa.evaluation.results import StrokeResult
from hjepa.insight import origin
from hjepa.insight.sense import occlusion_figures as told
from hjepa.insight.sense import occlusion_flights as sky
from hjepa.insight.sense import occlusion_landing as falls
from hjepa.insight.sense import occlusion_play as court
from hjepa.insight.sense import parts
from hjepa.insight.sense.asked import Asked, Found
from hjepa.tasks.badminton.feeds import FeedTable
from hjepa.tasks.badminton.flight import L_NOMINAL_M, fly
from hjepa.viewer.pictures import occlusion as pictures
from robots.spec import load_spec

STROKES, FLIGHTS = 150, 300  # as usual
SPARE = 2  # times as many flights are drawn: some are too short
MAIN_MS = (0, 200)  # hidden in the middle of every stroke's flight; other lengths and places of a third of them


class Size(NamedTuple):
    """How much is looked at."""

    strokes: int
    some: int  # strokes with something else hidden than MAIN_MS in the middle
    flights: int
    hidden_ms: Sequence[int]
    agents: Sequence[str]


def examine(asked: Asked) -> Found:
    """Landing errors without a robot, then strokes; the parts of other settings or weights are not gone on with."""
    size = size_of(asked)
    config = _configured(asked.config, size.strokes, "hjepa")
    folder = asked.out / "occlusion_parts" / key_of(config, size)
    folder.mkdir(parents=True, exist_ok=True)
    setting = falls.Setting(
        build.low_bundle(config, load_spec(config.robot.name)).level,
        load_spec(config.robot.name),
        factories.world_settings(config).sensors(),
        size.hidden_ms,
        config.task.seed,
    )
    feed = flights_of(config, size, setting)
    errors = {world: falls.errors(world, feed, setting, folder, asked.progress) for world in falls.WORLDS}
    played = {agent: _played(asked, agent, size, folder) for agent in size.agents}
    figures = told.figures(size.hidden_ms, errors, played, config.task.seed)
    note = origin.small_print(config, asked.name, parts.LEVELS)
    drawn = [
        pictures.draw(figures, note),
        pictures.flight(_example(feed, setting, errors["nominal"]), note),
    ]
    return Found(figures, told.tables(figures), drawn, told.says(figures))


def size_of(asked: Asked) -> Size:
    """How much is looked at, as usual or as asked."""
    if asked.quick:
        return Size(2, 1, 6, (0, 200), ("hjepa",))
    strokes = asked.strokes or STROKES
    return Size(strokes, -(-strokes // 3), min(2 * strokes, FLIGHTS), falls.HIDDEN_MS, court.AGENTS)


def _configured(config: Config, strokes: int, agent: str) -> Config:
    """The same with so many strokes, each from where the receiver stood, nothing hidden."""
    task = config.task.model_copy(update={"strokes": strokes, "start": "receiver"})
    world = config.world.model_copy(update={"hidden_ms": ()})
    who = config.agent.model_copy(update={"name": agent})
    return config.model_copy(update={"task": task, "world": world, "agent": who})


def key_of(config: Config, size: Size) -> str:
    """Tells parts of other settings apart."""
    about = (__version__, size, falls.WORLDS, falls.DRAG_RANGE_M, sky.BEFORE, sky.AFTER)
    return parts.key_of(config, *about)


def flights_of(config: Config, size: Size, setting: falls.Setting) -> FeedTable:
    """Flights long enough for every span, also where drag is greatest, drawn from the configured feed."""
    task = config.task.model_copy(update={"strokes": SPARE * size.flights})
    table = feed_of(config.model_copy(update={"task": task}))
    longest = round(max(falls.HIDDEN_MS) / 1e3 / sky.SLOT_S)
    fine = np.flatnonzero(sky.long_enough(0.97 * table.floor_s, setting.sensors, longest))
    if not len(fine):
        raise DataError(f"{len(table.id)} flights looked at; allowed: some of {max(falls.HIDDEN_MS)} ms and a bit more")
    rng = np.random.default_rng([config.task.seed, 30])
    return table.take(np.sort(rng.choice(fine, min(size.flights, len(fine)), replace=False)))


def _played(asked: Asked, agent: str, size: Size, folder: Path) -> dict[court.Condition, list[StrokeResult]]:
    """What is hidden -> strokes."""
    system = api.load(_configured(asked.config, size.strokes, agent))
    system.starts(judging=partial(asked.progress, "start states"))
    every = np.arange(size.strokes)
    made = {}
    with closing(system.world()) as world:
        for condition in _conditions(size.hidden_ms):
            all_of_them = condition in [court.Condition(ms, court.MIDDLE) for ms in MAIN_MS]
            rows = every if all_of_them else court.spread_out(size.strokes, size.some)
            report = partial(asked.progress, f"{agent}, {condition.hidden_ms} ms hidden ({condition.place})")
            made[condition] = court.strokes(system, world, condition, rows, folder, report)
    return made


def _conditions(hidden_ms: Sequence[int]) -> list[court.Condition]:
    """Nothing hidden, then every span in the middle of the flight, then anywhere."""
    spans = [ms for ms in hidden_ms if ms]
    return [court.PLAIN, *(court.Condition(ms, where) for where in (court.MIDDLE, court.ANYWHERE) for ms in spans)]


def _example(feed: FeedTable, setting: falls.Setting, errors: falls.Errors) -> pictures.Example:
    """The flight with the longest span of MAIN_MS hidden whose error is the low level's median."""
    ms = max(MAIN_MS)
    own = errors.m[falls.OURS][list(setting.hidden_ms).index(ms), 0]
    i = int(np.argsort(own)[len(own) // 2])
    flights = sky.make_flights(feed, setting.spec, np.full(len(feed.id), L_NOMINAL_M), setting.seed)
    one = sky.look(flights, i, round(ms / 1e3 / sky.SLOT_S), setting.sensors)
    seen, belief = one.seen[one.asked[0]], sky.filtered(falls.filter_of(falls.TRUE, L_NOMINAL_M), one)[0]
    guess = sky.expected(setting.level, [seen], np.zeros((1, setting.level.config.context)))
    assert belief is not None  # it has seen BEFORE samples
    steps = round(guess.time_s[-1] / sky.SLOT_S)
    path, _ = fly(belief.x_m[None], belief.v_m_s[None], dt_s=sky.SLOT_S, steps=steps, L=belief.drag_length_m)
    return pictures.Example(
        flights.x_m[i],
        flights.floor_m[i],
        seen.tracker_xyz_m[seen.tracker_mask],
        (one.first, one.asked[0]),
        {falls.OURS: guess.x_m[0], falls.TRUE: path[0]},
        ms,
    )
