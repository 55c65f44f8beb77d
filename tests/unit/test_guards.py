"""Guardrails: what the planner predicts of its own body, that each term pushes away, and what is done instead."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hjepa import build, stroke
from hjepa.agent import HierarchicalAgent
from hjepa.config import load
from hjepa.evaluation.episodes import _act
from hjepa.insight.sense.guards_played import walker
from hjepa.planning import body as b
from hjepa.planning.flat import FlatAgent
from hjepa.planning.flat_rally import FlatRallyAgent
from hjepa.planning.guarding import Guarding
from hjepa.planning.held import limits_of
from hjepa.planning.objectives import LowWeights, Situation, StrokeResidual, own_residuals
from hjepa.planning.programs import plain, recorded, tensors
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.protocols import Avoids
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import GUARD_NAMES, NS, Array, Goal, Observation
from robots.capsules import capsules
from robots.guard import Guard
from robots.sim.person import Person
from robots.sim.witness import Body as Geometry
from robots.sim.witness import person_clearance
from tests import tiny

SPEC, PARTS = tiny.SPEC, capsules(tiny.SPEC)
BODY, SEEN = b.body_of(SPEC, PARTS, 15.0), Geometry(tiny.SPEC)
LEVEL = tiny.low().level
OWN = own_residuals(LEVEL.codec, SPEC.joints, BODY)
RECORDED = recorded(LEVEL, limits_of(SPEC), SPEC.joints, BODY)
NOTHING = LowWeights(*[0.0] * len(LowWeights().tensor()))


def columns(q: Array) -> torch.Tensor:
    """Joints (N, J) as (J, N)."""
    return torch.tensor(np.atleast_2d(q).T, dtype=torch.float32)


def anywhere(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(SPEC.q_min_rad, SPEC.q_max_rad, (count, SPEC.joints))


def bent(**joints: float) -> Array:
    """Home with some joints elsewhere."""
    q = SPEC.q_home_rad.copy()
    for name, value in joints.items():
        q[SPEC.joint_names.index(name)] = value
    return q


def test_the_planned_body_lies_where_the_simulators_does() -> None:
    q = anywhere(60)
    a, end = SEEN.ends(q)
    placed = b.place(BODY, columns(q))
    for found, wanted in zip(b.ends(BODY, placed), (a, end), strict=True):
        assert found.permute(2, 1, 0).numpy() == pytest.approx(wanted, abs=1e-5)
    assert placed.centre.T.numpy() == pytest.approx(racket_motion(SPEC, q, 0 * q).centre_m, abs=1e-5)
    touching = np.minimum(b.self_gap(BODY, placed).amin(0).numpy(), 0.0)  # pairs that never meet are left out
    assert touching == pytest.approx(np.minimum(SEEN.self_clearance(q), 0.0), abs=1e-5)
    assert (touching < 0.0).any()


def test_a_folded_arm_touches_itself_and_the_home_posture_does_not() -> None:
    q = np.stack([SPEC.q_home_rad, bent(a2=0.78, a3=2.7, a5=2.0)])
    gap = b.self_gap(BODY, b.place(BODY, columns(q))).amin(0)
    assert gap[0] > 0.1
    assert gap[1] < 0.0


def test_the_racket_is_in_the_net_only_beyond_it_below_the_tape_and_between_the_posts() -> None:
    spots = np.stack([bent(base_x=-0.7), bent(base_x=-3.4), bent(base_x=-0.7, a2=-1.57, a3=0.0)])
    depth = b.beyond_net(BODY, b.place(BODY, columns(spots)), 0.0).amax(0)
    centre = racket_motion(SPEC, spots, 0 * spots).centre_m
    assert centre[0, 0] > 0.0 and centre[2, 2] > b.TAPE_M  # reaches over it: through the net; stretched: above it
    assert depth[0] > 0.0
    assert depth[1] == 0.0
    assert depth[2] == 0.0


def test_a_zone_is_as_far_as_the_simulator_says_and_comes_nearer_as_it_walks() -> None:
    q = SPEC.q_home_rad[None]
    person = Person((-3.4, 3.05), (-3.4, 0.0), speed_m_s=1.2)
    placed = b.place(BODY, columns(q))
    for ahead_s in (0.0, 1.0):
        zones = b.zones_of(person.zone(0.0), placed.points)
        gap = float(b.zone_gap(BODY, placed, zones, torch.tensor([ahead_s])).amin())
        seen = person_clearance(SEEN, q, np.array([ahead_s]), person)
        assert gap + b.GROWTH_M_S * ahead_s == pytest.approx(seen, abs=1e-4)
    assert seen == pytest.approx(3.05 - 1.2 - person.radius_m - 0.26, abs=0.3)  # the carriage is the nearest part
    assert b.zone_gap(BODY, placed, b.nobody(placed.points), torch.zeros(1)).amin() > 100.0


def test_nobody_is_there_before_a_person_comes_in() -> None:
    person = Person((-3.4, 0.0), (0.0, 0.0), enters_s=0.5)
    q, times = SPEC.q_home_rad[None].repeat(2, axis=0), np.array([0.0, 0.4])
    assert person_clearance(SEEN, q, times, person) == np.inf
    assert person_clearance(SEEN, q, times + 0.2, person) < 0.0


def speed(q: Array, dq: Array) -> torch.Tensor:
    """Of the racket (N,)."""
    return b.speed_of(b.place(BODY, b.shaken(columns(q), columns(dq))).centre)


def test_the_rackets_speed_is_that_of_the_kinematics() -> None:
    q, dq = anywhere(40), 0.5 * anywhere(40, 1)
    wanted = np.linalg.norm(racket_motion(SPEC, q, dq).v_m_s, axis=1)
    assert speed(q, dq).numpy() == pytest.approx(wanted, rel=1e-2, abs=0.02)


def situation(zones: Array | None = None) -> Situation:
    q = torch.tensor(SPEC.q_home_rad, dtype=torch.float32)[None]
    goal, root = torch.zeros(1, tiny.LOW.goal), torch.eye(tiny.LOW.goal)[None]
    seen = None if zones is None else b.zones_of(zones, q)
    return Situation(torch.zeros(1, tiny.LOW.whole), q, 0 * q, 0 * q, 0.02, goal, root, seen)


def residual(weights: LowWeights, zones: Array | None = None, body: b.Body = BODY) -> StrokeResidual:
    return StrokeResidual(LEVEL, limits_of(SPEC), weights, situation(zones), body=body)


def stroke_at(to_go_s: float = 0.8, rows: int = 1) -> torch.Tensor:
    x = torch.zeros(rows, len(LEVEL.codec.low) + 1)
    x[:, -1] = to_go_s / 0.2
    return x


def contact_of(x: torch.Tensor) -> Array:
    """Joints (N, J) at the contact."""
    found: Array = LEVEL.codec.decode(x[:, :-1]).q_rad.double().numpy()
    return found


def test_a_person_costs_the_more_the_nearer_and_nothing_when_far_or_switched_off() -> None:
    x = stroke_at()
    there = contact_of(x)[0, :2]
    only = replace(NOTHING, keep_out=1.0)

    def energy(away_m: float, weights: LowWeights = only) -> float:
        return float(residual(weights, np.array([[*(there + [0.0, away_m]), 0.0, 0.0, 0.5, 2.0]])).energy(x))

    assert energy(0.3) > energy(0.6) > energy(1.0) > 0.0
    assert energy(20.0) == 0.0
    assert float(residual(only).energy(x)) == 0.0
    assert energy(0.3, NOTHING) == 0.0


def test_a_person_is_expected_where_the_walk_leads() -> None:
    x = stroke_at()
    there = contact_of(x)[0, :2]
    comes = np.array([[*(there + [0.0, 0.8 + 1.2 * 0.8]), 0.0, -1.2, 0.5, 2.0]])
    leaves = comes * [1, 1, 1, -1, 1, 1]
    only = replace(NOTHING, keep_out=1.0)
    assert residual(only, comes).energy(x) > residual(only, leaves).energy(x) == 0.0


@pytest.mark.parametrize("name", ["self_contact", "net_contact", "racket_speed"])
def test_each_term_of_the_body_counts_and_can_be_switched_off(name: str) -> None:
    strict = BODY._replace(radius=8.0 * BODY.radius, reach=8.0 * BODY.reach, speed_max=torch.tensor(0.01))
    x = stroke_at(rows=4) + 0.5 * torch.randn(4, len(LEVEL.codec.low) + 1, generator=torch.Generator().manual_seed(2))
    x[:, LEVEL.codec.config.arm_code] = 3.0  # contacts near the net
    on = replace(NOTHING, **{name: 1.0})
    assert residual(on, body=strict).energy(x).min() > 0.0
    assert residual(NOTHING, body=strict).energy(x).max() == 0.0
    twice = residual(replace(NOTHING, **{name: 2.0}), body=strict).energy(x)
    assert twice == pytest.approx(4.0 * residual(on, body=strict).energy(x))


def test_low_guards_switches_every_guard_off_together() -> None:
    weights = build.low_weights(load("badminton", ["low.guards=false"]))
    assert {getattr(weights, name) for name in build.GUARDS} == {0.0}
    assert weights.goal > 0.0 and weights.contact > 0.0
    alone = build.low_weights(load("badminton", ["low.weights.keep_out=0"]))
    assert [name for name in build.GUARDS if getattr(alone, name) == 0.0] == ["keep_out"]


def test_a_report_names_what_is_broken_in_its_own_unit() -> None:
    x = stroke_at(0.9)
    event = LEVEL.codec.decode(x[:, :-1])
    fast = float(speed(event.q_rad.numpy(), event.dq_rad_s.numpy()))
    slow = BODY._replace(speed_max=torch.tensor(fast - 0.5))
    weights = LowWeights(racket_speed=3.0)
    report = Guarding(slow, SPEC, OWN).report(residual(weights, body=slow)(x)[0], weights)
    assert report[GUARD_NAMES.index("racket speed (m/s)")] == pytest.approx(0.5, abs=1e-3)
    assert report[GUARD_NAMES.index("keep out (m)")] == 0.0
    off = replace(weights, racket_speed=0.0)
    unseen = Guarding(slow, SPEC, OWN).report(residual(off, body=slow)(x)[0], off)
    assert np.isnan(unseen[GUARD_NAMES.index("racket speed (m/s)")])


def test_a_report_sees_a_motion_that_is_too_quick_and_a_person() -> None:
    weights = LowWeights()
    guarding = Guarding(BODY, SPEC, OWN)
    quick = guarding.report(residual(weights)(stroke_at(0.1))[0], weights)
    assert quick[GUARD_NAMES.index("acceleration (of its limit)")] > 0.5
    x = stroke_at(1.5)
    zone = np.array([[*contact_of(x)[0, :2], 0.0, 0.0, 0.5, 2.0]])
    report = guarding.report(residual(weights, zone)(x)[0], weights)
    assert report[GUARD_NAMES.index("keep out (m)")] > 0.3


def test_recorded_programs_see_people_too() -> None:
    zone = np.array([[*contact_of(stroke_at())[0, :2], 0.1, 0.0, 0.5, 2.0]])
    x = stroke_at(rows=3) + 0.1 * torch.randn(3, len(LEVEL.codec.low) + 1, generator=torch.Generator().manual_seed(4))
    weights = LowWeights().tensor()
    for seen in (None, zone):
        parts = tensors(situation(seen))
        with torch.no_grad():
            wanted = plain(LEVEL, limits_of(SPEC), BODY).residuals(x, weights, *parts)
            found = RECORDED.residuals(x, weights, *parts)
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def planner(body: b.Body = BODY, weights: LowWeights = LowWeights()) -> StrokePlanner:  # noqa: B008
    bundle = tiny.low()
    made = StrokePlanner(bundle.level, bundle.proposal, SPEC, weights=weights, body=body)
    made.reset(0)
    return made


def goal() -> Goal:
    nothing = np.zeros(tiny.LOW.goal)
    root = np.eye(tiny.LOW.goal)
    return Goal(1, 0, 0, nothing, root, np.array([3.0, 0.0]), "net shot", nothing[None], np.zeros(1))


def test_a_plan_that_breaks_a_guard_is_not_played() -> None:
    strict = BODY._replace(speed_max=torch.tensor(-20.0))
    low = planner(strict)
    command = low.plan(tiny.flying(20), goal())
    told = low.explain()
    assert command is not None
    assert not told.feasible
    assert told.guards[GUARD_NAMES.index("racket speed (m/s)")] > 19.0
    assert np.abs(command.dq_rad_s[-1]).max() < 1e-6  # waits where it wanted to hit
    assert (np.abs(np.diff(command.dq_rad_s, axis=0)) <= SPEC.ddq_max_rad_s2 * command.dt_s * 1.001).all()


def test_without_guards_nothing_is_refused() -> None:
    strict = BODY._replace(speed_max=torch.tensor(-20.0))
    off = replace(LowWeights(), **dict.fromkeys(build.GUARDS, 0.0))
    low = planner(strict, off)
    assert low.plan(tiny.flying(20), goal()) is not None
    assert low.explain().feasible


def standing(low: StrokePlanner, zones: Array) -> Any:
    """What a planner commands that has nothing to do but to stand at home, in the presence of somebody."""
    low.plan(tiny.flying(20), goal())
    assert low._committed is not None
    state = stroke.JointState(SPEC.q_home_rad, np.zeros(8), np.zeros(8))
    still = stroke.recover(
        state, SPEC.q_home_rad, SPEC.dq_max_rad_s, SPEC.ddq_max_rad_s2, start_ns=0, valid_ns=NS, dt_s=0.01
    )
    low._committed = low._committed._replace(command=still, event_ns=0)
    low.avoid(zones)
    return still, low.plan(tiny.flying(22), goal())


def test_a_robot_steps_out_of_the_way_of_a_person_who_walks_at_it() -> None:
    low = planner()
    comes = np.array([[-3.4, 2.0, 0.0, -1.2, 0.5, 2.0]])
    still, command = standing(low, comes)
    assert low.guarding is not None
    zones = b.zones_of(comes, BODY.radius)
    seen_ns = 22 * tiny.TICK_NS
    waits = still._replace(start_ns=seen_ns)
    assert low.guarding.trespass([waits], zones, seen_ns)[1][0] > 0.0
    assert low.guarding.trespass([command], zones, seen_ns)[1][0] == 0.0
    assert np.linalg.norm(command.q_rad[-1, :2] - SPEC.q_home_rad[:2]) > 0.4


def test_a_person_who_stays_away_changes_nothing() -> None:
    far = np.array([[-3.4, 3.0, 0.0, 1.2, 0.5, 2.0]])
    still, command = standing(planner(), far)
    assert command is not None
    assert command.q_rad == pytest.approx(np.broadcast_to(SPEC.q_home_rad, command.q_rad.shape))
    assert still.q_rad[0] == pytest.approx(command.q_rad[0])


def test_the_predicted_recovery_is_the_one_that_is_commanded() -> None:
    home = torch.tensor(SPEC.q_home_rad, dtype=torch.float32)
    level = tiny.low().level
    level.codec.home_rad.copy_(home)
    level.codec.dq_std.fill_(1.0)
    x = stroke_at()
    low = StrokeResidual(level, limits_of(SPEC), LowWeights(), situation(), body=BODY)
    at = low.situation
    event = level.codec.decode(x[:, :-1])
    duration = x[:, -1:] * 0.2 - at.latency_s
    way = level.codec.approach(event, at.q, at.dq, at.ddq, duration)
    ends = [part[0].double().numpy() for part in (at.q, at.dq, at.ddq)]
    parts = [part[0].double().numpy() for part in event]
    command = stroke.trajectory(
        stroke.JointState(*ends),
        stroke.Event(*parts, float(duration)),
        SPEC.q_home_rad,
        SPEC.ddq_max_rad_s2,
        start_ns=0,
        valid_ns=NS,
        dt_s=0.001,
    )
    wanted = [stroke.state_at(command, round((float(duration) + t) * NS)).q_rad for t in b.AFTER_S]
    assert low._recovery(way, event)[:, 0].numpy() == pytest.approx(np.stack(wanted), abs=5e-3)


def test_the_drivers_guard_counts_the_set_points_that_it_changes() -> None:
    guard = Guard(SPEC, 0.01)
    q, still = SPEC.q_home_rad, np.zeros(SPEC.joints)
    step = SPEC.ddq_max_rad_s2 * 0.01
    guard.limit(q, still, 0.9 * step)
    assert guard.interventions == 0
    guard.limit(q, still, 1.5 * step)
    guard.limit(np.where(np.arange(8) == 0, SPEC.q_max_rad, q), still, 0.5 * step)
    assert guard.interventions == 2


def test_people_come_in_over_a_side_line_and_away_from_the_robot() -> None:
    rng = np.random.default_rng(0)
    for robot in ([-1.0, 2.5], [-6.0, -2.5], [-3.4, 0.0]):
        people = [walker(np.array(robot), rng) for _ in range(50)]
        assert {abs(person.from_m[1]) for person in people} == {3.05}
        assert min(np.hypot(*np.subtract(person.from_m, robot)) for person in people) >= 2.0


class Listener:
    """An agent that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Array] = []

    def reset(self, seed: int = 0) -> None:
        self.told.clear()

    def avoid(self, zones: Array) -> None:
        self.told.append(zones)

    def act(self, observation: Observation) -> None:
        self.told.append(np.array([observation.stamp_ns]))


def test_two_levels_are_told_of_people_before_they_act() -> None:
    zone = Person((-3.0, 3.0), (-3.0, 0.0)).zone(0.5)
    listener = Listener()
    _act(listener, tiny.flying(3), zone)
    assert [len(told) for told in listener.told] == [1, 1]
    assert listener.told[0] is zone
    low = planner()
    HierarchicalAgent(None, low).avoid(zone)  # type: ignore[arg-type]
    assert low._zones is not None
    assert low._zones[0, :2].tolist() == pytest.approx([-3.0, 2.4])
    HierarchicalAgent(None, low).avoid(np.zeros((0, 6)))  # type: ignore[arg-type]
    assert low._zones is None


@pytest.mark.parametrize("kind", [FlatAgent, lambda high, low: FlatRallyAgent(high, low, 4)])
def test_agents_of_one_level_are_told_of_people_too(kind: Any) -> None:
    low = planner()
    agent = kind(Listener(), low)
    assert isinstance(agent, Avoids)
    agent.avoid(Person((-3.0, 3.0), (-3.0, 0.0)).zone(0.5))
    assert low._zones is not None
    assert low._zones[0, :2].tolist() == pytest.approx([-3.0, 2.4])
