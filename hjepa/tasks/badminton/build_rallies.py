"""Builds data/rallies.npz from the public files: `python -m hjepa.tasks.badminton.build_rallies SRC OUT`.

Needed only to rebuild the shipped file. SRC holds the folders shuttleset/, shuttleset22/ and track2/. Extra rallies are
those of ShuttleSet's matches that ShuttleSet22 does not hold too: none of them is in the challenge's val or test.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from hjepa.tasks.badminton import rallies
from hjepa.tasks.badminton.rallies import SETS, Rallies, continued, joined, read_given, read_truth, save_rallies
from hjepa.tasks.badminton.shuttleset import REASON_NAMES, RawStrokes, frame_rate, read_matches, read_strokes
from hjepa.tasks.badminton.strokes import TYPE_OF_FINE, UNKNOWN


def build(source: Path) -> Rallies:
    """The challenge's training and validation rallies, and the extra ones."""
    track = source / "track2"
    train = read_given(track / "train.csv", least=1)
    val = continued(read_given(track / "val_given.csv"), read_truth(track / "val_gt.csv"))
    parts = [train, val, extra(source)]
    grouped = [p._replace(group=np.full(len(p.name), k, dtype=np.int8)) for k, p in enumerate(parts)]
    return joined(grouped)


def extra(source: Path) -> Rallies:
    """Rallies of ShuttleSet alone, without those whose annotator could not name a stroke or missed a landing."""
    matches = read_matches(source)
    raw = read_strokes(source, matches)
    with (source / "shuttleset22" / "match.csv").open(newline="", encoding="utf-8-sig") as handle:
        also = {row["video"] for row in csv.DictReader(handle)}
    ours = np.array([m.source == "shuttleset" and m.folder not in also for m in matches])
    fps = frame_rate(raw, len(matches))[raw.match]
    key = np.stack([raw.match, raw.set, raw.rally], axis=-1)
    new = np.r_[True, (key[1:] != key[:-1]).any(axis=-1)]
    number = np.cumsum(new) - 1
    kind = np.array([TYPE_OF_FINE[rallies_name(t)] for t in raw.fine_type], dtype=np.int8)
    whole = np.isfinite(raw.landing_m).all(axis=1) & np.isfinite(raw.hitter_m).all(axis=1) & (kind != UNKNOWN)
    good = np.bincount(number[~whole], minlength=number[-1] + 1) == 0
    keep = good[number] & ours[raw.match]
    return _columns(raw, keep, number, kind, fps)


def rallies_name(fine: str) -> str:
    """The fine type's English name."""
    from hjepa.tasks.badminton.shuttleset import FINE_TYPES

    return FINE_TYPES.get(fine, fine)


def _columns(raw: RawStrokes, keep: np.ndarray, number: np.ndarray, kind: np.ndarray, fps: np.ndarray) -> Rallies:
    rows = np.flatnonzero(keep)
    _, rally, many = np.unique(number[rows], return_inverse=True, return_counts=True)
    first = np.r_[0, np.cumsum(many)[:-1]]
    shot = np.arange(len(rows)) - first[rally]
    length = many[rally].astype(np.int16)
    turn = np.where(shot % 2 == 0, 1.0, -1.0)
    vote = np.nan_to_num(np.sign(raw.hitter_m[rows, 0])) - np.nan_to_num(np.sign(raw.receiver_m[rows, 0]))
    side = np.where(np.bincount(rally, turn * vote)[rally] >= 0, turn, -turn)
    since = np.where(shot > 0, np.r_[0.0, np.diff(raw.frame[rows])] / fps[rows], 0.0)
    reasons = [REASON_NAMES[raw.reason[rows[k]]] for k in first + many - 1]
    told = ["" if r == "none" else r for r in reasons]
    zeros = np.zeros(len(rows), dtype=np.int8)
    return Rallies(
        rally.astype(np.int32), shot.astype(np.int16), length, np.full(len(rows), -1, dtype=np.int16), kind[rows],
        side[:, None] * np.clip(raw.landing_m[rows], -9.0, 9.0), side[:, None] * raw.hitter_m[rows],
        side[:, None] * raw.receiver_m[rows], np.where((since >= 0) & (since < 10), since, np.nan),
        raw.backhand[rows].astype(np.int8), zeros, raw.above_net[rows], side.astype(np.int8),
        rallies.winners(told, many, shot.astype(np.int16), length), np.arange(len(many), dtype=np.int32),
        np.zeros(len(many), dtype=np.int8),
    )  # fmt: skip


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    found = build(options.source)
    save_rallies(found, options.out)
    for name in SETS:
        part = found.of(name)
        sys.stdout.write(f"{name}: {len(part.name)} rallies, {len(part.rally)} strokes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
