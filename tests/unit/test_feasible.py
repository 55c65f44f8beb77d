"""pytest tests/unit/test_feasible.py: start states, feasibility, its cache and its table."""

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.evaluation import feasible as f
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tasks.badminton.refine import at_net
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import RobotState
from robots.spec import load_spec
from tests.unit.fake_court import FakeCourt

SPEC = load_spec("courtbot")
FEED = load_feed("train")
HOME = RobotState(SPEC.q_home_rad, np.zeros(8))


def feed_of(n: int) -> FeedTable:
    """n easy strokes (high lobs), and last a smash that nobody reaches."""
    easy = np.flatnonzero((FEED.type == TYPES.index("lob")) & (FEED.time_s > 1.3))[: n - 1]
    hard = np.flatnonzero((FEED.type == TYPES.index("smash")) & (FEED.time_s < 0.35))[:1]
    return FEED.take(np.concatenate([easy, hard]))


@pytest.fixture(scope="module")
def judged() -> tuple[FeedTable, f.Starts, FakeCourt]:
    court, feed = FakeCourt(SPEC), feed_of(3)
    return feed, f.judge(court, feed), court


def test_easy_strokes_are_feasible_and_a_fast_smash_is_not(judged: tuple[FeedTable, f.Starts, FakeCourt]) -> None:
    _, starts, _ = judged
    assert starts.feasible.tolist() == [True, True, False]
    assert starts.draws[2] == 5
    assert (starts.draws[:2] < 5).all()


def test_strokes_start_where_the_receiver_stood_with_the_arm_as_it_was_left(
    judged: tuple[FeedTable, f.Starts, FakeCourt],
) -> None:
    feed, starts, _ = judged
    low, high = SPEC.q_min_rad[:2], SPEC.q_max_rad[:2]
    np.testing.assert_allclose(starts.q_rad[:, :2], np.clip(feed.receiver_xy_m, low, high))
    np.testing.assert_array_equal(starts.q_rad[0, 2:], SPEC.q_home_rad[2:])
    np.testing.assert_array_equal(starts.q_rad[1:, 2:], starts.end_q_rad[:-1, 2:])
    np.testing.assert_array_equal(starts.state(1).q_rad, starts.q_rad[1])


def test_a_run_cut_short_goes_on_where_it_was(tmp_path: Path, judged: tuple[FeedTable, f.Starts, FakeCourt]) -> None:
    feed, whole, _ = judged
    config, court = f.FeasibleConfig(save_every=1), FakeCourt(SPEC)

    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise Cut

    with pytest.raises(Cut):
        f.judge(court, feed, tmp_path, config, progress=cut)
    assert len(list(tmp_path.iterdir())) == 1
    court.resets.clear()
    seen: list[int] = []
    again = f.judge(court, feed, tmp_path, config, progress=lambda done, total: seen.append(done))
    assert seen == [2, 3]  # two were kept
    for a, b in zip(again, whole):
        np.testing.assert_array_equal(a, b)
    court.resets.clear()
    f.judge(court, feed, tmp_path, config)
    assert not court.resets  # all from the file


def test_the_key_knows_feed_and_rule() -> None:
    feed = feed_of(3)
    key = f.feed_key(SPEC, feed, f.FeasibleConfig())
    moved = feed._replace(v0_m_s=feed.v0_m_s * 1.0001)
    others = [
        f.feed_key(SPEC, moved, f.FeasibleConfig()),
        f.feed_key(SPEC, feed, f.FeasibleConfig(seed=1)),
        f.feed_key(SPEC, feed, f.FeasibleConfig(react_s=0.2)),
    ]
    assert key == f.feed_key(SPEC, feed, f.FeasibleConfig(save_every=7))
    assert key not in others


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    feed, config = feed_of(2), f.FeasibleConfig()
    path = tmp_path / f"starts_{f.feed_key(SPEC, feed, config)}.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="delete it and run again"):
        f.judge(FakeCourt(SPEC), feed, tmp_path, config)


def test_nobody_starts_with_the_racket_in_the_net() -> None:
    state = f.stand(SPEC, HOME, np.array([-0.2, 0.5]))
    assert not at_net(SPEC, joint_frames(SPEC, state.q_rad)[-1])
    assert state.q_rad[0] < SPEC.q_max_rad[0]
    assert state.q_rad[1] == 0.5


def test_without_a_receiver_the_robot_stays_where_it_is() -> None:
    left = RobotState(SPEC.q_home_rad + 0.1, np.full(8, 0.2))
    state = f.stand(SPEC, left, np.array([np.nan, np.nan]))
    np.testing.assert_array_equal(state.q_rad, left.q_rad)
    np.testing.assert_array_equal(state.dq_rad_s, left.dq_rad_s)


def test_stroke_seeds_depend_on_the_stroke_alone() -> None:
    assert f.stroke_seed(0, 17) == f.stroke_seed(0, 17)
    assert len({f.stroke_seed(seed, stroke) for seed in range(5) for stroke in range(50)}) == 250


def test_the_table_counts_by_type_and_zone() -> None:
    rows = np.array([np.flatnonzero(FEED.type == TYPES.index(name))[0] for name in ("smash", "smash", "clear")])
    feed = FEED.take(rows)
    text = f.table(feed, np.array([True, False, True]))
    lines = {line.split("|")[1].strip(): line for line in text.splitlines()}
    assert set(lines) == {"shot", "---", "smash", "clear", "all"}
    speed = np.linalg.norm(feed.v0_m_s[0])
    assert lines["smash"].endswith(f"| 50 % of 2, {speed:.0f} m/s |")
    assert lines["all"].count("67 % of 3") == 1
    assert lines["smash"].count(" - ") == 5


def test_zones_are_thirds_of_the_half_court_by_side() -> None:
    straight = FEED.take(np.arange(5))._replace(
        x0_m=np.array([[-1.0, 1, 1], [-1.0, -1, 1], [-3.0, 1, 1], [-6.0, 1, 1], [-6.0, -1, 1]]),
        v0_m_s=np.tile([-0.01, 0.0, 0.0], (5, 1)),
        time_s=np.full(5, 1e-3),
    )
    assert f.zone_of(straight).tolist() == [0, 1, 2, 4, 5]
