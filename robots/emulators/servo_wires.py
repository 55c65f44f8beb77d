"""The two packet protocols as a servo sees them: requests in, answers out, and where each model keeps its numbers.

Written from the makers' protocol manuals: Feetech's for magnetic encoder servos, ROBOTIS' Protocol 2.0 (byte stuffing,
CRC-16 with polynomial 0x8005).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83
EVERYBODY = 0xFE


class Request(NamedTuple):
    """One instruction packet that arrived whole."""

    verb: int
    servo: int
    address: int = 0
    size: int = 0
    items: tuple[tuple[int, bytes], ...] = ()  # servo and its data, for the sync verbs and for WRITE


class Field(NamedTuple):
    """Where a number lives in a servo's memory: address, bytes, and how a sign is kept."""

    address: int
    size: int
    sign: str = ""  # '': none, 'two': two's complement, 'b10', 'b15': that bit

    def get(self, memory: bytearray) -> int:
        """The number."""
        raw = int.from_bytes(memory[self.address : self.address + self.size], "little", signed=self.sign == "two")
        if self.sign.startswith("b"):
            flag = 1 << int(self.sign[1:])
            return -(raw & (flag - 1)) if raw & flag else raw & (flag - 1)
        return raw

    def put(self, memory: bytearray, value: int) -> None:
        """Store a number."""
        if self.sign.startswith("b") and value < 0:
            value = -value | 1 << int(self.sign[1:])
        memory[self.address : self.address + self.size] = value.to_bytes(self.size, "little", signed=self.sign == "two")


class Wire(Protocol):
    """A protocol and a memory layout."""

    fields: dict[str, Field]
    defaults: dict[str, int]
    speed_unit: float  # steps/s in one count of a speed
    eeprom_end: int  # addresses below are kept without power

    def requests(self, buffer: bytearray) -> Iterator[Request | None]:
        """Whole requests, taken off the buffer; None for one that was damaged."""
        ...

    def answer(self, servo: int, error: int, data: bytes) -> bytes: ...

    def alarm(self, bits: int) -> int:
        """Error byte of an answer when the hardware complains of `bits` (1 voltage, 4 heat, 32 overload)."""
        ...


class FeetechWire:
    """STS3215."""

    fields = {
        **{"model": Field(3, 2), "id": Field(5, 1), "status_level": Field(8, 1)},
        **{"min_angle": Field(9, 2), "max_angle": Field(11, 2), "max_voltage": Field(14, 1)},
        **{"min_voltage": Field(15, 1), "mode": Field(33, 1), "torque": Field(40, 1), "goal": Field(42, 2, "b15")},
        **{"speed_limit": Field(46, 2, "b15"), "lock": Field(55, 1), "position": Field(56, 2, "b15")},
        **{"speed": Field(58, 2, "b15"), "load": Field(60, 2, "b10"), "voltage": Field(62, 1)},
        **{"temperature": Field(63, 1)},
    }
    defaults = {
        **{"model": 777, "status_level": 1, "max_angle": 4095, "max_voltage": 140, "min_voltage": 40},
        **{"lock": 1, "temperature": 31},
    }
    speed_unit = 1.0
    eeprom_end = 40

    def requests(self, buffer: bytearray) -> Iterator[Request | None]:
        """Whole requests, taken off the buffer."""
        while len(buffer) >= 6:
            if buffer[:2] != b"\xff\xff" or buffer[2] == 0xFF:
                del buffer[0]
                continue
            end = 4 + buffer[3]
            if len(buffer) < end:
                return
            frame = bytes(buffer[:end])
            if (sum(frame[2:-1]) + frame[-1]) % 256 != 255:
                del buffer[0]
                yield None
                continue
            del buffer[:end]
            yield self._request(frame[2], frame[4], frame[5:-1])

    def _request(self, servo: int, verb: int, data: bytes) -> Request | None:
        if verb == PING:
            return Request(verb, servo)
        if verb == READ and len(data) == 2:
            return Request(verb, servo, *data)
        if verb == WRITE and len(data) > 1:
            return Request(verb, servo, data[0], len(data) - 1, ((servo, data[1:]),))
        if verb == SYNC_READ and len(data) > 2:
            return Request(verb, servo, data[0], data[1], tuple((one, b"") for one in data[2:]))
        if verb == SYNC_WRITE and len(data) > 2:
            row = data[1] + 1
            rows = [data[at : at + row] for at in range(2, len(data), row)]
            return Request(verb, servo, data[0], data[1], tuple((r[0], r[1:]) for r in rows if len(r) == row))
        return None

    def answer(self, servo: int, error: int, data: bytes) -> bytes:
        """A status packet."""
        frame = [servo, len(data) + 2, error, *data]
        return bytes([0xFF, 0xFF, *frame, 255 - sum(frame) % 256])

    def alarm(self, bits: int) -> int:
        """The bits themselves."""
        return bits


class DynamixelWire:
    """XL430-W250, Protocol 2.0."""

    fields = {
        **{"model": Field(0, 2), "id": Field(7, 1), "mode": Field(11, 1), "max_voltage": Field(32, 2)},
        **{"min_voltage": Field(34, 2), "max_angle": Field(48, 4), "min_angle": Field(52, 4)},
        **{"torque": Field(64, 1), "hardware_error": Field(70, 1), "watchdog": Field(98, 1, "two")},
        **{"speed_limit": Field(112, 4), "goal": Field(116, 4, "two"), "load": Field(126, 2, "two")},
        **{"speed": Field(128, 4, "two"), "position": Field(132, 4, "two"), "voltage": Field(144, 2)},
        **{"temperature": Field(146, 1)},
    }
    defaults = {
        **{"model": 1060, "mode": 3, "max_voltage": 140, "min_voltage": 65, "max_angle": 4095},
        **{"temperature": 31},
    }
    speed_unit = 0.229 * 4096 / 60
    eeprom_end = 64

    def requests(self, buffer: bytearray) -> Iterator[Request | None]:
        """Whole requests, taken off the buffer."""
        while len(buffer) >= 10:
            if buffer[:4] != b"\xff\xff\xfd\x00":
                del buffer[0]
                continue
            end = 7 + int.from_bytes(buffer[5:7], "little")
            if end > 1024 or end < 10:
                del buffer[0]
                yield None
                continue
            if len(buffer) < end:
                return
            frame = bytes(buffer[:end])
            if crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
                del buffer[0]
                yield None
                continue
            del buffer[:end]
            plain = frame[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
            yield self._request(frame[4], plain[0], plain[1:])

    def _request(self, servo: int, verb: int, data: bytes) -> Request | None:
        if verb == PING:
            return Request(verb, servo)
        if len(data) < 3:
            return None
        address, rest = int.from_bytes(data[:2], "little"), data[2:]
        if verb == WRITE:
            return Request(verb, servo, address, len(rest), ((servo, rest),))
        size, rest = int.from_bytes(rest[:2], "little"), rest[2:]
        if verb == READ:
            return Request(verb, servo, address, size)
        if verb == SYNC_READ:
            return Request(verb, servo, address, size, tuple((one, b"") for one in rest))
        if verb == SYNC_WRITE:
            rows = [rest[at : at + size + 1] for at in range(0, len(rest), size + 1)]
            return Request(verb, servo, address, size, tuple((r[0], r[1:]) for r in rows if len(r) == size + 1))
        return None

    def answer(self, servo: int, error: int, data: bytes) -> bytes:
        """A status packet."""
        body = (bytes([0x55, error]) + data).replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
        frame = b"\xff\xff\xfd\x00" + bytes([servo]) + (len(body) + 2).to_bytes(2, "little") + body
        return frame + crc16(frame).to_bytes(2, "little")

    def alarm(self, bits: int) -> int:
        """The alert bit: what it is about stands in hardware_error."""
        return 0x80 if bits else 0


def crc16(data: bytes) -> int:
    """Polynomial x^16 + x^15 + x^2 + 1, start 0, most significant bit first."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


WIRES: dict[str, type[FeetechWire] | type[DynamixelWire]] = {"feetech": FeetechWire, "dynamixel": DynamixelWire}
