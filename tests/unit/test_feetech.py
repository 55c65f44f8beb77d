"""The Feetech codec: worked examples, round trips, and any bytes at all. Run: pytest tests/unit/test_feetech.py"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.emulators.servo_wires import FeetechWire, Field, Request
from robots.real.feetech import FeetechBus
from robots.real.feetech_wire import (
    REGISTERS,
    Register,
    Status,
    StatusParser,
    alarms,
    checksum,
    from_bytes,
    packet,
    read_packet,
    register,
    sync_read_packet,
    sync_write_packet,
    to_bytes,
    write_packet,
)
from robots.real.servo import PortError, ServoError


def answer(servo: int, error: int, data: bytes) -> bytes:
    return FeetechWire().answer(servo, error, data)


# worked examples of the maker's protocol manual


def test_packets_are_those_of_the_manual() -> None:
    assert packet(1, 0x01) == bytes.fromhex("ff ff 01 02 01 fb")
    assert read_packet(1, 0x38, 2) == bytes.fromhex("ff ff 01 04 02 38 02 be")
    moved = write_packet(1, 0x2A, bytes.fromhex("00 08 00 00 e8 03"))
    assert moved == bytes.fromhex("ff ff 01 09 03 2a 00 08 00 00 e8 03 d5")
    assert sync_read_packet([1, 2], 0x38, 8) == bytes.fromhex("ff ff fe 06 82 38 08 01 02 36")


def test_an_answer_of_the_manual_is_understood() -> None:
    status = StatusParser(2).feed(bytes.fromhex("ff ff 01 04 00 18 05 dd"))
    assert status == [Status(1, 0, b"\x18\x05")]
    assert from_bytes(REGISTERS["present_position"], status[0].data) == 1304


def test_sync_write_lays_rows_side_by_side() -> None:
    rows = {1: b"\x00\x08", 2: b"\x01\x02"}
    sent = sync_write_packet(42, rows)
    assert sent[5:-1] == bytes([42, 2, 1, 0, 8, 2, 1, 2])
    assert checksum(sent[2:-1]) == sent[-1]
    with pytest.raises(ServoError, match="one length for all"):
        sync_write_packet(42, {1: b"\x00", 2: b"\x00\x00"})


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("present_position", -1, "01 80"),  # sign and magnitude, bit 15
        ("present_speed", -300, "2c 81"),
        ("present_load", -100, "64 04"),  # bit 10
        ("offset", -2047, "ff 0f"),  # bit 11
        ("goal_position", 4095, "ff 0f"),
        ("present_voltage", 74, "4a"),
    ],
)
def test_registers_keep_signs_where_the_table_says(name: str, value: int, data: str) -> None:
    assert to_bytes(REGISTERS[name], value) == bytes.fromhex(data)
    assert from_bytes(REGISTERS[name], bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("name", "value"), [("goal_position", 40000), ("goal_position", -32768), ("torque_enable", 256), ("model", -1)]
)
def test_a_number_too_large_for_its_register_is_refused(name: str, value: int) -> None:
    with pytest.raises(ServoError, match=f"cannot hold {value}; allowed"):
        to_bytes(REGISTERS[name], value)


def test_registers_do_not_overlap() -> None:
    taken: dict[int, str] = {}
    for name, entry in REGISTERS.items():
        for at in range(entry.address, entry.address + entry.size):
            assert at not in taken, f"{name} and {taken[at]} share address {at}"
            taken[at] = name


def test_driver_and_emulator_read_the_memory_table_alike() -> None:
    names = {"torque": "torque_enable", "goal": "goal_position", "speed_limit": "goal_speed"}
    for short, field in FeetechWire.fields.items():
        entry = REGISTERS.get(names.get(short, short)) or REGISTERS[f"present_{short}"]
        sign = "" if entry.sign_bit is None else f"b{entry.sign_bit}"
        assert field == Field(entry.address, entry.size, sign), short


def test_error_bits_have_names() -> None:
    assert alarms(0) == ()
    assert alarms(1 | 4 | 32) == ("voltage", "overheat", "overload")
    assert alarms(64) == ("error 0x40",)


def test_an_unknown_register_names_the_nearest() -> None:
    with pytest.raises(ServoError, match="did you mean 'goal_position'"):
        register("goal_positon")


# properties


@given(st.sampled_from(sorted(REGISTERS)), st.integers(-40000, 70000))
def test_what_a_register_holds_comes_back(name: str, value: int) -> None:
    entry: Register = REGISTERS[name]
    try:
        data = to_bytes(entry, value)
    except ServoError:
        return
    assert from_bytes(entry, data) == value


@given(st.integers(0, 252), st.integers(0, 255), st.binary(max_size=60))
def test_answers_survive_the_round_trip(servo: int, error: int, data: bytes) -> None:
    assert StatusParser(len(data)).feed(answer(servo, error, data)) == [Status(servo, error, data)]


@given(st.dictionaries(st.integers(0, 252), st.binary(min_size=2, max_size=2), min_size=1, max_size=20))
def test_the_emulator_understands_what_we_send(rows: dict[int, bytes]) -> None:
    buffer = bytearray(b"\x00\xff" + sync_write_packet(42, rows) + read_packet(7, 56, 2))
    seen = list(FeetechWire().requests(buffer))
    assert seen == [Request(0x83, 0xFE, 42, 2, tuple(rows.items())), Request(2, 7, 56, 2)]
    assert not buffer


@given(st.binary(max_size=400), st.sampled_from([None, 0, 2, 24]))
def test_any_bytes_are_swallowed_without_a_word(noise: bytes, size: int | None) -> None:
    parser = StatusParser(size)
    for status in parser.feed(noise) + parser.give_up():
        assert 0 <= status.servo <= 0xFC
        assert size is None or len(status.data) == size
    assert parser.pending == 0


@given(st.binary(max_size=40), st.integers(1, 7))
def test_a_stream_may_come_in_pieces(noise: bytes, piece: int) -> None:
    stream = noise + b"\x00" + answer(3, 0, b"\x01\x02")
    whole, parts = StatusParser(2), StatusParser(2)
    expected = whole.feed(stream) + whole.give_up()
    got = [s for at in range(0, len(stream), piece) for s in parts.feed(stream[at : at + piece])] + parts.give_up()
    assert got == expected
    assert Status(3, 0, b"\x01\x02") in got


def test_after_damage_the_next_answers_are_found() -> None:
    """Every byte flipped, cut or doubled in the first of three answers: the other two arrive."""
    one, two, three = (answer(k, 0, bytes([k, 200, 255, 255, k, 3])) for k in (1, 2, 3))
    rng = np.random.default_rng(0)
    for at in range(len(one)):
        for damaged in (
            one[:at] + bytes([one[at] ^ (1 << int(rng.integers(8)))]) + one[at + 1 :],
            one[:at],
            one[:at] + one[at : at + 1] + one[at:],
        ):
            parser = StatusParser(6)
            found = parser.feed(damaged + two + three) + parser.give_up()
            assert [s.servo for s in found if s.servo in (2, 3)] == [2, 3], damaged.hex(" ")
            assert all(len(s.data) == 6 for s in found)


def test_one_flipped_bit_is_always_noticed() -> None:
    good = answer(5, 0, b"\x10\x20")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        parser = StatusParser(2)
        assert parser.feed(bytes(bad)) + parser.give_up() == []


def test_a_bus_that_is_not_open_says_so_and_a_missing_port_is_named() -> None:
    with pytest.raises(PortError, match=r"open\(\) first"):
        FeetechBus("/dev/null").read(1, "model")
    with pytest.raises(PortError, match="/dev/no-such-port"):
        FeetechBus("/dev/no-such-port").open()
