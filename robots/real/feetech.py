"""A chain of Feetech STS/SMS servos on a serial port (packets and registers: feetech_wire).

Nothing here writes the servos' EEPROM (addresses below 40): ids, ranges and offsets are set with the maker's tool. The
adaptor must not echo what is sent (the usual half-duplex boards do not).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from robots.real.feetech_wire import (
    MODELS,
    PING,
    REGISTERS,
    Status,
    StatusParser,
    alarms,
    from_bytes,
    packet,
    read_packet,
    register,
    sync_read_packet,
    sync_write_packet,
    to_bytes,
    write_packet,
)
from robots.real.servo import BusCounts, PortError, ServoError, ServoInfo, ServoState, Tally

_SLICE_S = 0.001  # a read waits this long at most before the deadline is looked at
_WRITE_S = 0.1
_WRITES = 2  # a damaged packet may pass its checksum: only what is read back twice as something else is refused
_BLOCK = ("torque_enable", "present_temperature")  # what `state` reads in one go: 24 bytes from 40 on
_BLOCK_START = REGISTERS[_BLOCK[0]].address
_BLOCK_SIZE = REGISTERS[_BLOCK[1]].address + REGISTERS[_BLOCK[1]].size - _BLOCK_START


class FeetechBus:
    """A chain of STS/SMS servos on one serial port (see robots.real.servo.ServoBus)."""

    models = MODELS

    def __init__(self, port: str, baud: int = 1_000_000, timeout_s: float = 0.01, retries: int = 3) -> None:
        """timeout_s: for the answers to one request; retries: further ones to a single servo, each twice as patient."""
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
        got = self._states(servos)
        missing = [servo for servo in servos if servo not in got]
        if missing:
            self._tally.retries += 1
            got |= self._states(missing)
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
            got = self._exchange(request, [servo], size, self._timeout_s * 2**attempt)
            if servo in got:
                return got[servo]
        raise ServoError(
            f"servo {servo} did not answer {what} ({self._retries + 1} attempts); allowed: an answer within "
            f"{1e3 * self._timeout_s * 2**self._retries:.0f} ms (check id, baud rate {self._baud}, cable and supply)"
        )

    def _states(self, servos: list[int]) -> dict[int, Status]:
        request = sync_read_packet(servos, _BLOCK_START, _BLOCK_SIZE)
        return self._exchange(request, servos, _BLOCK_SIZE, self._timeout_s)

    def _exchange(self, request: bytes, servos: Sequence[int], size: int, patience_s: float) -> dict[int, Status]:
        """Send a request, collect the answers of `servos` with `size` bytes each until all are there or time is up."""
        port, parser = self._port(), StatusParser(size)
        got: dict[int, Status] = {}
        try:
            if port.in_waiting:
                port.read(port.in_waiting)  # late answers to an earlier request
            self._send(request)
            deadline = time.monotonic() + patience_s
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
