"""The UDP bridge's packets: the driver and the emulator read each other's, and refuse everything else."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjepa.errors import RobotError
from robots.emulators.udp_robot import UdpRobotEmulator
from robots.real.udp import ARM, FOLLOW, IDLE, decode_state, encode_command
from robots.spec import load_spec

SPEC = load_spec("courtbot")
J = SPEC.joints
vector = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=J, max_size=J)


def state(q: list[float], dq: list[float]) -> bytes:
    body = struct.pack(f"<4s4B3IQ{2 * J}d", b"HJST", 1, J, IDLE, 0, 5, 6, 7, 8, *q, *dq)
    return body + struct.pack("<I", zlib.crc32(body))


@given(vector, vector, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_robot_reads_the_command_that_was_sent(
    q: list[float], dq: list[float], session: int, sequence: int
) -> None:
    packet = encode_command(FOLLOW, session, sequence, np.array(q), np.array(dq))
    command = UdpRobotEmulator(SPEC)._decode(packet)
    assert command is not None
    assert (command.kind, command.session, command.sequence) == (FOLLOW, session, sequence)
    np.testing.assert_array_equal([command.q_set, command.dq_set], [q, dq])


@given(vector, vector)
def test_a_state_says_what_was_written(q: list[float], dq: list[float]) -> None:
    got = decode_state(state(q, dq), J)
    assert (got.mode, got.session, got.sequence, got.command, got.stamp_ns) == (IDLE, 5, 6, 7, 8)
    np.testing.assert_array_equal([got.q_rad, got.dq_rad_s], [q, dq])


@given(st.integers(0, 8 * (32 + 16 * J) - 1))
def test_any_flipped_bit_is_noticed_on_both_sides(bit: int) -> None:
    packet = bytearray(state([0.1] * J, [0.0] * J))
    packet[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RobotError):
        decode_state(bytes(packet), J)
    command = bytearray(encode_command(ARM, 1, 2, np.zeros(J), np.zeros(J)))
    command[bit // 8 % len(command)] ^= 1 << bit % 8
    assert UdpRobotEmulator(SPEC)._decode(bytes(command)) is None


@given(st.binary(max_size=300))
def test_random_bytes_raise_robot_error_alone(packet: bytes) -> None:
    with pytest.raises(RobotError, match="allowed"):
        decode_state(packet, J)
    assert UdpRobotEmulator(SPEC)._decode(packet) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_on_both_sides(bad: float) -> None:
    with pytest.raises(RobotError, match="not finite"):
        decode_state(state([bad] * J, [0.0] * J), J)
    assert UdpRobotEmulator(SPEC)._decode(encode_command(ARM, 1, 2, np.full(J, bad), np.zeros(J))) is None
