"""Feetech STS/SMS servos (STS3215 and kin): packets, registers, and the bus over a serial port.

Packet: FF FF id length instruction-or-error data checksum, with length = len(data) + 2 and checksum = ~(id + length +
instruction + data) mod 256. Numbers of two bytes come low byte first. Signed quantities are sign and magnitude: the
sign bit's place is in the register table. 4096 steps are a turn. Sources: Feetech's communication protocol manual for
magnetic encoder servos (instructions, packet, error bits) and its SMS/STS memory table (addresses, sizes, units).

Nothing here writes the servo's EEPROM (addresses below 40): ids, ranges and offsets are set with the maker's tool. The
adaptor must not echo what is sent (the usual half-duplex boards do not).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from hjepa.errors import nearest
from robots.real.servo import BusCounts, PortError, ServoError, ServoInfo, ServoState, Tally

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x82, 0x83
BROADCAST = 0xFE
MAX_ID = 0xFC
MAX_DATA = 250 - 6
_HEADER = b"\xff\xff"
_SLICE_S = 0.001  # a read waits this long at most before the deadline is looked at
_WRITE_S = 0.1
_WRITES = 2  # a damaged packet may pass its checksum: only what is read back twice as something else is refused
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
_BLOCK = ("torque_enable", "present_temperature")  # what `state` reads in one go: 24 bytes from 40 on
_BLOCK_START = REGISTERS[_BLOCK[0]].address
_BLOCK_SIZE = REGISTERS[_BLOCK[1]].address + REGISTERS[_BLOCK[1]].size - _BLOCK_START


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


class FeetechBus:
    """A chain of STS/SMS servos on one serial port (see robots.real.servo.ServoBus)."""

    models = MODELS

    def __init__(self, port: str, baud: int = 1_000_000, timeout_s: float = 0.01, retries: int = 3) -> None:
        """timeout_s: for all answers to one request; retries: further attempts of a request to one servo."""
        self.port, self._baud, self._timeout_s, self._retries = port, baud, timeout_s, retries
        self._serial: Any = None
        self._tally = Tally()

    def open(self) -> None:
        """Open the port; ServoError says what to install, or why it cannot be opened."""
        try:
            import serial
        except ModuleNotFoundError as missing:
            raise PortError("serial servos need pyserial; allowed: pip install 'hjepa[servo]'") from missing
        try:
            self._serial = serial.Serial(self.port, self._baud, timeout=_SLICE_S, write_timeout=_WRITE_S)
        except (OSError, ValueError) as error:
            raise PortError(f"serial port '{self.port}': {error}; allowed: a servo adaptor's port") from error
        with contextlib.suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)  # FTDI adaptors otherwise hold answers back for 16 ms

    def close(self) -> None:
        """Close the port; a second close does nothing."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def counts(self) -> BusCounts:
        """What has passed over the bus."""
        return self._tally.counts()

    def ping(self, servo: int) -> bool:
        """True if the servo answers."""
        try:
            self._request(servo, packet(servo, PING), 0, "a ping")
        except PortError:
            raise
        except ServoError:
            return False
        return True

    def info(self, servo: int) -> ServoInfo:
        """Model, mode and own limits. Both angle limits 0 mean none."""
        low, high = self.read(servo, "min_angle"), self.read(servo, "max_angle")
        return ServoInfo(
            model=self.read(servo, "model"),
            position_mode=self.read(servo, "mode") == 0,
            min_steps=low,
            max_steps=high if (low, high) != (0, 0) else 4095,
            min_v=0.1 * self.read(servo, "min_voltage"),
            max_v=0.1 * self.read(servo, "max_voltage"),
            firmware=self.read(servo, "firmware"),
        )

    def prepare(self, servo: int, speed_steps_s: float, watchdog_s: float) -> None:
        """The servo's own speed limit. It has no watchdog: on a silent bus it goes to its last goal and stays."""
        self.write(servo, "acceleration", 254)  # the steepest ramp: ours is the one that is followed
        self.write(servo, "goal_time", 0)
        self.write(servo, "goal_speed", min(round(speed_steps_s), 32767))

    def state(self, servos: list[int]) -> dict[int, ServoState]:
        """One sync read, and a second one for those that were not heard."""
        got = self._exchange(sync_read_packet(servos, _BLOCK_START, _BLOCK_SIZE), servos, _BLOCK_SIZE)
        missing = [servo for servo in servos if servo not in got]
        if missing:
            self._tally.retries += 1
            got |= self._exchange(sync_read_packet(missing, _BLOCK_START, _BLOCK_SIZE), missing, _BLOCK_SIZE)
        return {servo: _state(status) for servo, status in got.items()}

    def write_goals(self, goals: dict[int, int]) -> None:
        """One sync write."""
        if goals:
            entry = REGISTERS["goal_position"]
            rows = {servo: to_bytes(entry, steps) for servo, steps in goals.items()}
            self._send(sync_write_packet(entry.address, rows))

    def write_goal(self, servo: int, steps: int) -> None:
        """Goal position, read back."""
        self.write(servo, "goal_position", steps)

    def torque(self, servo: int, on: bool) -> None:
        """Switch the motor, read back."""
        self.write(servo, "torque_enable", int(on))

    def rest(self, servo: int) -> None:
        """Nothing to do: no watchdog."""

    def read(self, servo: int, name: str) -> int:
        """A register's number."""
        entry = register(name)
        status = self._request(servo, read_packet(servo, entry.address, entry.size), entry.size, f"a read of {name}")
        return from_bytes(entry, status.data)

    def write(self, servo: int, name: str, value: int) -> None:
        """Write a register and read it back; ServoError if it then holds something else."""
        entry = register(name)
        request = write_packet(servo, entry.address, to_bytes(entry, value))
        kept = None
        for _ in range(_WRITES):
            self._request(servo, request, 0, f"a write of {name}")
            kept = self.read(servo, name)
            if kept == value:
                return
        raise ServoError(f"servo {servo} keeps {name} = {kept}; allowed: {value}, as written")

    # packets

    def _request(self, servo: int, request: bytes, size: int, what: str) -> Status:
        for attempt in range(self._retries + 1):
            self._tally.retries += attempt > 0
            got = self._exchange(request, [servo], size)
            if servo in got:
                return got[servo]
        raise ServoError(
            f"servo {servo} did not answer {what} ({self._retries + 1} attempts); allowed: an answer within "
            f"{1e3 * self._timeout_s:.0f} ms (check id, baud rate {self._baud}, cable and supply)"
        )

    def _exchange(self, request: bytes, servos: Sequence[int], size: int) -> dict[int, Status]:
        """Send a request, collect the answers of `servos` with `size` bytes each until all are there or time is up."""
        port, parser = self._port(), StatusParser(size)
        got: dict[int, Status] = {}
        try:
            if port.in_waiting:
                port.read(port.in_waiting)  # late answers to an earlier request
            self._send(request)
            deadline = time.monotonic() + self._timeout_s
            while len(got) < len(servos):
                wanted = (len(servos) - len(got)) * (size + 6) - parser.pending
                found = parser.feed(port.read(max(wanted, 1)))
                late = time.monotonic() >= deadline
                found += parser.give_up() if late else []
                got |= {status.servo: status for status in found if status.servo in servos}
                if late:
                    break
        except OSError as error:
            raise PortError(f"serial port '{self.port}' failed: {error}; allowed: a connected adaptor") from error
        self._tally.corrupt += parser.corrupt > 0
        self._tally.replies += len(got)
        self._tally.silent += len(servos) - len(got)
        return got

    def _send(self, request: bytes) -> None:
        try:
            self._port().write(request)
        except OSError as error:
            raise PortError(f"serial port '{self.port}' failed: {error}; allowed: a connected adaptor") from error
        self._tally.requests += 1

    def _port(self) -> Any:
        if self._serial is None:
            raise PortError("servo bus is not open; allowed: open() first")
        return self._serial


def _state(status: Status) -> ServoState:
    def value(name: str) -> int:
        entry = REGISTERS[name]
        start = entry.address - _BLOCK_START
        return from_bytes(entry, status.data[start : start + entry.size])

    return ServoState(
        position_steps=value("present_position"),
        speed_steps_s=float(value("present_speed")),
        load=value("present_load") / 1000.0,
        voltage_v=0.1 * value("present_voltage"),
        temperature_c=float(value("present_temperature")),
        torque_on=value("torque_enable") != 0,
        alarms=alarms(status.error),
    )
