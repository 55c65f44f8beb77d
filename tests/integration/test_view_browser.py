"""hjepa view in a real browser: it shows a court that plays, obeys, changes the running levels, and scrubs."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("viser")
from hjepa.bus.link import Requester
from hjepa.bus.logfile import About, LogWriter
from hjepa.bus.messages import pack
from hjepa.bus.topics import Empty
from hjepa.cli import running
from hjepa.config import Config
from hjepa.types import Observation
from robots.spec import load_spec
from tests.browser import Tab, chromium, tab, viewed
from tests.delayed import delayed

SLOTS, PERIOD_NS = 16, 10_000_000
STILL_S = 3.0  # a busy machine shows what has happened late
PATCH = 8  # pixels
MOVED = 2e-3  # share of the picture that changes at least, where the robot stands otherwise


def moving(page: Tab) -> None:
    """Wait until the picture changes."""
    before = page.picture()
    page.until(lambda: page.picture() != before, "a picture that changes")


def still(page: Tab) -> tuple[bytes, tuple[int, float]]:
    """Picture and clock, once neither has changed for a while: the panel and the scene come one after the other."""
    last, since_s = (page.picture(), page.clock()), time.monotonic()

    def same() -> bool:
        nonlocal last, since_s
        now = page.picture(), page.clock()
        if now != last:
            last, since_s = now, time.monotonic()
        return time.monotonic() - since_s > STILL_S

    page.until(same, "a picture that stands still")
    return last


def apart(one: bytes, other: bytes) -> float:
    """Share of the picture that differs, in patches: a browser that draws slowly lowers its resolution by itself."""
    coarse = []
    for png in (one, other):
        image = Image.open(BytesIO(png)).convert("RGB")
        coarse.append(np.asarray(image.reduce(PATCH), dtype=np.int16))
    a, b = coarse
    return float((abs(a - b).max(axis=-1) > 30).mean())


@pytest.fixture(scope="module")
def court() -> Iterator[int]:
    """Port of a page with a simulated court of its own."""
    chromium()
    with viewed(["badminton"]) as port:
        yield port


@pytest.mark.parametrize("round_trip_s", [0.0, 0.2])
def test_a_court_plays_holds_steps_and_lets_its_running_level_be_changed(court: int, round_trip_s: float) -> None:
    with tab() as page, delayed(court, round_trip_s) if round_trip_s else nullcontext(court) as port:
        page.open(port)
        page.until(lambda: "low.effort" in page.text(), "sliders of the levels that play")
        moving(page)

        page.press("Pause")
        page.until(lambda: "holds the simulated world" in page.text(), "the pause")
        held, clock = still(page)

        def stepped() -> bool:
            page.press("Step")  # more than once where the pause came between two strokes
            return page.clock() != clock

        page.until(stepped, "a step")
        picture, (stroke, seconds) = still(page)
        assert picture != held
        steps = (seconds - clock[1]) / 0.05
        assert stroke == clock[0] + 1 or steps == pytest.approx(round(steps), abs=0.01)

        place = running.find(f"view-{court}").place
        wanted = 0.3 + round_trip_s
        page.put("low.effort", f"{wanted:g}")
        with Requester(place.at("low-control")) as ask:

            def effort() -> float:
                return float(ask.request("get_weights", Empty(), timeout_s=10.0).value.values["effort"])

            page.until(lambda: effort() == wanted, "the running low level with the new weight")

        page.press("Play")
        moving(page)
        assert page.errors == []


def test_a_recording_is_scrubbed(tmp_path: Path) -> None:
    file = tmp_path / "run.mcap"
    spec = load_spec("courtbot")
    config = Config().model_dump_json()
    about = About(nodes={"driver": {"factory": "hjepa.factories:make_world", "args": {"config": config}}})
    with LogWriter(file, about) as log:
        for session in (1, 2):
            for k in range(200):
                q = spec.q_home_rad + 0.4 * np.sin(0.03 * k) * np.ones(spec.joints)
                seen = np.zeros((SLOTS, 3)), np.zeros(SLOTS, bool), np.zeros(SLOTS, np.int64)
                observation = Observation(k * PERIOD_NS, q, np.zeros(spec.joints), *seen)
                frame = pack("observation", observation, session=session, sequence=k, stamp_ns=k * PERIOD_NS)
                log.write("observation", frame, (session * 1000 + k) * PERIOD_NS)
    with tab() as page, viewed([str(file)]) as port:
        page.open(port)
        page.press("Pause")
        page.put("Time (s)", "0.2")
        page.until(lambda: page.clock() == (1, 0.2), "the instant in the first stroke")
        early, _ = still(page)
        page.put("Time (s)", "3")
        page.until(lambda: page.clock()[0] == 2, "the second stroke")
        assert page.clock()[1] == pytest.approx(3.0 - 1.99 - 0.3, abs=0.011)
        late, _ = still(page)
        assert apart(early, late) > MOVED
        page.put("Time (s)", "0.2")
        page.until(lambda: page.clock() == (1, 0.2), "back again")
        again, _ = still(page)
        assert apart(again, early) < MOVED / 2  # an instant looks the same however one comes to it
        assert page.errors == []
