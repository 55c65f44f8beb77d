"""A robot behind a 1 kHz UDP bridge: the generic way to a controller of your own. The packets, all little-endian:

State, robot to us, every period:
    magic 4s "HJST" | version u8 = 1 | joints u8 | mode u8 | 0 u8 | session u32 | sequence u32 | command u32 |
    stamp_ns u64 | q J x f64 | dq J x f64 | crc u32
Command, us to robot, every period:
    magic 4s "HJCM" | version u8 = 1 | joints u8 | kind u8 | 0 u8 | session u32 | sequence u32 |
    q_set J x f64 | dq_set J x f64 | crc u32

`crc` is CRC-32 (zlib) of everything before it; `sequence` grows by one a packet; `command` is the newest command's
sequence that the robot took; q in rad or m, dq in rad/s or m/s; q_set, dq_set are to be reached one period later.
`session` is drawn by us at `connect`: a robot that follows takes no other session's commands.

Kinds: 0 hello (send me states), 1 arm (begin to follow; q_set is where the joints are), 2 follow, 3 release.
Modes: 0 idle, 1 following, 2 stopped because commands were missing, 3 fault.
What the robot must do: states go to whoever said hello last (while following: to who armed it alone); brake by
itself after 20 periods without a valid command and say mode 2; stay so until it is armed again.
The packets are not authenticated: give the robot a network of its own. Legend: J joints.
"""

from __future__ import annotations

import math
import secrets
import socket
import struct
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.protocols import Tracker
from hjepa.types import Array, RobotSpec
from robots.real.streamed import StreamedRobot

HELLO, ARM, FOLLOW, RELEASE = range(4)
IDLE, FOLLOWING, STOPPED, FAULT = range(4)
_VERSION = 1
_STATE, _COMMAND = b"HJST", b"HJCM"
_RETRY_S = 0.02
_MODE_NAMES = {IDLE: "idle", STOPPED: "stopped because commands were missing", FAULT: "in fault"}


class State(NamedTuple):
    """A state packet."""

    mode: int
    session: int
    sequence: int
    command: int
    stamp_ns: int  # of the robot's clock
    q_rad: Array  # (J,)
    dq_rad_s: Array  # (J,)


def encode_command(kind: int, session: int, sequence: int, q_set_rad: Array, dq_set_rad_s: Array) -> bytes:
    """Bytes of a command packet; q_set, dq_set (J,)."""
    joints = len(q_set_rad)
    head = struct.pack("<4s4B2I", _COMMAND, _VERSION, joints, kind, 0, session, sequence & 0xFFFFFFFF)
    body = head + struct.pack(f"<{2 * joints}d", *q_set_rad, *dq_set_rad_s)
    return body + struct.pack("<I", zlib.crc32(body))


def decode_state(packet: bytes, joints: int) -> State:
    """A state packet of a robot with J joints; RobotError says what is wrong with it."""
    size = 32 + 16 * joints
    if len(packet) != size:
        raise RobotError(f"state packet has {len(packet)} bytes; allowed: {size} for {joints} joints")
    (crc,) = struct.unpack_from("<I", packet, size - 4)
    if crc != zlib.crc32(packet[:-4]):
        raise RobotError(f"state packet says CRC {crc:#x}, it has {zlib.crc32(packet[:-4]):#x}; allowed: equal")
    magic, version, told, mode, _, session, sequence, command, stamp_ns = struct.unpack_from("<4s4B3IQ", packet)
    if (magic, version, told) != (_STATE, _VERSION, joints) or mode > FAULT:
        got = f"{magic!r}, version {version}, {told} joints, mode {mode}"
        raise RobotError(f"state packet is {got}; allowed: {_STATE!r}, {_VERSION}, {joints}, modes 0 to 3")
    values = np.array(struct.unpack_from(f"<{2 * joints}d", packet, 28))
    if not all(map(math.isfinite, values)):
        raise RobotError("state packet has a number that is not finite; allowed: finite numbers")
    return State(mode, session, sequence, command, stamp_ns, values[:joints], values[joints:])


class UdpRobot(StreamedRobot):
    """Driver of a robot that speaks the packets above."""

    def __init__(
        self,
        spec: RobotSpec,
        host: str = "127.0.0.1",
        port: int = 50100,
        *,
        rate_hz: float = 1000.0,
        lost_s: float = 0.02,
        connect_s: float = 1.0,
        tracker: Tracker | None = None,
    ) -> None:
        """lost_s: a longer silence of the robot is a fault; connect_s: how long to wait for its first state."""
        super().__init__(spec, rate_hz, tracker)
        self._peer, self._lost_s, self._connect_s = (host, port), lost_s, connect_s
        self._socket: socket.socket | None = None
        self._state: State | None = None
        self._session = self._sequence = 0
        self._heard_s = 0.0
        self.bad_packets = 0  # refused since `connect`: damaged, of another kind, session or order

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._session, self._sequence, self._state = secrets.randbits(32), 0, None
        self.bad_packets = 0
        try:
            self._socket.connect(self._peer)
            self._socket.setblocking(False)
        except OSError as error:
            raise RobotError(f"{self._where}: {error}; allowed: host and port of a UDP robot") from error
        zeros = np.zeros(self.spec.joints)
        state = self._until(HELLO, zeros, lambda s: True, "sent no state")
        if state.mode == FAULT:
            raise RobotError(f"{self._where}: is in fault; allowed: clear it at the robot first")
        self._until(ARM, state.q_rad, lambda s: s.mode == FOLLOWING and s.session == self._session, "was not armed")

    def _until(self, kind: int, q_set: Array, wanted: Callable[[State], bool], failure: str) -> State:
        """Repeat a command until a state is as wanted; the newest one."""
        deadline, say = time.monotonic() + self._connect_s, 0.0
        while time.monotonic() < deadline:
            if time.monotonic() >= say:
                self._put(kind, q_set, np.zeros(self.spec.joints))
                say = time.monotonic() + (0.002 if kind == ARM else _RETRY_S)
            self._drain()
            if self._state is not None and wanted(self._state):
                return self._state
            time.sleep(0.0005)
        got = f" ({self.bad_packets} bad packets)" if self.bad_packets else ""
        raise RobotError(f"{self._where}: {failure} within {self._connect_s} s{got}; allowed: a robot that answers")

    def _shut(self) -> None:
        if self._socket is not None:
            if self._state is not None and self._state.session == self._session:
                self._put(RELEASE, self._state.q_rad, np.zeros(self.spec.joints))
            self._socket.close()
        self._socket = None

    def _read(self) -> tuple[Array, Array]:
        self._drain()
        state = self._state
        assert state is not None
        silent = time.monotonic() - self._heard_s
        if silent > self._lost_s:
            raise RobotError(f"{self._where}: silent for {1e3 * silent:.0f} ms; allowed: {1e3 * self._lost_s:.0f} ms")
        if state.mode != FOLLOWING or state.session != self._session:
            what = _MODE_NAMES.get(state.mode, "following somebody else")
            raise RobotError(f"{self._where}: the robot is {what}; allowed: close(), then connect() again")
        return state.q_rad.copy(), state.dq_rad_s.copy()

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        self._put(FOLLOW, q_set_rad, dq_set_rad_s)

    def _put(self, kind: int, q_set: Array, dq_set: Array) -> None:
        assert self._socket is not None
        self._sequence += 1
        try:
            self._socket.send(encode_command(kind, self._session, self._sequence, q_set, dq_set))
        except OSError:  # a full buffer or nobody there: the robot's silence is what counts
            return

    def _drain(self) -> None:
        """Take what has arrived; the newest good packet counts."""
        assert self._socket is not None
        for _ in range(64):  # a flood must not keep the loop from its work
            try:
                packet = self._socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there; the robot's silence is what counts
                return
            try:
                state = decode_state(packet, self.spec.joints)
            except RobotError:
                self.bad_packets += 1
                continue
            if self._state is not None and (state.sequence - self._state.sequence) & 0xFFFFFFFF >= 1 << 31:
                self.bad_packets += 1  # overtaken by a later one
                continue
            self._state, self._heard_s = state, time.monotonic()

    @property
    def _where(self) -> str:
        return f"{self.spec.name} at {self._peer[0]}:{self._peer[1]}"
