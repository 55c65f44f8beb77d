"""Rallies of the forecasting challenge: files in, files out, and what is said of bad ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.tasks.badminton import rallies as r
from hjepa.tasks.badminton.strokes import TYPES, load_strokes

HEADER = (
    "rally_id,rally_length,ball_round,type,landing_x,landing_y,frame_num,player_location_x,player_location_y,"
    "opponent_location_x,opponent_location_y,aroundhead,backhand,landing_height,lose_reason"
)
ROWS = [  # a near-side server; the far side answers
    "7,6,1,short service,0.2,-0.4,100,180,620,170,300,0,1,2,",
    "7,6,2,lob,0.8,1.5,122,175,330,178,560,0,0,1,",
    "7,6,3,clear,-0.9,-1.4,160,250,780,180,350,1,0,1,",
    "7,6,4,drop,0.4,0.5,196,90,190,176,560,0,0,2,",
]


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_strokes_are_turned_into_their_hitters_frame(tmp_path: Path) -> None:
    given = r.read_given(write(tmp_path / "given.csv", ROWS))
    assert given.side.tolist() == [-1, 1, -1, 1]  # the camera is at large y: the server stands near it
    assert (given.hitter_m[:, 0] > 0).all() and (given.receiver_m[:, 0] < 0).all() and (given.land_m[:, 0] < 0).all()
    assert [TYPES[k] for k in given.type] == ["short service", "lob", "clear", "drop"]
    np.testing.assert_allclose(given.since_s, [0.0, 22 / 30, 38 / 30, 36 / 30])
    assert given.low.tolist() == [2, 1, 1, 2] and given.backhand.tolist() == [1, 0, 0, 0]


def test_landing_points_survive_the_way_to_metres_and_back() -> None:
    val = r.load_rallies().of("val")
    official = r.landing_official(val.land_m, val.side)
    back = val.side[:, None] * r.landing_world(official[:, 0], official[:, 1])
    np.testing.assert_allclose(back, val.land_m, atol=1e-9)


def test_feet_of_a_whole_rally_settle_who_stands_where(tmp_path: Path) -> None:
    rows = [*ROWS[:3], ROWS[3].replace(",90,190,", ",90,500,")]  # one slip of the annotator's: behind the net
    assert r.read_given(write(tmp_path / "given.csv", rows)).side.tolist() == [-1, 1, -1, 1]


def test_the_shipped_rallies_are_the_challenges() -> None:
    shipped = r.load_rallies()
    train, val = shipped.of("train"), shipped.of("val")
    assert (len(train.name), len(train.rally)) == (2268, 30172)
    assert (len(val.name), len(val.rally)) == (350, 4370)
    for part in (train, val):
        many = np.bincount(part.rally)
        np.testing.assert_array_equal(part.length[part.first], many)
        assert (part.shot[part.first] == 0).all()
        np.testing.assert_array_equal(part.side[1:][part.shot[1:] > 0], -part.side[:-1][part.shot[1:] > 0])
    assert not shipped.land_m.flags.writeable


def test_told_and_continued_undo_one_another() -> None:
    val = r.load_rallies().of("val").rows_of(np.arange(350) < 20)
    given, truth = r.told(val)
    assert (np.bincount(given.rally) == r.GIVEN).all()
    again = r.continued(given, truth)
    np.testing.assert_allclose(again.land_m, val.land_m, atol=1e-9)
    np.testing.assert_array_equal(again.type, val.type)
    np.testing.assert_array_equal(again.side, val.side)


def test_winners_follow_from_why_the_rally_ended() -> None:
    shot, length = np.arange(3, dtype=np.int16), np.full(3, 3, dtype=np.int16)
    assert r.winners(["out"], np.array([3]), shot, length).tolist() == [-1, 1, -1]
    assert r.winners(["opponent's ball landed"], np.array([3]), shot, length).tolist() == [1, -1, 1]
    assert r.winners([""], np.array([3]), shot, length).tolist() == [0, 0, 0]


def test_rallies_of_the_robots_matches_end_where_they_end() -> None:
    table = load_strokes()
    test = r.from_strokes(table, "test")
    rows = table.split_rows("test")
    assert len(test.rally) == len(rows)
    np.testing.assert_array_equal(np.bincount(test.rally), test.length[test.first])
    last = np.r_[test.first[1:] - 1, len(rows) - 1]
    assert table.last[rows[last]].all() and (test.since_s[test.first] == 0).all()
    k = int(test.first[5]) + 1
    assert test.since_s[k] == table.gap_s[rows[k - 1]]


def test_no_match_is_in_the_robots_training_and_in_the_challenges_val() -> None:
    """A rally of val is told by its landing points; none of the training matches' has the same."""
    val, train = r.load_rallies().of("val"), r.from_strokes(load_strokes(), "train")
    theirs = {tuple(np.round(4 * p).astype(int)) for p in _first_three(train)}
    ours = [tuple(np.round(4 * p).astype(int)) for p in _first_three(val)]
    assert sum(p in theirs for p in ours) <= 3  # by chance


def _first_three(rallies: r.Rallies) -> list[np.ndarray]:
    firsts = rallies.first[rallies.length[rallies.first] >= 3]
    return [rallies.land_m[k : k + 3].ravel() for k in firsts if np.isfinite(rallies.land_m[k : k + 3]).all()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [rows[0].replace("short service", "serve"), *rows[1:]], "line 2, column 'type': 'serve'"),
        (lambda rows: [rows[0], rows[1].replace("0.8", "nan"), *rows[2:]], "line 3, column 'landing_x': 'nan'"),
        (lambda rows: [rows[0], rows[2], rows[3]], "ball_round [1, 3, 4]"),
        (lambda rows: rows[:3], "tells 3 of its 6 strokes; allowed: 4"),
        (lambda rows: [row.replace("7,6,", "7,3,") for row in rows], "tells 4 of its 3 strokes"),
        (lambda rows: [rows[0] + ",9", *rows[1:]], "line 2: not the header's columns"),
        (lambda rows: [], "no strokes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, change, said: str) -> None:
    with pytest.raises(DataError, match="given.csv") as caught:
        r.read_given(write(tmp_path / "given.csv", change(list(ROWS))))
    assert said in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "given.csv", [], HEADER.replace("landing_y,", ""))
    with pytest.raises(DataError, match="line 1: no column 'landing_y'"):
        r.read_given(path)


def test_a_truth_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    given = r.read_given(write(tmp_path / "given.csv", ROWS))
    path = tmp_path / "gt.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(
            [r_.split(",") for r_ in ("rally_id,ball_round,type,landing_x,landing_y", "7,5,lob,0,-1")]
        )
    with pytest.raises(DataError, match="rally_id 7 has ball_round \\[5\\]; allowed: 5 to 6"):
        r.continued(given, r.read_truth(path))
