"""Surprise becomes a grade, a grade an act: pytest tests/unit/test_reacting.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hjepa import build, stroke
from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.errors import WeightsError
from hjepa.planning.breaks import broke_at
from hjepa.planning.reacting import GENTLE, Ladder, ReactConfig, Reacting, Step
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.planning.surprise import CAUSES
from hjepa.types import ABANDON, CALM, HOLD, MODE_1, NS, REPLAN, Alarm, Launch, RobotState, Sensed
from tests import tiny
from tests.unit.test_repeated_search import goal, observation

torch.set_num_threads(1)
CONFIG = ReactConfig(steps=tuple(Step(0.003, looks) for looks in (1, 2, 3, 5)))
TICK_NS = 10_000_000


def sensed(p, cause="flight", stamp_ns=0):
    return Sensed(stamp_ns, 1.0 / p, p, cause)


def climbed(ps, config=CONFIG):
    ladder = Ladder(config)
    return [ladder.climb(sensed(p)) for p in ps]


class Line:
    """A level that expects the shuttle on a straight line: 10 m/s towards the robot from where z has it."""

    scattered_m = 0.01

    def scatter(self, window, mask):
        return torch.tensor([self.scattered_m])

    @staticmethod
    def ahead(z, t):
        return torch.cat([z[:, :1] - 10.0 * t, z[:, 1:3], torch.zeros(len(t), 45)], dim=-1)


class Scripted:
    """A watcher that is surprised when it is told to: p by number of the look."""

    def __init__(self, ps, cause="flight"):
        self.ps, self.cause = ps, cause
        self.seen, self.resets = [], 0

    def reset(self):
        self.resets += 1

    def see(self, seen, until_ns=None):
        p = self.ps[len(self.seen)] if len(self.seen) < len(self.ps) else 1.0
        self.seen.append((seen, until_ns))
        return Sensed(seen.stamp_ns, 1.0 / p, p, self.cause)


# the ladder


def test_a_longer_surprise_climbs_higher() -> None:
    assert climbed([1.0, 0.001, 0.001, 0.001, 0.001, 0.001]) == [CALM, REPLAN, MODE_1, ABANDON, ABANDON, HOLD]


def test_a_rarer_surprise_climbs_at_once() -> None:
    steep = replace(CONFIG, steps=(Step(0.01, 1), Step(0.01, 9), Step(0.001, 1), Step(0.0001, 1)))
    assert climbed([0.005], steep) == [REPLAN]
    assert climbed([0.001], steep) == [ABANDON]
    assert climbed([0.0001], steep) == [HOLD]


def test_a_surprise_just_above_the_threshold_is_none() -> None:
    assert climbed([0.0031] * 9) == [CALM] * 9
    assert climbed([0.003]) == [REPLAN]


def test_calm_looks_in_a_row_end_what_is_not_final_and_forget_what_led_to_it() -> None:
    assert climbed([0.001, 1.0, 1.0, 0.001]) == [REPLAN, REPLAN, REPLAN, MODE_1]  # not three in a row
    assert climbed([0.001, 1.0, 1.0, 1.0, 0.001]) == [REPLAN, REPLAN, REPLAN, CALM, REPLAN]


def test_what_is_given_up_stays_so() -> None:
    assert climbed([0.001] * 3 + [1.0] * 9)[-1] == ABANDON


def test_a_look_before_anything_was_expected_says_nothing() -> None:
    ladder = Ladder(CONFIG)
    assert ladder.climb(sensed(0.001)) == REPLAN
    for _ in range(5):
        assert ladder.climb(Sensed(0, 0.0, 1.0, "")) == REPLAN


# what is believed


def flight(jump_at=99, jump_m=1.0, tick=64):
    """64 slots up to `tick`: 10 m/s towards the robot, then somewhere else."""
    ticks = np.arange(64) + tick - 63
    xyz = np.stack([6.0 - 0.1 * ticks, 0.0 * ticks, 2.0 + 0.0 * ticks], axis=-1)
    xyz[ticks >= jump_at, 2] += jump_m
    mask = ticks <= tick - 3
    return observation(tick)._replace(
        tracker_xyz_m=xyz * mask[:, None], tracker_mask=mask, tracker_stamp_ns=ticks * TICK_NS
    )


def belief(tick):
    """z of a shuttle where it is at a tick."""
    return torch.tensor([[6.0 - 0.1 * tick, 0.0, 2.0]])


@pytest.mark.parametrize("jump_at", [45, 52, 60])
def test_the_break_is_at_the_first_measurement_elsewhere(jump_at) -> None:
    assert broke_at(Line(), belief(40), 40 * TICK_NS, flight(jump_at)) == jump_at * TICK_NS


def test_with_nothing_where_it_was_expected_all_that_is_newer_than_the_belief_is_another_flight() -> None:
    assert broke_at(Line(), belief(50), 50 * TICK_NS, flight(30)) == 51 * TICK_NS


def reacting(ps, cause="flight", **changes):
    return Reacting(Scripted(ps, cause=cause), Line(), tiny.SPEC, replace(CONFIG, **changes))


def looked(made, jump_at=55, ticks=range(40, 64, 4)):
    for tick in ticks:
        made.look(made.believed(flight(jump_at, tick=tick)), belief(tick), None)


def test_a_break_is_in_doubt_until_there_is_enough_of_a_new_flight_and_then_that_alone_is_believed() -> None:
    made = reacting([1.0] * 5 + [0.001])
    looked(made)
    assert made.breaks.in_doubt and not made.afresh and made.watcher.resets == 1
    soon = made.believed(flight(55, tick=62))  # five measurements of it
    assert soon.tracker_stamp_ns[soon.tracker_mask].max() == 54 * TICK_NS  # memory goes on with what was before
    after = made.believed(flight(55, tick=66))
    assert made.since_ns == 55 * TICK_NS and made.afresh and made.watcher.resets == 2
    assert after.tracker_stamp_ns[after.tracker_mask].min() == 55 * TICK_NS
    assert (after.tracker_xyz_m[~after.tracker_mask] == 0.0).all()
    made.reset()
    assert made.believed(flight(55, tick=66)).tracker_mask.sum() == flight(55, tick=66).tracker_mask.sum()


@pytest.mark.parametrize("scatter_m", [0.0, 0.2])
def test_what_no_tracker_would_say_of_a_flight_is_never_believed(scatter_m) -> None:
    made = reacting([1.0] * 5 + [0.001])
    made.breaks.level.scattered_m = scatter_m  # stuck, or mad
    looked(made)
    seen = made.believed(flight(55, tick=90))
    assert made.breaks.in_doubt and made.since_ns is None
    assert not (seen.tracker_mask & (seen.tracker_stamp_ns >= 55 * TICK_NS)).any()


def test_when_the_old_flight_is_seen_again_only_what_was_said_meanwhile_is_forgotten() -> None:
    made = reacting([1.0] * 5 + [0.001])
    made.breaks.level.scattered_m = 0.2
    looked(made)
    again = flight(55, tick=80)
    ticks = again.tracker_stamp_ns // TICK_NS
    again.tracker_xyz_m[(ticks >= 70) & again.tracker_mask, 2] -= 1.0  # where it would have been all the time
    seen = made.believed(again)
    assert not made.breaks.in_doubt and made.since_ns is None and not made.afresh
    gone = (ticks >= 55) & (ticks < 75)
    assert not seen.tracker_mask[gone & (ticks < 70)].any()
    assert seen.tracker_mask[(ticks < 55) | ((ticks >= 75) & (ticks <= 77))].all()


@pytest.mark.parametrize(
    ("cause", "changes", "afresh"), [("unseen", {}, True), ("flight", {"reactions": ("hold",)}, False)]
)
def test_nothing_is_forgotten_where_nothing_new_is_seen_or_re_planning_is_off(cause, changes, afresh) -> None:
    made = reacting([1.0] * 5 + [0.001], cause, **changes)
    looked(made)
    assert made.since_ns is None and made.afresh == afresh


def test_without_a_watcher_nothing_is_ever_surprising() -> None:
    made = Reacting(None, Line(), tiny.SPEC)
    assert not made.look(flight(), belief(0), None)
    assert made.acting == CALM and made.told() is None and made.believed(flight()) is not None


def test_a_look_is_told_once() -> None:
    made = reacting([0.001])
    looked(made, ticks=[40])
    assert made.told() == Alarm(Sensed(40 * TICK_NS, 1000.0, 0.001, "flight"), REPLAN)
    assert made.told() is None


def test_a_new_flight_that_no_plan_reaches_is_let_go_and_an_old_one_never() -> None:
    made = reacting([1.0] * 5 + [0.001])
    assert not any(made.let_go(True) for _ in range(9)), "the flight is the one the stroke began with"
    looked(made)
    made.believed(flight(55, tick=66))
    assert [made.let_go(nowhere) for nowhere in (True, True, False, True, True, True)] == [False] * 5 + [True]
    assert made.told().grade == ABANDON
    kept = reacting([1.0] * 5 + [0.001], reactions=("re-plan",))
    looked(kept)
    kept.believed(flight(55, tick=66))
    assert not any(kept.let_go(True) for _ in range(9))


# the planner acts


def planner(ps, cause="unseen", **changes):
    bundle = tiny.low()
    watcher = None if ps is None else Scripted(ps, cause)
    reacting = Reacting(watcher, bundle.level, tiny.SPEC, replace(CONFIG, **changes))
    made = StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, LowPlanConfig(), reacting=reacting)
    made.reset(3)
    return made


def commands(made, looks=6):
    return [made.plan(observation(70 + 4 * k), goal()) for k in range(looks)]


def same(a, b):
    return (a is None) == (b is None) and (a is None or np.array_equal(a.q_rad, b.q_rad))


def test_a_calm_watcher_changes_no_command() -> None:
    watched, alone = commands(planner([])), commands(planner(None))
    assert all(same(a, b) for a, b in zip(watched, alone, strict=True))


def test_reactions_that_are_off_change_no_command_and_surprise_is_told() -> None:
    made = planner([0.001] * 6, reactions=())
    assert all(same(a, b) for a, b in zip(commands(made), commands(planner(None)), strict=True))
    assert made.sensed().grade == HOLD


def test_re_planning_searches_as_at_the_first_time() -> None:
    made = planner([1.0, 1.0, 0.001])
    scored = []
    for k in range(4):
        made.plan(observation(70 + 4 * k), goal())
        scored.append(made.scored)
    assert len(scored[0]) == len(scored[2]) == 2  # half of the way with all starts, the rest with the better ones
    assert len(scored[1]) == len(scored[3]) == 1


def test_mode_1_searches_nothing() -> None:
    made = planner([1.0, 0.001, 0.001])
    commands(made, 3)
    assert made.reacting.acting == MODE_1 and made.scored == ()


def test_an_abandoned_stroke_goes_back_gently_and_swings_no_more() -> None:
    made = planner([1.0, 0.001, 0.001, 0.001])
    made.reacting.config = replace(
        made.reacting.config, steps=(Step(0.003, 9), Step(0.003, 9), Step(0.003, 1), Step(0.003, 9))
    )
    made.reacting.ladder.config = made.reacting.config
    first, away, later = commands(made, 3)
    start = stroke.state_at(first, away.start_ns)
    np.testing.assert_allclose(away.q_rad[0], start.q_rad, atol=1e-9)
    np.testing.assert_allclose(away.dq_rad_s[0], start.dq_rad_s, atol=1e-9)
    top = np.maximum(GENTLE * tiny.SPEC.dq_max_rad_s, abs(start.dq_rad_s))
    assert (abs(away.dq_rad_s) <= top + 1e-9).all()
    assert np.allclose(away.dq_rad_s[-1], 0.0)
    np.testing.assert_allclose(later.q_rad, away.q_rad[4:])  # the same way back, 40 ms on
    assert made.committed is None


def test_a_held_robot_is_braked_and_then_not_commanded_so_that_its_driver_holds() -> None:
    made = planner([1.0] + [0.0001] * 8)
    made.reacting.config = replace(
        made.reacting.config, steps=(Step(0.0, 1), Step(0.0, 1), Step(0.0, 1), Step(0.001, 1))
    )
    made.reacting.ladder.config = made.reacting.config
    _, braking, *nothing = commands(made)
    stopped = np.flatnonzero((abs(braking.dq_rad_s) < 1e-9).all(axis=1))[0] * braking.dt_s
    assert stopped - 0.02 <= braking.valid_ns / NS < 0.5
    assert nothing == [None] * 4


class Lessons:
    """A slow context that notes what it is told."""

    estimate, surprise = torch.zeros(1, tiny.LOW.context), 0.0

    def __init__(self):
        self.told = []

    def saw(self, *flight):
        pass

    def landed(self):
        self.told.append("flight")

    def doubted(self):
        pass

    def learn(self, *look):
        self.told.append("outcome")


@pytest.mark.parametrize(("p", "lessons"), [(1.0, ["outcome", "flight"]), (0.001, [])])
def test_nothing_is_learned_from_a_stroke_that_surprised(p, lessons) -> None:
    made = planner([1.0, p])
    made.hindsight.context = made.encoding.context = noted = Lessons()
    commands(made, 2)
    event = made.committed.event_ns // TICK_NS
    made.plan(observation(event + 51), goal())
    made.explain()
    made.reset()
    assert noted.told == lessons


def test_a_new_flight_is_planned_for_even_right_before_the_old_contact() -> None:
    made = planner([])
    made.plan(observation(70), goal())
    old = made.committed
    made.reacting.afresh = True
    made.plan(observation(old.event_ns // TICK_NS - 3), goal())
    assert made.committed.stamp_ns > old.stamp_ns and not made.reacting.afresh


def test_after_the_planned_contact_nobody_watches() -> None:
    made = planner([])
    made.plan(observation(70), goal())
    event = made.committed.event_ns // TICK_NS
    looks = len(made.reacting.watcher.seen)
    made.plan(observation(event + 5), goal())
    assert len(made.reacting.watcher.seen) == looks


# the bus


class Startled(PointLow):
    """Two looks of a toy: one calm, one not."""

    def sensed(self):
        return Alarm(Sensed(0, 2.0, 0.5, "flight"), 0) if self.plans == 1 else Alarm(Sensed(0, 9.0, 0.001, "flight"), 1)


def test_surprise_travels_with_the_plans_and_is_counted() -> None:
    start, launch = RobotState(np.array([0.5, -0.5]), np.zeros(2)), Launch(np.ones(3), np.zeros(3), "clear")
    with InprocGraph(PointWorld(), PointHigh(), Startled()) as graph:
        episode = graph.play(start, launch, 3)
    assert [alarm.grade for alarm in episode.alarms] == [0] + [1] * (len(episode.plans) - 1)
    stamps = {message.header.stamp_ns for message in episode.messages["surprise"]}
    assert stamps <= {message.header.stamp_ns for message in episode.messages["observation"]}
    counts = episode.status["low"].counts
    assert (counts["surprise.re-plan"], counts["surprise.grade"], counts["surprise.p_ppm"]) == (1, 1, 1000)


def test_a_level_that_does_not_watch_tells_nothing() -> None:
    start, launch = RobotState(np.array([0.5, -0.5]), np.zeros(2)), Launch(np.ones(3), np.zeros(3), "clear")
    with InprocGraph(PointWorld(), PointHigh(), PointLow()) as graph:
        assert graph.play(start, launch, 3).alarms == []


# with a level


def test_a_memory_is_recorded_once_however_often_it_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    monkeypatch.setattr(build, "record", lambda *made: recorded.append(made) or len(recorded))
    normal = {cause: torch.linspace(0.0, 30.0, 500) for cause in CAUSES}
    one, other = (tiny.low()._replace(normal=normal) for _ in range(2))
    assert [build.watcher(bundle).unlikely for bundle in (one, one._replace(header={}), other, one)] == [1, 1, 2, 1]


def test_calibrated_weights_watch_and_others_do_not() -> None:
    with pytest.raises(WeightsError, match="do not say how surprising normal play is"):
        build.watcher(tiny.low())
    normal = {cause: torch.linspace(0.0, 30.0, 500) for cause in CAUSES}  # no flight: what cannot be scores 60
    bundle = tiny.low()._replace(normal=normal)
    steps = ReactConfig(steps=(Step(0.01, 1), Step(0.01, 99), Step(0.01, 99), Step(0.01, 99)))
    made = StrokePlanner(
        bundle.level, bundle.proposal, tiny.SPEC, LowPlanConfig(),
        reacting=Reacting(build.watcher(bundle), bundle.level, tiny.SPEC, steps),
    )  # fmt: skip
    made.reset(3)
    made.plan(observation(70), goal())
    told = made.sensed()
    level = bundle.level
    z = made.encoding.encode(observation(70))[0]
    assert observation(70).stamp_ns < broke_at(level, z, observation(70).stamp_ns, observation(80)) <= 80 * TICK_NS
    assert told.grade == REPLAN and 0.0 < told.sensed.p <= 0.01 and told.sensed.score > 2.0
