"""A stroke as a command: joins where it must, goes through the event, comes to rest, and can be resumed."""

import numpy as np
import pytest

from hjepa import stroke
from hjepa.types import NS
from robots.spec import load_spec

SPEC = load_spec("courtbot")
J = SPEC.joints
TO_GO_S = 0.73


def command(to_go_s: float = TO_GO_S, start_ns: int = 120_000_000, seed: int = 0):
    rng = np.random.default_rng(seed)
    state = stroke.JointState(SPEC.q_home_rad + 0.1 * rng.normal(size=J), 0.5 * rng.normal(size=J), rng.normal(size=J))
    q_hit = SPEC.q_home_rad + 0.3 * rng.normal(size=J)
    event = stroke.Event(q_hit, rng.normal(size=J), np.array([0.25]), to_go_s)
    sent = stroke.trajectory(state, event, SPEC.q_home_rad, SPEC.ddq_max_rad_s2, start_ns=start_ns, valid_ns=NS // 2)
    return sent, state, event


def test_it_starts_in_the_given_state() -> None:
    sent, state, _ = command()
    assert sent.start_ns == 120_000_000
    assert sent.q_rad[0] == pytest.approx(state.q_rad)
    assert sent.dq_rad_s[0] == pytest.approx(state.dq_rad_s)


def test_it_passes_through_the_event_at_its_time() -> None:
    sent, _, event = command()
    k = round(TO_GO_S / sent.dt_s)
    assert sent.q_rad[k] == pytest.approx(event.q_rad, abs=1e-9)
    assert sent.dq_rad_s[k] == pytest.approx(event.dq_rad_s, abs=1e-9)


def test_it_comes_to_rest_and_stays() -> None:
    sent, *_ = command()
    still = sent.q_rad[-round(stroke.HOLD_S / sent.dt_s) + 2 :]
    assert np.ptp(still, axis=0) == pytest.approx(0.0)
    assert sent.dq_rad_s[-1] == pytest.approx(0.0)


def test_velocities_are_those_of_the_positions() -> None:
    sent, *_ = command()
    slope = (sent.q_rad[2:] - sent.q_rad[:-2]) / (2 * sent.dt_s)
    assert slope == pytest.approx(sent.dq_rad_s[1:-1], abs=0.3)
    assert np.abs(slope - sent.dq_rad_s[1:-1]).mean() < 0.01


def test_what_is_left_of_a_command_is_the_same_motion() -> None:
    sent, *_ = command()
    left = stroke.resume(sent, sent.start_ns + 300_000_000)
    assert left is not None
    assert left.start_ns == sent.start_ns + 300_000_000
    assert np.array_equal(left.q_rad, sent.q_rad[30:])
    assert left.valid_ns == sent.valid_ns
    assert stroke.resume(sent, sent.start_ns - 10_000_000) is None
    assert stroke.resume(sent, sent.start_ns + 10 * NS) is None


def test_the_state_on_the_way_is_the_sampled_one() -> None:
    sent, *_ = command()
    there = stroke.state_at(sent, sent.start_ns + 200_000_000)
    assert there.q_rad == pytest.approx(sent.q_rad[20])
    assert there.dq_rad_s == pytest.approx(sent.dq_rad_s[20])
    assert there.ddq_rad_s2 == pytest.approx((sent.dq_rad_s[21] - sent.dq_rad_s[20]) / sent.dt_s)
    middle = stroke.state_at(sent, sent.start_ns + 205_000_000)
    assert middle.q_rad == pytest.approx((sent.q_rad[20] + sent.q_rad[21]) / 2)
    assert stroke.state_at(sent, sent.start_ns + 20 * NS).q_rad == pytest.approx(sent.q_rad[-1])


def test_re_planning_the_same_event_from_the_way_keeps_the_motion() -> None:
    sent, _, event = command(to_go_s=0.9)
    now_ns = sent.start_ns + 250_000_000
    there = stroke.state_at(sent, now_ns)
    left = event._replace(to_go_s=0.65)
    again = stroke.trajectory(there, left, SPEC.q_home_rad, SPEC.ddq_max_rad_s2, start_ns=now_ns, valid_ns=NS // 2)
    n = 65
    assert again.q_rad[:n] == pytest.approx(sent.q_rad[25 : 25 + n], abs=2e-3)
    assert again.q_rad[n] == pytest.approx(event.q_rad, abs=1e-9)


def test_recovering_leads_to_rest_at_its_goal_as_soon_as_limits_allow() -> None:
    state = stroke.JointState(SPEC.q_home_rad + 0.05, np.full(J, 0.2), np.zeros(J))
    goal = SPEC.q_home_rad.copy()
    goal[0] -= 2.0  # two metres along the rail
    limits = SPEC.dq_max_rad_s, SPEC.ddq_max_rad_s2
    sent = stroke.recover(state, goal, *limits, start_ns=0, valid_ns=NS)
    assert sent.q_rad[0] == pytest.approx(state.q_rad)
    assert sent.q_rad[-1] == pytest.approx(goal, abs=1e-6)
    assert sent.dq_rad_s[-1] == pytest.approx(0.0)
    assert (np.abs(sent.dq_rad_s) <= SPEC.dq_max_rad_s).all()
    assert (np.abs(np.diff(sent.dq_rad_s, axis=0)) / sent.dt_s <= 1.01 * SPEC.ddq_max_rad_s2).all()
    arrived_s = np.argmax(np.abs(sent.q_rad[:, 0] - goal[0]) < 1e-6) * sent.dt_s
    assert 2 * np.sqrt(2.05 / SPEC.ddq_max_rad_s2[0]) < arrived_s < 0.95


def test_a_joint_that_is_too_fast_already_may_still_brake() -> None:
    state = stroke.JointState(SPEC.q_home_rad.copy(), np.r_[4.49, np.zeros(J - 1)], np.zeros(J))
    limits = SPEC.dq_max_rad_s, SPEC.ddq_max_rad_s2
    sent = stroke.recover(state, SPEC.q_home_rad, *limits, start_ns=0, valid_ns=NS)
    assert sent.q_rad[-1] == pytest.approx(SPEC.q_home_rad, abs=1e-6)
    assert np.abs(sent.dq_rad_s).max() <= 4.5


def test_joints_that_nothing_moves_are_where_braking_brings_them() -> None:
    speed = np.r_[4.0, -0.1, np.zeros(J - 2)]
    q, dq, ddq = stroke.braked(np.zeros(J), speed, SPEC.ddq_max_rad_s2, 0.05)
    a = SPEC.ddq_max_rad_s2[0]
    assert dq[0] == pytest.approx(4.0 - 0.05 * a) and q[0] == pytest.approx(0.05 * 4.0 - 0.5 * a * 0.05**2)
    assert dq[1] == 0.0 and q[1] == pytest.approx(-(0.1**2) / (2 * SPEC.ddq_max_rad_s2[1]))
    assert not q[2:].any() and not ddq.any()
