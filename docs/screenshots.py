"""Makes the pictures of the viewer in docs/: `make screenshots`, or python docs/screenshots.py [FOLDER].

Plays a court of its own in `hjepa view`, holds it in the middle of a swing, and looks at it with Debian's chromium.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.browser
from tests.browser import Tab, tab, viewed
from tests.launched import HJEPA

HERE = Path(__file__).parent
SIZE = (1360, 800)
SWING_S = 0.25  # since the stroke began: the racket is on its way
SET = ["--set", "task.seed=3"]


def keep(page: Tab, path: Path) -> None:
    """The page as PNG, without the browser's word that it draws in software."""
    note = page.page.locator(".mantine-Notification-closeButton")
    if note.count():
        note.first.click()
    page.page.wait_for_timeout(1500)  # for what fades
    Image.open(io.BytesIO(page.page.screenshot())).convert("RGB").save(path, optimize=True)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e3:.0f} kB\n")


def hold(page: Tab, at_s: float) -> None:
    """In slow motion, pause when a stroke has begun, and step until then."""
    page.press("0.25x")
    page.until(lambda: page.clock()[1] < at_s, "a stroke that begins")
    page.press("Pause")

    def there() -> bool:
        if page.clock()[1] >= at_s:
            return True
        page.press("Step")
        page.page.wait_for_timeout(300)  # the page's figures come four times a second
        return False

    page.until(there, "the instant")


def court(out: Path) -> None:
    """A court that plays, held in a swing; then the weights further down."""
    with tab(*SIZE) as page, viewed(["badminton", *SET]) as port:
        page.open(port)
        page.until(lambda: "low.goal" in page.text() and page.clock()[0] >= 3, "the third stroke")
        hold(page, SWING_S)
        keep(page, out / "view_court.png")
        page.page.get_by_text("high.name", exact=True).scroll_into_view_if_needed()
        keep(page, out / "view_weights.png")


def recording(out: Path) -> None:
    """The demo's own recording, scrubbed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "demo.mcap"
        words = ["demo", "--strokes", "3", "--no-video", "--out", f"{folder}/demo", "--log", str(file)]
        subprocess.run([*HJEPA, *words], check=True, stdout=subprocess.DEVNULL)
        with tab(*SIZE) as page, viewed([str(file)]) as port:
            page.open(port)
            page.press("Pause")
            page.put("Time (s)", "0.9")
            page.until(lambda: page.clock()[1] == 0.9, "the instant")
            keep(page, out / "view_recording.png")


if __name__ == "__main__":
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    court(into)
    recording(into)
