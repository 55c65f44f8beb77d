"""A real browser without a screen for tests: Debian's chromium, driven by playwright, WebGL in software."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.launched import HJEPA

FLAGS = (
    *("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WAIT_S = 40.0  # a busy machine that draws in software
CLOCK = re.compile(r"stroke (\d+)\s+t = ([\d.]+) s")


def chromium() -> str:
    """Where the browser is; skips the test where there is none."""
    pytest.importorskip("playwright", reason="needs playwright: pip install 'hjepa[dev]'")
    found = os.environ.get("HJEPA_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("needs chromium (apt-get install chromium), or HJEPA_CHROMIUM=/where/it/is")
    return found


@contextmanager
def viewed(words: Sequence[str]) -> Iterator[int]:
    """`hjepa view` with these words; the port where its page answers."""
    argv = [*HJEPA, "view", *words, "--port", "0", "--no-open"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            place = re.search(r"http://127\.0\.0\.1:(\d+)", said)
            assert place, said + process.stdout.read()
            yield int(place[1])
        finally:
            process.terminate()
            process.wait(20)


class Tab:
    """One page in the browser, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, port: int) -> None:
        """Go there; the scene and the panel are there when this returns."""
        self.page.goto(f"http://127.0.0.1:{port}")
        self.page.wait_for_selector("canvas", timeout=1e3 * WAIT_S)
        self.until(lambda: CLOCK.search(self.text()) is not None, "panel")

    def text(self) -> str:
        """All that is written on it."""
        return str(self.page.inner_text("body")).replace("\xa0", " ")

    def clock(self) -> tuple[int, float]:
        """Stroke, and seconds since it began, as written on the page."""
        found = CLOCK.search(self.text())
        assert found, self.text()
        return int(found[1]), float(found[2])

    def picture(self) -> bytes:
        """The scene, as PNG, without the notes that lie over it."""
        return bytes(self.page.locator("canvas").first.screenshot())

    def press(self, button: str) -> None:
        """A button of the panel."""
        self.page.get_by_role("button", name=button, exact=True).click()

    def put(self, slider: str, value: str) -> None:
        """Type a value into the box beside a slider."""
        row = self.page.get_by_text(slider, exact=True).locator("xpath=ancestor::div[.//input][1]")
        row.locator("input[inputmode]").fill(value)

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Look again and again while the page lives on; AssertionError when it takes too long."""
        deadline = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < deadline, f"{what}: not in {WAIT_S:g} s; the page says:\n{self.text()}"
            self.page.wait_for_timeout(50)


@contextmanager
def tab(width: int = 760, height: int = 520) -> Iterator[Tab]:
    """An empty page."""
    where = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=where, args=list(FLAGS))
        try:
            yield Tab(browser.new_page(viewport={"width": width, "height": height}))
        finally:
            browser.close()
