"""An emulated Universal Robots controller: RTDE (30004), script port (30003) and dashboard (29999).

Enough for an RTDE v2 client (ours, or the public library ur-rtde) to connect, upload a control program and stream
servoj. Written from Universal Robots' "RTDE guide" and "Dashboard server" pages. A frame is: size uint16, type
uint8, payload, big-endian. The joints are kinematic (see `joints`).

The ports are fixed by the maker, so every emulator has a loopback address of its own (127.x.y.z, Linux).
Legend: J = 6 joints.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import numpy as np

from hjepa.errors import RobotError
from hjepa.types import RobotSpec
from robots.emulators.joints import Joints
from robots.emulators.tcp_server import Line, TcpServer
from robots.emulators.ur_program import Program, Registers, load_program

RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT = 30004, 30003, 29999
_NORMAL, _PROTECTIVE, _EMERGENCY = 1, 3, 7  # safety_mode
_SAFETY_BITS = {_NORMAL: 1, _PROTECTIVE: 1 << 2 | 1 << 10, _EMERGENCY: 1 << 6 | 1 << 7 | 1 << 10}
_FORMATS = {"DOUBLE": "d", "VECTOR6D": "6d", "UINT32": "I", "INT32": "i", "UINT64": "Q", "UINT8": "B", "BOOL": "?"}
_OUTPUTS = {
    "timestamp": "DOUBLE", "actual_q": "VECTOR6D", "actual_qd": "VECTOR6D", "target_q": "VECTOR6D",
    "target_qd": "VECTOR6D", "robot_mode": "INT32", "safety_mode": "INT32", "robot_status_bits": "UINT32",
    "safety_status_bits": "UINT32", "runtime_state": "UINT32", "speed_scaling": "DOUBLE",
    "actual_execution_time": "DOUBLE",
}  # fmt: skip


class Knobs(NamedTuple):
    """What is wrong with the robot or the line to it."""

    drop: float = 0.0  # share of state packages that are never sent
    delay_s: float = 0.0  # every package to the client is this late
    corrupt: float = 0.0  # share of state packages with one bit flipped
    mute: bool = False  # connected, but nothing is sent nor taken any more: a pulled cable
    deaf_watchdog: bool = False  # the control program does not answer when a watchdog is asked for
    wrong_version: bool = False  # protocol version 2 is refused, as by an old controller
    servo_lag_s: float | None = None  # None: servoJ's look-ahead time


HEALTHY = Knobs()


class _Session:
    """What an RTDE client has asked for."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.inputs: list[list[str]] = []  # recipes, the first has id 1
        self.period_s = 0.002
        self.next_s = 0.0
        self.started = False


class UrEmulator:
    """A controller with an arm, in a thread of its own, from `start` to `close`."""

    def __init__(
        self, spec: RobotSpec, *, host: str = "", rate_hz: float = 500.0, knobs: Knobs = HEALTHY, seed: int = 0
    ) -> None:
        """host: loopback address to listen on; '': one that no other emulator uses."""
        if spec.joints != 6:
            raise RobotError(f"{spec.name} has {spec.joints} joints; allowed here: 6")
        self.spec, self.host, self.knobs, self._dt_s = spec, host, knobs, 1.0 / rate_hz
        self.joints = Joints(spec.q_home_rad, spec.dq_max_rad_s, spec.ddq_max_rad_s2)
        self.registers = Registers()
        self.program: Program | None = None  # the control program that runs
        self.stopped_by = ""  # why the last program ended: '', 'watchdog', 'client', 'safety'
        self.stopped_at_ns = 0  # and when, monotonic
        self._safety = _NORMAL
        self._rng = np.random.default_rng(seed)
        self._began_s = time.monotonic()
        ports = (RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT)
        self._server = TcpServer(ports, self._dt_s, opened=self._opened, take=self._take, tick=self._tick)

    # life cycle

    def start(self) -> None:
        """Listen and let time run."""
        self.host = self._server.start(self.host)

    def close(self) -> None:
        """Power off: connections end; a second close does nothing."""
        self._server.close()

    def __enter__(self) -> UrEmulator:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # what a person, or the world, does to the robot

    def protective_stop(self) -> None:
        """As after a collision: brake, end the program, refuse to move until `unlock`."""
        self._trip(_PROTECTIVE)

    def emergency_stop(self) -> None:
        """As when the red button is pressed."""
        self._trip(_EMERGENCY)

    def unlock(self) -> None:
        """Someone has looked and allows motion again."""
        with self._server.lock:
            self._safety = _NORMAL

    def cut(self) -> None:
        """Reset every connection, as when the network goes away."""
        self._server.cut()

    def set_knobs(self, **changes: float | bool | None) -> None:
        """Switch faults on or off while running."""
        with self._server.lock:
            self.knobs = self.knobs._replace(**changes)  # type: ignore[arg-type]

    # the server's thread

    def _opened(self, line: Line) -> None:
        line.state = _Session()
        if line.port == DASHBOARD_PORT:
            line.post(b"Connected: Universal Robots Dashboard Server\n", self.knobs.delay_s)

    def _take(self, line: Line) -> None:
        if self.knobs.mute:
            line.unread = b""
            return
        take = {RTDE_PORT: self._take_rtde, SCRIPT_PORT: self._take_script, DASHBOARD_PORT: self._take_dashboard}
        take[line.port](line)

    def _tick(self, now_s: float) -> None:
        program = self.program
        if program is not None:
            ended = program.step(self.registers, now_s)
            if ended:
                self._end(ended)
        target = self.program.target_rad if self.program is not None else None
        if target is None or self._safety != _NORMAL:
            self.joints.brake(self._dt_s)
        else:
            lag = self.program.lag_s if self.program and self.knobs.servo_lag_s is None else self.knobs.servo_lag_s
            self.joints.chase(target, self._dt_s, lag or 0.0)
        for line in self._server.lines:
            session = _session(line)
            if self.knobs.mute:
                line.drop()
            elif session.started and now_s >= session.next_s - 1e-4:
                session.next_s = max(session.next_s + session.period_s, now_s)
                self._publish(line, session, now_s)

    def _trip(self, safety: int) -> None:
        with self._server.lock:
            self._safety = safety
            if self.program is not None:
                self._end("safety")

    def _end(self, why: str) -> None:
        self.program, self.stopped_by, self.stopped_at_ns = None, why, time.monotonic_ns()

    # towards the client

    def _frame(self, line: Line, kind: bytes, payload: bytes) -> None:
        line.post(struct.pack(">HB", 3 + len(payload), kind[0]) + payload, self.knobs.delay_s)

    def _publish(self, line: Line, session: _Session, now_s: float) -> None:
        if self.knobs.drop and self._rng.random() < self.knobs.drop:
            return
        payload = bytearray(struct.pack(">B", 1))
        for name in session.outputs:
            kind = _output_type(name)
            value = self._value(name, now_s)
            payload += struct.pack(">" + _FORMATS[kind], *(value if kind == "VECTOR6D" else (value,)))  # type: ignore[misc]
        if self.knobs.corrupt and self._rng.random() < self.knobs.corrupt:
            payload[self._rng.integers(1, len(payload))] ^= 1 << int(self._rng.integers(8))
        self._frame(line, b"U", bytes(payload))

    def _value(self, name: str, now_s: float) -> object:
        if name in self.registers.outputs:
            return self.registers.outputs[name]
        target = self.program.target_rad if self.program else None
        return {
            "timestamp": now_s - self._began_s,
            "actual_q": self.joints.q_rad,
            "actual_qd": self.joints.dq_rad_s,
            "target_q": self.joints.q_rad if target is None else target,
            "target_qd": self.joints.dq_rad_s,
            "robot_mode": 7,
            "safety_mode": self._safety,
            "robot_status_bits": 1 | (2 if self.program is not None else 0),
            "safety_status_bits": _SAFETY_BITS[self._safety],
            "runtime_state": 2 if self.program is not None else 1,
            "speed_scaling": 1.0,
        }.get(name, 0.0 if _output_type(name) == "DOUBLE" else 0)

    # from the client

    def _take_rtde(self, line: Line) -> None:
        while len(line.unread) >= 3:
            size, kind = struct.unpack_from(">HB", line.unread)
            if size < 3:
                line.unread = b""  # no frame is shorter than its header
                return
            if len(line.unread) < size:
                return
            payload, line.unread = line.unread[3:size], line.unread[size:]
            handler = self._handlers().get(chr(kind))
            if handler is not None:
                handler(line, payload)

    def _handlers(self) -> dict[str, Callable[[Line, bytes], None]]:
        return {
            "V": lambda c, p: self._frame(c, b"V", bytes([p == b"\0\2" and not self.knobs.wrong_version])),
            "v": lambda c, p: self._frame(c, b"v", struct.pack(">4I", 5, 12, 0, 0)),
            "O": self._setup_outputs,
            "I": self._setup_inputs,
            "S": lambda c, p: self._switch(c, b"S", True),
            "P": lambda c, p: self._switch(c, b"P", False),
            "U": self._take_inputs,
        }

    def _switch(self, line: Line, kind: bytes, on: bool) -> None:
        _session(line).started = on and bool(_session(line).outputs)
        self._frame(line, kind, bytes([_session(line).started == on]))

    def _setup_outputs(self, line: Line, payload: bytes) -> None:
        if len(payload) < 8:
            return
        (rate,) = struct.unpack_from(">d", payload)
        _session(line).period_s = 1.0 / min(max(rate, 1.0), 1.0 / self._dt_s) if np.isfinite(rate) else self._dt_s
        names = payload[8:].decode("ascii", "replace").rstrip(",").split(",")
        kinds = [_output_type(name) for name in names]
        _session(line).outputs = names if "NOT_FOUND" not in kinds else []
        self._frame(line, b"O", bytes([1 if _session(line).outputs else 0]) + ",".join(kinds).encode())

    def _setup_inputs(self, line: Line, payload: bytes) -> None:
        names = payload.decode("ascii", "replace").rstrip(",").split(",")
        kinds = [self.registers.type_of(name) for name in names]
        good = "NOT_FOUND" not in kinds
        _session(line).inputs.append(names if good else [])
        self._frame(line, b"I", bytes([len(_session(line).inputs) if good else 0]) + ",".join(kinds).encode())

    def _take_inputs(self, line: Line, payload: bytes) -> None:
        recipe = payload[0] if payload else 0
        if not 1 <= recipe <= len(_session(line).inputs):
            return
        names = _session(line).inputs[recipe - 1]
        form = ">" + "".join(_FORMATS[self.registers.type_of(name)] for name in names)
        if len(payload) - 1 == struct.calcsize(form):
            values = struct.unpack_from(form, payload, 1)
            self.registers.take(dict(zip(names, values)), time.monotonic())

    def _take_script(self, line: Line) -> None:
        text = line.unread.decode("utf-8", "replace")
        if text.rstrip().endswith("end") and "def " in text:
            line.unread = b""
            if self._safety == _NORMAL:
                self.program = load_program(text, self.knobs.deaf_watchdog)
                self.stopped_by = ""

    def _take_dashboard(self, line: Line) -> None:
        while b"\n" in line.unread:
            text, line.unread = line.unread.split(b"\n", 1)
            asked = text.decode("ascii", "replace").strip().lower()
            running = self.program is not None
            if asked == "stop" and running:
                self._end("client")
            answer = {
                "get serial number": "20195500000",
                "polyscopeversion": "URSoftware 5.12.0.0 (emulated)",
                "is in remote control": "true",
                "running": f"Program running: {str(running).lower()}",
                "stop": "Stopped",
                "robotmode": "Robotmode: RUNNING",
                "safetystatus": f"Safetystatus: {'NORMAL' if self._safety == _NORMAL else 'STOPPED'}",
            }.get(asked, f"could not understand: '{asked}'")
            line.post(answer.encode() + b"\n", self.knobs.delay_s)


def _output_type(name: str) -> str:
    if name.startswith("output_int_register_"):
        return "INT32"
    if name.startswith("output_double_register_"):
        return "DOUBLE"
    return _OUTPUTS.get(name, "NOT_FOUND")


def _session(line: Line) -> _Session:
    assert isinstance(line.state, _Session)
    return line.state
