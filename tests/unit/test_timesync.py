"""The offset between two clocks: the true one always lies within the bound, and the bound gets narrow."""

import time
from pathlib import Path

import numpy as np

from hjepa.bus.link import Requester
from hjepa.bus.timesync import ASK_EVERY_NS, DRIFT, ClockProbe, Offset

MS = 1_000_000


def test_nothing_is_known_before_an_answer() -> None:
    assert Offset().at(0) is None


def test_one_answer_bounds_the_offset_by_half_the_round_trip() -> None:
    offset = Offset()
    offset.heard(asked_ns=100 * MS, other_ns=5_000 * MS, heard_ns=104 * MS)
    found = offset.at(104 * MS)
    assert found == (4_898 * MS, 2 * MS)


def test_the_true_offset_stays_within_the_bound_whatever_the_delays_and_the_drift() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        zero, drift = int(rng.integers(-(10**15), 10**15)), float(rng.uniform(-DRIFT, DRIFT))
        offset, now = Offset(), 0

        def other(at: int, zero: int = zero, drift: float = drift) -> int:
            return zero + round(at * (1.0 + drift))

        for _ in range(60):
            now += int(rng.integers(50 * MS, 300 * MS))
            there, back = (int(d) for d in rng.exponential(2 * MS, 2))
            offset.heard(now, other(now + there), now + there + back)
            now += there + back
            found = offset.at(now)
            assert found is not None
            assert abs(other(now) - now - found[0]) <= found[1] + 2
        assert found[1] < 1 * MS  # of delays of 2 ms each way, the luckiest count


def test_the_bound_grows_while_nothing_is_heard() -> None:
    offset = Offset()
    offset.heard(0, 0, 2 * MS)
    near, far = offset.at(2 * MS), offset.at(2 * MS + 10_000 * MS)
    assert near is not None
    assert far is not None
    assert far[1] == near[1] + 1 * MS  # 100 ppm of 10 s


def test_a_clock_that_was_set_is_believed_anew() -> None:
    offset = Offset()
    for k in range(5):
        offset.heard(100 * k * MS, 100 * k * MS, 100 * k * MS + MS)
    offset.heard(600 * MS, 9_600 * MS, 601 * MS)
    found = offset.at(601 * MS)
    assert found is not None
    assert abs(found[0] - 9_000 * MS) <= found[1] <= MS


def test_a_probe_never_waits_for_a_node_that_is_not_there(tmp_path: Path) -> None:
    with Requester(f"ipc://{tmp_path}/low-control", patient=False) as requester:
        probe, now = ClockProbe(requester), 0
        begun = time.monotonic()
        for _ in range(3000):  # more than a socket queues
            now += ASK_EVERY_NS
            probe.poll(lambda now=now: now)
        assert time.monotonic() - begun < 10.0  # a wait of the shortest kind, 5 ms, would take 15 s in all
        assert probe.offset.at(now) is None
