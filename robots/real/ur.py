"""Driver of Universal Robots arms over RTDE: set-points through input registers, a short program on the controller.

`connect` sends a program to the script port. It programs RTDE's watchdog, tells through output registers what it has
programmed (we refuse to run unless that is what we asked for), and then runs servoj from the registers. When our
writes stop for longer than the watchdog's period, the controller itself ends the program and stops the arm; nothing
of ours needs to be alive for that. A new connection never moves the arm by itself.

The public client library ur-rtde is not used: when the connection is reset its threads reconnect by themselves, and
with 1.6.5 that killed the process (segmentation fault), the guard with it. Never run on hardware yet; tested on
`robots.emulators.rtde`, which ur-rtde itself accepts as a controller. The arm must be in remote control.
Sources: Universal Robots' "RTDE guide" (registers 24-47 are for external clients) and "URScript manual"
(rtde_set_watchdog, servoj). Legend: J = 6 joints.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable

import numpy as np

from hjepa.errors import RobotError
from hjepa.protocols import Tracker
from hjepa.types import Array, RobotSpec
from robots.real.rtde import RtdeClient, Value
from robots.real.streamed import StreamedRobot

SCRIPT_PORT = 30003
_BEAT = "input_int_register_24"  # 0: keep still; > 0: grows, follow the set-point; < 0: end
_TARGET = [f"input_double_register_{24 + j}" for j in range(6)]
_READY, _WATCHDOG = "output_int_register_24", "output_double_register_24"
_OUTPUTS = ["timestamp", "actual_q", "actual_qd", "robot_mode", "safety_mode", "runtime_state", _READY, _WATCHDOG]
_RUNNING, _PLAYING = 7, 2  # robot_mode, runtime_state
_NORMAL, _REDUCED = 1, 2  # safety_mode
_SAFETY = {
    3: "protective stop", 4: "recovery", 5: "safeguard stop", 6: "system emergency stop", 7: "robot emergency stop",
    8: "safety violation", 9: "safety fault",
}  # fmt: skip
_STOP_RAD_S2 = 8.0  # URScript stopj at the program's end

_PROGRAM = """def hjepa():
  local q = get_target_joint_positions()
  rtde_set_watchdog("{beat}", {watchdog_hz}, "stop")
  write_output_float_register(24, {watchdog_hz})
  write_output_integer_register(24, {session})
  local beat = 0
  while beat >= 0:
    if beat > 0:
      q = [{targets}]
    end
    servoj(q, t={dt_s}, lookahead_time={lookahead_s}, gain={gain})
    beat = read_input_integer_register(24)
  end
  stopj({stop})
end
"""


class UrRobot(StreamedRobot):
    """A UR arm; see hjepa.protocols.Driver."""

    def __init__(
        self,
        spec: RobotSpec,
        host: str = "192.168.0.10",
        *,
        rate_hz: float = 500.0,
        watchdog_hz: float = 25.0,
        lookahead_s: float = 0.03,
        gain: int = 300,
        lost_s: float = 0.1,
        connect_s: float = 2.0,
        tracker: Tracker | None = None,
    ) -> None:
        """rate_hz: 500 for e-Series, 125 for CB3. watchdog_hz: the arm stops when set-points come less often.

        lookahead_s (0.03 to 0.2) and gain (100 to 2000): servoj's. lost_s: a longer silence is a fault.
        """
        super().__init__(spec, rate_hz, tracker)
        if spec.joints != 6:
            raise RobotError(f"{spec.name} has {spec.joints} joints; allowed: a UR arm's 6")
        for name, value, low, high in (
            ("watchdog_hz", watchdog_hz, 1.0, rate_hz),
            ("lookahead_s", lookahead_s, 0.03, 0.2),
            ("gain", gain, 100, 2000),
        ):
            if not low <= value <= high:
                raise RobotError(f"{name} is {value}; allowed: {low} to {high}")
        self._host, self._watchdog_hz, self._lookahead_s, self._gain = host, watchdog_hz, lookahead_s, gain
        self._lost_s, self._connect_s = lost_s, connect_s
        self._client: RtdeClient | None = None

    def _open(self) -> None:
        client = self._client = RtdeClient(self._host, self._connect_s)
        self._state: dict[str, Value] = {}
        self._beat, self._heard_s, self._stamp_s = 0, time.monotonic(), -1.0
        client.subscribe(_OUTPUTS, self.spec.control_rate_hz)
        self._recipe = client.inputs([_BEAT, *_TARGET])
        client.start()
        self._until(lambda s: bool(s), "sent no data")
        self._check_well()
        session = 1 + secrets.randbelow((1 << 30) - 1)
        self._upload(session)
        self._until(lambda s: s[_READY] == session, "did not start our program (is it in remote control?)")
        if self._state[_WATCHDOG] != self._watchdog_hz:
            raise RobotError(
                f"{self._where}: watchdog reads back as {self._state[_WATCHDOG]} Hz; allowed: {self._watchdog_hz}"
            )

    def _upload(self, session: int) -> None:
        program = _PROGRAM.format(
            beat=_BEAT, watchdog_hz=self._watchdog_hz, session=session, dt_s=1.0 / self.spec.control_rate_hz,
            lookahead_s=self._lookahead_s, gain=self._gain, stop=_STOP_RAD_S2,
            targets=", ".join(f"read_input_float_register({24 + j})" for j in range(6)),
        )  # fmt: skip
        try:
            with socket.create_connection((self._host, SCRIPT_PORT), timeout=self._connect_s) as line:
                line.sendall(program.encode())
        except OSError as error:
            raise RobotError(f"{self._host}:{SCRIPT_PORT}: {error}; allowed: a controller in remote control") from error

    def _until(self, wanted: Callable[[dict[str, Value]], bool], failure: str) -> None:
        """Keep the watchdog content and the arm still until a state is as wanted."""
        deadline = time.monotonic() + self._connect_s
        while time.monotonic() < deadline:
            self._take()
            if self._state and wanted(self._state):
                return
            self._put(0, np.zeros(6))
            time.sleep(0.002)
        raise RobotError(f"{self._where}: {failure} within {self._connect_s} s; allowed: a controller that does")

    def _shut(self) -> None:
        if self._client is None:
            return
        try:
            deadline = time.monotonic() + 0.5
            while self._state.get("runtime_state") == _PLAYING and time.monotonic() < deadline:
                self._put(-1, np.zeros(6))
                time.sleep(0.004)
                self._take()
        except RobotError:  # the line is gone; the controller's watchdog ends the program
            pass
        finally:
            self._client.close()
            self._client = None

    def _read(self) -> tuple[Array, Array]:
        self._take()
        self._check_well()
        if self._state["runtime_state"] != _PLAYING:
            raise RobotError(f"{self._where}: the program has ended, the arm stands; allowed: close(), connect()")
        q, dq = np.array(self._state["actual_q"]), np.array(self._state["actual_qd"])
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            raise RobotError(f"{self._where}: joints read {q}, {dq}; allowed: finite numbers")
        return q, dq

    def _write(self, q_set_rad: Array, dq_set_rad_s: Array) -> None:
        self._beat = self._beat % ((1 << 31) - 1) + 1
        self._put(self._beat, q_set_rad)

    def _put(self, beat: int, q_set_rad: Array) -> None:
        assert self._client is not None
        self._client.put(self._recipe, beat, *q_set_rad)

    def _take(self) -> None:
        """Read what has arrived; RobotError when the controller is silent or its clock stands."""
        assert self._client is not None
        state = self._client.poll()
        now = time.monotonic()
        if state is not None:
            self._state = state
            if state["timestamp"] != self._stamp_s:
                self._stamp_s, self._heard_s = float(state["timestamp"]), now  # type: ignore[arg-type]
        silent = now - self._heard_s
        if self._state and silent > self._lost_s:
            raise RobotError(f"{self._where}: silent for {1e3 * silent:.0f} ms; allowed: {1e3 * self._lost_s:.0f} ms")

    def _check_well(self) -> None:
        safety, mode = self._state["safety_mode"], self._state["robot_mode"]
        if safety not in (_NORMAL, _REDUCED):
            what = _SAFETY.get(int(safety), f"safety mode {safety}")  # type: ignore[arg-type]
            raise RobotError(f"{self._where}: {what}; allowed: clear it at the robot, then close() and connect()")
        if mode != _RUNNING:
            raise RobotError(f"{self._where}: robot mode is {mode}; allowed: {_RUNNING} (powered, brakes released)")

    @property
    def _where(self) -> str:
        return f"{self.spec.name} at {self._host}"
