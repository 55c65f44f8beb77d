"""A chain of serial servos behind a pseudo-terminal, for a driver to be pointed at, with faults to switch on.

    with ServoBusEmulator("feetech", {1: 2048, 2: 1024}) as bus:
        arm = ServoArm(spec, port=bus.port, ids=(1, 2))

A servo follows its goal like a critically damped spring of 60 rad/s within its speed limit (a ramp is followed 33 ms
late); it has no load. Positions in steps, 4096 a turn.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from types import TracebackType

import numpy as np

from hjepa.errors import RobotError, nearest
from robots.emulators.servo_wires import (
    EVERYBODY,
    PING,
    READ,
    SYNC_READ,
    SYNC_WRITE,
    WIRES,
    WRITE,
    Field,
    Request,
    Wire,
)

_STIFF_1_S = 60.0
_SUBSTEP_S = 0.002
_FASTEST_STEPS_S = 3413.0  # 50 rev/min: a servo without a speed limit of its own
_RESET_V = 4.5  # below, a servo's processor starts again: torque off
_ACCESS_ERROR = 7
_WATCHDOG_S = 0.02


class EmulatedServo:
    """Memory and motion of one servo. Everything is read and written through its registers."""

    def __init__(self, wire: Wire, servo: int, position_steps: float, now_s: float) -> None:
        self.wire, self.servo = wire, servo
        self.memory = bytearray(256)
        self.frozen: dict[int, int] = {}  # address: value that it keeps whatever is written
        self.stuck = False
        self.alarm_bits = 0  # 1 voltage, 4 overheat, 32 overload
        self.position, self.speed = float(position_steps), 0.0
        self._now_s = self._heard_s = now_s
        for name, value in {**wire.defaults, "id": servo, "voltage": 74, "goal": round(position_steps)}.items():
            self.set(name, value)
        self._present()

    def get(self, name: str) -> int:
        """A register by name; RobotError lists the names."""
        return self._field(name).get(self.memory)

    def set(self, name: str, value: int) -> None:
        """Set a register by name, as no driver could."""
        self._field(name).put(self.memory, value)

    def advance(self, now_s: float) -> None:
        """Move until now."""
        dt = now_s - self._now_s
        self._now_s = now_s
        self._bark(now_s)
        limit = self.get("speed_limit") * self.wire.speed_unit or _FASTEST_STEPS_S
        while dt > 0:
            h = min(dt, _SUBSTEP_S)
            dt -= h
            gap = self.get("goal") - self.position
            if not self.get("torque") or self.stuck:
                self.speed = 0.0
                break
            if abs(gap) < 0.01 and abs(self.speed) < 0.1:
                self.position, self.speed = self.position + gap, 0.0
                break
            self.speed += h * _STIFF_1_S * (_STIFF_1_S * gap - 2.0 * self.speed)
            self.speed = min(max(self.speed, -limit), limit)
            self.position += h * self.speed
        self._present()

    def write(self, address: int, data: bytes) -> int:
        """Take bytes from the bus; the error number of Protocol 2.0 (0: done)."""
        fields, protocol_2 = self.wire.fields, "watchdog" in self.wire.fields
        end = address + len(data)
        if protocol_2 and address < self.wire.eeprom_end and self.get("torque"):
            return _ACCESS_ERROR
        goal = fields["goal"]
        if protocol_2 and self.get("watchdog") < 0 and address < goal.address + goal.size and end > goal.address:
            return _ACCESS_ERROR
        self.memory[address:end] = data
        for at, kept in self.frozen.items():
            self.memory[at] = kept
        return 0

    def read(self, address: int, size: int) -> bytes:
        """Bytes for the bus."""
        return bytes(self.memory[address : address + size])

    def hear(self, now_s: float) -> None:
        """An instruction packet has passed: the watchdog is content."""
        self._heard_s = now_s

    def reset(self) -> None:
        """What a processor does that starts again: torque off, nothing remembered but the EEPROM."""
        for name in ("torque", "speed_limit", *(["watchdog"] if "watchdog" in self.wire.fields else [])):
            self.set(name, 0)
        self.set("goal", round(self.position))

    @property
    def error(self) -> int:
        """Error byte of its answers now."""
        low = self.get("voltage") < self.get("min_voltage")
        bits = self.alarm_bits | (1 if low else 0)
        if "hardware_error" in self.wire.fields:
            self.set("hardware_error", bits)
        return self.wire.alarm(bits)

    def _bark(self, now_s: float) -> None:
        if "watchdog" in self.wire.fields and self.get("torque"):
            allowed = self.get("watchdog") * _WATCHDOG_S
            if allowed > 0 and now_s - self._heard_s > allowed:
                self.set("watchdog", -1)
                self.set("goal", round(self.position))

    def _present(self) -> None:
        self.set("position", round(self.position))
        self.set("speed", round(self.speed / self.wire.speed_unit))

    def _field(self, name: str) -> Field:
        if name not in self.wire.fields:
            raise RobotError(f"unknown register '{name}': {nearest(name, self.wire.fields)}")
        return self.wire.fields[name]


class ServoBusEmulator:
    """Servos on a pseudo-terminal. The knobs are plain attributes and may be turned at any time."""

    def __init__(self, protocol: str, positions_steps: dict[int, float], seed: int = 0) -> None:
        """protocol: 'feetech' or 'dynamixel'; positions: where each servo (by id) stands at the start."""
        if protocol not in WIRES:
            raise RobotError(f"unknown servo protocol '{protocol}': {nearest(protocol, WIRES)}")
        self.wire: Wire = WIRES[protocol]()
        self.drop = 0.0  # share of answers that are never sent
        self.corrupt = 0.0  # share of answers, and of requests, that are damaged on the way
        self.delay_s = 0.0  # before every answer
        self.silent: set[int] = set()  # servos that do not answer at all
        self.served = 0  # requests understood
        self.damaged = 0  # packets damaged on purpose, or not understood
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._servos = {one: EmulatedServo(self.wire, one, at, time.monotonic()) for one, at in positions_steps.items()}
        self._thread: threading.Thread | None = None
        self.port = ""

    def start(self) -> str:
        """Begin to answer; path of the port to connect to."""
        if self._thread is not None:
            raise RobotError("servo bus runs already; allowed: close() first")
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._wake_r, self._wake_w = os.pipe()
        self._stop = threading.Event()
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, name="hjepa-servo-bus", daemon=True)
        self._thread.start()
        return self.port

    def close(self) -> None:
        """Pull the plug; a second close does nothing."""
        if self._thread is None:
            return
        self._stop.set()
        os.write(self._wake_w, b"x")
        self._thread.join()
        self._thread = None
        for end in (self._master, self._slave, self._wake_r, self._wake_w):
            os.close(end)

    def __enter__(self) -> ServoBusEmulator:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # knobs on one servo

    def stick(self, servo: int, stuck: bool = True) -> None:
        """A joint that does not move whatever it is told."""
        with self._lock:
            self._servo(servo).stuck = stuck

    def alarm(self, servo: int, bits: int) -> None:
        """Error bits that its answers carry: 1 voltage, 4 overheat, 32 overload."""
        with self._lock:
            self._servo(servo).alarm_bits = bits

    def brown_out(self, volts: float) -> None:
        """Supply voltage of all from now on; below 4.5 V they start again with torque off."""
        with self._lock:
            for one in self._servos.values():
                one.advance(time.monotonic())
                one.set("voltage", round(10 * volts))
                if volts < _RESET_V:
                    one.reset()

    def get(self, servo: int, name: str) -> int:
        """A register of a servo, by name, as it is now."""
        with self._lock:
            one = self._servo(servo)
            one.advance(time.monotonic())
            return one.get(name)

    def set(self, servo: int, name: str, value: int) -> None:
        """Set a register of a servo, by name."""
        with self._lock:
            self._servo(servo).set(name, value)

    def freeze(self, servo: int, name: str) -> None:
        """A register that keeps its value: writes to it are acknowledged and forgotten."""
        with self._lock:
            one = self._servo(servo)
            field = one.wire.fields[name]
            span = range(field.address, field.address + field.size)
            one.frozen |= {at: one.memory[at] for at in span}

    def _servo(self, servo: int) -> EmulatedServo:
        if servo not in self._servos:
            raise RobotError(f"no emulated servo {servo}; allowed: {sorted(self._servos)}")
        return self._servos[servo]

    # the thread

    def _run(self) -> None:
        buffer = bytearray()
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master, self._wake_r], [], [])
            if self._wake_r in ready:
                return
            buffer += os.read(self._master, 4096)
            for request in self.wire.requests(buffer):
                with self._lock:
                    damaged = request is None or self._rng.random() < self.corrupt
                    self.damaged += damaged
                    answers = [] if request is None or damaged else self._serve(request)
                if answers and self.delay_s > 0 and self._stop.wait(self.delay_s):
                    return
                for answer in answers:
                    self._send(answer)

    def _serve(self, request: Request) -> list[bytes]:
        self.served += 1
        now = time.monotonic()
        for one in self._servos.values():
            one.advance(now)
            one.hear(now)
        targets = [request.servo] if request.servo != EVERYBODY else [servo for servo, _ in request.items]
        answers = []
        for servo in targets:
            if servo not in self._servos or servo in self.silent:
                continue
            answer = self._one(self._servos[servo], request)
            if answer is not None:
                answers.append(answer)
        return answers

    def _one(self, one: EmulatedServo, request: Request) -> bytes | None:
        if request.verb == PING:
            data = one.read(0, 2) + b"\x2a" if "watchdog" in one.wire.fields else b""
            return one.wire.answer(one.servo, one.error, data)
        if request.verb in (READ, SYNC_READ):
            error = one.error  # also brings the hardware error register up to date
            return one.wire.answer(one.servo, error, one.read(request.address, request.size))
        if request.verb == WRITE:
            refused = one.write(request.address, request.items[0][1])
            return one.wire.answer(one.servo, one.error | refused, b"")
        if request.verb == SYNC_WRITE:
            one.write(request.address, dict(request.items)[one.servo])
        return None

    def _send(self, answer: bytes) -> None:
        if self._rng.random() < self.drop:
            return
        if self._rng.random() < self.corrupt:
            answer = self._damage(answer)
            self.damaged += 1
        try:
            os.write(self._master, answer)
        except BlockingIOError:
            self.damaged += 1  # nobody reads: as on a real line, it is gone

    def _damage(self, answer: bytes) -> bytes:
        """One flipped bit, or cut short, or a byte too many."""
        at = int(self._rng.integers(len(answer)))
        kind = int(self._rng.integers(3))
        if kind == 0:
            return answer[:at] + bytes([answer[at] ^ 1 << int(self._rng.integers(8))]) + answer[at + 1 :]
        if kind == 1:
            return answer[:at]
        return answer[:at] + bytes([int(self._rng.integers(256))]) + answer[at:]
