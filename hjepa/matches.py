"""Matches by the BWF laws: hjepa against opponents with human limits, or against a second robot across the net.

A robot plays its strokes in full physics, each on its own half of the court; the shuttle is handed over at every
contact, with the state of both robots at that instant. Two robots never touch, so two half courts are one court.
Services are real ones: a robot's are launched from where the real server stood. Frame: side 0 plays x < 0; a player's
own frame has it at x < 0 too, so side 1's is turned by 180 degrees. Legend: N strokes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from hjepa import api, build, stroke
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config
from hjepa.contexts import MET
from hjepa.covering import home_at
from hjepa.evaluation.feasible import stand
from hjepa.planning.anticipation import AnticipationConfig, on_the_way
from hjepa.planning.hierarchy import HighPlanner
from hjepa.planning.tactics import Seen, Tactician, TacticsConfig
from hjepa.planning.told import Ask, Told
from hjepa.protocols import Agent
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.classify import classify, robot_features
from hjepa.tasks.badminton.court import in_singles, net_height_at
from hjepa.tasks.badminton.opponents import Opponent, Service, Shot, service
from hjepa.tasks.badminton.rallies import Rallies
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import NS, Array, Decision, JointTrajectory, Launch, Outcome, RobotSpec, RobotState
from hjepa.viewer.rally_film import RallyScene, turned
from hjepa.viewer.scene import StrokeScene, chain_points, interpolate

TURN2, TURN3 = np.array([-1.0, -1.0]), np.array([-1.0, -1.0, 1.0])
LEAVES_M = 0.15  # a shuttle that falls this far out is left alone
SERVED_S = 0.73  # a service is in the air before it is met
TACTICS_S = 0.04  # charged for the choice of where to wait
LOOK_BACK_S = 0.7  # after a contact the low level still looks at what came of it
MISSED_NS = 100_000_000
WAITS_NS = 5 * NS  # longer than any flight
LONGEST = 200  # strokes of a rally
PERIOD_TICKS = 4
BASE = AnticipationConfig()  # how the base moves
TICKS_PER_S = 100


class Struck(NamedTuple):
    """What a player made of a shuttle. Own frame."""

    time_s: float  # from the other's hit to this one's; nan without a hit
    shot: Shot | None
    feet_m: Array  # (2,) at the hit
    why: str = ""  # without a shot: 'left', 'not reached', 'missed', 'error'


class Side(Protocol):
    """A player. Everything is told and answered in its own frame."""

    name: str

    def begin(self, feet_m: Array, seed: int) -> None: ...

    def receive(self, shot: Shot, other_m: Array, now_s: float) -> Struck: ...

    def wait(self, time_s: float) -> None: ...

    def feet(self) -> Array: ...

    def saw(self, seen: Seen) -> None: ...

    def met(self, hit_m: Array) -> None: ...


class Player(Agent, Protocol):
    """An agent whose strokes have names. If it has a tactician as `high`, that is told the rally and says where to
    wait; if it has a `low` level, that learns nothing from a missed shuttle."""

    @property
    def decision(self) -> Decision | None: ...


class HumanSide:
    """An opponent with human limits."""

    def __init__(self, opponent: Opponent) -> None:
        self.name, self._opponent = opponent.name, opponent
        self._feet = np.zeros(2)
        self._rng = np.random.default_rng(0)
        self._expected_s = SERVED_S

    def begin(self, feet_m: Array, seed: int) -> None:
        self._feet, self._rng = TURN2 * feet_m, np.random.default_rng([seed, 53])
        self._expected_s = SERVED_S

    def receive(self, shot: Shot, other_m: Array, now_s: float) -> Struck:
        answer = self._opponent.answer(_turned(shot), self._feet, TURN2 * other_m, self._rng)  # they stand at x > 0
        self._feet = answer.feet_m
        if answer.shot is None:
            return Struck(answer.time_s, None, TURN2 * self._feet, answer.why)
        self._expected_s = _met_after(answer.shot)
        return Struck(answer.time_s, _turned(answer.shot), TURN2 * self._feet)

    def foretell(self, shot: Shot, other_m: Array) -> Struck:
        """What it will make of a shot that answers its own when that is usually met; it itself stays as it is."""
        twin = copy.copy(self)
        twin._rng = copy.deepcopy(self._rng)
        twin.wait(self._expected_s)
        return twin.receive(shot, other_m, 0.0)

    def wait(self, time_s: float) -> None:
        self._feet = self._opponent.recovered(self._feet, time_s)

    def feet(self) -> Array:
        return TURN2 * self._feet

    def saw(self, seen: Seen) -> None:
        pass

    def met(self, hit_m: Array) -> None:
        pass


class RobotSide:
    """A robot in its own half."""

    def __init__(self, config: Config, agent: Player, name: str) -> None:
        self.name, self._agent = name, agent
        self.high: Any = getattr(agent, "high", None)
        self._low: Any = getattr(agent, "low", None)
        self._system = api.load(config)
        self.spec = self._system.spec
        self._world = self._system.world()
        self._state = RobotState(self.spec.q_home_rad.copy(), np.zeros(self.spec.joints))
        self._seed = self._strokes = 0
        self._contact_tick = -1
        self._began_s = 0.0
        self.track: list[tuple[float, Array]] = []  # of the rally: time since the service, joints
        self._expected_s = SERVED_S
        self._command: JointTrajectory | None = None

    def close(self) -> None:
        """End the physics."""
        self._world.close()

    def begin(self, feet_m: Array, seed: int) -> None:
        self._state, self._seed, self._strokes = home_at(self.spec, feet_m), seed, 0
        self._contact_tick, self._expected_s = -1, SERVED_S
        self._began_s, self.track = 0.0, [(0.0, self._state.q_rad.copy())]
        if isinstance(self.high, Tactician):
            self.high.begin_rally()

    def saw(self, seen: Seen) -> None:
        if isinstance(self.high, Tactician):
            self.high.saw(seen)

    def met(self, hit_m: Array) -> None:
        if isinstance(self.high, Tactician):
            self.high.met(hit_m)

    def feet(self) -> Array:
        return self._state.q_rad[:2].copy()

    def receive(self, shot: Shot, other_m: Array, now_s: float) -> Struck:
        """Play the shuttle; the world stands still after the contact, until `wait`."""
        world, self._strokes = self._world, self._strokes + 1
        self._began_s = now_s
        seed = self._seed * 1000 + self._strokes
        self._agent.reset(seed)
        seen = world.reset(self._state, Launch(shot.x_m, shot.v_m_s, TYPES[shot.type]), seed)
        self._contact_tick, tick, self._command = -1, 0, None
        if _leaves(shot):
            return Struck(float("nan"), None, self.feet(), "left")
        while not world.done and not world.outcome().hit:
            if tick % PERIOD_TICKS == 0 and not self._past(seen.stamp_ns):
                command = self._agent.act(seen)
                if command is not None:
                    self._command = command
                    world.send(command)
            seen = world.tick()
            tick += 1
            self._note(tick)
        self._state, outcome = world.joints(), world.outcome()
        if not outcome.hit:
            return Struck(float("nan"), None, self.feet(), "missed")
        self._contact_tick = tick
        named = self._named(shot, outcome)
        shot_out = Shot(outcome.contact_m.copy(), outcome.u_out_m_s.copy(), named)
        self._expected_s = _met_after(shot_out)  # when the own shot will be met is not known, how it flies is
        return Struck(float(outcome.contact_s), shot_out, self.feet())

    def wait(self, time_s: float) -> None:
        """From the own hit to the other's: recover towards where the replies are expected."""
        place = self._place()
        goal = stand(self.spec, RobotState(self.spec.q_home_rad, np.zeros(self.spec.joints)), place)
        if self._contact_tick < 0:  # a service: the robot stood still
            base, speed = on_the_way(self.feet(), goal.q_rad[:2], time_s, BASE.speed_m_s, BASE.acceleration_m_s2)
            self._state = home_at(self.spec, base, speed)
            self.track.append((time_s, self._state.q_rad.copy()))
            return
        for k in range(round(time_s * TICKS_PER_S)):
            if k == round(TACTICS_S * TICKS_PER_S):
                self._recover(goal.q_rad)
            if self._contact_tick + k + 1 >= round(self._world.config.max_s * TICKS_PER_S):
                break
            seen = self._world.tick()
            self._note(self._contact_tick + k + 1)
            if k % PERIOD_TICKS == 0 and k < LOOK_BACK_S * TICKS_PER_S:
                self._agent.act(seen)  # for what it learns from how the stroke came out; its recovery is not followed
        self._state = self._world.joints()

    def _named(self, shot: Shot, outcome: Outcome) -> int:
        """Type of the stroke that answered a shot: the one that was meant, else what its flight looks like."""
        decision = self._agent.decision
        if decision is not None and decision.type in TYPES:
            return TYPES.index(decision.type)
        answered = shot.x_m, shot.v_m_s, outcome.contact_s, outcome.contact_m, outcome.u_out_m_s
        return int(classify(robot_features(*(np.asarray(part)[None] for part in answered)))[0].argmax())

    def _past(self, stamp_ns: int) -> bool:
        """True once the planned contact has gone by: the shuttle was missed, and nothing is to be learned from that."""
        plan = None if self._low is None else self._low.committed
        return plan is not None and stamp_ns > plan.event_ns + MISSED_NS

    def _note(self, tick: int) -> None:
        self.track.append((self._began_s + tick / TICKS_PER_S, self._world.joints().q_rad))

    def _recover(self, q_goal: Array) -> None:
        """A motion towards rest at q_goal, from where the one in force will be."""
        start_ns = self._world.observe().stamp_ns
        if self._command is None:
            joints = self._world.joints()
            state = stroke.JointState(joints.q_rad, joints.dq_rad_s, np.zeros(self.spec.joints))
        else:
            state = stroke.state_at(self._command, start_ns)
        limits = self.spec.dq_max_rad_s, self.spec.ddq_max_rad_s2
        self._command = stroke.recover(state, q_goal, *limits, start_ns=start_ns, valid_ns=WAITS_NS)
        self._world.send(self._command)

    def _place(self) -> Array:
        if not isinstance(self.high, Tactician) or not self.high.tactics.anticipates:
            return self.spec.q_home_rad[:2]
        seed = self._seed * 1000 + self._strokes
        return self.high.wait_at(self.feet(), self._expected_s, seed)


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


def play_rally(sides: tuple[Side, Side], server: int, split: str, seed: int) -> Rally:
    """One rally from the service on."""
    rally = _rally(sides, server, split, seed)
    rally.tracks = {k: list(side.track) for k, side in enumerate(sides) if isinstance(side, RobotSide)}
    return rally


def _rally(sides: tuple[Side, Side], server: int, split: str, seed: int) -> Rally:
    served: Service = service(split, np.random.default_rng([seed, 59]))
    rally, hitter = Rally(server), server
    sides[hitter].begin(TURN2 * served.server_m, seed)
    sides[1 - hitter].begin(served.receiver_m, seed + 500_009)
    shot = _turned(served.shot)  # in the server's own frame
    since = now_s = 0.0
    while True:
        receiver = 1 - hitter
        mine, theirs = sides[hitter].feet(), sides[receiver].feet()  # each in its own frame
        guess = _usually_met(shot)
        flown = _turned(shot) if hitter else shot
        where = TURN3 * shot.x_m, TURN2 * guess, TURN2 * mine, theirs
        rally.strokes.append(Stroke(hitter, shot.type, *where, since, now_s, flown))
        seen = Seen(shot.type, TURN2 * guess, TURN2 * mine, theirs, since)
        for side in sides:
            side.saw(seen)
        fault = _fault(shot)
        if fault == "net":
            return _ended(rally, receiver, fault)
        if len(rally.strokes) >= LONGEST:
            return _ended(rally, -1, "too long")
        struck = sides[receiver].receive(_turned(shot), TURN2 * mine, now_s)
        if struck.shot is None:
            rally.strokes[-1] = rally.strokes[-1]._replace(land_m=TURN2 * _floor(shot))
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


def _turned(shot: Shot) -> Shot:
    """The same shot in the other player's own frame."""
    return Shot(TURN3 * shot.x_m, TURN3 * shot.v_m_s, shot.type)


def _floor(shot: Shot) -> Array:
    return flight.land(shot.x_m[None], shot.v_m_s[None]).xy_m[0]


def _fault(shot: Shot) -> str:
    """'net', 'out' or '' of a shot in its hitter's own frame, if nobody touches it."""
    fall = flight.land(shot.x_m[None], shot.v_m_s[None])
    height = float(fall.net_height_m[0])
    if not height > float(net_height_at(np.nan_to_num(fall.net_y_m[0]))):
        return "net"
    return "" if bool(in_singles(fall.xy_m[0], 1)) else "out"


def _leaves(shot: Shot) -> bool:
    """True where a shuttle towards x < 0 falls well outside."""
    xy = _floor(shot)
    inside = bool(in_singles(np.sign(xy) * np.maximum(np.abs(xy) - LEAVES_M, 0.0), -1))
    return not inside


def _usually_met(shot: Shot) -> Array:
    """Where a shot is usually met (2,), by its flight."""
    fall = flight.land(shot.x_m[None], shot.v_m_s[None])
    x, _ = flight.fly_to(shot.x_m[None], shot.v_m_s[None], MET * fall.time_s)
    return np.asarray(x[0, :2])


def _met_after(shot: Shot) -> float:
    """How long it takes (s) until a shot is usually met."""
    return MET * float(flight.land(shot.x_m[None], shot.v_m_s[None]).time_s[0])


def foretold(them: HumanSide) -> Ask:
    """What an opponent will make of the robot's ideal shots, asked of it itself: for upper bounds."""

    def ask(kind: int, hit_m: Array, target_m: Array, floor_s: float, feet_m: Array) -> Told:
        v, _ = flight.solve_launch(hit_m[None], np.append(target_m, 0.0)[None], np.array([floor_s]))
        struck = them.foretell(_turned(Shot(hit_m, v[0], kind)), TURN2 * feet_m)
        if struck.shot is None:
            return Told(lost=struck.why != "left")
        back = _turned(struck.shot)
        return Told(_leaves(back), struck.time_s, back.type, _usually_met(back), _met_after(back))

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
    told: Callable[[tuple[int, int], Rally], None] | None = None,
) -> Score:  # fmt: skip
    """One game; who wins a rally serves the next."""
    score, server = (0, 0), seed % 2
    rallies: list[Rally] = []
    while not over(score, points):
        rally = play_rally(sides, server, split, seed * 10_007 + len(rallies))
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
    spec = api.load(config).spec
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
