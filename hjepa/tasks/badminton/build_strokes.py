"""Builds data/strokes.npz from the public set files: `python -m hjepa.tasks.badminton.build_strokes SRC OUT`.

Needed only to rebuild the shipped file; deterministic (seed 0). SRC holds the folders shuttleset/ and shuttleset22/.
Legend: N strokes of the table, F flights between two hits, E rallies' last strokes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.badminton import reconstruct, strokes
from hjepa.tasks.badminton.reconstruct import Flights, Gap, TypeLimits
from hjepa.tasks.badminton.shuttleset import (
    REASON_NAMES,
    Match,
    RawStrokes,
    frame_rate,
    read_matches,
    read_strokes,
)
from hjepa.tasks.badminton.strokes import DEFECTS, SPLITS, TYPE_OF_FINE, UNKNOWN, StrokeTable
from hjepa.types import Array

SEED = 0
MAX_GAP_S = 4.0
_CLAMP_M = 0.4  # a point annotated this far on the wrong side of the net is moved to 5 cm on the right side
_BENCHMARK_VAL = (38, 46, 47, 48, 49)  # ShuttleSet22 ids that the CoachAI 2023 benchmark validates on: not in train
_SPLIT_SIZES = {"val": 10, "test": 15}  # matches; the others train
_LAST_TRIES = 12  # similar strokes whose flight time a rally's last stroke tries, most similar first


def build(source: Path, seed: int = SEED) -> StrokeTable:
    """Read, orient, draw heights, solve all flights."""
    rng = np.random.default_rng(seed)
    matches = read_matches(source)
    raw = read_strokes(source, matches)
    fps = frame_rate(raw, len(matches))
    frame = _Frame(raw, fps)
    limits = reconstruct.limits_of(raw.fine_type)
    low, high = reconstruct.height_range(limits, raw.above_net)
    heights = reconstruct.draw_heights(limits, low, high, rng)

    columns = frame.columns(limits)
    defect = frame.defects(columns)
    between = np.flatnonzero((defect == 0) & ~frame.last)
    gap = _gap(between, columns, frame, limits, (low, high))
    flights = reconstruct.solve_with_slack(gap, heights[between], heights[between + 1], rng)
    flights = reconstruct.share_hits(gap, flights, _follows(between, frame))
    _store(columns, defect, between, flights)

    ends = np.flatnonzero((defect == 0) & frame.last)
    flights = _solve_last(ends, between[flights.physical], columns, frame, limits, heights, (low, high), rng)
    _store(columns, defect, ends, flights)

    for name in ("launch_m_s", "time_s", "moved_m", "floor_m", "floor_s"):
        columns[name][defect != 0] = np.nan
    columns["meet_m"][defect != 0, 2] = np.nan
    columns["hit_m"][defect != 0, 2] = np.nan
    return _table(raw, matches, frame, columns, defect)


class _Frame:
    """Which rally, which side, which flight: everything that turns raw rows into canonical ones."""

    def __init__(self, raw: RawStrokes, fps: Array) -> None:
        self.raw = raw
        key = np.stack([raw.match, raw.set, raw.rally], axis=-1)
        new = np.r_[True, (key[1:] != key[:-1]).any(axis=-1)]
        self.rally = np.cumsum(new) - 1
        first = np.flatnonzero(new)
        self.shot = np.arange(len(new)) - first[self.rally]
        self.last = np.r_[new[1:], True]
        # a player keeps to one side for a rally: all hit points and feet vote
        who = np.where(raw.player_a, 1.0, -1.0)
        vote = np.nan_to_num(np.sign(raw.hit_m[:, 0])) + np.nan_to_num(np.sign(raw.hitter_m[:, 0]))
        vote = np.bincount(self.rally, weights=vote * who)
        self.side = np.where(vote[self.rally] >= 0, 1.0, -1.0) * who
        self.frame_s = 1.0 / fps[raw.match]
        self.gap_s = np.full(len(new), np.nan)
        i = np.flatnonzero(~self.last)
        gap = (raw.frame[i + 1] - raw.frame[i]) * self.frame_s[i]
        self.gap_s[i] = np.where((gap > 0) & (gap <= MAX_GAP_S), gap, np.nan)

    def columns(self, limits: TypeLimits) -> dict[str, Array]:
        """Float columns of the table in the canonical frame; flights still nan."""
        turn = self.side[:, None]
        n = len(turn)
        hitter, receiver = self.raw.hitter_m * turn, self.raw.receiver_m * turn
        hit = self.raw.hit_m * turn
        ahead = np.stack([np.asarray(limits.reach_m), np.zeros(n)], axis=-1)
        hit = np.where(np.isnan(hit), hitter - ahead, hit)
        meet = self.raw.landing_m * turn
        i = np.flatnonzero(~self.last)
        meet[i] = -hit[i + 1]  # the next hitter's canonical frame is turned by 180 degrees
        hit[:, 0] = np.where((hit[:, 0] < 0.05) & (hit[:, 0] > -_CLAMP_M), 0.05, hit[:, 0])
        over = ~self.last & (meet[:, 0] > -0.05) & (meet[:, 0] < _CLAMP_M)
        meet[:, 0] = np.where(over, -0.05, meet[:, 0])
        blank = np.full((n, 1), np.nan)
        return {
            "hit_m": np.concatenate([hit, blank], axis=-1),
            "launch_m_s": np.full((n, 3), np.nan),
            "meet_m": np.concatenate([meet, blank], axis=-1),
            "time_s": np.full(n, np.nan),
            "gap_s": self.gap_s,
            "moved_m": np.full(n, np.nan),
            "floor_m": np.full((n, 2), np.nan),
            "floor_s": np.full(n, np.nan),
            "hitter_m": hitter,
            "receiver_m": receiver,
        }

    def defects(self, columns: dict[str, Array]) -> NDArray[np.int8]:
        """Index in DEFECTS (N,), the first that applies; flights that prove unphysical are marked later."""
        hit, meet = columns["hit_m"][:, :2], columns["meet_m"][:, :2]
        kind = np.array([TYPE_OF_FINE[str(name)] for name in self.raw.fine_type])
        netted = np.isin(self.raw.reason, [REASON_NAMES.index("net"), REASON_NAMES.index("not over")])
        netted |= self.last & (meet[:, 0] > -0.05)
        same = np.r_[self.raw.player_a[1:] == self.raw.player_a[:-1], False] & ~self.last
        wrong = (hit[:, 0] < 0.05) | (~self.last & (meet[:, 0] > -0.05)) | same
        late = ~self.last & ~(self.gap_s > 2 * self.frame_s)
        checks = [
            ("unknown type", kind == UNKNOWN),
            ("missing point", np.isnan(hit[:, 0]) | (np.isnan(meet[:, 0]) & ~netted)),
            ("net or own side", self.last & netted),
            ("wrong side", wrong),
            ("time", late),
        ]
        defect = np.zeros(len(kind), dtype=np.int8)
        for name, bad in reversed(checks):
            defect[bad] = DEFECTS.index(name)
        return defect


def _gap(
    rows: NDArray[np.int64], columns: dict[str, Array], frame: _Frame, limits: TypeLimits, ranges: tuple[Array, Array]
) -> Gap:
    """Flights from rows (F,) to the hits of rows + 1."""

    def pick(i: NDArray[np.int64]) -> tuple[TypeLimits, tuple[Array, Array]]:
        return TypeLimits(*(np.asarray(c)[i] for c in limits)), (ranges[0][i], ranges[1][i])  # type: ignore[arg-type]

    (start, start_range), (end, end_range) = pick(rows), pick(rows + 1)
    return Gap(
        start_m=columns["hit_m"][rows, :2],
        end_m=columns["meet_m"][rows, :2],
        time_s=frame.gap_s[rows],
        frame_s=frame.frame_s[rows],
        start=start,
        end=end,
        start_range=start_range,
        end_range=end_range,
    )


def _follows(rows: NDArray[np.int64], frame: _Frame) -> NDArray[np.int64]:
    """For each of rows (F,), the position in `rows` of the flight that starts where it is met, or -1."""
    place = np.full(len(frame.shot) + 1, -1)
    place[rows] = np.arange(len(rows))
    follows: NDArray[np.int64] = place[rows + 1]
    return follows


def _store(columns: dict[str, Array], defect: NDArray[np.int8], rows: NDArray[np.int64], flights: Flights) -> None:
    columns["launch_m_s"][rows] = flights.launch_m_s
    moved = flights.end_m[:, :2] - columns["meet_m"][rows, :2]
    columns["moved_m"][rows] = np.linalg.norm(moved, axis=-1)
    columns["hit_m"][rows] = flights.start_m
    columns["meet_m"][rows] = flights.end_m
    columns["time_s"][rows] = flights.time_s
    columns["floor_m"][rows] = flights.floor_m
    columns["floor_s"][rows] = flights.floor_s
    defect[rows[~flights.physical]] = DEFECTS.index("not physical")


def _solve_last(
    ends: NDArray[np.int64],
    known: NDArray[np.int64],
    columns: dict[str, Array],
    frame: _Frame,
    limits: TypeLimits,
    heights: Array,
    ranges: tuple[Array, Array],
    rng: np.random.Generator,
) -> Flights:
    """Flights (E,) of rallies' last strokes to the floor, with the floor times of similar solved strokes `known`.

    Similar: same fine type (told by its limits), least difference in hit depth, hit height and distance to the floor.
    """
    label = np.unique(np.stack([np.asarray(c) for c in limits], axis=-1), axis=0, return_inverse=True)[1].ravel()
    reach = np.linalg.norm(columns["floor_m"] - columns["hit_m"][:, :2], axis=-1)
    goal = np.linalg.norm(columns["meet_m"][:, :2] - columns["hit_m"][:, :2], axis=-1)
    # where the flight before was solved, this one starts where that one was met
    chained = np.isin(ends - 1, known) & (frame.rally[ends] == frame.rally[ends - 1])
    met = columns["meet_m"][ends - 1] * reconstruct.TURN
    columns["hit_m"][ends] = np.where(chained[:, None], met, columns["hit_m"][ends])
    start_z = np.where(chained, met[:, 2], heights[ends])
    times = np.full((len(ends), _LAST_TRIES), np.nan)
    for kind in np.unique(label[ends]):
        mine, theirs = np.flatnonzero(label[ends] == kind), known[label[known] == kind]
        if not theirs.size:
            continue
        e = ends[mine]
        depth = columns["hit_m"][e, :1] - columns["hit_m"][theirs, 0]
        tall = start_z[mine, None] - columns["hit_m"][theirs, 2]
        far = goal[e, None] - reach[theirs]
        order = np.argsort(depth**2 + tall**2 + 4.0 * far**2, axis=1, kind="stable")[:, :_LAST_TRIES]
        times[mine, : order.shape[1]] = columns["floor_s"][theirs[order]]
    part = TypeLimits(*(np.asarray(c)[ends] for c in limits))  # type: ignore[arg-type]
    span = (ranges[0][ends], ranges[1][ends])
    floor = np.zeros(len(ends))
    zeros = (floor, floor)
    start, end = columns["hit_m"][ends, :2], columns["meet_m"][ends, :2]
    best: Flights | None = None
    for k in range(_LAST_TRIES):
        time = np.nan_to_num(times[:, k], nan=1.0)
        gap = Gap(start, end, time, time, part, part, span, zeros)
        trial = reconstruct.solve(gap, start_z, floor, time)
        trial = trial._replace(physical=trial.physical & np.isfinite(times[:, k]))
        if best is None:
            best = trial
        take = trial.physical & ~best.physical
        for old, new in zip(best, trial, strict=True):
            old[take] = new[take]
        start_z = np.where(k >= _LAST_TRIES // 2, rng.uniform(*span), start_z)  # then other heights as well
    assert best is not None
    return best


def _table(
    raw: RawStrokes, matches: list[Match], frame: _Frame, columns: dict[str, Array], defect: NDArray[np.int8]
) -> StrokeTable:
    names = sorted({_plain(name) for match in matches for name in (match.winner, match.loser)})
    spoken = {_plain(name): name for match in matches for name in (match.winner, match.loser)}
    player = np.array([[names.index(_plain(m.winner)), names.index(_plain(m.loser))] for m in matches])
    a = raw.player_a
    end = np.flatnonzero(frame.last)[frame.rally]
    point = raw.point[end]
    return StrokeTable(
        match=raw.match,
        set=raw.set,
        rally=frame.rally.astype(np.int32),
        shot=frame.shot.astype(np.int16),
        hitter=player[raw.match, np.where(a, 0, 1)].astype(np.int16),
        receiver=player[raw.match, np.where(a, 1, 0)].astype(np.int16),
        type=np.array([TYPE_OF_FINE[str(name)] for name in raw.fine_type], dtype=np.int8),
        side=frame.side.astype(np.int8),
        last=frame.last,
        won=np.where(a, point, -point).astype(np.int8),
        reason=raw.reason,
        backhand=raw.backhand,
        above_net=raw.above_net,
        defect=defect,
        match_names=np.array([match.folder for match in matches]),
        match_split=_split(matches),
        player_names=np.array([spoken[name] for name in names]),
        **columns,
    )


def _plain(name: str) -> str:
    """A player's name without case and word order, which differ between the two sources."""
    return " ".join(sorted(name.casefold().replace(".", " ").split()))


def _split(matches: list[Match]) -> NDArray[np.int8]:
    """Index in SPLITS (matches,): the benchmark's validation matches validate, the rest by a seeded shuffle."""
    split = np.full(len(matches), SPLITS.index("train"), dtype=np.int8)
    fixed = np.array([m.source == "shuttleset22" and m.number in _BENCHMARK_VAL for m in matches])
    split[fixed] = SPLITS.index("val")
    free = np.random.default_rng(SEED).permutation(np.flatnonzero(~fixed))
    test = _SPLIT_SIZES["test"]
    split[free[:test]] = SPLITS.index("test")
    split[free[test : test + _SPLIT_SIZES["val"] - int(fixed.sum())]] = SPLITS.index("val")
    return split


def main(arguments: list[str] | None = None) -> None:
    """Command line of the build."""
    parser = argparse.ArgumentParser(prog="python -m hjepa.tasks.badminton.build_strokes", description=__doc__)
    parser.add_argument("source", type=Path, help="folder that holds shuttleset/ and shuttleset22/")
    parser.add_argument("out", type=Path, help="file to write, e.g. hjepa/tasks/badminton/data/strokes.npz")
    parsed = parser.parse_args(arguments)
    table = build(parsed.source)
    strokes.save_strokes(table, parsed.out)
    sys.stdout.write(f"{len(table.match)} strokes, {int(table.valid.sum())} flights -> {parsed.out}\n")


if __name__ == "__main__":
    main()
