"""pytest tests/unit/test_report.py: the page of an evaluation."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from hjepa.cli.play import summary_lines
from hjepa.config import Config
from hjepa.evaluation.metrics import summarise
from hjepa.evaluation.results import StrokeResult
from hjepa.insight import report
from hjepa.viewer.page import Film, Fold, Image, Page, Section, Table, Tile, render

EVIL = '<script src="http://evil.example/x.js">"&\''


class Reader(HTMLParser):
    """Elements with their attributes, whether all are closed, and the text."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def strokes() -> list[StrokeResult]:
    plain = StrokeResult(
        id="10", feed_type="clear", hit=True, returned=True, commanded_type="drop", realised_type="drop",
        target_xy_m=(2.0, -0.5), landing_xy_m=(2.1, -0.5), plan_ms_low=(5.0, 8.0), plan_ms_high=(21.0,),
    )  # fmt: skip
    return [
        plain,
        replace(plain, id="11", landing_xy_m=(2.7, -0.5)),
        replace(plain, id="12", hit=False, returned=False, fault="miss", realised_type="", feasible=False),
        replace(plain, id="13", returned=False, fault="net", landing_xy_m=(-0.2, 0.0), feed_type="smash"),
        replace(plain, id="14", commanded_type="lob", realised_type="drop", feasible=False),
    ]


def run(results: list[StrokeResult], config: Config | None = None, name: str = "badminton") -> report.Run:
    summary = summarise(results, clock="lockstep", wall_s=3.0, classifier_accuracy=0.9, humans_entropy=5.0)
    lines = summary_lines(summary)
    return report.Run(config or Config(), name, results, summary, lines, "hjepa eval badminton", "2026-01-02 03:04 UTC")


@pytest.fixture(scope="module")
def html() -> str:
    return render(report.page(run(strokes()), (b"film", [0, 3])))


def test_the_page_fetches_nothing_and_runs_nothing(html: str) -> None:
    page = Reader(html)
    assert not page.open
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in html and "@import" not in html


def test_the_page_holds_the_figures_of_its_summary(html: str) -> None:
    s = run(strokes()).summary
    said = " ".join(Reader(html).words)
    for interval in (s.return_rate, s.return_rate_feasible, s.within_1m_rate):
        assert f"{100 * interval.value:.1f} %" in said
        assert f"{100 * interval.lo:.1f} to {100 * interval.hi:.1f} %" in said
    assert f"{s.landing_error_m.median:.2f} m" in said
    assert "5 (3 feasible for this robot)" in said
    assert "hjepa eval badminton" in said and "2026-01-02 03:04 UTC" in said
    assert f"replan_period_ms: {Config().low.replan_period_ms}" in said  # of the resolved configuration


def test_pictures_and_film_are_inside_with_words_for_who_cannot_see_them(html: str) -> None:
    page = Reader(html)
    assert [image["src"][:26] for image in page.all("img") if image["src"]] == ["data:image/svg+xml;base64,"] * 2
    assert "3 of 5 strokes returned" in (page.all("img")[0]["alt"] or "")
    assert all(len(image["alt"] or "") > 10 for image in page.all("img"))
    assert [video["src"] for video in page.all("video")] == ["data:video/mp4;base64,ZmlsbQ=="]
    assert len(page.all("figcaption")) == 3
    assert "10: returned. 13: into the net." in " ".join(page.words)


def test_headings_are_in_order_and_tables_have_headers(html: str) -> None:
    page = Reader(html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == [1] + [2] * (len(levels) - 1)
    assert len(page.all("caption")) == len(page.all("table")) == 5
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_said_by_a_configuration_or_a_stroke_becomes_markup() -> None:
    config = Config.model_validate({"agent": {"weights": EVIL}, "task": {"feed_csv": EVIL}})
    results = [replace(strokes()[3], id=EVIL, feed_type=EVIL, commanded_type=EVIL, fault=EVIL)]
    text = render(report.page(run(results, config, EVIL), (b"", [0])))
    page = Reader(text)
    assert not page.all("script")
    assert "<script" not in text
    said = " ".join(page.words)
    assert said.count(EVIL) >= 5
    assert f"configuration {EVIL}" in unescape(said)


def test_every_kind_of_part_is_escaped() -> None:
    parts = (
        EVIL,
        Table(EVIL, [EVIL], [[EVIL]]),
        Image("image/png", b"", EVIL, EVIL),
        Film(b"", EVIL),
        Fold(EVIL, EVIL),
    )
    text = render(Page(EVIL, EVIL, [Tile(EVIL, EVIL, EVIL)], [Section(EVIL, parts)]))
    page = Reader(text)
    assert not page.open and not page.all("script")
    assert page.all("img")[0]["alt"] == EVIL
    assert " ".join(page.words).count(EVIL) == 15


def test_lost_strokes_come_first_and_say_what_happened() -> None:
    ordered = report.worst(strokes())
    assert [r.id for r in ordered] == ["13", "12", "11", "10", "14"]
    assert [report.happened(r) for r in ordered[:2]] == [
        "into the net",
        "the racket did not meet it; an oracle loses it too",
    ]
    assert report.happened(ordered[-1]) == "returned, though an oracle loses it"


def test_the_film_shows_lost_strokes_and_then_the_first_ones() -> None:
    many = [replace(strokes()[0], id=str(k), returned=k not in (3, 15, 17), feasible=k != 3) for k in range(20)]
    assert report.filmed(many) == [0, 1, 2, 3, 15, 17]
    assert report.filmed(many[:2]) == [0, 1]
    lost = [replace(r, returned=False, feasible=int(r.id) >= 14) for r in many]
    assert report.filmed(lost) == [0, 1, 2, 14, 15, 16]


def test_an_agent_that_names_no_shot_is_not_told_to_have_missed_it() -> None:
    plain = replace(strokes()[0], commanded_type="", realised_type="lob")
    sections = {section.title: section for section in report.page(run([plain]), None).sections}
    shots = sections["By shot"].parts[0]
    assert isinstance(shots, Table)
    assert list(shots.rows[0][:5]) == ["none", "1", "100.0 %", "20.7 to 100.0 %", "-"]
