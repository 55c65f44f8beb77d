"""What is dealt to a worker: some strokes for one configuration."""

from __future__ import annotations

from typing import NamedTuple

from hjepa.config import Config


class Block(NamedTuple):
    """Some strokes for one configuration."""

    config: Config
    fresh: bool  # of the verdict's strokes, not of those tuned on
    rows: tuple[int, ...]


def blocks(count: int, size: int) -> list[tuple[int, ...]]:
    """Rows 0 to count - 1 in blocks; a rest of less than half a block goes with the last one."""
    cuts = [*range(0, max(1, count - size // 2), size), count]
    return [tuple(range(a, b)) for a, b in zip(cuts, cuts[1:], strict=False)]
