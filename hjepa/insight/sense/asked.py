"""What an examination is asked, and what it finds. Legend: R rows, C columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hjepa.config import Config
from hjepa.viewer.pictures.paper import Picture

Progress = Callable[[str, int, int], None]


class Asked(NamedTuple):
    """An examination to be made. What takes long keeps its parts in `out`, so that a killed one goes on."""

    config: Config  # task.seed seeds everything
    name: str  # of the configuration, for the small print
    strokes: int | None  # None: as many as the examination usually takes
    quick: bool  # a run of seconds, to see that everything works; not for figures
    out: Path
    progress: Progress = lambda what, done, total: None


class Table(NamedTuple):
    """Words and figures as they are printed."""

    title: str
    columns: Sequence[str]  # (C,)
    rows: Sequence[Sequence[str]]  # (R, C)

    def markdown(self) -> str:
        """As documentation has it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Found(NamedTuple):
    """What came out."""

    figures: dict[str, Any]  # as JSON: every figure with its interval and counts
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    says: str  # in a sentence
