"""The pace of a simulated court: as fast as asked, held, step by step."""

import contextlib
import threading
import time

import pytest

from hjepa.launching.pacing import CHUNK_TICKS, Pace, Told

CHUNK_S = 0.01 * CHUNK_TICKS


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_time_passes_no_faster_than_asked(speed: float) -> None:
    pace = Pace()
    pace.tell(Told(speed=speed))
    pace.ticks()
    begun_s = time.monotonic()
    for _ in range(10):
        pace.ticks()
    assert time.monotonic() - begun_s >= 8 * CHUNK_S / speed


def test_lost_time_is_not_caught_up_with() -> None:
    pace = Pace()
    pace.ticks()
    pace._due_s -= 100.0  # as if the machine had slept
    begun_s = time.monotonic()
    for _ in range(5):
        pace.ticks()
    assert time.monotonic() - begun_s >= 2 * CHUNK_S


def test_a_held_pace_lets_steps_pass_and_no_more() -> None:
    pace = Pace()
    pace.tell(Told(pause=True))
    pace.tell(Told(step=0.05))
    passed: list[int] = []
    waiting = threading.Event()

    def play() -> None:
        with contextlib.suppress(SystemExit):
            while True:
                if sum(passed) == 5:
                    waiting.set()
                passed.append(pace.ticks())

    thread = threading.Thread(target=play)
    thread.start()
    assert waiting.wait(10.0)
    pace.end()
    thread.join(10.0)
    assert passed == [2, 2, 1]


def test_a_step_means_nothing_while_time_passes() -> None:
    pace = Pace()
    pace.tell(Told(step=1.0))
    pace.tell(Told(pause=True))
    pace.end()
    with pytest.raises(SystemExit):
        pace.ticks()
