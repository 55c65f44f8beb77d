"""Dynamixel X-series servos over Protocol 2.0, through the maker's dynamixel-sdk.

Registers and model numbers: ROBOTIS e-Manual, control table of the X series (XL330, XC330, XL430, XC430, XM, XH),
Protocol 2.0, from memory but for Bus_Watchdog's page. Not tried on hardware yet.
4096 steps are a turn, signed numbers are two's complement, speed counts 0.229 rev/min. Bus_Watchdog (98) counts 20 ms:
a servo whose bus has been silent for that long stops and takes no goal until it is cleared.

The SDK times its packets by the wall clock, allows 34 ms an answer and spins while it waits; the port below uses the
monotonic clock, a deadline of our own, and waits in the kernel.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from hjepa.errors import nearest
from robots.real.servo import STEPS_TURN, BusCounts, PortError, ServoError, ServoInfo, ServoState, Tally

SPEED_STEPS_S = 0.229 * STEPS_TURN / 60.0  # one count of a speed register
WATCHDOG_S = 0.02  # one count of Bus_Watchdog
_POSITION_MODE = 3
_SLICE_S = 0.001
_WRITE_S = 0.1
_CRC_ERROR = 3
_STATUS = {
    1: "result fail",
    2: "instruction",
    3: "CRC",
    4: "data range",
    5: "data length",
    6: "data limit",
    7: "access",
}
HARDWARE = {1: "voltage", 4: "overheat", 8: "encoder", 16: "electrical shock", 32: "overload"}
MODELS = {
    **{1000: "XH430-W350", 1010: "XH430-W210", 1020: "XM430-W350", 1030: "XM430-W210", 1040: "XH430-V350"},
    **{1050: "XH430-V210", 1060: "XL430-W250", 1070: "XC430-W150", 1080: "XC430-W240", 1100: "XH540-W270"},
    **{1110: "XH540-W150", 1120: "XM540-W270", 1130: "XM540-W150", 1190: "XL330-M077", 1200: "XL330-M288"},
    **{1210: "XC330-T181", 1220: "XC330-T288", 1230: "XC330-M181", 1240: "XC330-M288"},
}


class Register(NamedTuple):
    """One entry of the control table."""

    address: int
    size: int
    signed: bool = False


REGISTERS = {
    "model": Register(0, 2),
    "firmware": Register(6, 1),
    "operating_mode": Register(11, 1),
    "max_voltage": Register(32, 2),  # 0.1 V
    "min_voltage": Register(34, 2),
    "max_position": Register(48, 4),
    "min_position": Register(52, 4),
    "torque_enable": Register(64, 1),
    "hardware_error": Register(70, 1),
    "bus_watchdog": Register(98, 1, True),  # 20 ms; 0 off; -1 it has tripped
    "profile_acceleration": Register(108, 4),
    "profile_velocity": Register(112, 4),
    "goal_position": Register(116, 4, True),
    "present_load": Register(126, 2, True),
    "present_velocity": Register(128, 4, True),
    "present_position": Register(132, 4, True),
    "present_voltage": Register(144, 2),
    "present_temperature": Register(146, 1),
}
_BLOCK_START, _BLOCK_SIZE = 126, 21  # load ... temperature
_HEALTH_START, _HEALTH_SIZE = 64, 35  # torque_enable ... bus_watchdog


class _Health(NamedTuple):
    torque_on: bool
    alarms: tuple[str, ...]


def register(name: str) -> Register:
    """Entry of the control table; ServoError lists the known names."""
    if name not in REGISTERS:
        raise ServoError(f"unknown register '{name}': {nearest(name, REGISTERS)}")
    return REGISTERS[name]


def _value(name: str, data: bytes, start: int) -> int:
    entry = REGISTERS[name]
    at = entry.address - start
    return int.from_bytes(data[at : at + entry.size], "little", signed=entry.signed)


def _open_port(sdk: Any, name: str, baud: int, timeout_s: float) -> Any:
    """The SDK's port with a monotonic clock, our deadline and reads that wait in the kernel."""

    class Port(sdk.PortHandler):
        patience_s = timeout_s

        def setPacketTimeout(self, packet_length: int) -> None:
            self.setPacketTimeoutMillis(1e3 * self.patience_s)

        def getCurrentTime(self) -> float:
            return 1e3 * time.monotonic()

        def clearPort(self) -> None:
            if self.ser.in_waiting:
                self.ser.read(self.ser.in_waiting)

    port = Port(name)
    if not port.setBaudRate(baud):
        raise PortError(f"baud rate is {baud}; allowed: one that dynamixel-sdk knows, such as 1000000")
    port.ser.timeout, port.ser.write_timeout = _SLICE_S, _WRITE_S
    return port


class DynamixelBus:
    """A chain of X-series servos on one serial port (see robots.real.servo.ServoBus)."""

    models = MODELS

    def __init__(self, port: str, baud: int = 1_000_000, timeout_s: float = 0.01, retries: int = 3) -> None:
        """timeout_s: for the answers to one request; retries: further ones to a single servo, each twice as patient."""
        self.port, self._baud, self._timeout_s, self._retries = port, baud, timeout_s, retries
        self._port: Any = None
        self._packets: Any = None
        self._tally = Tally()
        self._health: dict[int, _Health] = {}
        self._round = 0

    def open(self) -> None:
        """Open the port; ServoError says what to install, or why it cannot be opened."""
        try:
            import dynamixel_sdk as sdk
        except ModuleNotFoundError as missing:
            raise PortError("Dynamixel servos need dynamixel-sdk; allowed: pip install 'hjepa[servo]'") from missing
        try:
            self._port = _open_port(sdk, self.port, self._baud, self._timeout_s)
        except (OSError, ValueError) as error:
            raise PortError(f"serial port '{self.port}': {error}; allowed: a servo adaptor's port") from error
        self._packets = sdk.PacketHandler(2.0)
        self._health = {}

    def close(self) -> None:
        """Close the port; a second close does nothing."""
        if self._port is not None:
            self._port.closePort()
            self._port = None

    def counts(self) -> BusCounts:
        """What has passed over the bus."""
        return self._tally.counts()

    def ping(self, servo: int) -> bool:
        """True if the servo answers."""
        try:
            self.read(servo, "model")
        except PortError:
            raise
        except ServoError:
            return False
        return True

    def info(self, servo: int) -> ServoInfo:
        """Model, mode and own limits."""
        return ServoInfo(
            model=self.read(servo, "model"),
            position_mode=self.read(servo, "operating_mode") == _POSITION_MODE,
            min_steps=self.read(servo, "min_position"),
            max_steps=self.read(servo, "max_position"),
            min_v=0.1 * self.read(servo, "min_voltage"),
            max_v=0.1 * self.read(servo, "max_voltage"),
            firmware=self.read(servo, "firmware"),
        )

    def prepare(self, servo: int, speed_steps_s: float, watchdog_s: float) -> None:
        """Clear a tripped watchdog, set it and read it back; speed limit of the servo's own ramp."""
        counts = max(1, min(127, round(watchdog_s / WATCHDOG_S)))
        self.write(servo, "bus_watchdog", 0)
        self.write(servo, "profile_acceleration", 0)  # as steep as it can: ours is the ramp that is followed
        self.write(servo, "profile_velocity", max(1, round(speed_steps_s / SPEED_STEPS_S)))
        self.write(servo, "bus_watchdog", counts)

    def state(self, servos: list[int]) -> dict[int, ServoState]:
        """One sync read, a second one for those not heard, and a look at one servo's health in turn."""
        got = self._sync_read(servos)
        missing = [servo for servo in servos if servo not in got]
        if missing:
            self._tally.retries += 1
            got |= self._sync_read(missing)
        self._round += 1
        patrolled = servos[self._round % len(servos)]
        for servo in got:
            if servo == patrolled or servo not in self._health or (got[servo][0] & 0x80):
                self._look_after(servo)
        health = self._health  # a servo that was never looked at counts as not heard
        return {servo: _state(data, health[servo]) for servo, (_, data) in got.items() if servo in health}

    def write_goals(self, goals: dict[int, int]) -> None:
        """One sync write."""
        if not goals:
            return
        entry = REGISTERS["goal_position"]
        rows = [b for servo, steps in goals.items() for b in (servo, *steps.to_bytes(4, "little", signed=True))]
        self._call(self._packets.syncWriteTxOnly, self._open(), entry.address, entry.size, rows, len(rows))
        self._tally.requests += 1

    def write_goal(self, servo: int, steps: int) -> None:
        """Goal position, read back."""
        self.write(servo, "goal_position", steps)

    def torque(self, servo: int, on: bool) -> None:
        """Switch the motor, read back."""
        self.write(servo, "torque_enable", int(on))
        self._health.pop(servo, None)

    def rest(self, servo: int) -> None:
        """End the watchdog."""
        self.write(servo, "bus_watchdog", 0)

    def read(self, servo: int, name: str) -> int:
        """A register's number."""
        entry = register(name)
        return _value(name, self._read(servo, entry.address, entry.size, name), entry.address)

    def write(self, servo: int, name: str, value: int) -> None:
        """Write a register and read it back; ServoError if it then holds something else."""
        entry = register(name)
        data = list(value.to_bytes(entry.size, "little", signed=entry.signed))

        def attempt() -> tuple[int, int]:
            write = self._packets.writeTxRx
            result, error = self._call(write, self._open(), servo, entry.address, entry.size, data)
            return result, error

        self._attempts(servo, attempt, f"a write of {name}")
        kept = self.read(servo, name)
        if kept != value:
            raise ServoError(f"servo {servo} keeps {name} = {kept}; allowed: {value}, as written")

    # packets

    def _read(self, servo: int, address: int, size: int, what: str) -> bytes:
        data = b""

        def attempt() -> tuple[int, int]:
            nonlocal data
            got, result, error = self._call(self._packets.readTxRx, self._open(), servo, address, size)
            data = bytes(got)
            whole = len(data) == size or error & 0x7F
            return (result if whole else -1), error

        self._attempts(servo, attempt, f"a read of {what}")
        return data

    def _attempts(self, servo: int, attempt: Any, what: str) -> None:
        """Repeat until there is a good answer; ServoError if there is none, or the servo refuses."""
        for k in range(self._retries + 1):
            self._tally.retries += k > 0
            self._tally.requests += 1
            port = self._open()
            port.patience_s = self._timeout_s * 2**k
            result, error = attempt()
            port.patience_s = self._timeout_s
            if not self._good(result):
                continue
            reason = error & 0x7F
            if reason == 0:
                return
            if reason != _CRC_ERROR:
                name = _STATUS.get(reason, str(reason))
                raise ServoError(f"servo {servo} refused {what}: {name} error; allowed: no error")
            self._tally.corrupt += 1
        raise ServoError(
            f"servo {servo} did not answer {what} ({self._retries + 1} attempts); allowed: an answer within "
            f"{1e3 * self._timeout_s * 2**self._retries:.0f} ms (check id, baud rate {self._baud}, cable and supply)"
        )

    def _good(self, result: int) -> bool:
        """Count an answer; SDK results: 0 good, -3001 silent, anything else damaged."""
        self._tally.replies += result == 0
        self._tally.silent += result != 0
        self._tally.corrupt += result not in (0, -3001)
        return result == 0

    def _sync_read(self, servos: list[int]) -> dict[int, tuple[int, bytes]]:
        """(error, data) of those that answered, in whatever order."""
        port, got = self._open(), dict[int, tuple[int, bytes]]()
        self._tally.requests += 1
        self._call(self._packets.syncReadTx, port, _BLOCK_START, _BLOCK_SIZE, servos, len(servos), False)
        deadline = time.monotonic() + self._timeout_s
        while len(got) < len(servos):
            packet, result = self._call(self._packets.rxPacket, port, False)
            # the length in the header, not the list's: the SDK leaves bytes behind where it has removed stuffing
            if result == 0 and packet[5] + 256 * packet[6] == _BLOCK_SIZE + 4 and packet[4] in servos:
                got[packet[4]] = (packet[8], bytes(packet[9 : 9 + _BLOCK_SIZE]))
            elif result != -3001:
                self._tally.corrupt += 1
            if time.monotonic() >= deadline:
                break
        self._tally.replies += len(got)
        self._tally.silent += len(servos) - len(got)
        return got

    def _look_after(self, servo: int) -> None:
        """Torque, hardware error and watchdog of one servo, in one attempt: the next round is soon."""
        port = self._open()
        self._tally.requests += 1
        got, result, _ = self._call(self._packets.readTxRx, port, servo, _HEALTH_START, _HEALTH_SIZE)
        if self._good(result) and len(got) == _HEALTH_SIZE:
            data = bytes(got)
            error = _value("hardware_error", data, _HEALTH_START)
            alarms = tuple(name for bit, name in HARDWARE.items() if error & bit)
            if _value("bus_watchdog", data, _HEALTH_START) < 0:
                alarms += ("bus watchdog",)
            self._health[servo] = _Health(_value("torque_enable", data, _HEALTH_START) != 0, alarms)

    def _call(self, verb: Any, *arguments: Any) -> Any:
        try:
            return verb(*arguments)
        except OSError as error:
            raise PortError(f"serial port '{self.port}' failed: {error}; allowed: a connected adaptor") from error

    def _open(self) -> Any:
        if self._port is None:
            raise PortError("servo bus is not open; allowed: open() first")
        return self._port


def _state(data: bytes, health: _Health) -> ServoState:
    return ServoState(
        position_steps=_value("present_position", data, _BLOCK_START),
        speed_steps_s=SPEED_STEPS_S * _value("present_velocity", data, _BLOCK_START),
        load=_value("present_load", data, _BLOCK_START) / 1000.0,
        voltage_v=0.1 * _value("present_voltage", data, _BLOCK_START),
        temperature_c=float(_value("present_temperature", data, _BLOCK_START)),
        torque_on=health.torque_on,
        alarms=health.alarms,
    )
