"""Any arrays survive the wire bit for bit; no bytes whatever make it do anything but refuse."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hjepa.bus import wire
from hjepa.bus.messages import Gate, unpack
from hjepa.errors import WireError

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NATIVE = st.sampled_from([np.dtype(name) for name in wire.DTYPES])
ANY_ORDER = st.tuples(NATIVE, st.sampled_from("<>")).map(lambda pair: pair[0].newbyteorder(pair[1]))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
ARRAYS = st.dictionaries(st.text(max_size=8), hnp.arrays(ANY_ORDER, SHAPES), max_size=4)
INTS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.dictionaries(st.text(max_size=8), st.booleans() | INTS | st.floats() | st.text(max_size=9), max_size=4)
NATURAL = st.integers(0, 2**63 - 1)
LEDGER = st.lists(INTS, max_size=8).map(tuple)
KEYS = st.none() | st.binary(min_size=32, max_size=32)


def assert_same(received, sent):
    assert received.shape == sent.shape
    assert received.dtype == sent.dtype.newbyteorder("<")
    assert received.tobytes() == sent.astype(received.dtype).tobytes()


@FAST
@given(st.text(max_size=32), NATURAL, NATURAL, INTS, NATURAL, st.integers(-1, 2**63 - 1), LEDGER, SCALARS, ARRAYS, KEYS)
def test_what_goes_in_comes_out(kind, session, sequence, stamp_ns, valid, answers, ledger, scalars, arrays, key):
    header = wire.Header(kind, session, sequence, stamp_ns, valid, answers, ledger, scalars)
    frame = wire.encode(header, arrays, key)
    received = wire.decode(frame, key=key)
    assert wire.strip_mac(frame) == wire.encode(header, arrays)
    for field in ("kind", "session", "sequence", "stamp_ns", "valid_for_ns", "answers", "ledger"):
        assert getattr(received.header, field) == getattr(header, field)
    assert repr(received.header.scalars) == repr(scalars)  # repr: nan equals nan, True is not 1
    assert list(received.arrays) == list(arrays)
    for name, array in arrays.items():
        assert_same(received.arrays[name], array)
        assert not received.arrays[name].flags.writeable
    assert wire.encode(header, received.arrays, key) == frame


@FAST
@given(hnp.arrays(NATIVE, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)), st.data())
def test_layout_in_memory_does_not_matter(array, data):
    views = (array.T, array[::2], array[..., ::-1], np.asfortranarray(array), np.broadcast_to(array.flat[0], (2, 3)))
    view = data.draw(st.sampled_from(views))
    received = wire.decode(wire.encode(wire.Header("x", 0, 0, 0), {"a": view})).arrays["a"]
    assert_same(received, view)


FRAME = wire.encode(
    wire.Header("command", 1, 2, 3, scalars={"start_ns": 1, "dt_s": 0.01, "valid_ns": 9}),
    {"q_rad": np.zeros((4, 3)), "dq_rad_s": np.ones((4, 3))},
)


@FAST
@given(st.integers(0, len(FRAME) - 1))
def test_a_frame_cut_anywhere_is_refused(length):
    with pytest.raises(WireError):
        wire.decode(FRAME[:length])


@FAST
@given(st.binary(min_size=1, max_size=64))
def test_a_frame_with_a_tail_is_refused(tail):
    with pytest.raises(WireError):
        wire.decode(FRAME + tail)


@settings(FAST, max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(FRAME) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_frame_is_refused_or_still_a_whole_command(changes):
    frame = bytearray(FRAME)
    for at, value in changes:
        frame[at] = value
    gate = Gate(("command",))
    message = gate.read(bytes(frame))
    if message is None:
        assert sum(gate.drops.values()) == 1 and set(gate.drops) <= set(wire.REASONS)
        return
    command = message.value
    assert command.q_rad.shape == command.dq_rad_s.shape and command.q_rad.size
    assert np.isfinite(command.q_rad).all() and np.isfinite(command.dq_rad_s).all()
    assert 0 < command.dt_s < float("inf") and command.valid_ns > 0


@settings(FAST, max_examples=400)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_refused(garbage, with_prefix):
    frame = FRAME[:16] + garbage if with_prefix else garbage
    with pytest.raises(WireError) as caught:
        unpack(frame)
    assert caught.value.reason in wire.REASONS


@FAST
@given(st.integers(1, 64), st.integers(0, 2**20))
def test_an_oversized_frame_is_refused_by_its_size_alone(excess, cap):
    with pytest.raises(WireError) as caught:
        wire.decode(bytes(cap + excess), max_bytes=cap)
    assert caught.value.reason == "size"
