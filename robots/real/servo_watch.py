"""Watches an arm's servos reading by reading: what they say, whether they follow, and what each is to be told.

A damaged packet passes Feetech's eight-bit checksum once in 256 times. So a reading that no motion explains is passed
over, once, and a complaint must come in two readings running. A fault is named once and stays. Legend: J joints.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hjepa.types import NS, Array, RobotSpec
from robots.real.joint_map import Calibration, steps_of
from robots.real.servo import ServoState

_MISSED = 4  # fewer readings than this say more about a loop that was held up than about the servo
_FASTER = 3.0  # times its speed limit: nothing moves like that
_JUMP_STEPS = 64  # and besides, for a reading's age and its noise


class Tolerance(NamedTuple):
    """What is still all right. Defaults by trial on the emulator, for servos that follow a ramp up to 0.1 s late."""

    follow_rad: float = 0.15  # a joint further than this from its goal must come nearer ...
    stuck_s: float = 0.3  # ... within this time
    closing_rad_s: float = 0.05  # slower is not coming nearer
    lost_rad: float = 0.6  # further than this is a fault at once
    silent_s: float = 0.1  # a servo not heard for longer, in four readings running at least, is a fault
    watchdog_s: float = 0.2  # set in servos that have one
    min_v: float = 4.5
    max_v: float = 13.0
    outside_rad: float = 0.2  # how far outside its range a joint may stand at connect
    model: int | None = None  # the one model number allowed; None: any that the protocol's table knows


class ServoWatch:
    """Readings and their judgement."""

    def __init__(self, spec: RobotSpec, calibration: Calibration, tolerance: Tolerance) -> None:
        self._spec, self._calibration, self._tolerance = spec, calibration, tolerance
        self._range = calibration.range_steps(spec)
        self._fastest = [_FASTER * steps_of(float(limit)) for limit in spec.dq_max_rad_s]
        self.fault = ""
        self.implausible = 0  # readings passed over
        self._doubted = [False] * spec.joints
        self._missed = [0] * spec.joints  # readings running
        self._states: list[ServoState] = []
        self._heard_ns = np.zeros(spec.joints, dtype=np.int64)
        self._lagging_ns = np.zeros(spec.joints, dtype=np.int64)  # since when a joint has not followed; 0: it does
        self._complaint = [""] * spec.joints
        self._goals: list[int] = []
        self._stay: dict[int, int | None] = {}  # joint: goal in spite of what is asked for; None: tell it nothing

    def begin(self, states: list[ServoState], now_ns: int) -> None:
        """First readings (J), with the goals where the joints are."""
        self._states = list(states)
        self._goals = [state.position_steps for state in states]
        self._heard_ns[:] = now_ns

    def look(self, got: dict[int, ServoState], now_ns: int) -> None:
        """Take the readings of those servos that answered."""
        for j, servo in enumerate(self._calibration.ids):
            if servo in got and self._believable(j, got[servo], now_ns):
                self._states[j], self._heard_ns[j] = got[servo], now_ns
                self._missed[j] = 0
                self._judge(j, now_ns)
                continue
            self._missed[j] += 1
            silent_ns = now_ns - self._heard_ns[j]
            if silent_ns > self._tolerance.silent_s * NS and self._missed[j] >= _MISSED:
                self._fail(j, f"silent for {silent_ns / 1e6:.0f} ms", None)

    def q_rad(self) -> Array:
        """Angles (J,) last read."""
        return self._calibration.to_rad([state.position_steps for state in self._states])

    def dq_rad_s(self) -> Array:
        """Speeds (J,) last read."""
        return self._calibration.to_rad_s([state.speed_steps_s for state in self._states])

    def states(self) -> list[ServoState]:
        """Readings (J)."""
        return list(self._states)

    def goals(self, q_set_rad: Array) -> dict[int, int]:
        """What to tell the servos so that the joints go to q (J,): by id, within the range, but for joints at fault."""
        wanted = self._calibration.to_steps(q_set_rad)
        told = {}
        for j, servo in enumerate(self._calibration.ids):
            low, high = self._outermost(j)
            goal = self._stay[j] if j in self._stay else min(max(wanted[j], low), high)
            if goal is not None:
                told[servo] = self._goals[j] = goal
        return told

    def _outermost(self, j: int) -> tuple[int, int]:
        """Range of goals: the joint's own, wider while the joint stands outside it."""
        low, high = self._range[j]
        return min(low, self._goals[j]), max(high, self._goals[j])

    def _believable(self, j: int, state: ServoState, now_ns: int) -> bool:
        """False for a reading that no motion explains, unless the one before was doubted too: then it is so."""
        seconds = (now_ns - self._heard_ns[j]) / NS
        jump = abs(state.position_steps - self._states[j].position_steps)
        odd = jump > _JUMP_STEPS + self._fastest[j] * seconds or abs(state.speed_steps_s) > self._fastest[j]
        self._doubted[j] = odd and not self._doubted[j]
        self.implausible += self._doubted[j]
        return not self._doubted[j]

    def _judge(self, j: int, now_ns: int) -> None:
        state, tolerance = self._states[j], self._tolerance
        if not state.torque_on:
            complaint = "lost its torque (brown-out or reset?)"
        elif state.voltage_v < tolerance.min_v:
            complaint = f"brown-out, {state.voltage_v:.1f} V; allowed: {tolerance.min_v:.1f} V or more"
        else:
            complaint = ", ".join(state.alarms)
        if complaint and self._complaint[j]:
            self._fail(j, complaint, state.position_steps if state.torque_on else None)
        self._complaint[j] = complaint
        self._follows(j, now_ns)

    def _follows(self, j: int, now_ns: int) -> None:
        if self._calibration.yields[j] or j in self._stay:
            return
        state, tolerance = self._states[j], self._tolerance
        turn = 2.0 * np.pi / 4096
        gap, speed = turn * (self._goals[j] - state.position_steps), turn * state.speed_steps_s
        if abs(gap) <= tolerance.follow_rad or (
            speed * np.sign(gap) > tolerance.closing_rad_s and abs(gap) < tolerance.lost_rad
        ):
            self._lagging_ns[j] = 0
            return
        self._lagging_ns[j] = self._lagging_ns[j] or now_ns
        if abs(gap) >= tolerance.lost_rad or now_ns - self._lagging_ns[j] > tolerance.stuck_s * NS:
            self._fail(j, f"does not follow, {abs(gap):.2f} rad from its goal", state.position_steps)

    def _fail(self, j: int, what: str, stay: int | None) -> None:
        if j not in self._stay or stay is None:
            self._stay[j] = stay
        if not self.fault:
            self.fault = f"servo {self._calibration.ids[j]} ({self._spec.joint_names[j]}): {what}"
