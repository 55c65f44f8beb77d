"""pytest tests/unit/test_refine.py: a planned swing carried along."""

import numpy as np
import pytest

from hjepa import motion
from hjepa.stroke import JointState
from hjepa.tasks.badminton import refine as r
from hjepa.tasks.badminton.flight import L_NOMINAL_M, fly_to, land
from hjepa.tasks.badminton.impact import rebound_batch
from hjepa.tasks.badminton.oracle import FIXED_TARGETS_M, Oracle, Swing
from hjepa.tasks.kinematics import racket_motion
from hjepa.types import Array
from robots.spec import load_spec

SPEC = load_spec("courtbot")
REST = JointState(SPEC.q_home_rad, np.zeros(8), np.zeros(8))
X, V = np.array([3.0, 0.4, 2.6]), np.array([-13.0, -0.6, 6.0])


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(SPEC)


@pytest.fixture(scope="module")
def first(oracle: Oracle) -> Swing:
    drawn = oracle.candidates(*REST, X, V, FIXED_TARGETS_M, np.random.default_rng(0))
    assert drawn is not None
    swing = r.choose(oracle, drawn, REST)
    assert swing is not None
    return swing


def landing(swing: Swing, x: Array, v: Array) -> tuple[Array, float]:
    """Where the shuttle lands if the swing is carried out exactly, and how far the racket's centre is off it."""
    racket = racket_motion(SPEC, swing.q_hit_rad, swing.dq_hit_rad_s)
    at, u_in = fly_to(x[None], v[None], np.array([swing.time_s]))
    u_out = rebound_batch(u_in, racket.v_m_s[None], racket.rotation[None, :, 2], 0.55)
    return land(at, u_out).xy_m[0], float(np.linalg.norm(at[0] - racket.centre_m))


def test_a_shuttle_where_it_was_expected_changes_nothing(oracle: Oracle, first: Swing) -> None:
    kept = r.refine(oracle, first, REST, X, V, L_NOMINAL_M, keep_m=0.003)
    assert kept is first


def test_a_displaced_shuttle_is_still_met_and_sent_to_the_same_target(oracle: Oracle, first: Swing) -> None:
    x, v = X + [0.02, -0.05, 0.04], V + [0.2, 0.1, -0.2]
    before, missed = landing(first, x, v)
    swing = r.refine(oracle, first, REST, x, v, L_NOMINAL_M, keep_m=0.003)
    assert swing is not None
    after, gap = landing(swing, x, v)
    assert gap < 0.006 < 0.05 < missed
    assert np.linalg.norm(after - first.target_m) < 0.06
    np.testing.assert_array_equal(swing.target_m, first.target_m)
    assert np.abs(swing.q_hit_rad - first.q_hit_rad).max() < 0.4  # the same posture


def test_the_refined_swing_respects_the_share_it_states(oracle: Oracle, first: Swing) -> None:
    swing = r.refine(oracle, first, REST, X + [0.0, 0.1, 0.0], V, L_NOMINAL_M)
    assert swing is not None
    way = motion.solve(*REST, swing.q_hit_rad, swing.dq_hit_rad_s, np.array([swing.time_s]), swing.before_s)
    _, dq, ddq = motion.evaluate(way, np.linspace(0, swing.time_s, 400)[:, None])
    assert (np.abs(ddq) <= swing.use * SPEC.ddq_max_rad_s2 + 1e-6).all()
    assert (np.abs(dq) <= 1.02 * swing.use * SPEC.dq_max_rad_s + 1e-6).all()


def test_a_shuttle_out_of_all_reach_is_given_up(oracle: Oracle, first: Swing) -> None:
    assert r.refine(oracle, first, REST, X - [0.0, 0.0, 4.0], V, L_NOMINAL_M) is None


def test_clearance_agrees_with_the_flight(oracle: Oracle, first: Swing) -> None:
    u_out = np.stack([first.u_out_m_s, [3.0, 0.0, 1.0], [-4.0, 0.0, 3.0]])
    start = np.repeat(first.contact_m[None], 3, axis=0)
    path = land(start, u_out)
    got = r.clearance(start, u_out, L_NOMINAL_M)
    assert got[0] == pytest.approx(path.net_height_m[0] - r.net_height_at(path.net_y_m[0]), abs=0.01)
    assert got[2] == -np.inf
    assert got[1] < 0


def events(q: Array, dq: Array) -> tuple[Array, Array, Array, Array]:
    """Events half a second from now with these joint states."""
    return q, dq, np.full(len(q), 0.5), np.full((len(q), 8), 0.25)


def test_a_swing_that_ends_over_the_net_is_trouble() -> None:
    q, dq = np.repeat(SPEC.q_home_rad[None], 2, axis=0), np.zeros((2, 8))
    q[:, 0], dq[:, 0] = [-1.2, -4.0], 2.0  # m, m/s towards the net
    assert r.trouble(SPEC, REST._replace(q_rad=q), *events(q, dq)).tolist() == [True, False]


def test_beyond_the_posts_there_is_no_net() -> None:
    racket = np.tile(np.eye(4), (3, 1, 1))
    racket[:, :3, 3] = [[0.1, 2.9, 1.0], [0.1, 3.2, 1.0], [0.1, 0.0, 1.8]]
    assert r.at_net(SPEC, racket).tolist() == [True, False, False]


def test_a_backswing_beyond_the_range_is_trouble() -> None:
    q, dq = np.repeat(SPEC.q_home_rad[None], 2, axis=0), np.zeros((2, 8))
    q[:, 3] = SPEC.q_min_rad[3] + 0.1
    dq[0, 3] = 4.0  # rad/s: it has to take a run-up from behind the limit
    start = REST._replace(q_rad=q[1])
    assert r.trouble(SPEC, start, *events(q, dq)).tolist() == [True, False]


def test_choose_takes_the_best_score_that_stays_off_the_net(oracle: Oracle) -> None:
    drawn = oracle.candidates(*REST, X, V, FIXED_TARGETS_M, np.random.default_rng(0))
    assert drawn is not None
    three = type(drawn)(*(column[:3].copy() for column in drawn))
    q, dq = np.repeat(SPEC.q_home_rad[None], 3, axis=0), np.zeros((3, 8))
    q[:, 0], dq[0, 0] = [-1.2, -4.0, -4.0], 2.0  # the first would run on over the net
    start = REST._replace(q_rad=q)
    three = three._replace(
        q_hit_rad=q, dq_hit_rad_s=dq, use=np.full(3, 0.5), time_s=np.full(3, 0.5), score=np.array([1.0, 3.0, 2.0])
    )
    picked = r.choose(oracle, three, start)
    assert picked is not None
    np.testing.assert_array_equal(picked.u_out_m_s, three.u_out_m_s[2])
    over = r.choose(
        oracle, three._replace(use=np.array([1.2, 1.1, 1.3])), start
    )  # none within the limits: the least use
    assert over is not None
    assert over.use == 1.1
    assert r.choose(oracle, three._replace(use=np.full(3, np.inf)), start) is None
