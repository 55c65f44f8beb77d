"""Feetech STS/SMS servos (STS3215 and kin) on the wire: packets and the memory table. No port is touched here.

Packet: FF FF id length instruction-or-error data checksum, with length = len(data) + 2 and checksum = ~(id + length +
instruction + data) mod 256. Numbers of two bytes come low byte first. Signed quantities are sign and magnitude: the
sign bit's place is in the register table. 4096 steps are a turn. Sources: Feetech's communication protocol manual for
magnetic encoder servos (instructions, packet, error bits) and its SMS/STS memory table (addresses, sizes, units), from
memory of them; addresses compared with the maker's SMS_STS.h. Model numbers: what servos are known to answer with. Not
tried on hardware yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hjepa.errors import nearest
from robots.real.servo import ServoError

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x82, 0x83
BROADCAST = 0xFE
MAX_ID = 0xFC
MAX_DATA = 250 - 6
_HEADER = b"\xff\xff"
MODELS = {777: "STS3215", 2825: "STS3250", 2569: "STS3095", 11272: "SM8512BL"}
ERRORS = {1: "voltage", 2: "angle sensor", 4: "overheat", 8: "overcurrent", 32: "overload"}


class Register(NamedTuple):
    """One entry of the memory table."""

    address: int
    size: int  # bytes
    unit: str
    sign_bit: int | None = None  # bit that says "negative"; None: never negative


REGISTERS = {
    "firmware": Register(0, 2, "major, minor"),
    "model": Register(3, 2, "number"),
    "id": Register(5, 1, "number"),
    "baud_rate": Register(6, 1, "index"),
    "return_delay": Register(7, 1, "2 us"),
    "status_level": Register(8, 1, "0: answers reads only"),
    "min_angle": Register(9, 2, "step"),
    "max_angle": Register(11, 2, "step"),
    "max_temperature": Register(13, 1, "deg C"),
    "max_voltage": Register(14, 1, "0.1 V"),
    "min_voltage": Register(15, 1, "0.1 V"),
    "max_torque": Register(16, 2, "0.1 %"),
    "offset": Register(31, 2, "step", 11),
    "mode": Register(33, 1, "0: position"),
    "torque_enable": Register(40, 1, "0 off, 1 on"),
    "acceleration": Register(41, 1, "100 step/s^2"),
    "goal_position": Register(42, 2, "step", 15),
    "goal_time": Register(44, 2, "ms"),
    "goal_speed": Register(46, 2, "step/s", 15),
    "torque_limit": Register(48, 2, "0.1 %"),
    "lock": Register(55, 1, "1: EEPROM locked"),
    "present_position": Register(56, 2, "step", 15),
    "present_speed": Register(58, 2, "step/s", 15),
    "present_load": Register(60, 2, "0.1 %", 10),
    "present_voltage": Register(62, 1, "0.1 V"),
    "present_temperature": Register(63, 1, "deg C"),
    "moving": Register(66, 1, "0 or 1"),
    "present_current": Register(69, 2, "6.5 mA", 15),
}


class Status(NamedTuple):
    """A servo's answer."""

    servo: int
    error: int  # bits of ERRORS
    data: bytes


def register(name: str) -> Register:
    """Entry of the memory table; ServoError lists the known names."""
    if name not in REGISTERS:
        raise ServoError(f"unknown register '{name}': {nearest(name, REGISTERS)}")
    return REGISTERS[name]


def to_bytes(entry: Register, value: int) -> bytes:
    """A register's bytes, low first, sign and magnitude where it has a sign."""
    bits = 8 * entry.size if entry.sign_bit is None else entry.sign_bit
    least = 0 if entry.sign_bit is None else 1 - (1 << bits)
    if not least <= value < 1 << bits:
        raise ServoError(f"register at {entry.address} cannot hold {value}; allowed: {least} to {(1 << bits) - 1}")
    raw = abs(value) | ((value < 0) << bits)
    return raw.to_bytes(entry.size, "little")


def from_bytes(entry: Register, data: bytes) -> int:
    """The number in a register's bytes."""
    if len(data) != entry.size:
        raise ServoError(f"register at {entry.address} got {len(data)} bytes; allowed: {entry.size}")
    raw = int.from_bytes(data, "little")
    if entry.sign_bit is None:
        return raw
    magnitude = raw & ((1 << entry.sign_bit) - 1)
    return -magnitude if raw >> entry.sign_bit & 1 else magnitude


def checksum(body: bytes) -> int:
    """Of everything between header and checksum."""
    return ~sum(body) & 0xFF


def packet(servo: int, instruction: int, data: bytes = b"") -> bytes:
    """An instruction packet."""
    if not 0 <= servo <= BROADCAST or len(data) > MAX_DATA:
        raise ServoError(f"packet for id {servo} with {len(data)} bytes; allowed: 0 to {BROADCAST}, at most {MAX_DATA}")
    body = bytes((servo, len(data) + 2, instruction)) + data
    return _HEADER + body + bytes((checksum(body),))


def read_packet(servo: int, address: int, size: int) -> bytes:
    """Ask one servo for `size` bytes from an address on."""
    return packet(servo, READ, bytes((address, size)))


def write_packet(servo: int, address: int, data: bytes) -> bytes:
    """Write bytes from an address on."""
    return packet(servo, WRITE, bytes((address,)) + data)


def sync_read_packet(servos: Sequence[int], address: int, size: int) -> bytes:
    """Ask several servos for the same registers; they answer one after the other in this order."""
    return packet(BROADCAST, SYNC_READ, bytes((address, size, *servos)))


def sync_write_packet(address: int, items: dict[int, bytes]) -> bytes:
    """Write the same registers of several servos; none answers. ServoError unless all data are equally long."""
    sizes = {len(data) for data in items.values()}
    if len(sizes) != 1:
        raise ServoError(f"sync write with data of {sorted(sizes)} bytes; allowed: one length for all")
    rows = b"".join(bytes((servo,)) + data for servo, data in items.items())
    return packet(BROADCAST, SYNC_WRITE, bytes((address, sizes.pop())) + rows)


def alarms(error: int) -> tuple[str, ...]:
    """Names of the error bits that are set."""
    known = tuple(name for bit, name in ERRORS.items() if error & bit)
    return known if not error & ~sum(ERRORS) else (*known, f"error {error:#04x}")


class StatusParser:
    """Finds answers in a stream of bytes; anything else is skipped and counted, never raised about."""

    def __init__(self, data_size: int | None = None) -> None:
        """data_size: bytes of data in the answers waited for; other lengths are noise. None: any."""
        self._size = data_size
        self._buffer = bytearray()
        self.corrupt = 0

    @property
    def pending(self) -> int:
        """Bytes of an answer that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Status]:
        """Complete answers so far."""
        self._buffer += data
        found = []
        while (status := self._next()) is not None:
            found.append(status)
        return found

    def give_up(self) -> list[Status]:
        """No more bytes will come: whatever complete answers lie behind one that was cut short."""
        found = []
        while self._buffer:
            self._skip(1)
            found += self.feed(b"")
        return found

    def _next(self) -> Status | None:
        buffer = self._buffer
        while True:
            start = buffer.find(_HEADER)
            if start < 0:
                del buffer[: len(buffer) - (buffer[-1:] == b"\xff")]
                return None
            del buffer[:start]
            if len(buffer) < 4:
                return None
            servo, length = buffer[2], buffer[3]
            if servo > MAX_ID or not self._plausible(length):
                self._skip(servo != 0xFF)  # a third FF only shifts the header
                continue
            if len(buffer) < 4 + length:
                return None
            body, check = bytes(buffer[2 : 3 + length]), buffer[3 + length]
            if checksum(body) != check:
                self._skip(1)
                continue
            del buffer[: 4 + length]
            return Status(servo, body[2], body[3:])

    def _plausible(self, length: int) -> bool:
        return 2 <= length <= MAX_DATA + 2 if self._size is None else length == self._size + 2

    def _skip(self, counts: int) -> None:
        self.corrupt += counts
        del self._buffer[:1]
