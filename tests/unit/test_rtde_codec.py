"""RTDE frames: what goes in comes out, and nothing malformed does anything but raise RobotError."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjepa.errors import RobotError
from robots.real.rtde import Recipe, encode_frame, split_frame

KINDS = st.sampled_from("VvMUOISP")
finite = st.floats(allow_nan=False)


@given(KINDS, st.binary(max_size=300), st.binary(max_size=20))
def test_a_frame_survives_the_line_and_what_follows_is_left(kind: str, payload: bytes, after: bytes) -> None:
    assert split_frame(encode_frame(kind, payload) + after) == (kind, payload, after)


@given(KINDS, st.binary(max_size=300), st.data())
def test_a_truncated_frame_is_incomplete(kind: str, payload: bytes, data: st.DataObject) -> None:
    frame = encode_frame(kind, payload)
    assert split_frame(frame[: data.draw(st.integers(0, len(frame) - 1))]) is None


@given(st.binary(max_size=500))
def test_random_bytes_shrink_or_raise_robot_error_and_never_hang(unread: bytes) -> None:
    with contextlib.suppress(RobotError):
        while (frame := split_frame(unread)) is not None:
            assert len(frame[2]) < len(unread)
            unread = frame[2]


@given(finite, st.lists(finite, min_size=6, max_size=6), st.integers(-(2**31), 2**31 - 1))
def test_a_data_package_carries_its_recipe_s_variables(stamp: float, q: list[float], mode: int) -> None:
    recipe = Recipe(["timestamp", "actual_q", "robot_mode"], b"\x07DOUBLE,VECTOR6D,INT32")
    payload = recipe.encode(stamp, *q, mode)
    assert payload == b"\x07" + struct.pack(">7di", stamp, *q, mode)
    assert recipe.decode(payload) == {"timestamp": stamp, "actual_q": tuple(q), "robot_mode": mode}


@given(st.binary(max_size=100))
def test_a_package_that_does_not_fit_its_recipe_is_refused(payload: bytes) -> None:
    recipe = Recipe(["actual_q"], b"\x01VECTOR6D")
    if len(payload) != 49 or payload[0] != 1:
        with pytest.raises(RobotError, match="allowed: 49, 1"):
            recipe.decode(payload)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"\x00NOT_FOUND", "does not know it"),
        (b"\x00IN_USE", "another client writes it"),
        (b"\x01DOUBLE,DOUBLE", "2 types; allowed: 1"),
        (b"", "0 types; allowed: 1"),
        (b"\x01\xff\xfe", "its type is"),
    ],
)
def test_a_recipe_that_the_controller_refuses_says_why(reply: bytes, message: str) -> None:
    with pytest.raises(RobotError, match=message):
        Recipe(["x"], reply)


def test_a_frame_shorter_than_its_header_or_of_unknown_type_is_refused() -> None:
    with pytest.raises(RobotError, match="2 bytes; allowed: 3 or more"):
        split_frame(b"\x00\x02U")
    with pytest.raises(RobotError, match="type 90"):
        split_frame(b"\x00\x05Zab")
