"""Colours that stay apart for colour-blind eyes (Okabe & Ito 2008), and how pictures are set. No red beside green."""

from __future__ import annotations

from typing import Any

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, INK, FAINT, LINE, COURT = "#7F7F7F", "#26323D", "#5B6873", "#8FA39C", "#E9F1EE"
SERIES = (BLUE, ORANGE, PURPLE, SKY, VERMILION, BLACK, YELLOW, GREY)
MARKERS = ("o", "^", "s", "D", "v", "P", "*", "X")  # beside the colour: what a black and white print keeps
SEQUENTIAL, DIVERGING = "cividis", "PuOr"  # of matplotlib; even in lightness, for every kind of eye
TYPE_COLOURS = (  # by index of a shot type; -1, the last one: unknown
    *(BLACK, GREY, BLUE, ORANGE, SKY, VERMILION, "#882255", GREEN, YELLOW, PURPLE),
    "#B0B0B0",
)
TYPE_MARKERS = ("P", "X", "o", "^", "s", "v", "D", "<", "*", ">", ".")

STYLE: Any = {  # matplotlib's rcParams (its stubs name every key); sizes in points at the size drawn
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "image.cmap": SEQUENTIAL,
    "svg.hashsalt": "hjepa",  # the same picture is the same file
}
