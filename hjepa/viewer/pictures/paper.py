"""What all pictures share: the sheet with its title and small print, and their files: PNG, SVG, the numbers behind."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from hjepa.viewer.palette import COURT, FAINT, INK, STYLE
from hjepa.viewer.pictures import FORMATS, check_formats

DPI = 110


class Picture(NamedTuple):
    """A drawn picture and the numbers behind it."""

    name: str  # stem of its files
    figure: Figure
    says: str  # in a sentence, for who cannot see it
    rows: Sequence[Mapping[str, Any]]  # every row with the same keys


@contextmanager
def sheet(title: str, note: str, width_in: float, height_in: float) -> Iterator[Figure]:
    """An empty figure with a title and the small print; all that is drawn in the block has the pictures' style."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left", color=INK)
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=FAINT)
        yield figure


def parts(figure: Figure, rows: int, columns: int, **ratios: Sequence[float]) -> list[SubFigure]:
    """A figure divided into parts with panels of their own."""
    made: Any = figure.subfigures(rows, columns, squeeze=False, **ratios)  # type: ignore[call-overload]
    return list(made.ravel())


def save(picture: Picture, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write NAME.png, NAME.svg (those asked for) and NAME.csv; the paths written."""
    check_formats(formats)
    made = [folder / f"{picture.name}.{kind}" for kind in formats]
    for path, kind in zip(made, formats, strict=True):
        path.write_bytes(encoded(picture.figure, kind))
    table = folder / f"{picture.name}.csv"
    write_rows(table, picture.rows)
    return [*made, table]


def encoded(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a PNG or SVG file; the same figure, the same bytes."""
    words: dict[str, Any] = {"metadata": {"Date": None, "Creator": None}}
    if kind == "png":
        words = {"metadata": {"Software": None}, "pil_kwargs": {"optimize": True}}
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=kind, **words)
    return buffer.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """CSV; an empty cell where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def blank(axes: Axes, text: str) -> None:
    """Say in the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=FAINT)


def label(axes: Axes, x: float, y: float, text: str, **words: Any) -> None:
    """A word beside a point, readable over whatever lies there."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.annotate(text, (x, y), color=INK, bbox=box, **words)


def soft(axes: Axes) -> None:
    """A light grid behind the data."""
    axes.grid(color=COURT, lw=0.9)
    axes.set_axisbelow(True)
