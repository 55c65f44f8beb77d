"""Rallies as strokes: who hit what, from where to where, and how it ended. Real ones, and those that robots play.

Canonical frame of every stroke: its hitter stands at x > 0 and the shuttle flies towards x < 0, world metres; `side`
says which half of the court that is (+1 far from the camera). Legend: N strokes, R rallies.

The CoachAI Challenge 2023, track 2 (arXiv 2306.15664) gives the first four strokes of rallies of ShuttleSet22 and asks
for the others. Its files hold feet in court units (300.2 x 660 for 6.10 x 13.40 m, net at 480) and landing points as
x' = (x - 175) / 82, y' = (y - 467) / 192 of the same units.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hjepa.errors import DataError, nearest
from hjepa.tasks.badminton.court import COURT_LENGTH_M, DOUBLES_WIDTH_M
from hjepa.tasks.badminton.strokes import TYPES, StrokeTable
from hjepa.types import Array

GIVEN = 4  # strokes of a rally that are told
SETS = ("train", "val")  # of the challenge
M_PER_UNIT = np.array([COURT_LENGTH_M / 660.0, DOUBLES_WIDTH_M / 300.2])  # of depth and width
LANDING_M = M_PER_UNIT * np.array([192.0, 82.0])  # m of one unit of landing_y, landing_x
_NET, _CENTRE = 480.0, 177.5
_FPS = 30.0
_FAR_M = 9.0  # landing points further from the net than this are slips of the annotator's
_MM = 1e-3
_HITTER_WINS = ("opponent's ball landed", "misjudged")  # why a rally ended with its last hitter's point


class Rallies(NamedTuple):
    """Columns of N strokes, rally after rally. nan (0 for words) where nobody noted it."""

    rally: NDArray[np.int32]  # (N,) 0 to R - 1
    shot: NDArray[np.int16]  # (N,) in the rally, from 0 (the serve)
    length: NDArray[np.int16]  # (N,) strokes of the whole rally; 0 not known
    type: NDArray[np.int8]  # (N,) index in strokes.TYPES
    land_m: Array  # (N, 2) where the opponent met the shuttle, or where it fell
    hitter_m: Array  # (N, 2) feet
    receiver_m: Array  # (N, 2)
    since_s: Array  # (N,) since the hit before; 0 on the serve
    backhand: NDArray[np.int8]  # (N,) 1 yes, 0 no
    around: NDArray[np.int8]  # (N,) round the head
    low: NDArray[np.int8]  # (N,) 1 met above net height, 2 below
    side: NDArray[np.int8]  # (N,) +1 the hitter stood on the camera's far side, -1 near
    won: NDArray[np.int8]  # (N,) +1 the hitter wins the rally, -1 loses it, 0 not known
    name: NDArray[np.int32]  # (R,) rally_id of the file it comes from
    group: NDArray[np.int8]  # (R,) index in SETS

    @property
    def first(self) -> NDArray[np.int64]:
        """(R,) row of each rally's serve."""
        return np.flatnonzero(np.r_[True, np.diff(self.rally) != 0]) if len(self.rally) else np.zeros(0, np.int64)

    def rows_of(self, keep: NDArray[np.bool_]) -> Rallies:
        """Some rallies (R,), numbered anew."""
        rows = keep[self.rally]
        number = np.cumsum(keep) - 1
        columns: list[Any] = [getattr(self, name)[rows] for name in _STROKE_COLUMNS]
        columns[0] = number[columns[0]].astype(np.int32)
        columns += [self.name[keep], self.group[keep]]
        return Rallies(*columns)

    def of(self, name: str) -> Rallies:
        """One of SETS."""
        return self.rows_of(self.group == SETS.index(name))


_STROKE_COLUMNS = Rallies._fields[:-2]
_POINTS = ("land_m", "hitter_m", "receiver_m")


def joined(parts: list[Rallies]) -> Rallies:
    """Rallies one after the other."""
    shift = np.cumsum([0] + [len(p.name) for p in parts[:-1]])
    moved = [p._replace(rally=(p.rally + s).astype(np.int32)) for p, s in zip(parts, shift, strict=True)]
    return Rallies(*(np.concatenate(column) for column in zip(*moved, strict=True)))


@cache
def load_rallies() -> Rallies:
    """The shipped rallies; see build_rallies.py. Read-only, shared."""
    with resources.files(__package__).joinpath("data/rallies.npz").open("rb") as handle:
        file = np.load(handle, allow_pickle=False)
        columns = {name: file[name] for name in Rallies._fields}
    for name in _POINTS:
        columns[name] = np.where(columns[name] == _NONE, np.nan, columns[name] * _MM)
    columns["since_s"] = np.where(columns["since_s"] == _NONE, np.nan, columns["since_s"] * _MM)
    for column in columns.values():
        column.setflags(write=False)
    return Rallies(**columns)


_NONE = np.iinfo(np.int16).min


def save_rallies(rallies: Rallies, path: Path) -> None:
    """Millimetres and milliseconds as int16, no pickle."""
    columns: dict[str, Any] = rallies._asdict()
    for name in (*_POINTS, "since_s"):
        steps = np.rint(columns[name] / _MM)
        columns[name] = np.where(np.isfinite(steps), np.clip(steps, _NONE + 1, -_NONE - 1), _NONE).astype(np.int16)
    np.savez_compressed(path, **columns)


def from_strokes(table: StrokeTable, split: str) -> Rallies:
    """The rallies of ShuttleSet's and ShuttleSet22's matches of a split; see strokes.py.

    The training split holds no match of the challenge's val, and its test is not among the files.
    """
    rows = table.split_rows(split)
    _, rally, many = np.unique(table.rally[rows], return_inverse=True, return_counts=True)
    shot = table.shot[rows]
    later = np.r_[shot[1:] > 0, False]  # the next row goes on with the rally
    served = shot == 0
    gap = np.r_[np.nan, table.gap_s[rows][:-1]]
    low = np.where(later, np.r_[table.above_net[rows][1:], 0], 0)  # how high the next hitter met it
    return Rallies(
        rally.astype(np.int32), shot, many[rally].astype(np.int16), table.type[rows], _clear(table.meet_m[rows, :2]),
        table.hitter_m[rows], table.receiver_m[rows], np.where(served, 0.0, gap),
        table.backhand[rows].astype(np.int8), np.zeros(len(rows), dtype=np.int8), low.astype(np.int8),
        table.side[rows], table.won[rows], table.rally[rows][served].astype(np.int32),
        np.zeros(len(many), dtype=np.int8),
    )  # fmt: skip


# rallies that robots played

_MAY_BE_BLANK = ("land_x", "land_y", "hitter_x", "hitter_y", "receiver_x", "receiver_y", "since_s")
STROKE_COLUMNS = ("rally", "shot", "length", "side", "type", *_MAY_BE_BLANK, "won")


def write_strokes(path: Path, rallies: Rallies) -> None:
    """Rallies as a table of strokes, in their hitters' frames (m, s)."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(STROKE_COLUMNS)
        for i, name in enumerate(rallies.rally):
            places = [*rallies.land_m[i], *rallies.hitter_m[i], *rallies.receiver_m[i], rallies.since_s[i]]
            whole = [int(name), int(rallies.shot[i]), int(rallies.length[i]), int(rallies.side[i])]
            row: list[Any] = [*whole, TYPES[rallies.type[i]] if rallies.type[i] >= 0 else "unknown"]
            writer.writerow([*row, *("" if np.isnan(v) else f"{v:.4f}" for v in places), int(rallies.won[i])])


def read_strokes_csv(path: Path) -> Rallies:
    """What `write_strokes` wrote; DataError with file, line, column and what is allowed for anything else."""
    rows = []
    for line, row in table_lines(path, STROKE_COLUMNS):
        kind = row["type"]
        if kind not in (*TYPES, "unknown"):
            raise DataError(f"{path}, line {line}, column 'type': {kind!r}; {nearest(kind, (*TYPES, 'unknown'))}")
        some = [c for c in STROKE_COLUMNS if c != "type"]
        numbers = [np.nan if not row[c] and c in _MAY_BE_BLANK else _real(row, c, path, line) for c in some]
        rows.append([*numbers, TYPES.index(kind) if kind in TYPES else -1])
    if not rows:
        raise DataError(f"{path}: no strokes; allowed: a header and rows of {', '.join(STROKE_COLUMNS)}")
    x = np.array(rows)
    _, rally, many = np.unique(x[:, 0], return_inverse=True, return_counts=True)
    shots = np.concatenate([np.arange(n) for n in many])
    if (np.diff(rally) < 0).any() or not np.array_equal(x[:, 1], shots):
        raise DataError(f"{path}: column 'shot' must count 0, 1, 2, ... within each rally, rally after rally")
    zeros = np.zeros(len(x), dtype=np.int8)
    return Rallies(
        rally.astype(np.int32), x[:, 1].astype(np.int16), x[:, 2].astype(np.int16), x[:, -1].astype(np.int8),
        _clear(x[:, 4:6]), x[:, 6:8], x[:, 8:10], x[:, 10], zeros, zeros, zeros, x[:, 3].astype(np.int8),
        x[:, 11].astype(np.int8), np.arange(len(many), dtype=np.int32), np.zeros(len(many), dtype=np.int8),
    )  # fmt: skip


def _real(row: dict[str, str], column: str, path: Path, line: int) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{path}, line {line}, column '{column}': {row[column]!r}; allowed: a finite number")
    return value


# the challenge's files

REQUIRED = (
    *("rally_id", "rally_length", "ball_round", "type", "landing_x", "landing_y", "frame_num"),
    *("player_location_x", "player_location_y", "opponent_location_x", "opponent_location_y"),
)
OPTIONAL = ("aroundhead", "backhand", "landing_height", "lose_reason")


def read_given(path: Path, least: int = GIVEN) -> Rallies:
    """Rallies of a file in the challenge's form: every stroke that it tells, in order of rally_id and ball_round.

    DataError with file, line and what is allowed for a missing column, an unknown type, a number that is none, rounds
    that are not 1, 2, 3 ..., or a rally of which fewer than `least` strokes are told.
    """
    table: dict[int, list[dict[str, Any]]] = {}
    for line, row in table_lines(path, REQUIRED):
        stroke = _stroke(path, line, row)
        table.setdefault(stroke["rally_id"], []).append(stroke)
    if not table:
        raise DataError(f"{path}: no strokes; allowed: a header and rows of {', '.join(REQUIRED)}")
    for name, strokes in table.items():
        strokes.sort(key=lambda s: s["ball_round"])
        rounds = [s["ball_round"] for s in strokes]
        if rounds != list(range(1, len(rounds) + 1)):
            raise DataError(
                f"{path}, line {strokes[0]['line']}: rally_id {name} has ball_round {rounds}; allowed: 1, 2, 3, ..."
            )
        length = strokes[0]["rally_length"]
        if not least <= len(rounds) <= length:
            told = f"rally_id {name} tells {len(rounds)} of its {length} strokes"
            raise DataError(f"{path}, line {strokes[0]['line']}: {told}; allowed: {least} to rally_length")
    return _rallies(list(table.values()))


def table_lines(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a table that has these columns; DataError for anything else."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in required if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}, line 1: no column '{missing[0]}'; allowed: {', '.join(required)}")
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{path}, line {reader.line_num}: not the header's columns")
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {reader.line_num + 1}: not a table of text ({error})") from None


def _stroke(path: Path, line: int, row: dict[str, str]) -> dict[str, Any]:
    def number(
        column: str, whole: bool = False, low: float = -1e9, high: float = 1e9, blank: float | None = None
    ) -> Any:
        text = row.get(column) or ""
        if not text and blank is not None:
            return blank
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not low <= value <= high or (whole and value != round(value)):
            allowed = f"{'a whole' if whole else 'a'} number" + (f" from {low:g} to {high:g}" if high < 1e9 else "")
            raise DataError(f"{path}, line {line}, column '{column}': {text!r}; allowed: {allowed}")
        return round(value) if whole else value

    kind = row["type"]
    if kind not in TYPES:
        raise DataError(f"{path}, line {line}, column 'type': {kind!r}; {nearest(kind, TYPES)}")
    return {
        "line": line, "type": TYPES.index(kind), "reason": row.get("lose_reason", ""),
        **{name: number(name, True, 0, 2**31 - 1) for name in ("rally_id", "frame_num")},
        **{name: number(name, True, 1, 1000) for name in ("rally_length", "ball_round")},
        **{name: number(name, low=-20, high=20) for name in ("landing_x", "landing_y")},
        **{name: number(name, low=-2000, high=3000) for name in REQUIRED[-4:]},
        **{name: number(name, blank=0.0) for name in ("aroundhead", "backhand", "landing_height")},
    }  # fmt: skip


def _rallies(table: list[list[dict[str, Any]]]) -> Rallies:
    strokes = [s for rally in table for s in rally]
    many = [len(rally) for rally in table]

    def column(name: str) -> Array:
        return np.array([s[name] for s in strokes], dtype=np.float64)

    def feet(who: str) -> Array:
        return world(column(f"{who}_location_x"), column(f"{who}_location_y"))

    rally = np.repeat(np.arange(len(table)), many)
    shot = column("ball_round").astype(np.int16) - 1
    hitter, receiver = feet("player"), feet("opponent")
    # who stands where is settled by all of a rally's feet: players change sides between rallies, not in them
    turn = np.where(shot % 2 == 0, 1.0, -1.0)
    vote = np.sign(hitter[:, 0]) - np.sign(receiver[:, 0])
    side = np.where(np.bincount(rally, turn * vote)[rally] >= 0, turn, -turn)
    since = np.where(shot > 0, np.r_[0.0, np.diff(column("frame_num"))] / _FPS, 0.0)
    reasons = [rally_[-1]["reason"] for rally_ in table]
    length = column("rally_length").astype(np.int16)
    return Rallies(
        rally.astype(np.int32), shot, length, column("type").astype(np.int8),
        side[:, None] * _clear(landing_world(column("landing_x"), column("landing_y"))),
        side[:, None] * hitter, side[:, None] * receiver, since,
        (column("backhand") == 1).astype(np.int8), (column("aroundhead") == 1).astype(np.int8),
        column("landing_height").astype(np.int8), side.astype(np.int8),
        winners(reasons, np.array(many), shot, length), np.array([r[0]["rally_id"] for r in table], dtype=np.int32),
        np.zeros(len(table), dtype=np.int8),
    )  # fmt: skip


class Truth(NamedTuple):
    """What came after the strokes that were told: M strokes."""

    name: NDArray[np.int32]  # (M,) rally_id
    ball_round: NDArray[np.int16]  # (M,) from 1
    type: NDArray[np.int8]  # (M,)
    landing: Array  # (M, 2) landing_x, landing_y


def read_truth(path: Path) -> Truth:
    """The challenge's *_gt.csv: rally_id, ball_round, type, landing_x, landing_y; DataError as in `read_given`."""
    columns = ("rally_id", "ball_round", "type", "landing_x", "landing_y")
    blank = dict.fromkeys(REQUIRED, "1") | {"lose_reason": ""}
    found = [_stroke(path, line, blank | row) for line, row in table_lines(path, columns)]
    if not found:
        raise DataError(f"{path}: no strokes; allowed: a header and rows of {', '.join(columns)}")
    return Truth(
        np.array([s["rally_id"] for s in found], dtype=np.int32),
        np.array([s["ball_round"] for s in found], dtype=np.int16),
        np.array([s["type"] for s in found], dtype=np.int8),
        np.array([[s["landing_x"], s["landing_y"]] for s in found]),
    )


def truth_of(truth: Truth, name: int) -> Truth:
    """One rally's, in order."""
    rows = np.flatnonzero(truth.name == name)
    rows = rows[np.argsort(truth.ball_round[rows], kind="stable")]
    columns: list[Any] = [column[rows] for column in truth]
    return Truth(*columns)


def told(rallies: Rallies, strokes: int = GIVEN) -> tuple[Rallies, Truth]:
    """The first strokes of whole rallies, and what came after; rallies that are no longer than that are left out."""
    many = np.bincount(rallies.rally, minlength=len(rallies.name))
    some = rallies.rows_of(many > strokes)
    first, later = some.shot < strokes, some.shot >= strokes
    columns: list[Any] = [getattr(some, c)[first] for c in _STROKE_COLUMNS]
    columns += [some.name, some.group]
    landing = landing_official(some.land_m[later], some.side[later])
    return Rallies(*columns), Truth(some.name[some.rally[later]], some.shot[later] + 1, some.type[later], landing)


def continued(given: Rallies, truth: Truth) -> Rallies:
    """Whole rallies: what was told, and what came after, whose feet, time and strike nobody tells.

    DataError where the truth is not the rounds that follow.
    """
    parts = []
    for r, first in enumerate(given.first):
        start = given.rows_of(np.arange(len(given.name)) == r)
        actual = truth_of(truth, int(given.name[r]))
        many, length = len(start.rally), int(given.length[first])
        rounds = actual.ball_round.tolist()
        if rounds != list(range(many + 1, length + 1)):
            wanted = f"allowed: {many + 1} to {length}"
            raise DataError(f"the truth of rally_id {given.name[r]} has ball_round {rounds}; {wanted}")
        shot = actual.ball_round - 1
        side = np.where((shot - start.shot[0]) % 2 == 0, start.side[0], -start.side[0]).astype(np.int8)
        n, nothing = len(rounds), np.full((len(rounds), 2), np.nan)
        zeros = np.zeros(n, dtype=np.int8)
        landing = side[:, None] * landing_world(actual.landing[:, 0], actual.landing[:, 1])
        later = Rallies(
            np.zeros(n, np.int32), shot.astype(np.int16), np.full(n, length, np.int16),
            actual.type, _clear(landing), nothing, nothing, nothing[:, 0], zeros, zeros, zeros, side, zeros,
            start.name[:0], start.group[:0],
        )  # fmt: skip
        columns: list[Any] = [np.concatenate([getattr(start, c), getattr(later, c)]) for c in _STROKE_COLUMNS]
        columns += [start.name, start.group]
        parts.append(Rallies(*columns))
    return joined(parts)


def winners(
    reasons: list[str], many: NDArray[np.int64], shot: NDArray[np.int16], length: NDArray[np.int16]
) -> NDArray[np.int8]:
    """(N,) +1 where a stroke's hitter wins its rally, -1 loses, by why the last stroke ended it; 0 not told."""
    rally = np.repeat(np.arange(len(many)), many)
    told = np.array([bool(r) for r in reasons])[rally]
    last_wins = np.array([r in _HITTER_WINS for r in reasons])[rally]
    same = (length - 1 - shot) % 2 == 0
    return np.where(told, np.where(last_wins == same, 1, -1), 0).astype(np.int8)


def world(x: ArrayLike, y: ArrayLike) -> Array:
    """World metres (N, 2) of court units (N,), (N,)."""
    away = (_NET - np.asarray(y, dtype=np.float64)) * M_PER_UNIT[0]
    return np.stack([away, (_CENTRE - np.asarray(x, dtype=np.float64)) * M_PER_UNIT[1]], axis=-1)


def landing_world(x: ArrayLike, y: ArrayLike) -> Array:
    """World metres (N, 2) of the challenge's landing_x, landing_y (N,), (N,)."""
    return world(np.asarray(x, dtype=np.float64) * 82.0 + 175.0, np.asarray(y, dtype=np.float64) * 192.0 + 467.0)


def landing_official(land_m: Array, side: ArrayLike) -> Array:
    """(..., 2) landing_x, landing_y of canonical metres (..., 2) hit from a side (...)."""
    xy = np.asarray(side, dtype=np.float64)[..., None] * land_m / M_PER_UNIT
    return np.stack([(_CENTRE - xy[..., 1] - 175.0) / 82.0, (_NET - xy[..., 0] - 467.0) / 192.0], axis=-1)


def _clear(xy_m: Array) -> Array:
    return np.clip(xy_m, -_FAR_M, _FAR_M)
