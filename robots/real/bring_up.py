"""From a dead bus to an arm that holds itself where it is, one check after the other."""

from __future__ import annotations

from hjepa.errors import RobotError
from hjepa.types import RobotSpec
from robots.real.joint_map import Calibration, steps_of
from robots.real.servo import ServoBus, ServoError, ServoState
from robots.real.servo_watch import Tolerance

_READ_ATTEMPTS = 5
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
    info = bus.info(servo)
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
    for _ in range(_READ_ATTEMPTS):
        got = bus.state([servo])
        if servo in got:
            return got[servo]
    raise ServoError(f"servo {servo} stopped answering; allowed: an answer (check cable and supply)")
