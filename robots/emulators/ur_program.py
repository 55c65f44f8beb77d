"""Control programs that the emulated controller can run: servo streaming in two dialects, told apart by their text.

`RegisterProgram`: a program of the form that our driver sends; which registers carry what, the watchdog and the
servoj arguments are parsed out of the text. `UrRtdeProgram`: the script that the public library ur-rtde (1.6) uploads:
a command number in input_int_register_0, arguments in input_double_register_*, answers in output_int_register_0 (1
ready, 2 done); only what servo streaming needs.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np

from hjepa.types import Array

_NONE, _SERVO_J, _SERVO_STOP, _KICK, _WATCHDOG, _STOP = 0, 11, 16, 24, 35, 255
_STREAMED = {_SERVO_J, _KICK}  # answered with "ready" at once, again and again
_READY, _DONE = 1, 2
_NUMBER = r"([-+0-9.eE]+)"


class Registers:
    """The general purpose registers between client and program."""

    def __init__(self) -> None:
        self.inputs: dict[str, float] = {}
        self.outputs: dict[str, float] = {f"output_int_register_{k}": 0 for k in range(48)}
        self.outputs |= {f"output_double_register_{k}": 0.0 for k in range(48)}
        self.written_s: dict[str, float] = {}  # when each input register was written last

    @staticmethod
    def type_of(name: str) -> str:
        """RTDE type of an input register, NOT_FOUND for any other name."""
        stem, _, number = name.rpartition("_")
        kinds = {"input_int_register": "INT32", "input_double_register": "DOUBLE"}
        return kinds.get(stem, "NOT_FOUND") if number.isdigit() and int(number) < 48 else "NOT_FOUND"

    def take(self, values: dict[str, float], now_s: float) -> None:
        """Write input registers."""
        self.inputs |= values
        self.written_s |= dict.fromkeys(values, now_s)

    def integer(self, k: int) -> int:
        """Input integer register k."""
        return int(self.inputs.get(f"input_int_register_{k}", 0))

    def doubles(self, numbers: list[int]) -> Array:
        """Input double registers."""
        return np.array([self.inputs.get(f"input_double_register_{k}", 0.0) for k in numbers])


class Program(Protocol):
    """A running program."""

    target_rad: Array | None  # (6,) what servoj chases
    lag_s: float
    watchdog_s: float | None  # a longer silence of the watched register ends the program

    def step(self, registers: Registers, now_s: float) -> str:
        """One control cycle; why the program ended, or ''."""
        ...


def load_program(text: str, deaf_watchdog: bool) -> Program | None:
    """The program that a script is, None for one that this emulator does not understand.

    deaf_watchdog: the watchdog is neither set nor confirmed.
    """
    if "def rtde_control(" in text:
        return UrRtdeProgram(deaf_watchdog)
    if "servoj(" in text and "rtde_set_watchdog(" in text:
        return RegisterProgram(text, deaf_watchdog)
    return None


class _Watched:
    """What both dialects share: a set-point and a watchdog on one register."""

    def __init__(self, register: str) -> None:
        self.target_rad: Array | None = None
        self.lag_s = 0.1
        self.watchdog_s: float | None = None
        self._register = register
        self._since_s: float | None = None  # when the watchdog was set

    def _starved(self, registers: Registers, now_s: float) -> bool:
        if self.watchdog_s is None:
            return False
        if self._since_s is None:
            self._since_s = now_s
        written = max(registers.written_s.get(self._register, self._since_s), self._since_s)
        return now_s - written > self.watchdog_s


class RegisterProgram(_Watched):
    """servoj from registers: a beat (0 keep still, > 0 follow, < 0 end) and six set-points."""

    def __init__(self, text: str, deaf_watchdog: bool = False) -> None:
        watched = re.search(rf'rtde_set_watchdog\("(\w+)", {_NUMBER}, "stop"\)', text)
        super().__init__(watched.group(1) if watched else "")
        if watched and not deaf_watchdog:
            self.watchdog_s = 1.0 / float(watched.group(2))
        lag = re.search(rf"lookahead_time={_NUMBER}", text)
        self.lag_s = float(lag.group(1)) if lag else 0.1
        self._beat = int(self._register.rpartition("_")[2] or 0)
        self._targets = [int(k) for k in re.findall(r"read_input_float_register\((\d+)\)", text)][:6]
        writes = re.findall(rf"write_output_(integer|float)_register\((\d+), {_NUMBER}\)", text)
        self._told = {
            f"output_{'int' if kind == 'integer' else 'double'}_register_{k}": float(value)
            for kind, k, value in writes
            if not (deaf_watchdog and kind == "float")
        }

    def step(self, registers: Registers, now_s: float) -> str:
        """One control cycle; why the program ended, or ''."""
        for name, value in self._told.items():
            registers.outputs[name] = int(value) if "_int_" in name else value
        self._told = {}
        if self._starved(registers, now_s):
            return "watchdog"
        beat = registers.integer(self._beat)
        fresh = registers.written_s.get(self._register, -1.0) >= (self._since_s or now_s)
        if fresh and beat < 0:
            return "client"
        if fresh and beat > 0:
            q = registers.doubles(self._targets)
            self.target_rad = q if np.isfinite(q).all() else self.target_rad
        return ""


class UrRtdeProgram(_Watched):
    """The register protocol of ur-rtde's control script."""

    def __init__(self, deaf_watchdog: bool = False) -> None:
        super().__init__("input_int_register_0")
        self._deaf = deaf_watchdog
        self._executing = False

    def step(self, registers: Registers, now_s: float) -> str:
        """One control cycle; why the program ended, or ''."""
        if self._starved(registers, now_s):
            return "watchdog"
        command = registers.integer(0)
        if command == _STOP:
            registers.inputs["input_int_register_0"] = _NONE
            return "client"
        if command in _STREAMED:
            self._do(command, registers)
            answer = _READY
        elif command == _NONE:
            self._executing = False
            answer = _READY
        else:
            if not self._executing:
                self._do(command, registers)
            self._executing = True
            answer = 0 if self._deaf and command == _WATCHDOG else _DONE
        registers.outputs["output_int_register_0"] = answer
        return ""

    def _do(self, command: int, registers: Registers) -> None:
        if command == _SERVO_J:
            q, self.lag_s = registers.doubles([*range(6)]), float(registers.doubles([9])[0])
            if np.isfinite(q).all():
                self.target_rad = q
        elif command == _SERVO_STOP:
            self.target_rad = None
        elif command == _WATCHDOG and not self._deaf:
            rate = float(registers.doubles([0])[0])
            self.watchdog_s = 1.0 / rate if rate > 0 else None
