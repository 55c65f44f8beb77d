"""Builds data/rallies.npz from the challenge's files: `python -m hjepa.tasks.badminton.build_rallies SRC OUT`.

Needed only to rebuild the shipped file. SRC holds train.csv, val_given.csv and val_gt.csv of track 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from hjepa.tasks.badminton.rallies import SETS, Rallies, continued, joined, read_given, read_truth, save_rallies


def build(source: Path) -> Rallies:
    """The challenge's training and validation rallies."""
    train = read_given(source / "train.csv", least=1)
    val = continued(read_given(source / "val_given.csv"), read_truth(source / "val_gt.csv"))
    grouped = [p._replace(group=np.full(len(p.name), k, dtype=np.int8)) for k, p in enumerate((train, val))]
    return joined(grouped)


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
