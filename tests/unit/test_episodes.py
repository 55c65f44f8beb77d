"""pytest tests/unit/test_episodes.py: the loop around an agent, in lockstep and in real time."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from hjepa import stroke
from hjepa.config import Config, load
from hjepa.errors import ConfigError, DataError
from hjepa.evaluation import episodes as e
from hjepa.evaluation.baselines import ClassicalAgent
from hjepa.evaluation.feasible import Starts, stroke_seed
from hjepa.tasks.badminton.feeds import FeedTable, load_feed, write_feed_csv
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import NS, Array, Decision, JointTrajectory, Launch, Observation, RobotState
from robots.spec import load_spec
from tests.unit.fake_court import FakeCourt

SPEC = load_spec("courtbot")
TRAIN = load_feed("train")
FEED = TRAIN.take(np.flatnonzero((TRAIN.type == TYPES.index("lob")) & (TRAIN.time_s > 1.3))[:2])


def starts_of(feed: FeedTable) -> Starts:
    """At home where the receiver stood."""
    n = len(feed.id)
    q = np.repeat(SPEC.q_home_rad[None], n, axis=0)
    q[:, :2] = np.clip(feed.receiver_xy_m, SPEC.q_min_rad[:2], SPEC.q_max_rad[:2])
    zero = np.zeros_like(q)
    return Starts(q, zero, np.ones(n, dtype=bool), np.ones(n, dtype=np.int16), q, zero)


class Counting:
    """Decides at each call; its target moves on with the count; drives to one place."""

    def __init__(self, think_s: float = 0.0, latency_s: float = 0.02) -> None:
        self.think_s, self.latency_s = think_s, latency_s
        self.stamps: list[int] = []
        self.seeds: list[int] = []

    def reset(self, seed: int = 0) -> None:
        self.seeds.append(seed)
        self.decision: Decision | None = None

    def act(self, observation: Observation) -> JointTrajectory | None:
        time.sleep(self.think_s)
        self.stamps.append(observation.stamp_ns)
        if len(self.stamps) % 2:
            return None  # every other time it leaves things as they are
        k = float(len(self.stamps))
        self.decision = Decision(np.array([k, 0.0]), "clear", np.array([k, 1.0]), 0.1, 3.0, 7, 20.0)
        start_ns = observation.stamp_ns + round(self.latency_s * NS)
        here = stroke.JointState(observation.q_rad, observation.dq_rad_s, np.zeros(8))
        limits = SPEC.dq_max_rad_s, SPEC.ddq_max_rad_s2
        return stroke.recover(here, SPEC.q_home_rad + 0.2, *limits, start_ns=start_ns, valid_ns=NS)


@pytest.fixture(scope="module")
def played() -> list[e.Played]:
    court = FakeCourt(SPEC)
    return list(e.run(court, ClassicalAgent(SPEC), FEED, starts_of(FEED), record=True))


def test_a_stroke_is_measured_from_launch_to_landing(played: list[e.Played]) -> None:
    for i, (result, recording) in enumerate(played):
        assert result.id == str(FEED.id[i])
        assert result.match == str(FEED.match[i])
        assert result.feed_type == "lob"
        assert result.hit
        assert result.returned
        assert result.landing_error_m < 0.2
        assert result.realised_type in TYPES
        assert result.commanded_type == ""  # the classical agent names none
        assert len(result.plan_ms_low) > 5
        assert result.plan_ms_high == ()
        assert recording is not None
        assert recording.times_s[0] == 0.0
        np.testing.assert_allclose(np.diff(recording.times_s), 0.01)
        assert recording.q_rad.shape == (len(recording.times_s), 8)
        np.testing.assert_allclose(recording.shuttle_m[0], FEED.x0_m[i])
        assert recording.times_s[-1] >= result.contact_s + 0.89


def test_two_runs_of_a_seed_are_identical(played: list[e.Played]) -> None:
    again = e.run(FakeCourt(SPEC), ClassicalAgent(SPEC), FEED, starts_of(FEED))
    for one, two in zip(played, again):
        timed = {"plan_ms_low": ()}
        assert dataclasses.replace(one.result, **timed) == dataclasses.replace(two.result, **timed)
        assert two.recording is None


def test_the_agent_is_asked_every_period_and_its_first_target_counts() -> None:
    court, agent = FakeCourt(SPEC), Counting()
    seen: list[tuple[int, int]] = []
    (one, *_) = e.run(court, agent, FEED, starts_of(FEED), replan_period_ms=40, progress=lambda *p: seen.append(p))
    first = np.array(agent.stamps[: len(one.result.plan_ms_low) * 2])
    np.testing.assert_array_equal(np.diff(first), 40_000_000)
    assert one.result.target_xy_m == (2.0, 0.0)
    assert one.result.predicted_xy_m[1] == 1.0
    assert one.result.predicted_xy_m[0] > 2.0  # the last plan's
    assert one.result.commanded_type == "clear"
    assert set(one.result.plan_ms_low) == {3.0}
    assert set(one.result.plan_ms_high) == {20.0}
    assert one.result.candidates == 7.0
    assert one.result.fault == "miss"
    assert one.result.realised_type == ""
    assert seen == [(1, 2), (2, 2)]


def test_every_agent_gets_the_same_seed_for_a_stroke_whatever_is_played_before() -> None:
    court, agent = FakeCourt(SPEC), Counting()
    list(e.run(court, agent, FEED, starts_of(FEED), seed=5))
    last = FEED.take(np.array([1]))
    list(e.run(court, agent, last, starts_of(last), seed=5))
    assert agent.seeds[1] == agent.seeds[2] == court.resets[2][2] == stroke_seed(5, int(FEED.id[1]))
    assert agent.seeds[0] != agent.seeds[1]


def test_given_starts_or_where_the_own_last_stroke_ended() -> None:
    court, agent = FakeCourt(SPEC), Counting()
    given = list(e.run(court, agent, FEED, starts_of(FEED)))
    np.testing.assert_array_equal(court.resets[1][0].q_rad, starts_of(FEED).q_rad[1])
    carried = list(e.run(court, agent, FEED, starts_of(FEED), carry_over=True, record=True))
    np.testing.assert_array_equal(court.resets[2][0].q_rad, starts_of(FEED).q_rad[0])
    assert carried[0].recording is not None
    np.testing.assert_array_equal(court.resets[3][0].q_rad, carried[0].recording.q_rad[-1])  # a miss: to the end
    assert np.abs(court.resets[3][0].q_rad - starts_of(FEED).q_rad[1]).max() > 0.05
    assert [p.result.start for p in given + carried] == ["receiver", "receiver", "carried", "carried"]


def test_after_a_hit_the_next_launch_comes_in_0_9_s() -> None:
    court = FakeCourt(SPEC)
    one, _ = e.run(court, ClassicalAgent(SPEC), FEED, starts_of(FEED), carry_over=True, record=True)
    assert one.recording is not None
    k = int(np.ceil((one.result.contact_s + 0.9) * 100))
    np.testing.assert_allclose(court.resets[1][0].q_rad, one.recording.q_rad[k], atol=1e-9)


def decision(x: float | None) -> Decision:
    return Decision(None if x is None else np.array([x, 0.0]), "drop", None, 0.0, 1.0, 1)


@pytest.mark.parametrize(
    ("targets", "counts"),
    [
        ([(100, 1.0), (200, 2.0)], 1.0),  # the first plan
        ([(100, None), (200, 2.0), (300, 3.0)], 2.0),  # the first that names a place
        ([(100, None), (800, 2.0)], None),  # too late: 0.2 s before the contact
        ([(800, 2.0)], 2.0),  # the first plan, however late
    ],
)
def test_the_target_freezes(targets: list[tuple[int, float | None]], counts: float | None) -> None:
    made = [(ms * 1_000_000, decision(x)) for ms, x in targets]
    got = e.committed(made, 1.0)
    assert got is not None
    assert (None if got.target_xy_m is None else got.target_xy_m[0]) == counts


def test_without_a_decision_there_is_no_target() -> None:
    assert e.committed([], 1.0) is None


def short(feed: FeedTable) -> FeedTable:
    """One feed that falls within 0.35 s."""
    one = feed.take(np.array([0]))
    return one._replace(x0_m=np.array([[1.0, 0.0, 0.6]]), v0_m_s=np.array([[-1.0, 0.0, 0.0]]))


def test_realtime_keeps_the_clock_and_counts_what_comes_too_late() -> None:
    feed = short(FEED)
    begun = time.monotonic()
    (quick,) = e.run(FakeCourt(SPEC), Counting(), feed, starts_of(feed), clock="realtime", replan_period_ms=50)
    wall = time.monotonic() - begun
    assert 0.30 < wall < 20.0  # a busy machine
    agent = Counting(think_s=0.12)
    (slow,) = e.run(FakeCourt(SPEC), agent, feed, starts_of(feed), clock="realtime", replan_period_ms=50)
    (waited_for,) = e.run(FakeCourt(SPEC), Counting(), feed, starts_of(feed), replan_period_ms=50)
    assert waited_for.result.deadline_misses == 0  # the quick one may have some on a busy machine
    assert slow.result.deadline_misses >= 3  # it was busy at 50 and 100 ms; its command of 0.15 s came after 0.17 s
    assert len(agent.stamps) <= 4
    assert slow.result.landing_s == quick.result.landing_s  # the world did not wait


def test_an_agents_error_reaches_the_caller_in_both_clocks() -> None:
    class Broken(Counting):
        def act(self, observation: Observation) -> JointTrajectory | None:
            raise ValueError("lost")

    feed = short(FEED)
    for clock in ("lockstep", "realtime"):
        with pytest.raises(ValueError, match="lost"):
            list(e.run(FakeCourt(SPEC), Broken(), feed, starts_of(feed), clock=clock))  # type: ignore[arg-type]


def test_a_wrong_period_and_missing_starts_are_refused() -> None:
    with pytest.raises(ConfigError, match="15 ms"):
        next(e.run(FakeCourt(SPEC), Counting(), FEED, starts_of(FEED), replan_period_ms=15))
    with pytest.raises(DataError, match="1 start states for 2 strokes"):
        next(e.run(FakeCourt(SPEC), Counting(), FEED, starts_of(FEED.take(np.array([0])))))


def test_the_robots_stroke_is_named_from_its_flight() -> None:
    launch = Launch(np.array([5.0, 0.0, 1.0]), np.array([-20.0, 0.0, 12.0]))

    def named(contact_m: Array, u_out_m_s: Array) -> str:
        out = FakeCourt(SPEC)
        out.reset(RobotState(SPEC.q_home_rad, np.zeros(8)), launch, 0)
        hit = out.outcome()._replace(hit=True, contact_s=1.2, contact_m=contact_m, u_out_m_s=u_out_m_s)
        return e.realised_type(launch, hit)

    assert named(np.array([-5.5, 0.5, 2.4]), np.array([42.0, 0.0, 14.0])) == "clear"
    assert named(np.array([-4.0, 0.5, 2.6]), np.array([75.0, 0.0, -16.0])) == "smash"


def chosen(**task: object) -> Config:
    config = load("badminton")
    return config.model_copy(update={"task": config.task.model_copy(update=task)})


def test_a_configuration_chooses_its_feed(tmp_path: Path) -> None:
    some = e.feed_of(chosen(feed="val", strokes=7, seed=1))
    assert len(some.id) == 7
    assert (np.diff(some.id) > 0).all()  # the order of play
    np.testing.assert_array_equal(some.id, e.feed_of(chosen(feed="val", strokes=7, seed=1)).id)
    assert set(some.id) != set(e.feed_of(chosen(feed="val", strokes=7, seed=2)).id)
    assert len(e.feed_of(chosen(feed="random", strokes=5)).id) == 5
    write_feed_csv(some, tmp_path / "feed.csv")
    own = e.feed_of(chosen(feed_csv=str(tmp_path / "feed.csv"), strokes=3))
    np.testing.assert_array_equal(own.id, some.id[:3])
    with pytest.raises(DataError, match=r"task\.strokes is 10000000"):
        e.feed_of(chosen(feed="val", strokes=10**7))


def test_the_humans_figures_are_within_reason() -> None:
    reference = e.humans()
    assert 0.5 < reference.classifier_accuracy < 1.0
    assert 3.0 < reference.humans_entropy < np.log2(7 * 7)
