"""Feeds: shuttles that leave the opponent's racket towards the robot. Real ones, random ones, ones from a CSV file.

World frame: the opponent stands at x > 0, the robot plays x < 0. Legend: N feeds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError, nearest
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import HALF_LENGTH_M, HALF_SINGLES_M, in_singles, net_height_at
from hjepa.tasks.badminton.reconstruct import NET_MARGIN_M
from hjepa.tasks.badminton.strokes import TYPES, UNKNOWN, load_strokes
from hjepa.types import Array, Launch

COLUMNS = ("id", "type", "x0", "y0", "z0", "vx", "vy", "vz")
OPTIONAL = ("rx", "ry")
_RANGES = {  # what a feed file may hold, m and m/s: a launch on the opponent's side, towards the robot
    "x0": (0.0, 8.0),
    "y0": (-4.0, 4.0),
    "z0": (0.0, 4.0),
    "vx": (-160.0, -0.1),
    "vy": (-160.0, 160.0),
    "vz": (-160.0, 160.0),
    "rx": (-8.0, 0.0),
    "ry": (-4.0, 4.0),
}


class FeedTable(NamedTuple):
    """Columns of N feeds."""

    id: NDArray[np.int64]  # (N,) real feeds: row of the stroke table
    type: NDArray[np.int8]  # (N,) index in TYPES, or UNKNOWN
    x0_m: Array  # (N, 3)
    v0_m_s: Array  # (N, 3)
    receiver_xy_m: Array  # (N, 2) where the real receiver stood at the launch; nan if not known
    match: NDArray[np.int16]  # (N,) -1 if not from a match
    time_s: Array  # (N,) until the real receiver hit it; until the floor if nobody did
    floor_m: Array  # (N, 2) where it falls if nobody hits it
    floor_s: Array  # (N,)

    def take(self, rows: NDArray[np.int64]) -> FeedTable:
        """The feeds of the given rows, in their order."""
        columns: list[Any] = [column[rows] for column in self]
        return FeedTable(*columns)

    def launch(self, i: int) -> Launch:
        """Feed i as the simulator takes it."""
        return Launch(self.x0_m[i].copy(), self.v0_m_s[i].copy(), type_name(int(self.type[i])))


@dataclass(frozen=True)
class RandomFeedConfig:
    """Ranges (low, high) from which a random feed is drawn uniformly; feeds that meet the net are drawn again."""

    launch_depth_m: tuple[float, float] = (0.5, HALF_LENGTH_M)  # from the net
    launch_y_m: tuple[float, float] = (-HALF_SINGLES_M, HALF_SINGLES_M)
    launch_z_m: tuple[float, float] = (0.3, 2.8)
    landing_depth_m: tuple[float, float] = (0.8, HALF_LENGTH_M)
    landing_y_m: tuple[float, float] = (-HALF_SINGLES_M, HALF_SINGLES_M)
    flight_s: tuple[float, float] = (0.8, 1.8)  # to the floor
    speed_max_m_s: float = 100.0
    seed: int = 0


def type_name(index: int) -> str:
    """English name of a type index; 'unknown' for UNKNOWN."""
    return TYPES[index] if index != UNKNOWN else "unknown"


def load_feed(split: str) -> FeedTable:
    """Real strokes of one split ('train', 'val', 'test') into the robot's half, in the order they were played.

    A stroke is fed if it has a physical flight, the receiver's position is known, and it was either hit back or fell
    in the singles court.
    """
    table = load_strokes()
    rows = table.split_rows(split)
    fell_in = in_singles(np.nan_to_num(table.floor_m[rows]), -1)
    keep = table.valid[rows] & np.isfinite(table.receiver_m[rows, 0]) & (~table.last[rows] | fell_in)
    rows = rows[keep]
    return FeedTable(
        id=rows,
        type=table.type[rows],
        x0_m=table.hit_m[rows],
        v0_m_s=table.launch_m_s[rows],
        receiver_xy_m=table.receiver_m[rows],
        match=table.match[rows],
        time_s=table.time_s[rows],
        floor_m=table.floor_m[rows],
        floor_s=table.floor_s[rows],
    )


def random_feed(n: int, seed: int | None = None, config: RandomFeedConfig | None = None) -> FeedTable:
    """n random feeds; `seed` overrides the configuration's."""
    c = config or RandomFeedConfig()
    rng = np.random.default_rng(c.seed if seed is None else seed)
    x0, v0, time = np.empty((0, 3)), np.empty((0, 3)), np.empty(0)
    drawn = 0
    while len(x0) < n:
        if drawn > 2000 and len(x0) < 0.01 * drawn:
            raise DataError(f"random feed: {len(x0)} of {drawn} drawn shuttles pass the net with {c}; widen its ranges")
        size = 2 * (n - len(x0)) + 16
        drawn += size
        start = np.stack([rng.uniform(*r, size) for r in (c.launch_depth_m, c.launch_y_m, c.launch_z_m)], axis=-1)
        depth, across, t = (rng.uniform(*r, size) for r in (c.landing_depth_m, c.landing_y_m, c.flight_s))
        v, miss = flight.solve_launch(start, np.stack([-depth, across, np.zeros(size)], axis=-1), t)
        fine = (miss < 1e-3) & (np.linalg.norm(v, axis=-1) <= c.speed_max_m_s)
        fine &= _over_net(flight.land(start, np.where(fine[:, None], v, [-1.0, 0.0, 0.0])))
        x0, v0, time = np.concatenate([x0, start[fine]]), np.concatenate([v0, v[fine]]), np.concatenate([time, t[fine]])
    blank = np.full((n, 2), np.nan)
    return _plain(np.arange(n), np.full(n, UNKNOWN, dtype=np.int8), x0[:n], v0[:n], blank)


def read_feed_csv(path: str | Path) -> FeedTable:
    """A feed file: columns id,type,x0,y0,z0,vx,vy,vz[,rx,ry]; a DataError names line, column and what is allowed."""
    path = Path(path)
    ids, types, numbers, lines = [], [], [], []
    for line, row in _csv_rows(path):
        ids.append(_integer(row["id"], path, line))
        if ids[-1] in ids[:-1]:
            raise DataError(f"{path}, line {line}, column 'id': {ids[-1]} appears twice; allowed: one row an id")
        types.append(_type(row["type"], path, line))
        receiver = [row.get(name) or "" for name in OPTIONAL]
        if any(receiver) and not all(receiver):
            raise DataError(f"{path}, line {line}, column 'rx' or 'ry': one is blank; allowed: both or neither")
        here = [_real(row[name], name, path, line) for name in COLUMNS[2:]]
        here += [_real(text, n, path, line) if text else np.nan for text, n in zip(receiver, OPTIONAL, strict=True)]
        numbers.append(here)
        lines.append(line)
    if not ids:
        raise DataError(f"{path}: no feeds; allowed: a header and at least one row")
    values = np.array(numbers)
    bad = ~_over_net(flight.land(values[:, :3], values[:, 3:6]))
    if bad.any():
        raise DataError(
            f"{path}, line {lines[int(bad.argmax())]}, columns x0..vz: infeasible feed, the shuttle does not pass the "
            f"net; allowed: launches that cross x = 0 at least {NET_MARGIN_M} m above the tape (1.524 m at the centre)"
        )
    return _plain(np.array(ids), np.array(types, dtype=np.int8), values[:, :3], values[:, 3:6], values[:, 6:])


def write_feed_csv(feed: FeedTable, path: str | Path) -> None:
    """Write a feed file that read_feed_csv reads back to the same numbers (shortest exact decimals)."""
    with Path(path).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS + OPTIONAL)
        for i in range(len(feed.id)):
            numbers = [*feed.x0_m[i], *feed.v0_m_s[i], *feed.receiver_xy_m[i]]
            text = ["" if np.isnan(value) else repr(float(value)) for value in numbers]
            writer.writerow([int(feed.id[i]), type_name(int(feed.type[i])), *text])


def _plain(ids: NDArray[np.int64], types: NDArray[np.int8], x0: Array, v0: Array, receiver: Array) -> FeedTable:
    """A table of feeds that nobody is known to have hit: they fly to the floor."""
    path = flight.land(x0, v0, max_s=8.0)
    return FeedTable(
        id=ids.astype(np.int64),
        type=types,
        x0_m=x0,
        v0_m_s=v0,
        receiver_xy_m=receiver,
        match=np.full(len(ids), -1, dtype=np.int16),
        time_s=path.time_s,
        floor_m=path.xy_m,
        floor_s=path.time_s,
    )


def _over_net(path: flight.Landing) -> NDArray[np.bool_]:
    """True (N,) where the shuttle crosses x = 0 above the tape and comes down."""
    clearance = path.net_height_m - net_height_at(np.nan_to_num(path.net_y_m))
    return (clearance >= NET_MARGIN_M) & np.isfinite(path.time_s)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) pairs of a feed file with the right header and row widths."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        header = [name.strip() for name in reader.fieldnames or ()]
        for name in COLUMNS:
            if name not in header:
                raise DataError(f"{path}, line 1: no column '{name}'; allowed: {','.join(COLUMNS)}[,rx,ry]")
        for name in header:
            if name not in COLUMNS + OPTIONAL:
                raise DataError(f"{path}, line 1, column '{name}': unknown; {nearest(name, COLUMNS + OPTIONAL)}")
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path}, line {reader.line_num}: {len(header)} columns are allowed, as in the header")
            yield reader.line_num, row


def _integer(text: str, path: Path, line: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{path}, line {line}, column 'id': {text!r}; allowed: a whole number") from None


def _type(text: str, path: Path, line: int) -> int:
    allowed = (*TYPES, "unknown")
    if text not in allowed:
        raise DataError(f"{path}, line {line}, column 'type': {text!r}; {nearest(text, allowed)}")
    return TYPES.index(text) if text in TYPES else UNKNOWN


def _real(text: str, column: str, path: Path, line: int) -> float:
    low, high = _RANGES[column]
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not low <= value <= high:
        raise DataError(f"{path}, line {line}, column '{column}': {text!r}; allowed: a number in {low:g} to {high:g}")
    return value
