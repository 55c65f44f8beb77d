"""Trackers without a simulator. Run: pytest tests/unit/test_trackers.py"""

from __future__ import annotations

import re
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hjepa.errors import DataError, RobotError
from hjepa.protocols import Tracker
from hjepa.types import NS
from robots.sensors import SensorConfig
from robots.trackers import ReplayTracker, SimTracker, between, nothing_seen
from robots.udp_tracker import REASONS, SIZE, ClockOffset, Measurement, UdpTracker, pack, unpack

DOCS = Path(__file__).parent.parent.parent / "docs" / "sensors.md"
MS = NS // 1000
GOOD = Measurement(7, 0, 5 * NS, True, (1.0, -2.0, 1.5), (1e-4, 1e-4, 1e-4, 0.0, 0.0, 0.0))


class Clock:
    """Time as the test says it."""

    def __init__(self) -> None:
        self.ns = 100 * NS

    def __call__(self) -> int:
        return self.ns


def line(t: np.ndarray) -> np.ndarray:
    """1 m/s along x."""
    return np.stack([t, 0 * t, 1 + 0 * t], axis=-1)


def test_slots_between_measurements_are_on_the_line() -> None:
    stamps = 1003 * MS + np.arange(30) * 7 * MS
    xyz, mask, slots = between(stamps, line(stamps / NS), 1210 * MS)
    np.testing.assert_allclose(xyz[mask], line(slots[mask] / NS), atol=1e-12)
    assert (mask == ((slots >= stamps[0]) & (slots <= stamps[-1]))).all()
    assert not xyz[~mask].any()


def test_a_measurement_on_the_grid_is_given_as_it_is() -> None:
    xyz, mask, _ = between(np.array([5 * NS]), np.array([[1.0, 2.0, 3.0]]), 5 * NS)
    assert mask.tolist() == [False] * 63 + [True]
    np.testing.assert_array_equal(xyz[-1], [1.0, 2.0, 3.0])


def test_a_gap_stays_empty() -> None:
    stamps = np.array([1000, 1010, 1050, 1060]) * MS
    _, mask, slots = between(stamps, line(stamps / NS), 1060 * MS)
    assert (slots[mask] // MS).tolist() == [1000, 1010, 1050, 1060]


def test_nothing_is_extrapolated() -> None:
    stamps = 1000 * MS + np.arange(5) * 10 * MS
    _, mask, slots = between(stamps, line(stamps / NS), 1100 * MS)
    assert slots[mask].max() == 1040 * MS


def test_no_measurements_is_nothing_seen() -> None:
    for got, want in zip(between(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), NS), nothing_seen(NS), strict=True):
        np.testing.assert_array_equal(got, want)


def test_simulated_tracker_has_the_stated_noise_delay_and_dropouts() -> None:
    tracker = SimTracker(line, SensorConfig(0.01, 0.025, 0.1, 0.0, 0.0), seed=1)
    tracker.connect()
    errors, lost = [], []
    for k in range(70, 2000):
        xyz, mask, slots = tracker.window(k * 10 * MS)
        assert not mask[-3:].any()  # 25 ms: the three newest are on their way
        errors.append((xyz - line(slots / NS))[-4][mask[-4]])
        lost.append(not mask[-4])
    noise = np.concatenate(errors)
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    assert np.mean(lost) == pytest.approx(0.1, abs=0.02)


def test_simulated_tracker_says_the_same_of_a_slot_ever_after() -> None:
    tracker = SimTracker(line, SensorConfig(0.01, 0.0, 0.1, 0.0, 0.0))
    tracker.connect()
    early, late = tracker.window(NS), tracker.window(NS + 100 * MS)
    np.testing.assert_array_equal(early[0][10:], late[0][:-10])
    np.testing.assert_array_equal(early[1][10:], late[1][:-10])


def test_simulated_tracker_sees_nothing_before_the_path_begins() -> None:
    tracker = SimTracker(line, SensorConfig(0.0, 0.0, 0.0, 0.0, 0.0), origin_ns=2 * NS)
    tracker.connect()
    _, mask, slots = tracker.window(2 * NS + 50 * MS)
    assert (slots[mask] >= 2 * NS).all()
    assert mask.sum() == 6


def test_replayed_measurements_come_back_by_today_s_clock() -> None:
    clock = Clock()
    stamps = 7 * NS + np.arange(20) * 10 * MS
    tracker = ReplayTracker(stamps, line((stamps - 7 * NS) / NS), delay_s=0.03, clock_ns=clock)
    tracker.connect()
    xyz, mask, slots = tracker.window(clock.ns + 100 * MS)
    np.testing.assert_allclose(xyz[mask, 0], (slots[mask] - clock.ns) / NS, atol=1e-12)
    assert slots[mask].max() == clock.ns + 70 * MS


@pytest.mark.parametrize(
    ("stamps", "xyz"), [([], []), ([1, 1], [[0] * 3] * 2), ([1], [[np.nan, 0, 0]]), ([1, 2], [[0, 0, 0]])]
)
def test_measurements_that_make_no_sense_are_refused(stamps: list[int], xyz: list[Any]) -> None:
    with pytest.raises(DataError, match="allowed"):
        ReplayTracker(np.array(stamps, dtype=np.int64), np.array(xyz, dtype=np.float64).reshape(-1, 3))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> Iterator[UdpTracker]:
    made = UdpTracker(clock_ns=clock)
    made.connect()
    yield made
    made.close()


def deliver(tracker: UdpTracker, *datagrams: bytes) -> None:
    """Send them and wait until all were looked at."""
    before = sum(tracker.counts().values())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        for datagram in datagrams:
            link.sendto(datagram, ("127.0.0.1", tracker.port))
    assert tracker.wait(before + len(datagrams), timeout_s=10.0)


def test_measurements_come_out_on_the_receiver_s_clock(tracker: UdpTracker, clock: Clock) -> None:
    for k in range(10):
        clock.ns = 100 * NS + k * 10 * MS  # the sender's clock is 95 s behind
        deliver(tracker, pack(GOOD._replace(sequence=k, stamp_ns=5 * NS + k * 10 * MS, xyz_m=(0.1 * k, 0.0, 1.0))))
    xyz, mask, _ = tracker.window(clock.ns)
    assert mask.sum() == 10
    np.testing.assert_allclose(xyz[-10:, 0], 0.1 * np.arange(10), atol=1e-9)


def test_a_late_datagram_keeps_its_place_in_time(tracker: UdpTracker, clock: Clock) -> None:
    for k, delay_ms in enumerate([0, 0, 80, 0]):
        clock.ns = 100 * NS + (k * 10 + delay_ms) * MS
        deliver(tracker, pack(GOOD._replace(sequence=k, stamp_ns=5 * NS + k * 10 * MS, xyz_m=(0.1 * k, 0.0, 1.0))))
    xyz, mask, _ = tracker.window(100 * NS + 30 * MS)
    np.testing.assert_allclose(xyz[mask, 0], [0.0, 0.1, 0.2, 0.3], atol=1e-9)


def damaged() -> dict[str, bytes]:
    """A datagram for each reason to drop one, to follow GOOD."""
    good = pack(GOOD._replace(sequence=9))
    nan = pack(GOOD._replace(sequence=9, xyz_m=(float("nan"), 0.0, 0.0)))

    def changed(at: int, byte: int) -> bytes:
        body = good[:at] + bytes([byte]) + good[at + 1 : -4]
        return body + zlib.crc32(body).to_bytes(4, "little")

    return {
        "size": good[:-1],
        "magic": changed(0, 0),
        "version": changed(4, 2),
        "crc": good[:30] + bytes([good[30] ^ 1]) + good[31:],
        "not finite": nan,
        "reordered": pack(GOOD),
        "not seen": pack(GOOD._replace(sequence=9, seen=False, stamp_ns=6 * NS)),
        "uncertain": pack(GOOD._replace(sequence=9, stamp_ns=6 * NS, covariance_m2=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))),
    }


@pytest.mark.parametrize("reason", [*damaged()])
def test_what_is_wrong_is_dropped_and_counted_by_reason(reason: str, tracker: UdpTracker) -> None:
    assert reason in REASONS
    deliver(tracker, pack(GOOD), damaged()[reason])
    assert tracker.counts() == {"accepted": 1, reason: 1}
    assert len(tracker._kept) == 1


def test_a_sender_that_starts_again_is_heard_and_its_past_is_not(tracker: UdpTracker, clock: Clock) -> None:
    deliver(tracker, pack(GOOD._replace(sequence=50)), pack(GOOD._replace(session=8, stamp_ns=NS)))
    deliver(tracker, pack(GOOD._replace(sequence=51, stamp_ns=6 * NS)))
    assert tracker.counts() == {"accepted": 2, "old session": 1}
    assert tracker.window(clock.ns)[1].sum() == 1


def test_unknown_senders_are_dropped() -> None:
    tracker = UdpTracker(senders=["127.0.0.9"])
    tracker.connect()
    deliver(tracker, pack(GOOD))
    assert tracker.counts() == {"sender": 1}
    tracker.close()


def test_random_datagrams_never_get_in() -> None:
    rng = np.random.default_rng(0)
    assert all(isinstance(unpack(rng.bytes(int(rng.integers(0, 2 * SIZE)))), str) for _ in range(2000))


def test_the_buffer_is_bounded(tracker: UdpTracker) -> None:
    many = [pack(GOOD._replace(sequence=k, stamp_ns=k * MS + 1)) for k in range(3000)]
    for k in range(0, 3000, 100):
        deliver(tracker, *many[k : k + 100])
    assert len(tracker._kept) == 512


def test_offset_is_that_of_the_least_delay_and_follows_a_drift() -> None:
    offset = ClockOffset()
    for k, delay_ms in enumerate([3, 1, 7, 2]):
        offset.update(k * MS, 50 * NS + (k + delay_ms) * MS)
    assert offset.ns == 50 * NS + MS
    offset.update(20 * NS, 70 * NS + 5 * MS)  # the least delay is forgotten after ten seconds
    assert offset.ns == 50 * NS + 5 * MS


@pytest.mark.parametrize("kind", ["sim", "replay", "udp"])
def test_life_cycle_is_the_drivers(kind: str) -> None:
    made: Tracker = {
        "sim": lambda: SimTracker(line, SensorConfig(0.0, 0.0, 0.0, 0.0, 0.0)),
        "replay": lambda: ReplayTracker(np.array([0]), np.zeros((1, 3))),
        "udp": UdpTracker,
    }[kind]()
    with pytest.raises(RobotError, match="connect"):
        made.window(0)
    made.connect()
    assert isinstance(made, Tracker)
    with pytest.raises(RobotError, match="already connected"):
        made.connect()
    made.close()
    made.close()
    with pytest.raises(RobotError, match="connect"):
        made.window(0)
    made.connect()
    made.close()


def test_another_address_needs_a_list_of_senders() -> None:
    with pytest.raises(RobotError, match="senders="):
        UdpTracker(host="0.0.0.0")


def test_a_taken_port_is_named() -> None:
    first = UdpTracker()
    first.connect()
    with pytest.raises(RobotError, match=str(first.port)):
        UdpTracker(first.port).connect()
    first.close()


def test_the_sender_of_the_documentation_is_understood(tracker: UdpTracker) -> None:
    source = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    scope: dict[str, Any] = {}
    exec(compile(source, "sensors.md", "exec"), scope)  # noqa: S102  our own documentation
    scope["run"](("127.0.0.1", tracker.port), [((1.0, 2.0, 3.0), 0.01)] * 5)
    assert tracker.wait(5, timeout_s=10.0)
    assert tracker.counts() == {"accepted": 5}
