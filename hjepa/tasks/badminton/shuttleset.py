"""Reads the public ShuttleSet and ShuttleSet22 set files into columns in world metres (build time only).

Sources: ShuttleSet (Wang et al., KDD 2023, arXiv 2306.04948), ShuttleSet22 (arXiv 2306.15664), MIT licence. Positions
in the files are broadcast pixels of points on the floor; a 3x3 homography a match takes them to court units
(300.2 x 660 units for 6.10 x 13.40 m, net at unit 480, the camera at large y).
Legend: N strokes. World frame of this file: x away from the camera, y left, origin under the middle of the net.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError, nearest
from hjepa.tasks.badminton.court import COURT_LENGTH_M, DOUBLES_WIDTH_M
from hjepa.types import Array

FOLDERS = ("shuttleset", "shuttleset22")
_UNITS_LONG = 660.0
_NET_UNIT = 480.0

# the files' type names -> index in FINE_TYPES; merged to ten by strokes.TYPE_OF_FINE (the benchmark's merge)
FINE_TYPES = {
    "發短球": "short service",
    "發長球": "long service",
    "放小球": "net shot",
    "勾球": "cross-court net shot",
    "長球": "clear",
    "切球": "drop",
    "過度切球": "passive drop",
    "過渡切球": "passive drop",  # as the data set's own README spells it
    "殺球": "smash",
    "點扣": "wrist smash",
    "平球": "drive",
    "小平球": "driven flight",
    "後場抽平球": "back-court drive",
    "挑球": "lob",
    "推球": "push",
    "撲球": "rush",
    "擋小球": "return net",
    "防守回挑": "defensive return lob",
    "防守回抽": "defensive return drive",
    "未知球種": "unknown",
}
REASONS = {
    "": "none",
    "對手落地致勝": "winner",
    "出界": "out",
    "掛網": "net",
    "未過網": "not over",
    "落點判斷失誤": "misjudged",
    "對手落地判斷失誤": "misjudged",
    "犯規": "fault",
}
REASON_NAMES = ("none", "winner", "out", "net", "not over", "misjudged", "fault")


class RawStrokes(NamedTuple):
    """Strokes as annotated, in file order; nan where the file is blank."""

    match: NDArray[np.int16]  # (N,) row of `Matches`
    set: NDArray[np.int8]  # (N,)
    rally: NDArray[np.int16]  # (N,) number within the set
    ball_round: NDArray[np.int16]  # (N,) from 1
    frame: Array  # (N,) video frame of the hit
    clock_s: Array  # (N,) video clock, whole seconds
    player_a: NDArray[np.bool_]  # (N,) the hitter is A, the match's winner
    fine_type: NDArray[np.str_]  # (N,) value of FINE_TYPES
    above_net: NDArray[np.int8]  # (N,) 1 hit above net height, 2 below, 0 blank
    backhand: NDArray[np.bool_]  # (N,)
    hit_m: Array  # (N, 2) floor point under the hit
    landing_m: Array  # (N, 2) where the opponent met the shuttle, or where it fell
    hitter_m: Array  # (N, 2) feet
    receiver_m: Array  # (N, 2) feet
    reason: NDArray[np.int8]  # (N,) index in REASON_NAMES, on a rally's last stroke
    point: NDArray[np.int8]  # (N,) 1 point to A, -1 to B, 0 blank


class Match(NamedTuple):
    """One match: where its files are and how its pixels become metres."""

    folder: str
    source: str  # one of FOLDERS
    number: int  # id in the source's match.csv
    year: int
    winner: str
    loser: str
    homography: Array  # (3, 3) pixel -> court units
    centre_unit: float  # court units of the centre line (177.5; 175 in a few matches)
    width_units: float


def read_matches(root: Path) -> list[Match]:
    """Every distinct match under root, ordered by source and id; a folder named in both sources counts once."""
    matches: list[Match] = []
    seen: set[str] = set()
    for source in FOLDERS:
        plane = {row["video"]: (line, row) for line, row in _rows(root / source / "homography.csv")}
        for line, row in _rows(root / source / "match.csv"):
            name = row["video"]
            if name in seen:
                continue
            path = root / source / "match.csv"
            if name not in plane:
                raise DataError(f"{path}, line {line}, column 'video': {name!r} has no row in homography.csv")
            if not (root / source / name).is_dir():
                continue  # match.csv lists matches whose files were not released
            seen.add(name)
            matches.append(_match(source, name, row, line, path, *plane[name]))
    return matches


def read_strokes(root: Path, matches: list[Match]) -> RawStrokes:
    """All strokes of `matches`, in order of match, set and line."""
    parts = []
    for i, match in enumerate(matches):
        files = sorted((root / match.source / match.folder).glob("set*.csv"))
        if not files:
            raise DataError(f"{root / match.source / match.folder}: no set*.csv files")
        parts += [_read_set(path, i, match, number) for number, path in enumerate(files, start=1)]
    return RawStrokes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def frame_rate(raw: RawStrokes, matches: int) -> Array:
    """Frames a second of each match (matches,): 25 or 30, whichever the video clock agrees with."""
    rates = np.empty(matches)
    for i in range(matches):
        slopes = []
        for s in np.unique(raw.set[raw.match == i]):
            rows = (raw.match == i) & (raw.set == s) & np.isfinite(raw.clock_s)
            slopes.append(np.polyfit(raw.clock_s[rows], raw.frame[rows], 1)[0])
        slope = float(np.median(slopes))
        rates[i] = min((25.0, 30.0), key=lambda rate: abs(rate - slope))
        if abs(rates[i] - slope) > 0.5:
            raise DataError(f"match {i}: {slope:.2f} frames a second by its clock; allowed: about 25 or 30")
    return rates


def _match(source: str, name: str, row: dict[str, str], line: int, path: Path, h_line: int, h: dict[str, str]) -> Match:
    where = path.parent / "homography.csv"
    try:
        matrix = np.array(json.loads(h["homography_matrix"]), dtype=np.float64).reshape(3, 3)
    except ValueError as error:
        raise DataError(f"{where}, line {h_line}, column 'homography_matrix': {error}; allowed: a 3x3 list") from None
    corner = [
        (_number(h, f"{v}{s}_x", where, h_line), _number(h, f"{v}{s}_y", where, h_line))
        for v in ("up", "down")
        for s in ("left", "right")
    ]
    rows = [sorted(corner[i][0] for i in pair) for pair in ((0, 1), (2, 3))]  # left and right are swapped in some files
    pixels = np.array([[x, corner[2 * j][1]] for j, pair in enumerate(rows) for x in pair])
    across = _project(matrix, pixels)[:, 0].reshape(2, 2)
    return Match(
        folder=name,
        source=source,
        number=int(_number(row, "id", path, line)),
        year=int(_number(row, "year", path, line)),
        winner=row["winner"].strip(),
        loser=row["loser"].strip(),
        homography=matrix,
        centre_unit=float(across.mean()),
        width_units=float((across[:, 1] - across[:, 0]).mean()),
    )


def _read_set(path: Path, index: int, match: Match, number: int) -> RawStrokes:
    numbered = list(_rows(path))

    def numbers(column: str) -> Array:
        return np.array([_number(row, column, path, line, blank=True) for line, row in numbered])

    def points(prefix: str) -> Array:
        units = _project(match.homography, np.stack([numbers(f"{prefix}_x"), numbers(f"{prefix}_y")], axis=-1))
        x = (_NET_UNIT - units[:, 1]) * COURT_LENGTH_M / _UNITS_LONG
        y = (match.centre_unit - units[:, 0]) * DOUBLES_WIDTH_M / match.width_units
        return np.stack([x, y], axis=-1)

    def words(column: str, table: dict[str, _T]) -> list[_T]:
        return [_word(row, column, table, path, line) for line, row in numbered]

    def whole(column: str) -> Array:
        return np.array([_number(row, column, path, line) for line, row in numbered])

    n = len(numbered)
    return RawStrokes(
        match=np.full(n, index, dtype=np.int16),
        set=np.full(n, number, dtype=np.int8),
        rally=whole("rally").astype(np.int16),
        ball_round=whole("ball_round").astype(np.int16),
        frame=whole("frame_num"),
        clock_s=np.array([_clock(row["time"], path, line) for line, row in numbered]),
        player_a=np.array(words("player", {"A": True, "B": False})),
        fine_type=np.array(words("type", FINE_TYPES)),
        above_net=np.nan_to_num(numbers("hit_height")).astype(np.int8),
        backhand=numbers("backhand") == 1,
        hit_m=points("hit"),
        landing_m=points("landing"),
        hitter_m=points("player_location"),
        receiver_m=points("opponent_location"),
        reason=np.array([REASON_NAMES.index(name) for name in words("lose_reason", REASONS)], dtype=np.int8),
        point=np.array(words("getpoint_player", {"": 0, "A": 1, "B": -1}), dtype=np.int8),
    )


_T = TypeVar("_T")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) pairs; a missing file or a row of the wrong width is an error."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: not the header's {len(reader.fieldnames or ())} columns"
                )
            yield reader.line_num, row


def _column(row: dict[str, str], column: str, path: Path, line: int) -> str:
    if column not in row:
        raise DataError(f"{path}, line {line}: no column '{column}'; {nearest(column, row)}")
    return row[column]


def _number(row: dict[str, str], column: str, path: Path, line: int, blank: bool = False) -> float:
    text = _column(row, column, path, line)
    if blank and not text:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        allowed = "a finite number or blank" if blank else "a finite number"
        raise DataError(f"{path}, line {line}, column '{column}': {text!r}; allowed: {allowed}")
    return value


def _word(row: dict[str, str], column: str, table: dict[str, _T], path: Path, line: int) -> _T:
    text = _column(row, column, path, line)
    if text not in table:
        raise DataError(f"{path}, line {line}, column '{column}': {text!r}; {nearest(text, table)}")
    return table[text]


def _clock(text: str, path: Path, line: int) -> float:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise DataError(f"{path}, line {line}, column 'time': {text!r}; allowed: hh:mm:ss")
    return float(int(parts[0]) * 3600 + int(parts[1]) * 60 + int(parts[2]))


def _project(homography: Array, pixels: Array) -> Array:
    """Court units (N, 2) of pixels (N, 2)."""
    p = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=-1) @ homography.T
    units: Array = p[:, :2] / p[:, 2:]
    return units
