"""One HTML page that holds all it shows: tables, pictures and film inside the file, nothing fetched, no script.

Every text is escaped; pictures and film are data URIs.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #26323d; --faint: #5b6873; --line: #c9d3cf; --card: #f3f7f5;
        --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #161c22; --ink: #e6ecf0; --faint: #a4b1bb; --line: #3a4650; --card: #202a33; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--ground); color: var(--ink);
       font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; line-height: 1.2; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; border-bottom: 2px solid var(--accent); padding-bottom: .25rem; }
p { margin: .5rem 0; max-width: 48rem; }
.lead { color: var(--faint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: 1rem; margin: 1.5rem 0 0;
         padding: 0; list-style: none; }
.tiles li { background: var(--card); border-left: 4px solid var(--accent); border-radius: .4rem; padding: .8rem 1rem; }
.tiles strong { display: block; font-size: 1.75rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles small { color: var(--faint); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding: 0 0 .4rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 600; }
td.n, th.n { text-align: right; }
figure { margin: 1rem 0; }
figure img, figure video { width: 100%; height: auto; display: block; border-radius: .4rem; background: #ffffff; }
figcaption { color: var(--faint); font-size: .92rem; margin-top: .4rem; }
details { background: var(--card); border-radius: .4rem; padding: .6rem 1rem; margin: .75rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: .85rem; line-height: 1.4; }
code, td.code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; overflow-wrap: anywhere; }
""".strip()


class Tile(NamedTuple):
    """A headline figure."""

    figure: str
    name: str
    beside: str = ""  # its interval, or what it is of


class Table(NamedTuple):
    """Rows of text; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[int] = (0,)  # columns that hold words; the others are numbers, set to the right


class Image(NamedTuple):
    """A picture."""

    mime: str  # image/svg+xml, image/png
    data: bytes
    alt: str  # what it says, for who cannot see it
    caption: str


class Film(NamedTuple):
    """An MP4."""

    data: bytes
    caption: str


class Fold(NamedTuple):
    """Text that is shown when it is asked for."""

    title: str
    text: str


Part = Table | Image | Film | Fold | str  # str: a paragraph


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


class Page(NamedTuple):
    """The whole."""

    title: str
    lead: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML text."""
    tiles = "".join(
        f"<li><strong>{escape(tile.figure)}</strong>{escape(tile.name)}<br><small>{escape(tile.beside)}</small></li>"
        for tile in page.tiles
    )
    sections = "\n".join(_section(section) for section in page.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="hjepa">\n'
        f"<title>{escape(page.title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(page.title)}</h1>\n<p class="lead">{escape(page.lead)}</p>\n'
        f'<ul class="tiles">{tiles}</ul>\n{sections}\n</main>\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>"


def _part(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{escape(part)}</p>"
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Image):
        image = f'<img alt="{escape(part.alt)}" src="{_uri(part.mime, part.data)}">'
        return f"<figure>{image}<figcaption>{escape(part.caption)}</figcaption></figure>"
    if isinstance(part, Film):
        video = f'<video controls muted playsinline preload="metadata" src="{_uri("video/mp4", part.data)}"></video>'
        return f"<figure>{video}<figcaption>{escape(part.caption)}</figcaption></figure>"
    return f"<details><summary>{escape(part.title)}</summary><pre><code>{escape(part.text)}</code></pre></details>"


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{b64encode(data).decode('ascii')}"


def _table(table: Table) -> str:
    def cell(column: int, text: str, head: str = "") -> str:
        name, scope = ("th", f' scope="{head}"') if head else ("td", "")
        side = "" if column in table.text else ' class="n"'
        return f"<{name}{scope}{side}>{escape(text)}</{name}>"

    head = "".join(cell(k, text, "col") for k, text in enumerate(table.header))
    body = "\n".join(
        "<tr>" + "".join(cell(k, text, "" if k else "row") for k, text in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(table.caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
