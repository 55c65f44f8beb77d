"""A tracker that is another process: motion capture or cameras that send one UDP datagram per measurement.

A datagram is 100 bytes, little-endian, packed (struct "<4sBBHQq3d6dI"):

    offset  type    meaning
    0       4s      b"HJTK"
    4       B       version, 1
    5       B       1: the target was seen; 0: this instant was looked at and nothing was found
    6       H       session: another number each time the sender starts
    8       Q       sequence: grows with every datagram of a session
    16      q       stamp_ns: when it was measured, on the sender's own monotonic clock
    24      3d      x, y, z in m, world frame
    48      6d      covariance in m^2: xx, yy, zz, xy, xz, yz (zeros behind the third where only variances are known)
    96      I       CRC-32 (zlib) of the 96 bytes before it

Clocks differ by an offset that is estimated as the least (arrival - stamp) of the last ten seconds: stamps come out
late by the least delay of the network, never early, and a clock's drift is followed. What is dropped is counted by
reason.
The check sum finds accidents, not attackers: only loopback is listened to unless senders are named, and on a network
that others use the process belongs behind the bus. Legend: N measurements, K slots.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import NS, Array
from robots.trackers import Window, between

_BODY = struct.Struct("<4sBBHQq3d6d")
_CRC = struct.Struct("<I")
SIZE = _BODY.size + _CRC.size
_MAGIC, _VERSION = b"HJTK", 1
_BUFFER = 512  # measurements kept: more than a window at 500 Hz
_WINDOW_S = 10  # how long a least delay counts
_POLL_S = 0.2
REASONS = (
    *("size", "magic", "version", "crc", "sender", "not finite"),
    *("old session", "reordered", "not seen", "uncertain"),
)


class Measurement(NamedTuple):
    """One datagram's content."""

    session: int
    sequence: int
    stamp_ns: int  # the sender's clock
    seen: bool
    xyz_m: tuple[float, float, float]
    covariance_m2: tuple[float, float, float, float, float, float]  # xx, yy, zz, xy, xz, yz


def pack(m: Measurement) -> bytes:
    """A datagram."""
    head = (_MAGIC, _VERSION, int(m.seen), m.session, m.sequence, m.stamp_ns)
    body = _BODY.pack(*head, *m.xyz_m, *m.covariance_m2)
    return body + _CRC.pack(zlib.crc32(body))


def unpack(datagram: bytes) -> Measurement | str:
    """Its content, or why it is dropped (one of REASONS)."""
    if len(datagram) != SIZE:
        return "size"
    magic, version, seen, session, sequence, stamp_ns, *numbers = _BODY.unpack_from(datagram)
    if magic != _MAGIC:
        return "magic"
    if version != _VERSION:
        return "version"
    if _CRC.unpack_from(datagram, _BODY.size)[0] != zlib.crc32(datagram[: _BODY.size]):
        return "crc"
    if not all(math.isfinite(value) for value in numbers):
        return "not finite"
    x, y, z, xx, yy, zz, xy, xz, yz = numbers
    return Measurement(session, sequence, stamp_ns, bool(seen), (x, y, z), (xx, yy, zz, xy, xz, yz))


class ClockOffset:
    """Receiver's clock minus sender's, from the least delay of late."""

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque(maxlen=_WINDOW_S)  # (second, least arrival - stamp in it)

    @property
    def ns(self) -> int:
        """The estimate; 0 before the first pair."""
        return min((least for _, least in self._least), default=0)

    def update(self, stamp_ns: int, arrival_ns: int) -> None:
        """Take a pair into account."""
        second, apart = arrival_ns // NS, arrival_ns - stamp_ns
        if self._least and self._least[-1][0] == second:
            self._least[-1] = (second, min(self._least[-1][1], apart))
        else:
            self._least.append((second, apart))
        while self._least[0][0] <= second - _WINDOW_S:
            self._least.popleft()


class UdpTracker:
    """A Tracker (see hjepa.protocols) that listens on a UDP port."""

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        senders: Sequence[str] = (),
        sigma_max_m: float = 0.1,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """port 0: a free one, see `port`; host: where to listen; senders: addresses that may send, needed where host is
        not loopback; sigma_max_m: measurements with a larger standard deviation are dropped."""
        if not host.startswith("127.") and not senders:
            raise RobotError(f"host {host} can be reached by others; allowed: 127.0.0.1, or senders=['ADDRESS', ...]")
        self._address, self._senders, self._clock_ns = (host, port), frozenset(senders), clock_ns
        self._variance_max = sigma_max_m**2
        self._lock = threading.Condition()
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Listen; RobotError if the port is taken."""
        if self._socket is not None:
            raise RobotError("tracker already connected; allowed: close() first")
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.bind(self._address)
        except OSError as error:
            made.close()
            raise RobotError(f"cannot listen on {self._address[0]}:{self._address[1]}: {error.strerror}") from error
        made.settimeout(_POLL_S)
        self._kept: deque[tuple[int, tuple[float, float, float]]] = deque(maxlen=_BUFFER)  # sender's clock
        self._counts: Counter[str] = Counter()
        self._offset, self._session, self._sequence = ClockOffset(), -1, -1
        self._ended: set[int] = set()
        self._stop, self._socket = threading.Event(), made
        self._thread = threading.Thread(target=self._listen, args=(made,), name="hjepa-udp-tracker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; a second close does nothing."""
        if self._socket is None:
            return
        self._stop.set()
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", self._socket.getsockname())  # wake the thread
        self._thread.join()
        self._socket.close()
        self._socket = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._open().getsockname()[1])

    def window(self, stamp_ns: int) -> Window:
        """What had arrived, at the slots that end at an instant of this process's clock."""
        self._open()
        with self._lock:
            kept, offset_ns = list(self._kept), self._offset.ns
        stamps = np.array([stamp for stamp, _ in kept], dtype=np.int64) + offset_ns
        xyz: Array = np.array([x for _, x in kept], dtype=np.float64).reshape(-1, 3)
        return between(stamps, xyz, stamp_ns)

    def counts(self) -> Mapping[str, int]:
        """Datagrams so far: 'accepted', and dropped ones by reason."""
        with self._lock:
            return dict(self._counts)

    def wait(self, total: int, timeout_s: float) -> bool:
        """Until so many datagrams were looked at; False if they were not in time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._counts.total() >= total, timeout_s)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise RobotError("tracker not connected; allowed: connect() first")
        return self._socket

    def _listen(self, source: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                datagram, (sender, _) = source.recvfrom(SIZE + 1)
            except TimeoutError:
                continue
            arrival_ns = self._clock_ns()
            if self._stop.is_set():
                return
            with self._lock:
                self._counts[self._take(datagram, sender, arrival_ns)] += 1
                self._lock.notify_all()

    def _take(self, datagram: bytes, sender: str, arrival_ns: int) -> str:
        """Keep a measurement; 'accepted', or why not."""
        if self._senders and sender not in self._senders:
            return "sender"
        m = unpack(datagram)
        if isinstance(m, str):
            return m
        if m.session in self._ended:
            return "old session"
        if m.session != self._session:  # the sender started again: its clock may have, too
            self._ended.add(self._session)
            self._session, self._sequence, self._offset = m.session, -1, ClockOffset()
            self._kept.clear()
        if m.sequence <= self._sequence or (self._kept and m.stamp_ns <= self._kept[-1][0]):
            return "reordered"
        self._offset.update(m.stamp_ns, arrival_ns)
        self._sequence = m.sequence
        if not m.seen:
            return "not seen"
        if not all(0.0 <= variance <= self._variance_max for variance in m.covariance_m2[:3]):
            return "uncertain"
        self._kept.append((m.stamp_ns, m.xyz_m))
        return "accepted"
