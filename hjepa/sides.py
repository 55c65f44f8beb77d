"""Who stands on one side of the net: a human with human limits, or a robot in full physics. Both have the same face.

Everything is told and answered in a player's own frame, in which it plays at x < 0. Legend: N strokes.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Protocol

import numpy as np

from hjepa import build, factories, stroke
from hjepa.config import Config
from hjepa.contexts import MET
from hjepa.covering import home_at
from hjepa.evaluation.feasible import stand
from hjepa.planning.anticipation import AnticipationConfig, on_the_way
from hjepa.planning.tactics import Seen, Tactician
from hjepa.protocols import Agent
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.classify import classify, robot_features
from hjepa.tasks.badminton.court import in_singles
from hjepa.tasks.badminton.opponents import Opponent, Shot
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import NS, Array, Decision, JointTrajectory, Launch, Outcome, RobotState
from robots.spec import load_spec

TURN2, TURN3 = np.array([-1.0, -1.0]), np.array([-1.0, -1.0, 1.0])
LEAVES_M = 0.15  # a shuttle that falls this far out is left alone
SERVED_S = 0.73  # a service is in the air before it is met
TACTICS_S = 0.04  # charged for the choice of where to wait
LOOK_BACK_S = 0.7  # after a contact the low level still looks at what came of it
MISSED_NS = 100_000_000
WAITS_NS = 5 * NS  # longer than any flight
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
        answer = self._opponent.answer(turned_shot(shot), self._feet, TURN2 * other_m, self._rng)  # they stand at x > 0
        self._feet = answer.feet_m
        if answer.shot is None:
            return Struck(answer.time_s, None, TURN2 * self._feet, answer.why)
        self._expected_s = met_after(answer.shot)
        return Struck(answer.time_s, turned_shot(answer.shot), TURN2 * self._feet)

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
        build.use_one_thread()
        self.spec = load_spec(config.robot.name)
        self._world = factories.build_world(config, record=True)
        self._world.connect()
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
        if leaves(shot):
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
        self._expected_s = met_after(shot_out)  # when the own shot will be met is not known, how it flies is
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


def turned_shot(shot: Shot) -> Shot:
    """The same shot in the other player's own frame."""
    return Shot(TURN3 * shot.x_m, TURN3 * shot.v_m_s, shot.type)


def floor_of(shot: Shot) -> Array:
    return flight.land(shot.x_m[None], shot.v_m_s[None]).xy_m[0]


def leaves(shot: Shot) -> bool:
    """True where a shuttle towards x < 0 falls well outside."""
    xy = floor_of(shot)
    inside = bool(in_singles(np.sign(xy) * np.maximum(np.abs(xy) - LEAVES_M, 0.0), -1))
    return not inside


def met_after(shot: Shot) -> float:
    """How long it takes (s) until a shot is usually met."""
    return MET * float(flight.land(shot.x_m[None], shot.v_m_s[None]).time_s[0])
