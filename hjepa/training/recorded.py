"""Motor babbling out of recordings of any driver: onto one clock, a tick every 10 ms, commands as the level's actions.

Legend: N ticks, J joints, R readings, S sightings, H samples of a command.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.arrays import save_arrays
from hjepa.errors import DataError
from hjepa.training.babble import TICK_S, Babble, BabbleConfig
from hjepa.types import NS, Array, JointTrajectory, Observation, RobotSpec

TICK_NS = round(TICK_S * NS)
GAP_NS = 50_000_000  # readings further apart: the recording begins anew
SIGHT_GAP_NS = 25_000_000  # a place between sightings further apart is not known
LEAST_S = 3.0  # shorter pieces are dropped
PIECES = 10  # at least so many, so that some can be held back for the figures
LONGEST_S = 60.0


class Recorded(NamedTuple):
    """What a recording holds of one robot, oldest first."""

    observations: Sequence[Observation]
    commands: Sequence[JointTrajectory]  # as the driver followed them


class Piece(NamedTuple):
    """An unbroken stretch of a recording on the grid; the columns of training.babble.Babble."""

    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)
    seen_m: Array  # (N, 3)
    mask: Array  # (N,)
    knots_rad_s: Array  # (N, J)


def pieces_of(recorded: Recorded, chunk_s: float = BabbleConfig().chunk_s) -> list[Piece]:
    """Unbroken stretches with commands in force; DataError where there is none.

    The grid begins with the first command, so that actions begin where the commands' windows did.
    """
    if not recorded.observations or not recorded.commands:
        raise DataError("the recording holds no observations or no commands; allowed: a robot that was made to move")
    stamps = np.array([o.stamp_ns for o in recorded.observations], dtype=np.int64)  # (R,)
    order = np.unique(stamps, return_index=True)[1]
    stamps = stamps[order]
    q = np.array([recorded.observations[i].q_rad for i in order])
    dq = np.array([recorded.observations[i].dq_rad_s for i in order])
    sight_ns, sight_m = _sightings(recorded.observations)
    first_ns = min(c.start_ns for c in recorded.commands)
    breaks = np.flatnonzero(np.diff(stamps) > GAP_NS) + 1
    out = []
    for rows in np.split(np.arange(len(stamps)), breaks):
        begin, end = int(stamps[rows[0]]), int(stamps[rows[-1]])
        begin = first_ns + -(-max(begin - first_ns, 0) // TICK_NS) * TICK_NS
        ticks = np.arange(begin, end + 1, TICK_NS)
        if len(ticks) * TICK_S < LEAST_S:
            continue
        seen, mask = _seen_at(ticks, sight_ns, sight_m)
        knots = _knots(ticks, first_ns, recorded.commands, chunk_s)
        out.append(Piece(_at(ticks, stamps[rows], q[rows]), _at(ticks, stamps[rows], dq[rows]), seen, mask, knots))
    if not out:
        raise DataError(f"no unbroken stretch of {LEAST_S:g} s in the recording; allowed: readings every 50 ms or more")
    return out


def save_pieces(folder: Path, spec: RobotSpec, pieces: Sequence[Piece], chunk_s: float = BabbleConfig().chunk_s) -> int:
    """Write pieces as shards that `training.babble.load_babble` reads; the number of ticks.

    Long pieces are cut, so that there are ten or more. DataError for pieces in which nothing was seen or commanded.
    """
    total, chunk = sum(len(p.mask) for p in pieces), round(chunk_s / TICK_S)
    length = max(round(LEAST_S / TICK_S), min(round(LONGEST_S / TICK_S), total // PIECES))
    kept = [part for piece in pieces for part in _cut(piece, length, chunk)]
    if not any((p.mask > 0).any() for p in kept):
        raise DataError("the tracker saw nothing in the recordings; allowed: a marker on the tool, and a tracker")
    if not any(np.isfinite(p.knots_rad_s).all(axis=1).any() for p in kept):
        raise DataError("no command was in force in the recordings; allowed: a robot that was made to move")
    for old in folder.glob("babble_*.npz"):
        old.unlink()
    for k, piece in enumerate(kept):
        arrays = {name: column.astype(np.float32) for name, column in zip(Babble._fields[:-1], piece, strict=True)}
        save_arrays(folder / f"babble_{k:04d}.npz", arrays | {"robot": np.array(spec.fingerprint)})
    return sum(len(p.mask) for p in kept)


def _cut(piece: Piece, length: int, chunk: int) -> list[Piece]:
    """A piece in parts of about that many ticks, cut between chunks."""
    n = len(piece.mask)
    edges = [round(edge / chunk) * chunk for edge in np.linspace(0, n, max(1, n // length) + 1)[:-1]] + [n]
    return [Piece(*(column[i:j] for column in piece)) for i, j in pairwise(edges)]


def _at(ticks: NDArray[np.int64], stamps: NDArray[np.int64], values: Array) -> Array:
    """Values (R, J) at the ticks (N, J), linear between readings."""
    t, s = (ticks - stamps[0]) / NS, (stamps - stamps[0]) / NS
    return np.stack([np.interp(t, s, column) for column in values.T], axis=1)


def _sightings(observations: Sequence[Observation]) -> tuple[NDArray[np.int64], Array]:
    """Every place that the tracker told, once: (S,) stamps and (S, 3). A window repeats most of the one before it."""
    stamps: list[NDArray[np.int64]] = []
    places: list[Array] = []
    last_ns = -1
    for o in observations:
        new = o.tracker_mask & (o.tracker_stamp_ns > last_ns)
        if new.any():
            stamps.append(o.tracker_stamp_ns[new])
            places.append(o.tracker_xyz_m[new])
            last_ns = int(stamps[-1][-1]) + TICK_NS // 2
    if not stamps:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 3))
    return np.concatenate(stamps), np.concatenate(places)


def _seen_at(ticks: NDArray[np.int64], stamps: NDArray[np.int64], xyz: Array) -> tuple[Array, Array]:
    """Place (N, 3) and whether it is known (N,) at the ticks; zeros where it is not."""
    if len(stamps) < 2:
        return np.zeros((len(ticks), 3)), np.zeros(len(ticks))
    after = np.clip(np.searchsorted(stamps, ticks), 1, len(stamps) - 1)
    inside = (ticks >= stamps[0]) & (ticks <= stamps[-1])
    known = inside & (stamps[after] - stamps[after - 1] <= SIGHT_GAP_NS)
    return np.where(known[:, None], _at(ticks, stamps, xyz), 0.0), known.astype(np.float64)


def _knots(ticks: NDArray[np.int64], first_ns: int, commands: Sequence[JointTrajectory], chunk_s: float) -> Array:
    """Commanded speed (N, J) at the end of the chunk that begins at a tick; nan elsewhere, and with none in force."""
    chunk_ns = round(chunk_s * NS)
    out = np.full((len(ticks), commands[0].q_rad.shape[1]), np.nan)
    ordered = sorted(commands, key=lambda c: c.start_ns)
    starts = np.array([c.start_ns for c in ordered], dtype=np.int64)
    for i in np.flatnonzero((ticks - first_ns) % chunk_ns == 0):
        at_ns = int(ticks[i]) + chunk_ns
        newest = int(np.searchsorted(starts, at_ns, side="right")) - 1
        if newest >= 0:
            out[i] = _speed(ordered[newest], at_ns)
    return out


def _speed(command: JointTrajectory, at_ns: int) -> Array:
    """Speed (J,) that a command asks for at an instant; nan when it is out of force."""
    s = (at_ns - command.start_ns) / (command.dt_s * NS)
    last = len(command.dq_rad_s) - 1
    if at_ns > command.start_ns + command.valid_ns or s > last:
        return np.full(command.dq_rad_s.shape[1], np.nan)
    i = min(int(s), max(last - 1, 0))
    later = min(i + 1, last)
    out: Array = command.dq_rad_s[i] + (s - i) * (command.dq_rad_s[later] - command.dq_rad_s[i])
    return out
