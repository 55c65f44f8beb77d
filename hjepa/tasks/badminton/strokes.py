"""Real strokes as a columnar table: who hit what from where, the flight it became, and how the rally went on.

Canonical frame of every row: the hitter stands at x > 0 and the shuttle flies towards x < 0, so a row can be fed to
the robot as it is; rows whose hitter stood on the other side were turned by 180 degrees about z (`side` says which).
Heights are not in the data: see reconstruct.py. Built by build_strokes.py, shipped in data/strokes.npz.
Legend: N strokes, in order of match, set, rally and stroke, so row i - 1 is the stroke before row i when shot > 0.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError
from hjepa.types import Array

TYPES = (
    "short service",
    "long service",
    "net shot",
    "clear",
    "drop",
    "smash",
    "drive",
    "lob",
    "push/rush",
    "defensive shot",
)
UNKNOWN = -1  # type index of a stroke its annotator could not name
TYPE_OF_FINE = {  # the CoachAI 2023 benchmark's merge of the annotators' 18 types
    "short service": 0,
    "long service": 1,
    "net shot": 2,
    "cross-court net shot": 2,
    "clear": 3,
    "drop": 4,
    "passive drop": 4,
    "smash": 5,
    "wrist smash": 5,
    "drive": 6,
    "driven flight": 6,
    "back-court drive": 6,
    "lob": 7,
    "push": 8,
    "rush": 8,
    "return net": 9,
    "defensive return lob": 9,
    "defensive return drive": 9,
    "unknown": UNKNOWN,
}
DEFECTS = (  # why a row has no flight; index in column `defect`
    "none",
    "unknown type",
    "net or own side",  # the stroke ended in or before the net: real, but no flight to the other side
    "missing point",  # no hit point and no feet, or no landing point
    "wrong side",  # hit point, feet and landing contradict one another
    "time",  # frames not increasing, or more than 4 s to the next hit
    "not physical",  # no launch within the type's limits passes the net and both points on time
)
SPLITS = ("train", "val", "test")

_MM = 1e-3
_V = 4e-3  # launch velocity quantum, m/s: moves a landing point by less than 5 mm
# column -> quantum of its int16 file form; nan is the int16 minimum. Columns not listed are stored as they are.
_QUANTA = {
    "hit_m": _MM,
    "launch_m_s": _V,
    "meet_m": _MM,
    "time_s": _MM,
    "gap_s": _MM,
    "moved_m": _MM,
    "floor_m": _MM,
    "floor_s": _MM,
    "hitter_m": _MM,
    "receiver_m": _MM,
}
_NAN = np.iinfo(np.int16).min


class StrokeTable(NamedTuple):
    """Columns of N strokes. nan where the source is blank or the row has no flight."""

    match: NDArray[np.int16]  # (N,) row of match_names
    set: NDArray[np.int8]  # (N,) from 1
    rally: NDArray[np.int32]  # (N,) counted over the whole table
    shot: NDArray[np.int16]  # (N,) in the rally, from 0 (the serve)
    hitter: NDArray[np.int16]  # (N,) row of player_names
    receiver: NDArray[np.int16]  # (N,)
    type: NDArray[np.int8]  # (N,) index in TYPES, or UNKNOWN
    side: NDArray[np.int8]  # (N,) +1 hitter stood on the camera's far side, -1 near (row turned by 180 degrees)
    hit_m: Array  # (N, 3) launch point; its height is drawn (reconstruct.py)
    launch_m_s: Array  # (N, 3) launch velocity
    meet_m: Array  # (N, 3) where the opponent hit it, or the floor point on a rally's last stroke
    time_s: Array  # (N,) flight time to meet_m
    gap_s: Array  # (N,) annotated time to the next hit; nan on a rally's last stroke
    moved_m: Array  # (N,) floor distance of meet_m from the annotated point; nan where the row has no flight
    floor_m: Array  # (N, 2) where the flight falls if nobody hits it
    floor_s: Array  # (N,) and when
    hitter_m: Array  # (N, 2) feet
    receiver_m: Array  # (N, 2) feet, at the moment of the hit
    last: NDArray[np.bool_]  # (N,) last stroke of its rally
    won: NDArray[np.int8]  # (N,) +1 the hitter wins the rally, -1 loses it, 0 not known
    reason: NDArray[np.int8]  # (N,) index in shuttleset.REASON_NAMES; 0 before the last stroke
    backhand: NDArray[np.bool_]  # (N,)
    above_net: NDArray[np.int8]  # (N,) hit above net height 1, below 2, blank 0
    defect: NDArray[np.int8]  # (N,) index in DEFECTS; 0 means the row has a physical flight
    match_names: NDArray[np.str_]  # (matches,)
    match_split: NDArray[np.int8]  # (matches,) index in SPLITS
    player_names: NDArray[np.str_]  # (players,)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) True where the row has a physical flight."""
        return self.defect == 0

    @property
    def previous(self) -> NDArray[np.int64]:
        """(N,) row of the stroke before in the same rally, -1 on a serve."""
        return np.where(self.shot > 0, np.arange(len(self.shot)) - 1, -1)

    def split_rows(self, split: str) -> NDArray[np.int64]:
        """Rows of one split (by match, so no rally is shared between splits)."""
        if split not in SPLITS:
            raise DataError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
        return np.flatnonzero(self.match_split[self.match] == SPLITS.index(split))


def save_strokes(table: StrokeTable, path: Path) -> None:
    """Write the compact file: int16 columns in the quanta above, no pickle."""
    columns: dict[str, Any] = {}
    for name in StrokeTable._fields:
        column = getattr(table, name)
        columns[name] = _pack(column, _QUANTA[name], name) if name in _QUANTA else column
    np.savez_compressed(path, **columns)


def load_strokes(path: Path | None = None) -> StrokeTable:
    """The shipped strokes, or a file made by build_strokes. Arrays are read-only: the shipped table is shared."""
    return _shipped() if path is None else _read(path)


@cache
def _shipped() -> StrokeTable:
    with resources.files(__package__).joinpath("data/strokes.npz").open("rb") as handle:
        return _read(handle)


def _read(source: Path | IO[bytes]) -> StrokeTable:
    try:
        with np.load(source, allow_pickle=False) as file:
            missing = [name for name in StrokeTable._fields if name not in file]
            if missing:
                raise DataError(f"{source}: no column {missing[0]!r}; made by another version of build_strokes?")
            columns: list[Any] = [_unpack(file[name], _QUANTA.get(name)) for name in StrokeTable._fields]
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: not a stroke file ({error})") from None
    return StrokeTable(*columns)


def _pack(column: Array, quantum: float, name: str) -> NDArray[np.int16]:
    steps = np.rint(column / quantum)
    if np.nanmax(np.abs(steps), initial=0.0) > np.iinfo(np.int16).max:
        raise DataError(
            f"column {name!r}: {np.nanmax(np.abs(column)):.3f} does not fit; allowed: {32767 * quantum:.3f}"
        )
    return np.where(np.isnan(steps), float(_NAN), steps).astype(np.int16)


def _unpack(column: NDArray[np.generic], quantum: float | None) -> NDArray[np.generic]:
    if quantum is not None:
        steps = column.astype(np.float64)
        column = np.where(steps == _NAN, np.nan, steps * quantum)
    column.setflags(write=False)
    return column
