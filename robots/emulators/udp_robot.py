"""An emulated robot behind the UDP bridge (packets: see robots.real.udp). Kinematic joints, 1 kHz, own codec.

Legend: J joints.
"""

from __future__ import annotations

import binascii
import select
import socket
import struct
import threading
import time
from types import TracebackType
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import NS, Array, RobotSpec
from robots.emulators.joints import Joints

_REACH_RAD = 0.1  # arming with a set-point further from the joints than this is refused


class Knobs(NamedTuple):
    """What is wrong with the robot or the line to it."""

    drop: float = 0.0  # share of packets lost, each way
    delay_s: float = 0.0  # of every state
    corrupt: float = 0.0  # share of states with one bit flipped
    reorder: float = 0.0  # share of states that arrive after the next one
    mute: bool = False  # nothing passes any more: a pulled cable


HEALTHY = Knobs()


class _Command(NamedTuple):
    kind: int
    session: int
    sequence: int
    q_set: Array
    dq_set: Array


class UdpRobotEmulator:
    """A robot in a thread of its own, from `start` to `close`."""

    def __init__(
        self,
        spec: RobotSpec,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_hz: float = 1000.0,
        missed_max: int = 20,
        knobs: Knobs = HEALTHY,
        seed: int = 0,
    ) -> None:
        """port: 0 for a free one, told by `port` after `start`. missed_max: periods without a command that it bears."""
        self.spec, self.host, self.port, self.knobs = spec, host, port, knobs
        self._dt_s, self._missed_max = 1.0 / rate_hz, missed_max
        self.joints = Joints(spec.q_home_rad, spec.dq_max_rad_s, spec.ddq_max_rad_s2)
        self.mode = "idle"  # or 'following', 'stopped', 'fault'
        self.stopped_at_ns = 0  # monotonic; when it stopped by itself
        self.refused = 0  # commands not taken: damaged, stale, of another session
        self._rng = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and let time run."""
        if self._thread is not None:
            raise RobotError("emulator runs already; allowed: close() first")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, self.port))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._peer: tuple[str, int] | None = None
        self._session = self._sequence = self._taken = self._missed = 0
        self._target: Array | None = None
        self._unsent: list[tuple[float, bytes]] = []
        self._kept: bytes | None = None  # a state held back, to be sent after the next one
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="udp-emulator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Power off; a second close does nothing."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(2.0)
        self._thread = None
        self._socket.close()

    def __enter__(self) -> UdpRobotEmulator:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def set_knobs(self, **changes: float | bool) -> None:
        """Switch faults on or off while running."""
        self.knobs = self.knobs._replace(**changes)  # type: ignore[arg-type]

    def fault(self) -> None:
        """A drive fails: brake and stay in fault."""
        self.mode = "fault"

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            wait = due - time.monotonic()
            if wait > 0:
                select.select([self._socket], [], [], wait)
            self._take_all()
            now = time.monotonic()
            if now >= due:
                self._tick(now)
                due = max(due + self._dt_s, now)  # its own lost periods are not the client's fault

    def _tick(self, now_s: float) -> None:
        self._missed += 1
        if self.mode == "following" and self._missed > self._missed_max:
            self.mode, self.stopped_at_ns = "stopped", time.monotonic_ns()
        if self.mode == "following" and self._target is not None:
            self.joints.chase(self._target, self._dt_s, 0.0)
        else:
            self.joints.brake(self._dt_s)
        self._publish(now_s)

    def _publish(self, now_s: float) -> None:
        if self._peer is None:
            return
        self._sequence += 1
        if not (self.knobs.drop and self._rng.random() < self.knobs.drop):
            packet = self._state()
            if self.knobs.corrupt and self._rng.random() < self.knobs.corrupt:
                damaged = bytearray(packet)
                damaged[self._rng.integers(len(packet))] ^= 1 << int(self._rng.integers(8))
                packet = bytes(damaged)
            late = self._kept
            self._kept = None
            if late is None and self.knobs.reorder and self._rng.random() < self.knobs.reorder:
                self._kept = packet
            else:
                self._unsent += [(now_s + self.knobs.delay_s, p) for p in (packet, late) if p is not None]
        while self._unsent and self._unsent[0][0] <= now_s:
            packet = self._unsent.pop(0)[1]
            if not self.knobs.mute:
                try:
                    self._socket.sendto(packet, self._peer)
                except OSError:  # nobody there, or the buffer is full: a datagram lost
                    continue

    def _state(self) -> bytes:
        modes = {"idle": 0, "following": 1, "stopped": 2, "fault": 3}
        joints, stamp = self.spec.joints, int(time.monotonic() * NS)
        packet = b"HJST" + bytes([1, joints, modes[self.mode], 0])
        packet += struct.pack("<IIIQ", self._session, self._sequence & 0xFFFFFFFF, self._taken, stamp)
        packet += self.joints.q_rad.astype("<f8").tobytes() + self.joints.dq_rad_s.astype("<f8").tobytes()
        return packet + binascii.crc32(packet).to_bytes(4, "little")

    def _take_all(self) -> None:
        while True:
            try:
                packet, sender = self._socket.recvfrom(2048)
            except OSError:
                return
            lost = bool(self.knobs.drop) and self._rng.random() < self.knobs.drop
            if not (self.knobs.mute or lost):
                self._take(packet, sender)

    def _take(self, packet: bytes, sender: tuple[str, int]) -> None:
        command = self._decode(packet)
        if command is None or (self.mode == "following" and command.session != self._session):
            self.refused += 1
            return
        if command.session == self._session and command.sequence <= self._taken and command.kind != 0:
            self.refused += 1  # overtaken by a later one
            return
        if command.kind == 0:
            self._peer = sender
        elif command.kind == 1:
            self._arm(command, sender)
        elif self.mode == "following" and command.kind == 2:
            self._target, self._missed, self._taken = command.q_set, 0, command.sequence
        elif self.mode == "following" and command.kind == 3:
            self.mode, self._target = "idle", None
        else:
            self.refused += 1

    def _arm(self, command: _Command, sender: tuple[str, int]) -> None:
        near = bool(np.abs(command.q_set - self.joints.q_rad).max() < _REACH_RAD)
        if self.mode == "fault" or self.joints.moving or not near:
            self.refused += 1
            return
        self._peer, self._session, self._taken = sender, command.session, command.sequence
        self.mode, self._target, self._missed = "following", command.q_set, 0

    def _decode(self, packet: bytes) -> _Command | None:
        joints = self.spec.joints
        if len(packet) != 20 + 16 * joints or packet[:6] != b"HJCM" + bytes([1, joints]):
            return None
        if binascii.crc32(packet[:-4]) != int.from_bytes(packet[-4:], "little"):
            return None
        values = np.frombuffer(packet, "<f8", 2 * joints, 16).astype(np.float64)
        if not np.isfinite(values).all():
            return None
        session, sequence = struct.unpack_from("<II", packet, 8)
        return _Command(packet[6], session, sequence, values[:joints], values[joints:])
