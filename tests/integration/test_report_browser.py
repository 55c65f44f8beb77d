"""pytest tests/integration/test_report_browser.py: the report in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hjepa.evaluation.results import Recording
from hjepa.viewer.page import Film, Fold, Image, Page, Section, Table, Tile, render
from hjepa.viewer.pictures.paper import encoded
from hjepa.viewer.scene import scene_of
from hjepa.viewer.video import write_video
from robots.spec import load_spec
from tests.unit.test_pictures import a_histogram, results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WORDS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
    if CHROMIUM is None:
        pytest.skip("needs a Chromium on the path")
    with sync.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=list(WORDS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of part; the film is of half a second."""
    folder = tmp_path_factory.mktemp("report")
    spec, times = load_spec("courtbot"), np.arange(10) / 20
    shuttle = np.stack([5 - 8 * times, 0 * times, 2 - times], axis=-1)
    recording = Recording(times, np.repeat(spec.q_home_rad[None], 10, axis=0), shuttle)
    write_video(folder / "film.mp4", [scene_of(spec, results(1)[0], recording)])
    picture = a_histogram()
    parts = (
        "A paragraph.",
        Table("caption", ["name", "figure"], [[f"row {k}", "1.0"] for k in range(4)]),
        Image("image/svg+xml", encoded(picture.figure, "svg"), picture.says, "caption"),
        Film((folder / "film.mp4").read_bytes(), "caption"),
        Fold("Configuration", "task: {}\n" * 30),
    )
    path = folder / "report.html"
    path.write_text(render(Page("title", "lead", [Tile("99 %", "returned", "90 to 100 %")] * 5, [Section("A", parts)])))
    return path


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_is_whole_quiet_and_fits_its_screen(
    browser: Any, report: Path, scheme: str, dark: bool, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState >= 1)")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert wrong == []
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ground, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(ground) < 60) == dark and (brightness(ink) > 200) == dark
    page.close()


def test_the_configuration_unfolds_without_a_script(browser: Any, report: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    text = page.locator("details pre")
    assert not text.is_visible()
    page.locator("summary").click()
    assert text.is_visible()
    page.close()


def brightness(colour: str) -> float:
    """Mean of `rgb(r, g, b)`."""
    return float(np.mean([int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]))
