"""The shipped stroke table, and the reader of the raw set files on a small made-up data set."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.tasks.badminton import build_strokes, flight, reconstruct, shuttleset, strokes
from hjepa.tasks.badminton.court import net_height_at

POINTS = ("hit", "landing", "player_location", "opponent_location")
HEADER = [
    *("rally", "ball_round", "time", "frame_num", "roundscore_A", "roundscore_B", "player", "server", "type"),
    *("aroundhead", "backhand", "hit_height", "landing_height", "lose_reason", "win_reason", "getpoint_player", "flaw"),
    *(f"{point}_{part}" for point in POINTS for part in ("area", "x", "y")),
    "db",
]
# the made-up broadcast sees the court from straight above: 1 pixel is 1 court unit, the camera side at large y
SERVE = {"type": "發長球", "player": "A", "hit": ("", ""), "land": (177.5, 180), "me": (170, 590), "you": (180, 280)}
CLEAR = {"type": "長球", "player": "B", "hit": (177.5, 180), "land": (200, 770), "me": (177.5, 190), "you": (175, 600)}
SMASH = {"type": "殺球", "player": "A", "hit": (200, 770), "land": (120, 250), "me": (200, 760), "you": (177.5, 300)}


def _row(shot: int, frame: int, stroke: dict, last: bool) -> dict[str, str]:
    row = dict.fromkeys(HEADER, "")
    row |= {"rally": "1", "ball_round": str(shot + 1), "time": f"00:00:{frame // 30:02d}", "frame_num": str(frame)}
    row |= {"player": stroke["player"], "server": "2", "type": stroke["type"], "hit_height": "1" if shot else "2"}
    for name, key in zip(POINTS, ("hit", "land", "me", "you"), strict=True):
        row[f"{name}_x"], row[f"{name}_y"] = (str(value) for value in stroke[key])
    if last:
        row |= {"lose_reason": "對手落地致勝", "getpoint_player": "A"}
    return row


def _dataset(root: Path) -> Path:
    """A source folder with one match of one set of one rally: service, clear, winning smash."""
    for folder in shuttleset.FOLDERS:
        (root / folder).mkdir(parents=True)
        (root / folder / "match.csv").write_text("id,video,year,winner,loser\n", encoding="utf-8")
        (root / folder / "homography.csv").write_text("id,video\n", encoding="utf-8")
    top = root / "shuttleset"
    (top / "match.csv").write_text(
        "id,video,year,winner,loser\n1,Final,2021,An PLAYER,Other Player\n", encoding="utf-8"
    )
    corners = "upleft_x,upright_x,downleft_x,downright_x,upleft_y,upright_y,downleft_y,downright_y"
    (top / "homography.csv").write_text(
        f"id,video,homography_matrix,{corners}\n"
        '1,Final,"[[1,0,0],[0,1,0],[0,0,1]]",27.4,327.6,27.4,327.6,150,150,810,810\n',
        encoding="utf-8",
    )
    (top / "Final").mkdir()
    frames = (30, 30 + 57, 30 + 57 + 36)
    rows = [_row(i, f, s, i == 2) for i, (f, s) in enumerate(zip(frames, (SERVE, CLEAR, SMASH), strict=True))]
    _write(top / "Final" / "set1.csv", rows)
    return root


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, HEADER)
        writer.writeheader()
        writer.writerows(rows)


def _set_file(root: Path) -> tuple[Path, list[dict[str, str]]]:
    path = root / "shuttleset" / "Final" / "set1.csv"
    with path.open(newline="", encoding="utf-8") as handle:
        return path, list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def table() -> strokes.StrokeTable:
    return strokes.load_strokes()


def test_pixels_become_metres_in_the_world_frame(tmp_path: Path) -> None:
    root = _dataset(tmp_path)
    raw = shuttleset.read_strokes(root, shuttleset.read_matches(root))
    np.testing.assert_allclose(raw.landing_m[0], [(480 - 180) * 13.4 / 660, 0.0], atol=1e-9)  # far side, centre line
    np.testing.assert_allclose(raw.landing_m[1], [-290 * 13.4 / 660, -22.5 * 6.1 / 300.2], atol=1e-9)  # near, right
    assert np.isnan(raw.hit_m[0]).all()
    assert raw.player_a.tolist() == [True, False, True]


def test_a_made_up_rally_becomes_three_flights_in_the_canonical_frame(tmp_path: Path) -> None:
    raw_root = _dataset(tmp_path)
    matches = shuttleset.read_matches(raw_root)
    raw = shuttleset.read_strokes(raw_root, matches)
    frame = build_strokes._Frame(raw, np.array([30.0]))
    columns = frame.columns(reconstruct.limits_of(raw.fine_type))
    assert frame.side.tolist() == [-1.0, 1.0, -1.0]  # A plays on the camera's side
    assert (columns["hit_m"][:, 0] > 0).all() and (columns["meet_m"][:, 0] < 0).all()
    np.testing.assert_allclose(columns["meet_m"][0, :2], -columns["hit_m"][1, :2])
    assert (columns["hitter_m"][:, 0] > 0).all() and (columns["receiver_m"][:, 0] < 0).all()
    np.testing.assert_allclose(columns["gap_s"], [1.9, 1.2, np.nan])
    assert (frame.defects(columns) == 0).all()


@pytest.mark.parametrize(
    ("column", "text", "allowed"),
    [
        ("type", "smesh", "殺球"),
        ("hit_x", "12,5", "finite number or blank"),
        ("frame_num", "", "a finite number"),
        ("frame_num", "nan", "a finite number"),
        ("player", "C", "A, B"),
        ("time", "12:30", "hh:mm:ss"),
        ("lose_reason", "?", "出界"),
    ],
)
def test_a_malformed_row_is_one_error_naming_line_and_column(
    tmp_path: Path, column: str, text: str, allowed: str
) -> None:
    root = _dataset(tmp_path)
    path, rows = _set_file(root)
    rows[1][column] = text
    _write(path, rows)
    with pytest.raises(DataError) as error:
        shuttleset.read_strokes(root, shuttleset.read_matches(root))
    message = str(error.value)
    assert "line 3" in message and f"'{column}'" in message and allowed in message and "\n" not in message


def test_a_short_row_and_a_missing_column_are_errors(tmp_path: Path) -> None:
    root = _dataset(tmp_path)
    path, _ = _set_file(root)
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 5.*30 columns"):
        shuttleset.read_strokes(root, shuttleset.read_matches(root))
    path.write_text(text.replace("frame_num", "frame"), encoding="utf-8")
    with pytest.raises(DataError, match="no column 'frame_num'"):
        shuttleset.read_strokes(root, shuttleset.read_matches(root))


def test_drawn_heights_stay_in_the_type_s_range_and_on_the_annotated_side_of_the_net() -> None:
    names = np.array([name for name in reconstruct.LIMITS for _ in range(300)])
    limits = reconstruct.limits_of(names)
    for flag in (0, 1, 2):
        low, high = reconstruct.height_range(limits, np.full(len(names), flag, dtype=np.int8))
        z = reconstruct.draw_heights(limits, low, high, np.random.default_rng(flag))
        assert ((z >= low) & (z <= high)).all()
        if flag == 1:
            assert z.min() > 1.4
        if flag == 2:
            assert z.max() < 1.65


def test_a_flight_into_the_net_is_not_physical() -> None:
    def gap(time_s: float) -> reconstruct.Gap:
        limits = reconstruct.limits_of(np.array(["drive"]))
        span = (np.array([0.8]), np.array([2.4]))
        here, there = np.array([[3.0, 0.0]]), np.array([[-3.0, 0.0]])
        return reconstruct.Gap(here, there, np.array([time_s]), np.array([1 / 30]), limits, limits, span, span)

    low = np.array([1.0])
    assert not reconstruct.solve(gap(0.25), low, low, np.array([0.25])).physical[0]  # nearly straight, 1 m high
    assert reconstruct.solve(gap(1.0), low, low, np.array([1.0])).physical[0]
    saved = reconstruct.solve_with_slack(gap(0.25), low, low, np.random.default_rng(0))
    assert saved.physical[0] and abs(saved.time_s[0] - 0.25) <= 2 / 30 + 1e-9


def test_the_shipped_table_has_every_match_and_rallies_in_order(table: strokes.StrokeTable) -> None:
    assert len(table.match) == 74704 and len(table.match_names) == 85
    assert len(set(table.match_names)) == 85
    assert np.bincount(table.match_split).tolist() == [60, 10, 15]
    step = np.diff(table.rally)
    assert set(np.unique(step)) == {0, 1}
    np.testing.assert_array_equal(table.shot[1:], np.where(step == 1, 0, table.shot[:-1] + 1))
    np.testing.assert_array_equal(table.last, np.r_[step == 1, True])
    before = table.previous
    assert (table.rally[before[before >= 0]] == table.rally[before >= 0]).all()


def test_benchmark_validation_matches_are_not_trained_on(table: strokes.StrokeTable) -> None:
    train = set(table.match_names[table.match_split == 0])
    fixed = {  # ShuttleSet22 ids 38, 46, 47, 48, 49
        "Lakshya_SEN_LEE_Zii_Jia_All_England_Open_2022_SemiFinals",
        "Lee_Zii_Jia_Loh_Kean_Yew_Denmark_Open_2022_Semifinals",
        "HE_Bing_Jiao_CHEN_Yu_Fei_Denmark_Open_2022_Final",
        "CHEN_Yu_Fei_Ratchanok_INTANON_Denmark_Open_2022_SemiFinals",
        "HE_Bing_Jiao_Carolina_MARIN_French_Open_2022_Final",
    }
    assert not train & fixed and fixed <= set(table.match_names)


def test_sides_alternate_and_the_hitter_stands_at_positive_x(table: strokes.StrokeTable) -> None:
    v = table.valid
    assert (table.hit_m[v, 0] > 0).all() and (table.meet_m[v, 0] < 0).all()
    assert np.nanmean(table.hitter_m[v, 0] > 0) > 0.995 and np.nanmean(table.receiver_m[v, 0] < 0) > 0.995
    i = np.flatnonzero(v[1:] & (table.shot[1:] > 0)) + 1
    assert np.mean(table.side[i] == -table.side[i - 1]) > 0.999


def test_every_shipped_flight_meets_its_point_on_time_over_the_net(table: strokes.StrokeTable) -> None:
    rows = np.flatnonzero(table.valid)[::7]
    x, _ = flight.fly_to(table.hit_m[rows], table.launch_m_s[rows], table.time_s[rows])
    assert np.linalg.norm(x - table.meet_m[rows], axis=-1).max() < 0.02
    path = flight.land(table.hit_m[rows], table.launch_m_s[rows], max_s=5.0)
    assert (path.net_height_m > net_height_at(path.net_y_m)).all()
    np.testing.assert_allclose(path.xy_m, table.floor_m[rows], atol=0.02)
    np.testing.assert_allclose(path.time_s, table.floor_s[rows], atol=0.005)
    shift = np.abs(table.time_s[rows] - table.gap_s[rows])
    assert np.nanmax(shift) <= 2 / 25 + 0.002
    assert np.linalg.norm(table.launch_m_s[rows], axis=-1).max() <= 120.1


def test_winners_fell_in_and_their_hitters_won(table: strokes.StrokeTable) -> None:
    q = table.valid & (table.reason == shuttleset.REASON_NAMES.index("winner"))
    assert q.sum() > 2000 and (table.won[q] == 1).mean() > 0.98
    assert table.last[q].all()


def test_the_table_survives_a_file_and_is_read_only(tmp_path: Path, table: strokes.StrokeTable) -> None:
    strokes.save_strokes(table, tmp_path / "s.npz")
    again = strokes.load_strokes(tmp_path / "s.npz")
    for a, b in zip(table, again, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="read-only"):
        again.time_s[0] = 1.0


def test_a_foreign_file_and_an_unknown_split_are_errors(tmp_path: Path, table: strokes.StrokeTable) -> None:
    (tmp_path / "s.npz").write_text("no")
    with pytest.raises(DataError, match="not a stroke file"):
        strokes.load_strokes(tmp_path / "s.npz")
    with pytest.raises(DataError, match="train, val, test"):
        table.split_rows("tset")
