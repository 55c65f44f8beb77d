"""Real, random and file feeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.tasks.badminton import feeds, flight
from hjepa.tasks.badminton.strokes import UNKNOWN

GOOD = "id,type,x0,y0,z0,vx,vy,vz,rx,ry\n7,smash,5.0,0.5,2.5,-60.0,1.0,-6.0,-3.5,0.2\n8,unknown,3.0,0,1.0,-12,0,9,,\n"


def test_splits_share_no_match_and_the_test_feed_holds_thousands() -> None:
    matches = [set(feeds.load_feed(split).match) for split in ("train", "val", "test")]
    assert [len(m) for m in matches] == [60, 10, 15]
    assert not (matches[0] & matches[1] or matches[0] & matches[2] or matches[1] & matches[2])
    assert len(feeds.load_feed("test").id) > 5000


def test_a_real_feed_flies_from_the_opponent_to_where_the_receiver_plays() -> None:
    feed = feeds.load_feed("test")
    for column in (feed.x0_m, feed.v0_m_s, feed.receiver_xy_m, feed.time_s, feed.floor_m):
        assert np.isfinite(column).all()
    assert (feed.x0_m[:, 0] > 0).all() and (feed.v0_m_s[:, 0] < 0).all() and (feed.floor_m[:, 0] < 0).all()
    assert np.mean(feed.receiver_xy_m[:, 0] < 0) > 0.995
    x, _ = flight.fly_to(feed.x0_m, feed.v0_m_s, feed.time_s)
    assert (x[:, 0] < 0).all() and (x[:, 2] > -0.02).all()


def test_a_launch_is_a_value_of_its_own() -> None:
    feed = feeds.load_feed("val")
    launch = feed.launch(3)
    np.testing.assert_array_equal(launch.x_m, feed.x0_m[3])
    launch.x_m[0] = 99.0
    assert feed.x0_m[3, 0] != 99.0
    assert launch.type == feeds.type_name(int(feed.type[3]))
    np.testing.assert_array_equal(feed.take(np.array([5, 2])).id, feed.id[[5, 2]])


def test_random_feeds_keep_to_their_ranges_and_to_their_seed() -> None:
    c = feeds.RandomFeedConfig()
    feed = feeds.random_feed(100, seed=3)
    again = feeds.random_feed(100, seed=3)
    for a, b in zip(feed, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(feed.x0_m, feeds.random_feed(100, seed=4).x0_m)
    low, high = zip(c.launch_depth_m, c.launch_y_m, c.launch_z_m, strict=True)
    assert ((feed.x0_m >= low) & (feed.x0_m <= high)).all()
    assert feed.floor_s.min() >= c.flight_s[0] - 1e-3 and feed.floor_s.max() <= c.flight_s[1] + 1e-3
    depth = -feed.floor_m[:, 0]
    assert depth.min() >= c.landing_depth_m[0] - 1e-3 and depth.max() <= c.landing_depth_m[1] + 1e-3
    assert len(feed.id) == 100 and (feed.type == UNKNOWN).all()


def test_random_ranges_that_never_pass_the_net_are_an_error() -> None:
    flat = feeds.RandomFeedConfig(
        launch_depth_m=(6, 6.5), launch_z_m=(0.1, 0.2), landing_depth_m=(0.5, 0.6), flight_s=(0.1, 0.15)
    )
    with pytest.raises(DataError, match="widen"):
        feeds.random_feed(500, seed=0, config=flat)


def test_a_feed_file_reads_back_exactly(tmp_path: Path) -> None:
    feed = feeds.load_feed("val").take(np.arange(50))
    feeds.write_feed_csv(feed, tmp_path / "f.csv")
    again = feeds.read_feed_csv(tmp_path / "f.csv")
    for name in ("id", "type", "x0_m", "v0_m_s", "receiver_xy_m"):
        np.testing.assert_array_equal(getattr(feed, name), getattr(again, name))
    np.testing.assert_allclose(feed.floor_m, again.floor_m, atol=0.02)


def test_receiver_columns_may_be_blank_or_absent(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(GOOD)
    feed = feeds.read_feed_csv(tmp_path / "f.csv")
    assert feed.type.tolist() == [5, UNKNOWN]
    np.testing.assert_array_equal(feed.receiver_xy_m, [[-3.5, 0.2], [np.nan, np.nan]])
    lines = [",".join(line.split(",")[:8]) for line in GOOD.splitlines()]
    (tmp_path / "f.csv").write_text("\n".join(lines))
    assert np.isnan(feeds.read_feed_csv(tmp_path / "f.csv").receiver_xy_m).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("8,unknown", "x,unknown", ("line 3", "'id'", "whole number")),
        ("8,unknown", "7,unknown", ("line 3", "'id'", "twice")),
        ("8,unknown", "8,smahs", ("line 3", "'type'", "did you mean 'smash'")),
        ("-60.0", "fast", ("line 2", "'vx'", "-160 to -0.1")),
        ("-60.0", "nan", ("line 2", "'vx'", "-160 to -0.1")),
        ("-60.0", "60.0", ("line 2", "'vx'", "-160 to -0.1")),
        ("5.0,0.5", "-5.0,0.5", ("line 2", "'x0'", "0 to 8")),
        ("-3.5,0.2", ",0.2", ("line 2", "both or neither")),
        ("-3.5,0.2", "3.5,0.2", ("line 2", "'rx'", "-8 to 0")),
        ("-12,0,9", "-12,0,0", ("line 3", "infeasible", "does not pass the net")),
        (",,\n", "\n", ("line 3", "10 columns")),
        ("vz,rx", "w,rx", ("line 1", "no column 'vz'")),
        ("rx,ry", "rx,rz", ("line 1", "'rz'", "unknown")),
    ],
)
def test_a_malformed_feed_file_is_one_line_naming_line_column_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    assert old in GOOD
    (tmp_path / "f.csv").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        feeds.read_feed_csv(tmp_path / "f.csv")
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and "f.csv" in message


def test_missing_and_empty_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        feeds.read_feed_csv(tmp_path / "none.csv")
    (tmp_path / "f.csv").write_text(GOOD.splitlines()[0])
    with pytest.raises(DataError, match="no feeds"):
        feeds.read_feed_csv(tmp_path / "f.csv")
