"""pytest tests/unit/test_baselines.py: the oracle, the classical rival and the random agent."""

import inspect

import numpy as np
import pytest

from hjepa import stroke
from hjepa.evaluation import baselines as b
from hjepa.protocols import Agent
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.types import NS, JointTrajectory, Observation, RobotState
from robots.spec import load_spec
from tests.unit.fake_court import FakeCourt

SPEC = load_spec("courtbot")
FEED = load_feed("train")
LOBS = np.flatnonzero((FEED.type == 7) & (FEED.time_s > 1.3))[:24:8]  # three easy ones


def start(i: int) -> RobotState:
    q = SPEC.q_home_rad.copy()
    q[:2] = np.clip(FEED.receiver_xy_m[i], SPEC.q_min_rad[:2], SPEC.q_max_rad[:2])
    return RobotState(q, np.zeros(8))


def play(court: FakeCourt, agent: Agent, i: int, period: int = 2) -> list[JointTrajectory]:
    """All commands of a stroke."""
    sent = []
    seen = court.reset(start(i), FEED.launch(i), seed=int(i))
    agent.reset(int(i))
    for tick in range(400):
        if court.done:
            break
        command = agent.act(seen) if tick % period == 0 else None
        if command is not None:
            court.send(command)
            sent.append(command)
        seen = court.tick()
    return sent


@pytest.fixture(scope="module")
def court() -> FakeCourt:
    return FakeCourt(SPEC)


@pytest.fixture(scope="module")
def classical() -> b.ClassicalAgent:
    return b.ClassicalAgent(SPEC)


def test_the_classical_agent_returns_easy_strokes_to_its_target(court: FakeCourt, classical: b.ClassicalAgent) -> None:
    for i in LOBS:
        play(court, classical, i)
        out, decision = court.outcome(), classical.decision
        assert out.returned
        assert decision is not None
        assert decision.target_xy_m is not None
        assert np.linalg.norm(out.landing_m - decision.target_xy_m) < 0.15
        assert decision.target_xy_m.tolist() in b.FIXED_TARGETS_M.tolist()


def test_the_oracle_returns_them_more_exactly(court: FakeCourt) -> None:
    agent = b.OracleAgent(SPEC, court.shuttle)
    errors = []
    for i in LOBS:
        play(court, agent, i)
        assert court.outcome().returned
        assert agent.decision is not None
        errors.append(np.linalg.norm(court.outcome().landing_m - agent.decision.target_xy_m))
    assert np.median(errors) < 0.03


def test_commands_charge_the_latency_and_join_without_a_jump(court: FakeCourt) -> None:
    agent = b.ClassicalAgent(SPEC, b.ClassicalConfig(latency_s=0.03, keep_m=0.0))
    sent = play(court, agent, LOBS[0])
    assert len(sent) > 20
    first = sent[0]
    assert first.start_ns == 130_000_000  # asked at 0.10 s
    for last, new in zip(sent, sent[1:]):
        joined = stroke.state_at(last, new.start_ns)
        np.testing.assert_allclose(new.q_rad[0], joined.q_rad, atol=1e-9)
        np.testing.assert_allclose(new.dq_rad_s[0], joined.dq_rad_s, atol=1e-9)
    assert all(c.valid_ns >= len(c.q_rad) * 10_000_000 - 20_000_000 for c in sent)  # the recovery is within the expiry


def test_it_is_silent_before_the_first_decision_and_close_to_the_contact(
    court: FakeCourt, classical: b.ClassicalAgent
) -> None:
    sent = play(court, classical, LOBS[0], period=1)
    assert classical.event is not None
    contact_ns = classical.event[1]
    assert abs(contact_ns / NS - court.outcome().contact_s) < 0.004
    assert sent[0].start_ns >= 100_000_000 + 20_000_000
    assert sent[-1].start_ns <= contact_ns - 60_000_000


def test_a_seed_gives_identical_commands(court: FakeCourt, classical: b.ClassicalAgent) -> None:
    one, two = (play(court, classical, LOBS[1]) for _ in range(2))
    assert [c.start_ns for c in one] == [c.start_ns for c in two]
    assert all(np.array_equal(x.q_rad, y.q_rad) for x, y in zip(one, two))


def test_the_classical_agent_sees_observations_alone(classical: b.ClassicalAgent) -> None:
    """Nothing but act(observation) feeds it, and it does not change what it was given."""
    assert list(inspect.signature(b.ClassicalAgent.act).parameters) == ["self", "observation"]
    court = FakeCourt(SPEC)
    seen = court.reset(start(LOBS[0]), FEED.launch(LOBS[0]), 3)
    for _ in range(12):
        seen = court.tick()
    copy = Observation(*(np.array(column) for column in seen))
    classical.reset(0)
    assert classical.act(seen) is not None
    for given, kept in zip(seen, copy):
        np.testing.assert_array_equal(given, kept)


def test_without_a_shuttle_it_does_nothing(classical: b.ClassicalAgent) -> None:
    classical.reset(0)
    blind = Observation(
        300_000_000,
        SPEC.q_home_rad,
        np.zeros(8),
        np.zeros((64, 3)),
        np.zeros(64, dtype=bool),
        np.zeros(64, dtype=np.int64),
    )
    assert classical.act(blind) is None
    assert classical.decision is None


def test_a_moving_robot_is_expected_where_braking_takes_it(classical: b.ClassicalAgent) -> None:
    classical.reset(0)
    dq = np.zeros(8)
    dq[:3] = [0.6, -0.12, 3.0]  # m/s, m/s, rad/s; braking at 12, 12, 40
    seen = Observation(
        0, SPEC.q_home_rad, dq, np.zeros((64, 3)), np.zeros(64, dtype=bool), np.zeros(64, dtype=np.int64)
    )
    state = classical._state(seen, 20_000_000)
    np.testing.assert_allclose(state.dq_rad_s[:3], [0.36, 0.0, 2.2])
    np.testing.assert_allclose((state.q_rad - SPEC.q_home_rad)[:3], [0.0096, -0.0006, 0.052])


def test_the_random_agent_moves_once_by_what_it_drew(court: FakeCourt) -> None:
    def draw(rng: np.random.Generator) -> stroke.Event:
        q = SPEC.q_home_rad + rng.uniform(-0.1, 0.1, 8)
        return stroke.Event(q, np.zeros(8), np.array([0.2]), 0.6)

    agent = b.RandomAgent(SPEC, draw)
    first, again, other = play(court, agent, LOBS[0]), play(court, agent, LOBS[0]), play(court, agent, LOBS[1])
    assert len(first) == len(other) == 1
    np.testing.assert_array_equal(first[0].q_rad, again[0].q_rad)
    assert np.abs(first[0].q_rad - other[0].q_rad).max() > 1e-3
    assert agent.decision is not None
    assert agent.decision.target_xy_m is None
