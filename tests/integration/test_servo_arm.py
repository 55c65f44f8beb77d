"""The serial servo arm on an emulated bus, both protocols: motion, refusals, faults. Legend: J joints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, JointTrajectory, RobotSpec
from robots.emulators.rig import RIGS, emulated
from robots.emulators.servo_bus import ServoBusEmulator
from robots.emulators.servo_rig import emulator_at_home
from robots.emulators.servo_wires import DynamixelWire, crc16
from robots.real.joint_map import Calibration
from robots.real.servo import ServoBus, ServoError
from robots.real.servo_arm import PROTOCOLS, ServoArm
from robots.real.servo_watch import Tolerance
from robots.spec import load_spec

pytest.importorskip("serial", reason="needs the extra 'servo'")
pytest.importorskip("dynamixel_sdk", reason="needs the extra 'servo'")
pytest.importorskip("pty", reason="pseudo-terminals exist on POSIX alone")

SPEC = load_spec("so101")
IDS = list(range(1, SPEC.joints + 1))
STEP = 2 * np.pi / 4096
PATIENT = Tolerance(silent_s=0.4, watchdog_s=1.0)  # the emulator shares this process, and the machine may be busy


def first_joints(count: int) -> RobotSpec:
    """The arm's first joints as a robot of their own."""
    arrays = {
        name: getattr(SPEC, name)[:count]
        for name in (
            *("joint_names", "prismatic", "q_min_rad", "q_max_rad", "dq_max_rad_s", "ddq_max_rad_s2", "tau_max_nm"),
            *("T_parent_joint", "axis", "q_home_rad"),
        )
    }
    return replace(SPEC, **arrays)


def move(by_rad: float, seconds: float = 0.8, valid_s: float = 2.0, joint: int | None = None) -> JointTrajectory:
    """A half-cosine move away from home, of one joint or of all, beginning now, and half a second of rest there."""
    t = np.minimum(np.arange(round(100 * seconds) + 51) * 0.01, seconds)
    moving = np.ones(SPEC.joints) if joint is None else np.eye(SPEC.joints)[joint]
    q = SPEC.q_home_rad + 0.5 * by_rad * (1 - np.cos(np.pi * t / t[-1]))[:, None] * moving
    dq = 0.5 * by_rad * np.pi / t[-1] * np.sin(np.pi * t / t[-1])[:, None] * moving
    return JointTrajectory(time.monotonic_ns(), 0.01, q, dq, round(valid_s * NS))


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def complaint(verb: Callable[[], Any]) -> str:
    """What a verb complains about; empty if it does not."""
    try:
        verb()
    except RobotError as error:
        return str(error)
    return ""


def torques(bus: ServoBusEmulator, count: int = SPEC.joints) -> list[int]:
    return [bus.get(servo, "torque") for servo in IDS[:count]]


def positions(bus: ServoBusEmulator) -> list[int]:
    return [bus.get(servo, "position") for servo in IDS]


@pytest.fixture(params=sorted(PROTOCOLS))
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bus(protocol: str) -> Iterator[ServoBusEmulator]:
    with emulator_at_home(SPEC, protocol) as made:
        yield made


@pytest.fixture
def arm(bus: ServoBusEmulator, protocol: str) -> Iterator[ServoArm]:
    made = ServoArm(SPEC, bus.port, protocol, tolerance=PATIENT)
    yield made
    made.close()


@pytest.fixture
def ready(arm: ServoArm) -> ServoArm:
    arm.connect()
    arm.rearm()
    return arm


# motion


def test_connecting_holds_the_arm_where_it_is(arm: ServoArm, bus: ServoBusEmulator) -> None:
    before = positions(bus)
    for servo in IDS:
        bus.set(servo, "goal", 100)  # an old goal far away
    arm.connect()
    assert torques(bus) == [1] * 6
    until(lambda: arm.report().ticks > 5)
    assert positions(bus) == before
    with pytest.raises(CommandError, match="held"):
        arm.send(move(0.2))


def test_motion_follows_the_command(ready: ServoArm) -> None:
    command = move(0.4)
    ready.send(command)
    lag = 0.0
    late = command.start_ns
    while late < command.start_ns + 0.8 * NS:
        seen = ready.observe()
        late = seen.stamp_ns
        index = min(max(round((late - command.start_ns) / (0.01 * NS)), 0), 80)
        lag = max(lag, float(np.abs(seen.q_rad - command.q_rad[index]).max()))
        time.sleep(0.005)
    assert 0.005 < lag < 0.15  # a servo is late, but not by much
    until(lambda: bool(np.abs(ready.observe().q_rad - command.q_rad[-1]).max() < 0.005))
    assert ready.fault == ""


def test_speeds_agree_with_positions_and_have_their_signs(bus: ServoBusEmulator, protocol: str) -> None:
    turned = Calibration(tuple(IDS), (2048,) * 6, (1, 1, 1, 1, -1, 1), (False,) * 6)
    with ServoArm(SPEC, bus.port, protocol, calibration=turned) as arm:
        start = arm.observe()
        arm.rearm()
        t = np.arange(61) * 0.01
        q = start.q_rad + 0.8 * t[:, None]
        arm.send(JointTrajectory(time.monotonic_ns(), 0.01, q, np.full((61, 6), 0.8), NS))
        until(lambda: bool((arm.observe().q_rad - start.q_rad > 0.2).all()))
        one = arm.observe()
        until(lambda: arm.observe().stamp_ns > one.stamp_ns + 0.08 * NS)
        two = arm.observe()
        mean = (two.q_rad - one.q_rad) / ((two.stamp_ns - one.stamp_ns) / NS)
        np.testing.assert_allclose(one.dq_rad_s, mean, atol=0.25)
        assert (one.dq_rad_s > 0.5).all()


def test_an_expired_command_ends_in_a_latched_hold(ready: ServoArm, bus: ServoBusEmulator) -> None:
    ready.send(move(0.8, valid_s=0.3))
    until(lambda: bool(np.abs(ready.observe().dq_rad_s).max() > 0.3))
    until(lambda: bool(np.abs(ready.observe().dq_rad_s).max() < 0.01))
    with pytest.raises(CommandError, match="held"):
        ready.send(move(0.1))
    still = positions(bus)
    ticks = ready.report().ticks
    until(lambda: ready.report().ticks > ticks + 5)
    assert np.abs(np.subtract(positions(bus), still)).max() <= 1


def test_a_command_that_is_not_finite_moves_nothing(ready: ServoArm, bus: ServoBusEmulator) -> None:
    before = positions(bus)
    command = move(0.4)
    command.q_rad[7, 2] = np.nan
    with pytest.raises(CommandError, match="q_rad is nan at sample 7, joint elbow_flex"):
        ready.send(command)
    ticks = ready.report().ticks
    until(lambda: ready.report().ticks > ticks + 10)
    assert positions(bus) == before


def test_goals_stay_in_the_joints_range_whatever_is_asked(ready: ServoArm, bus: ServoBusEmulator) -> None:
    wild = JointTrajectory(time.monotonic_ns(), 0.01, np.full((300, 6), 99.0), np.full((300, 6), 99.0), 3 * NS)
    followed = ready.send(wild)
    np.testing.assert_array_equal(followed.q_rad, np.tile(SPEC.q_max_rad, (300, 1)))
    until(lambda: bool(np.abs(ready.observe().q_rad - SPEC.q_max_rad).max() < 0.02))
    highest = Calibration.default(SPEC).to_steps(SPEC.q_max_rad)
    assert all(at <= most for at, most in zip(positions(bus), highest, strict=True))


# bring-up refuses


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda bus: bus.silent.update({3, 5}),
            r"3 \(elbow_flex\), 5 \(wrist_roll\) do not answer.*found: \[1, 2, 4, 6\]",
        ),
        (lambda bus: bus.set(2, "model", 1234), r"servo 2 \(shoulder_lift\) is of model 1234; allowed: .*\d"),
        (lambda bus: bus.set(4, "voltage", 160), r"servo 4 \(wrist_flex\) has 16.0 V; allowed"),
        (lambda bus: bus.set(4, "mode", 1), r"servo 4 \(wrist_flex\) is not in position mode"),
        (lambda bus: bus.alarm(6, 4), r"servo 6 \(gripper\) reports overheat; allowed: no alarm"),
        (lambda bus: bus.set(1, "max_angle", 3000), r"shoulder_pan\) needs steps 796 to 3300; .*own limits: 0 to 3000"),
    ],
)
def test_what_is_wrong_with_a_servo_is_said_and_nothing_is_energised(
    arm: ServoArm, bus: ServoBusEmulator, spoil: Callable[[ServoBusEmulator], None], message: str
) -> None:
    spoil(bus)
    with pytest.raises(RobotError, match=message):
        arm.connect()
    assert torques(bus) == [0] * 6
    with pytest.raises(RobotError, match="connect"):
        arm.observe()


def test_a_joint_far_outside_its_range_is_refused(protocol: str) -> None:
    with (
        ServoBusEmulator(protocol, {1: 100.0, **dict.fromkeys(range(2, 7), 2048.0)}) as bus,
        pytest.raises(RobotError, match=r"servo 1 \(shoulder_pan\) stands at step 100; allowed: 796 to 3300"),
    ):
        ServoArm(SPEC, bus.port, protocol).connect()


class Faulty:
    """A bus whose n-th call fails."""

    def __init__(self, bus: ServoBus, fails_at: int) -> None:
        self._bus, self._fails_at, self.calls = bus, fails_at, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._bus, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self._fails_at:
                raise ServoError(f"call {self.calls}, {name}, failed on purpose")
            return found(*arguments)

        return call


def test_a_failure_at_any_step_of_bring_up_releases_what_was_energised(protocol: str) -> None:
    two, failures = first_joints(2), 0
    with emulator_at_home(two, protocol) as bus:
        for step in range(1, 100):
            real = PROTOCOLS[protocol](bus.port)
            arm = ServoArm(two, bus=Faulty(real, step))  # type: ignore[arg-type]
            error = complaint(arm.connect)
            if not error:
                arm.close()
                break
            failures += 1
            assert "on purpose" in error
            assert torques(bus, 2) == [0, 0], f"after {error}"
            with pytest.raises(ServoError, match="not open"):
                real.state([1])
            arm.close()
    assert failures > 10


def test_a_servo_that_somebody_left_holding_is_not_dropped_by_a_failure(arm: ServoArm, bus: ServoBusEmulator) -> None:
    bus.set(2, "torque", 1)
    bus.freeze(5, "torque")  # does not come on
    with pytest.raises(RobotError, match="torque_enable = 0"):
        arm.connect()
    assert torques(bus) == [0, 1, 0, 0, 0, 0]


def test_a_port_that_is_not_there_is_named() -> None:
    with pytest.raises(RobotError, match="/dev/no-such-port"):
        ServoArm(SPEC, "/dev/no-such-port").connect()


@pytest.mark.parametrize(("name", "module"), [("feetech", "serial"), ("dynamixel", "dynamixel_sdk")])
def test_a_missing_library_gives_the_install_line(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RobotError, match=r"pip install 'hjepa\[servo\]'"):
        ServoArm(SPEC, protocol=name).connect()


# a bad line


@pytest.mark.parametrize("knob", ["drop", "corrupt"])
def test_lost_and_damaged_answers_are_survived_and_counted(ready: ServoArm, bus: ServoBusEmulator, knob: str) -> None:
    setattr(bus, knob, 0.08)
    command = move(0.4)
    ready.send(command)
    until(lambda: bool(np.abs(ready.observe().q_rad - command.q_rad[-1]).max() < 0.01))
    until(lambda: ready.counts().silent > 3 and ready.counts().retries > 0)
    assert knob == "drop" or ready.counts().corrupt > 0
    assert ready.fault == ""


def test_bring_up_survives_a_bad_line(arm: ServoArm, bus: ServoBusEmulator) -> None:
    bus.drop = bus.corrupt = 0.1
    arm.connect()
    assert torques(bus) == [1] * 6
    assert arm.counts().retries > 0


def test_a_very_bad_line_never_hangs_and_hardly_lies(bus: ServoBusEmulator, protocol: str) -> None:
    """A sum of eight bits lets one damaged packet in 256 pass (the watch deals with it), a CRC of 16 none."""
    real = PROTOCOLS[protocol](bus.port, timeout_s=0.004, retries=1)
    real.open()
    true = dict(zip(IDS, positions(bus), strict=True))
    bus.drop, bus.corrupt = 0.2, 0.6
    refused = heard = lies = 0
    started = time.monotonic()
    for k in range(120):
        states = real.state(IDS)
        heard += len(states)
        lies += sum(state.position_steps != true[servo] for servo, state in states.items())
        refused += "servo" in complaint(lambda servo=IDS[k % 6]: real.read(servo, "model"))  # type: ignore[misc]
    assert refused > 5
    assert heard > 20
    assert lies <= (0.1 * heard if protocol == "feetech" else 0)
    assert time.monotonic() - started < 120 * 0.1
    bus.drop = bus.corrupt = 0.0
    assert set(real.state(IDS)) == set(IDS)  # and afterwards all is well at once
    real.close()


# faults


def held_at_fault(arm: ServoArm, message: str) -> None:
    until(lambda: arm.fault != "")
    for verb in (arm.observe, arm.rearm, lambda: arm.send(move(0.1))):
        with pytest.raises(RobotError, match=message):
            verb()


def test_a_stuck_joint_is_a_fault_and_the_others_stop(ready: ServoArm, bus: ServoBusEmulator) -> None:
    bus.stick(2)
    stuck_at = bus.get(2, "position")
    ready.send(move(1.0, seconds=1.2, valid_s=3.0))
    held_at_fault(ready, r"servo 2 \(shoulder_lift\): does not follow")
    until(lambda: bus.get(2, "goal") == stuck_at)  # it is not pushed any more
    until(lambda: all(abs(bus.get(servo, "speed")) < 3 for servo in IDS))
    goals = [bus.get(servo, "goal") for servo in IDS]
    ticks = ready.report().ticks
    until(lambda: ready.report().ticks > ticks + 5)
    assert [bus.get(servo, "goal") for servo in IDS] == goals
    assert torques(bus) == [1] * 6  # held, not dropped


def test_a_gripper_may_be_held_up_by_what_it_grips(ready: ServoArm, bus: ServoBusEmulator) -> None:
    bus.stick(6)
    command = move(0.5)
    ready.send(command)
    until(lambda: bool(np.abs(ready.observe().q_rad[:5] - command.q_rad[-1, :5]).max() < 0.01))
    ticks = ready.report().ticks
    until(lambda: ready.report().ticks > ticks + 25)  # longer than a stuck joint is given
    assert ready.fault == ""


@pytest.mark.parametrize(("bits", "name"), [(4, "overheat"), (32, "overload")])
def test_an_alarm_is_a_fault(ready: ServoArm, bus: ServoBusEmulator, bits: int, name: str) -> None:
    bus.alarm(3, bits)
    held_at_fault(ready, rf"servo 3 \(elbow_flex\): {name}")
    assert torques(bus) == [1] * 6


def test_a_brown_out_is_a_fault_and_servos_do_not_jump_to_life(ready: ServoArm, bus: ServoBusEmulator) -> None:
    bus.brown_out(3.8)
    held_at_fault(ready, "brown-out")
    bus.brown_out(7.4)
    ticks = ready.report().ticks
    until(lambda: ready.report().ticks > ticks + 5)
    assert torques(bus) == [0] * 6
    ready.close()
    ready.connect()  # deliberately, and from where the arm lies now
    assert ready.fault == ""
    assert torques(bus) == [1] * 6


def test_a_servo_that_falls_silent_is_a_fault(ready: ServoArm, bus: ServoBusEmulator) -> None:
    bus.silent.add(4)
    held_at_fault(ready, r"servo 4 \(wrist_flex\): silent for [4-9]\d\d ms")


def test_a_pulled_cable_is_told_to_whoever_asks_next(ready: ServoArm, bus: ServoBusEmulator) -> None:
    bus.close()
    until(lambda: "serial port" in complaint(ready.observe))
    ready.close()


def test_closing_holds_and_release_lets_go(bus: ServoBusEmulator, protocol: str) -> None:
    with ServoArm(SPEC, bus.port, protocol):
        pass
    assert torques(bus) == [1] * 6
    with ServoArm(SPEC, bus.port, protocol, release=True):
        pass
    assert torques(bus) == [0] * 6


def test_closing_in_motion_brakes_first(ready: ServoArm, bus: ServoBusEmulator) -> None:
    ready.send(move(1.0, seconds=1.0))
    until(lambda: bool(np.abs(ready.observe().dq_rad_s).max() > 0.8))
    ready.close()
    goals = [bus.get(servo, "goal") for servo in IDS]
    until(lambda: all(abs(at - to) <= 1 for at, to in zip(positions(bus), goals, strict=True)))


# Dynamixel's watchdog


def test_a_watchdog_that_cannot_be_set_is_refused() -> None:
    with emulator_at_home(SPEC, "dynamixel") as bus:
        bus.freeze(3, "watchdog")
        with pytest.raises(RobotError, match="servo 3 keeps bus_watchdog = 0; allowed: 10"):
            ServoArm(SPEC, bus.port, "dynamixel").connect()
        assert torques(bus) == [0] * 6


def test_the_watchdog_stops_a_servo_whose_bus_is_silent_and_connect_clears_it() -> None:
    with emulator_at_home(SPEC, "dynamixel") as bus:
        real = PROTOCOLS["dynamixel"](bus.port)
        real.open()
        real.prepare(1, 500.0, 0.04)
        real.torque(1, True)
        real.write_goal(1, 3500)
        until(lambda: bus.get(1, "watchdog") == -1)
        goal = bus.get(1, "goal")
        assert goal < 3400  # it has given up on the way
        real.write_goals({1: 3500})
        assert real.state([1])[1].alarms == ("bus watchdog",)
        assert bus.get(1, "goal") == goal
        real.close()
        bus.set(1, "torque", 0)
        with ServoArm(SPEC, bus.port, "dynamixel", tolerance=Tolerance(outside_rad=3.0)):
            assert bus.get(1, "watchdog") == 10
        assert bus.get(1, "watchdog") == 0  # nobody renews it after close


def test_a_packet_with_a_header_inside_is_stuffed_alike_by_the_sdk_and_the_emulator() -> None:
    header = 0x00FDFFFF  # FF FF FD 00 on the wire; slow negative speeds beside some positions look like it too
    with ServoBusEmulator("dynamixel", {1: float(header), 2: 7.0}) as bus:
        real = PROTOCOLS["dynamixel"](bus.port)
        real.open()
        bus.set(1, "goal", 0)
        real.write(1, "goal_position", header)
        assert bus.get(1, "goal") == header
        assert [real.state([1, 2])[servo].position_steps for servo in (1, 2)] == [header, 7]
        real.close()


def test_the_emulator_s_checksum_is_that_of_the_maker_s_example() -> None:
    """ROBOTIS e-Manual, Protocol 2.0, ping of id 1."""
    ping = bytes.fromhex("ff ff fd 00 01 03 00 01")
    assert crc16(ping).to_bytes(2, "little") == bytes.fromhex("19 4e")
    assert [r.verb for r in DynamixelWire().requests(bytearray(ping + b"\x19\x4e")) if r] == [1]


# contract


def test_verbs_before_connect_say_what_to_do(arm: ServoArm) -> None:
    assert arm.spec.joints == 6
    for verb in (arm.observe, arm.hold, arm.rearm, arm.report, lambda: arm.send(move(0.1))):
        with pytest.raises(RobotError, match="connect"):
            verb()
    arm.close()


def test_connecting_twice_is_refused_and_closing_twice_is_fine(arm: ServoArm) -> None:
    arm.connect()
    with pytest.raises(RobotError, match="already connected"):
        arm.connect()
    arm.close()
    arm.close()
    arm.connect()


def test_observations_are_copies_with_stamps_that_never_go_back(ready: ServoArm) -> None:
    stamps = []
    for _ in range(20):
        seen = ready.observe()
        stamps.append(seen.stamp_ns)
        for array in seen[1:]:
            array[...] = 1
        time.sleep(0.004)
    assert stamps == sorted(stamps)
    assert stamps[-1] > stamps[0]
    last = ready.observe()
    np.testing.assert_allclose(last.q_rad, SPEC.q_home_rad, atol=STEP)
    assert not last.tracker_mask.any()
    assert last.tracker_stamp_ns[-1] == last.stamp_ns
    assert (np.diff(last.tracker_stamp_ns) == NS // 100).all()


def test_a_tracker_is_connected_asked_and_closed(bus: ServoBusEmulator, protocol: str) -> None:
    class Seen:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def connect(self) -> None:
            self.calls.append("connect")

        def window(self, stamp_ns: int) -> tuple[Any, Any, Any]:
            return np.ones((64, 3)), np.ones(64, dtype=bool), stamp_ns + np.arange(-63, 1) * 10_000_000

        def close(self) -> None:
            self.calls.append("close")

    tracker = Seen()
    with ServoArm(SPEC, bus.port, protocol, tracker=tracker) as arm:
        assert arm.observe().tracker_mask.all()
    assert tracker.calls == ["connect", "close"]
    bus.silent.add(1)
    with pytest.raises(RobotError):
        ServoArm(SPEC, bus.port, protocol, tracker=tracker).connect()
    assert tracker.calls == ["connect", "close"] * 2


def test_two_arms_on_two_buses_share_nothing() -> None:
    with emulated("servo", SPEC) as one, emulated("servo", SPEC, protocol="dynamixel") as two, one, two:
        one.rearm()  # type: ignore[attr-defined]
        command = move(0.3)
        one.send(command)
        until(lambda: bool(np.abs(one.observe().q_rad - command.q_rad[-1]).max() < 0.01))
        np.testing.assert_allclose(two.observe().q_rad, SPEC.q_home_rad, atol=STEP)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "feetec"}, "did you mean 'feetech'"),
        ({"ids": (1, 2)}, "ids has 2 entries; allowed: 6"),
        ({"ids": (1, 2, 3, 4, 5, 5)}, "each once"),
        ({"ids": (1, 2, 3, 4, 5, 6), "calibration": "map.yaml"}, "one of them"),
        ({"calibration": "/no/such/map.yaml"}, "/no/such/map.yaml"),
    ],
)
def test_a_wrong_option_is_said_before_any_hardware(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RobotError, match=message):
        ServoArm(SPEC, **options)


def test_a_prismatic_joint_is_refused() -> None:
    with pytest.raises(RobotError, match="base_x is prismatic"):
        ServoArm(load_spec("courtbot"))


def test_an_unknown_rig_lists_the_known_ones() -> None:
    assert "servo" in RIGS
    with pytest.raises(RobotError, match="did you mean 'servo'"):
        emulated("servos", SPEC)
