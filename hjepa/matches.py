"""Matches by the BWF laws: hjepa against opponents with human limits, or against a second robot across the net.

A robot plays its strokes in full physics, each on its own half of the court; the shuttle is handed over at every
contact, with the state of both robots at that instant. Two robots never touch, so two half courts are one court.
Services are real ones: a robot's are launched from where the real server stood. Frame: side 0 plays x < 0; a player's
own frame has it at x < 0 too, so side 1's is turned by 180 degrees. Legend: N strokes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from hjepa import build
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config
from hjepa.contexts import MET
from hjepa.planning.hierarchy import HighPlanner
from hjepa.planning.tactics import Seen, TacticsConfig
from hjepa.planning.told import Ask, Told
from hjepa.sides import TICKS_PER_S, TURN2, TURN3, HumanSide, RobotSide, Side, floor_of, leaves, met_after, turned_shot
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import in_singles, net_height_at
from hjepa.tasks.badminton.opponents import Service, Shot, service
from hjepa.tasks.badminton.rallies import Rallies
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array, RobotSpec
from hjepa.viewer.rally_film import RallyScene, turned
from hjepa.viewer.scene import StrokeScene, chain_points, interpolate
from robots.spec import load_spec

LONGEST = 200  # strokes of a rally


class Stroke(NamedTuple):
    """A stroke of a played rally; points in its hitter's canonical frame (hitter at x > 0)."""

    side: int  # 0 or 1
    type: int
    hit_m: Array  # (3,)
    land_m: Array  # (2,) where it was met, or fell
    hitter_m: Array  # (2,)
    receiver_m: Array  # (2,)
    since_s: float
    at_s: float = 0.0  # since the service
    shot: Shot | None = None  # world frame


@dataclass
class Rally:
    """A played rally."""

    server: int
    strokes: list[Stroke] = field(default_factory=list)
    winner: int = -1
    why: str = ""  # how it ended: 'winner', 'net', 'out', 'error', 'too long'
    tracks: dict[int, list[tuple[float, Array]]] = field(default_factory=dict)  # of robots, by side; own frames

    @property
    def length(self) -> int:
        """Strokes, the service included."""
        return len(self.strokes)


def play_rally(sides: tuple[Side, Side], server: int, split: str, seed: int, longest: int = LONGEST) -> Rally:
    """One rally from the service on, given up after so many strokes."""
    rally = _rally(sides, server, split, seed, longest)
    rally.tracks = {k: list(side.track) for k, side in enumerate(sides) if isinstance(side, RobotSide)}
    return rally


def _rally(sides: tuple[Side, Side], server: int, split: str, seed: int, longest: int) -> Rally:
    served: Service = service(split, np.random.default_rng([seed, 59]))
    rally, hitter = Rally(server), server
    sides[hitter].begin(TURN2 * served.server_m, seed)
    sides[1 - hitter].begin(served.receiver_m, seed + 500_009)
    shot = turned_shot(served.shot)  # in the server's own frame
    since = now_s = 0.0
    while True:
        receiver = 1 - hitter
        mine, theirs = sides[hitter].feet(), sides[receiver].feet()  # each in its own frame
        guess = _usually_met(shot)
        flown = turned_shot(shot) if hitter else shot
        where = TURN3 * shot.x_m, TURN2 * guess, TURN2 * mine, theirs
        rally.strokes.append(Stroke(hitter, shot.type, *where, since, now_s, flown))
        seen = Seen(shot.type, TURN2 * guess, TURN2 * mine, theirs, since)
        for side in sides:
            side.saw(seen)
        fault = _fault(shot)
        if fault == "net":
            return _ended(rally, receiver, fault)
        if len(rally.strokes) >= longest:
            return _ended(rally, -1, "too long")
        struck = sides[receiver].receive(turned_shot(shot), TURN2 * mine, now_s)
        if struck.shot is None:
            rally.strokes[-1] = rally.strokes[-1]._replace(land_m=TURN2 * floor_of(shot))
            if struck.why == "error":
                return _ended(rally, hitter, "error")
            return _ended(rally, receiver, "out") if fault == "out" else _ended(rally, hitter, "winner")
        sides[hitter].wait(struck.time_s)  # before anybody is told where the shuttle was met
        met = struck.shot.x_m.copy()  # the receiver's own frame is the hitter's canonical one
        rally.strokes[-1] = rally.strokes[-1]._replace(land_m=met[:2])
        for side in sides:
            side.met(met)
        hitter, shot, since = receiver, struck.shot, struck.time_s
        now_s += since


def _ended(rally: Rally, winner: int, why: str) -> Rally:
    rally.winner, rally.why = winner, why
    return rally


def _fault(shot: Shot) -> str:
    """'net', 'out' or '' of a shot in its hitter's own frame, if nobody touches it."""
    fall = flight.land(shot.x_m[None], shot.v_m_s[None])
    height = float(fall.net_height_m[0])
    if not height > float(net_height_at(np.nan_to_num(fall.net_y_m[0]))):
        return "net"
    return "" if bool(in_singles(fall.xy_m[0], 1)) else "out"


def _usually_met(shot: Shot) -> Array:
    """Where a shot is usually met (2,), by its flight."""
    fall = flight.land(shot.x_m[None], shot.v_m_s[None])
    x, _ = flight.fly_to(shot.x_m[None], shot.v_m_s[None], MET * fall.time_s)
    return np.asarray(x[0, :2])


def foretold(them: HumanSide) -> Ask:
    """What an opponent will make of the robot's ideal shots, asked of it itself: for upper bounds."""

    def ask(kind: int, hit_m: Array, target_m: Array, floor_s: float, feet_m: Array) -> Told:
        v, _ = flight.solve_launch(hit_m[None], np.append(target_m, 0.0)[None], np.array([floor_s]))
        struck = them.foretell(turned_shot(Shot(hit_m, v[0], kind)), TURN2 * feet_m)
        if struck.shot is None:
            return Told(lost=struck.why != "left")
        back = turned_shot(struck.shot)
        return Told(leaves(back), struck.time_s, back.type, _usually_met(back), met_after(back))

    return ask


class Score(NamedTuple):
    """Points of both sides."""

    points: tuple[int, int]
    rallies: list[Rally]

    @property
    def winner(self) -> int:
        """0 or 1."""
        return int(self.points[1] > self.points[0])


def over(points: tuple[int, int], to: int = 21) -> bool:
    """BWF law 7: a game is won with `to` points and two clear, or with nine more."""
    high, low = max(points), min(points)
    return high >= to and (high - low >= 2 or high >= to + 9)


def play_match(
    sides: tuple[Side, Side], *, points: int = 21, split: str = "test", seed: int = 0,
    told: Callable[[tuple[int, int], Rally], None] | None = None, most: int | None = None, longest: int = LONGEST,
) -> Score:  # fmt: skip
    """One game; who wins a rally serves the next. most: it ends after so many rallies, decided or not."""
    score, server = (0, 0), seed % 2
    rallies: list[Rally] = []
    while not over(score, points) and (most is None or len(rallies) < most):
        rally = play_rally(sides, server, split, seed * 10_007 + len(rallies), longest)
        rallies.append(rally)
        if rally.winner >= 0:
            server = rally.winner
            score = (score[0] + (server == 0), score[1] + (server == 1))
        if told:
            told(score, rally)
    return Score(score, rallies)


def as_rallies(rallies: list[Rally]) -> Rallies:
    """Played rallies in the form that the rally level learns from."""
    strokes = [(r, k, s, rally) for r, rally in enumerate(rallies) for k, s in enumerate(rally.strokes)]
    n = len(strokes)
    zeros = np.zeros(n, dtype=np.int8)

    def points(name: str) -> Array:
        return np.array([getattr(s, name) for _, _, s, _ in strokes]).reshape(n, 2)

    won = [0 if rally.winner < 0 else 1 if rally.winner == s.side else -1 for _, _, s, rally in strokes]
    return Rallies(
        np.array([r for r, *_ in strokes], dtype=np.int32), np.array([k for _, k, *_ in strokes], dtype=np.int16),
        np.array([rally.length for *_, rally in strokes], dtype=np.int16),
        np.array([s.type for _, _, s, _ in strokes], dtype=np.int8),
        points("land_m"), points("hitter_m"), points("receiver_m"), np.array([s.since_s for _, _, s, _ in strokes]),
        zeros, zeros, zeros, np.array([1 if s.side == 1 else -1 for _, _, s, _ in strokes], dtype=np.int8),
        np.array(won, dtype=np.int8), np.arange(len(rallies), dtype=np.int32), np.zeros(len(rallies), dtype=np.int8),
    )  # fmt: skip


HIGHS = ("hjepa", "plain", "random")


def robot(
    config: Config, high: str, name: str = "", cooperative: bool = False, against_robot: bool = False
) -> RobotSide:
    """A robot whose shots are chosen as `high` says: the tactician, the level without a rally, or any it can play."""
    build.use_one_thread()
    spec = load_spec(config.robot.name)
    build.check_pair(config, spec)
    low = build.build_low(config, spec)
    if high == "hjepa":
        tactics = TacticsConfig(cooperative=cooperative, robot=against_robot)
        return RobotSide(config, HierarchicalAgent(build.build_tactician(config, spec, tactics), low), name or high)
    settings = build.high_settings(config)
    plain = build.build_high(config)
    if high == "random":
        settings = replace(settings, win=0.0, support=0.0, name=0.0, reach=0.0, mixing=1.0)
        plain = HighPlanner(plain.model, TYPES, settings)
    return RobotSide(config, HierarchicalAgent(plain, low), name or high)


def scenes(rally: Rally, spec: RobotSpec) -> RallyScene:
    """What the film shows of a rally: the robots, and the shuttle's way from hit to hit."""
    shuttle_s, shuttle_m = _shuttle(rally)
    end = shuttle_s[-1]
    grid = np.arange(0.0, end + 1e-9, 1.0 / TICKS_PER_S)
    way = interpolate(shuttle_s, shuttle_m, grid)

    def robot_scene(side: int) -> StrokeScene:
        times, q = zip(*rally.tracks[side], strict=True)
        keep = np.r_[True, np.diff(times) > 1e-6]
        points, racket = chain_points(spec, interpolate(np.array(times)[keep], np.stack(q)[keep], grid))
        axes = (float(spec.racket_semi_axes_m[0]), float(spec.racket_semi_axes_m[1]))
        return StrokeScene(grid, points, racket, way, axes)

    far = turned(robot_scene(1)) if 1 in rally.tracks else None
    names = ("near", "far")
    captions = [(s.at_s, f"{k + 1}  {names[s.side]}: {TYPES[s.type]}") for k, s in enumerate(rally.strokes)]
    ending = f"{rally.length} strokes, {names[rally.winner]} wins ({rally.why})" if rally.winner >= 0 else rally.why
    return RallyScene(robot_scene(0), far, [*captions, (end, ending)])


def _shuttle(rally: Rally) -> tuple[Array, Array]:
    """Times (T,) and places (T, 3) of the shuttle, world."""
    times, places = [], []
    for k, s in enumerate(rally.strokes):
        assert s.shot is not None
        last = k + 1 == len(rally.strokes)
        fall_s = float(flight.land(s.shot.x_m[None], s.shot.v_m_s[None]).time_s[0])
        span = fall_s if last else rally.strokes[k + 1].at_s - s.at_s
        steps = max(2, round(span * TICKS_PER_S))
        path, _ = flight.fly(s.shot.x_m[None], s.shot.v_m_s[None], dt_s=span / steps, steps=steps - (not last))
        times.append(s.at_s + np.arange(len(path[0])) * span / steps)
        places.append(path[0])
    return np.concatenate(times), np.concatenate(places)
