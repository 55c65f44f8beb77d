"""From a dead bus to an arm that holds itself where it is, one check after the other.

Nothing is believed that was read once: a damaged answer passes Feetech's eight-bit checksum once in 256 times, and a
wrong position would become a goal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hjepa.errors import RobotError
from hjepa.types import RobotSpec
from robots.real.joint_map import Calibration, steps_of
from robots.real.servo import ServoBus, ServoError, ServoState
from robots.real.servo_watch import Tolerance

T = TypeVar("T")
_READINGS = 8  # at most, until two running agree
_SAME_STEPS = 8  # a joint that rests reads within this
_HEADROOM = 1.25  # the servo's own speed limit over ours: a second line, never the one that is felt


def bring_up(
    bus: ServoBus, spec: RobotSpec, calibration: Calibration, tolerance: Tolerance, energised: list[int]
) -> list[ServoState]:
    """Check all servos, then switch each on with its present position as goal; their states (J) afterwards.

    `energised` grows as servos are switched on, so that a caller can undo it. A servo that had torque already is left
    out: letting go of an arm that somebody left holding would drop it. RobotError says what is wrong.
    """
    _find(bus, spec, calibration)
    for servo in calibration.ids:
        bus.rest(servo)  # a watchdog that barked after the last user had gone is no alarm
    for j in range(spec.joints):
        _examine(bus, spec, calibration, tolerance, j)
    for j, servo in enumerate(calibration.ids):
        bus.prepare(servo, _HEADROOM * steps_of(spec.dq_max_rad_s[j]), tolerance.watchdog_s)
    for servo in calibration.ids:
        state = _state(bus, servo)
        bus.write_goal(servo, state.position_steps)
        if not state.torque_on:
            energised.append(servo)
            bus.torque(servo, True)
    states = [_state(bus, servo) for servo in calibration.ids]
    for name, servo, state in zip(spec.joint_names, calibration.ids, states, strict=True):
        if not state.torque_on:
            raise RobotError(
                f"servo {servo} ({name}) let go of its torque again; allowed: torque on (check the supply)"
            )
    return states


def _find(bus: ServoBus, spec: RobotSpec, calibration: Calibration) -> None:
    there = [bus.ping(servo) for servo in calibration.ids]
    named = list(zip(calibration.ids, spec.joint_names, there, strict=True))
    missing = ", ".join(f"{servo} ({name})" for servo, name, answers in named if not answers)
    if missing:
        found = [servo for servo, _, answers in named if answers]
        raise RobotError(f"servos {missing} do not answer; allowed: ids {list(calibration.ids)}, found: {found}")


def _examine(bus: ServoBus, spec: RobotSpec, calibration: Calibration, tolerance: Tolerance, j: int) -> None:
    """Model, mode, range, supply, alarms and whereabouts of one servo."""
    servo, name = calibration.ids[j], spec.joint_names[j]
    who = f"servo {servo} ({name})"
    info = _twice(servo, lambda: bus.info(servo), lambda one, two: one == two)
    allowed = bus.models if tolerance.model is None else {tolerance.model: bus.models.get(tolerance.model, "")}
    if info.model not in allowed:
        listed = ", ".join(f"{number} {model}" for number, model in allowed.items())
        raise RobotError(f"{who} is of model {info.model}; allowed: {listed}")
    if not info.position_mode:
        raise RobotError(f"{who} is not in position mode; allowed: position mode (set it with the maker's tool)")
    low, high = calibration.range_steps(spec)[j]
    if low < info.min_steps or high > info.max_steps:
        own = f"{info.min_steps} to {info.max_steps}"
        raise RobotError(f"{who} needs steps {low} to {high}; allowed by the servo's own limits: {own}")
    state = _state(bus, servo)
    least, most = max(info.min_v, tolerance.min_v), min(info.max_v, tolerance.max_v)
    if not least <= state.voltage_v <= most:
        raise RobotError(f"{who} has {state.voltage_v:.1f} V; allowed: {least:.1f} to {most:.1f} V")
    if state.alarms:
        raise RobotError(f"{who} reports {', '.join(state.alarms)}; allowed: no alarm")
    slack = steps_of(tolerance.outside_rad)
    if not low - slack <= state.position_steps <= high + slack:
        where = state.position_steps
        raise RobotError(f"{who} stands at step {where}; allowed: {low} to {high} (move it by hand, or mend its zero)")


def _state(bus: ServoBus, servo: int) -> ServoState:
    """State of a servo at rest, read twice alike."""

    def alike(one: ServoState, two: ServoState) -> bool:
        near = abs(one.position_steps - two.position_steps) <= _SAME_STEPS
        return near and (one.torque_on, one.alarms) == (two.torque_on, two.alarms)

    return _twice(servo, lambda: bus.state([servo]).get(servo), alike)


def _twice(servo: int, read: Callable[[], T | None], alike: Callable[[T, T], bool]) -> T:
    """The second of two readings running that agree; ServoError if there are none."""
    before: T | None = None
    for _ in range(_READINGS):
        now = read()
        if before is not None and now is not None and alike(before, now):
            return now
        before = now
    raise ServoError(f"servo {servo} gave no two readings alike; allowed: a joint at rest (check cable and supply)")
