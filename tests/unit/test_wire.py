"""A frame is exactly what its kind carries, or it is refused under a name that is counted."""

import struct
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import pytest
from typing_extensions import TypeAliasType

from hjepa.bus import wire
from hjepa.bus.fake import PointWorld
from hjepa.bus.messages import Gate, _fields, pack, unpack
from hjepa.bus.topics import (
    KINDS,
    TOPICS,
    Empty,
    Energies,
    Handled,
    Ledger,
    ReachRequest,
    Record,
    Reset,
    Status,
    Text,
    Tick,
    Ticked,
    Time,
    Weights,
    Zones,
    address,
)
from hjepa.errors import LinkError, WireError
from hjepa.types import (
    Alarm,
    Considered,
    Goal,
    JointTrajectory,
    Launch,
    MotorPlan,
    Observation,
    RobotState,
    Sensed,
    Weighed,
)

J, K, H, D = 3, 64, 5, 4
OBSERVATION = Observation(
    7, np.arange(3.0), np.ones(J), np.full((K, 3), 0.5), np.arange(K) % 2 == 0, np.arange(K, dtype=np.int64)
)
COMMAND = JointTrajectory(20, 0.01, np.arange(15.0).reshape(H, J), np.zeros((H, J)), 50_000_000)
GOAL = Goal(
    1, 2, 3, np.arange(4.0), np.eye(D), np.array([3.0, -1.0]), "net shot", np.zeros((2, D)), np.array([1.0, np.inf])
)


def frame_of(kind="command", value=COMMAND, **header):
    return pack(kind, value, **{"session": 5, "sequence": 6, "stamp_ns": 7, **header})


def equal(a, b):
    """Same type, and every leaf the same, bit for bit."""
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or a != a)


def outcome():
    world = PointWorld()
    world.reset(RobotState(np.zeros(2), np.zeros(2)), Launch(np.ones(3), np.ones(3)), 0)
    return world.outcome()


VALUES = {
    "observation": OBSERVATION,
    "last_observation": OBSERVATION,
    "goal": GOAL,
    "plan": MotorPlan(3, np.zeros(12), float("nan"), 64, 1.5),
    "command": COMMAND,
    "reach": ReachRequest(OBSERVATION, np.ones((2, D)), np.ones((2, D, D))),
    "energies": Energies(np.array([1.0, np.inf])),
    "reset": Reset(RobotState(np.zeros(J), np.ones(J)), Launch(np.ones(3), np.zeros(3), "smash"), 2**40),
    "tick": Tick(3),
    "ticked": Ticked(3, 4, True),
    "outcome": outcome(),
    "status": Status("low", "running", 1, 2, 3, {"dropped.command.expired": 4, "x": 0}, np.array([1.0])),
    "record": Record({"q": np.zeros((2, 3), dtype=np.float32), "T.0": np.array(1)}, '{"events": []}'),
    "error": Text("no"),
    "time": Time(9),
    "weights": Weights({"goal": 1.0, "effort": 0.15}),
    "tune": Weights({"effort": 0.0}),
    "weighed": Weighed(4, "drop\nlob", np.ones((2, 2)), *np.array([[1.0, np.nan]] * 6)),
    "considered": Considered(
        4, 5, *np.ones((2, 3)), *np.ones((2, 3, J)), np.ones((3, 1)), np.zeros((3, 3)), np.zeros((3, 2)), float("nan")
    ),
    "zones": Zones(7, np.ones((2, 6))),
    "surprise": Alarm(Sensed(7, 12.5, 0.003, "flight"), 2),
    "ledger": Ledger(1, 2, 3, 4, 5, 6, 7, False),
    "handled": Handled("goal", 5, 6, 7, np.array([1, 2]), np.zeros(3, dtype=np.uint8), np.array([9])),
} | {kind: Empty() for kind, schema in KINDS.items() if schema.cls is Empty}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_was(kind):
    message = unpack(frame_of(kind, VALUES[kind], valid_for_ns=8, answers=9))
    header = message.header
    assert equal(message.value, VALUES[kind])
    assert (header.kind, header.session, header.sequence, header.stamp_ns) == (kind, 5, 6, 7)
    assert (header.valid_for_ns, header.answers) == (8, 9)


def test_every_topic_carries_known_kinds_and_has_an_address():
    for name, topic in TOPICS.items():
        assert set(topic.kinds) <= set(KINDS)
        assert address("ipc:///tmp/x", name) == f"ipc:///tmp/x/{name}"
    ports = {address("tcp://127.0.0.1:5000", name) for name in TOPICS}
    assert len(ports) == len(TOPICS)
    with pytest.raises(LinkError, match="did you mean 'command'"):
        address("inproc://x", "comand")


def test_a_received_array_is_the_receivers_own():
    first, second = (unpack(frame) for frame in [frame_of()] * 2)
    first.value.q_rad[0, 0] = 99.0
    assert second.value.q_rad[0, 0] == 0.0


def test_the_same_message_is_the_same_bytes():
    assert frame_of() == frame_of(value=COMMAND._replace(q_rad=np.asfortranarray(COMMAND.q_rad)))


def reason(frame):
    with pytest.raises(WireError) as caught:
        unpack(frame)
    return caught.value.reason


def raw(kind="command", scalars=None, **arrays):
    """A frame that `pack` would refuse to make."""
    scalars = {"start_ns": 20, "dt_s": 0.01, "valid_ns": 50} if scalars is None else scalars
    header = wire.Header(kind, 5, 6, 7, scalars=scalars)
    return wire.encode(header, {"q_rad": np.zeros((H, J)), "dq_rad_s": np.zeros((H, J))} | arrays)


NAN = np.full((H, J), np.nan)
SCALARS = {"start_ns": 20, "dt_s": 0.01, "valid_ns": 50}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (raw(q_rad=NAN), "non_finite"),
        (raw(dq_rad_s=np.full((H, J), -np.inf)), "non_finite"),
        (raw(scalars=SCALARS | {"dt_s": float("nan")}), "non_finite"),
        (raw(scalars=SCALARS | {"dt_s": 0.0}), "shape"),
        (raw(scalars=SCALARS | {"dt_s": "fast"}), "shape"),
        (raw(scalars=SCALARS | {"valid_ns": -1}), "shape"),
        (raw(scalars=SCALARS | {"extra": 1}), "shape"),
        (raw(scalars={"start_ns": 20, "dt_s": 0.01}), "shape"),
        (raw(q_rad=np.zeros((H, J + 1))), "shape"),
        (raw(q_rad=np.zeros(H)), "shape"),
        (raw(q_rad=np.zeros((0, J)), dq_rad_s=np.zeros((0, J))), "shape"),
        (raw(q_rad=np.zeros((H, J), dtype=np.float32)), "shape"),
        (raw(extra=np.zeros(1)), "shape"),
        (raw(kind="no such kind"), "garbage"),
        (b"", "garbage"),
        (b"hjep", "garbage"),
        (bytes(64), "garbage"),
        (frame_of() + b"\0" * 8, "garbage"),
        (frame_of()[:-8], "garbage"),
        (frame_of()[:20], "garbage"),
    ],
)
def test_what_is_wrong_is_refused_by_name(frame, expected):
    assert reason(frame) == expected


def test_a_frame_of_another_version_is_refused_before_it_is_read():
    frame = bytearray(frame_of())
    frame[4:6] = struct.pack("<H", wire.VERSION + 1)
    frame[16:] = b"\xc1" * len(frame[16:])  # not msgpack at all
    assert reason(frame) == "version"
    frame = bytearray(frame_of())
    frame[6] = 2  # an unknown flag
    assert reason(frame) == "version"


KEY = bytes(range(32))


def test_a_frame_made_with_the_key_passes_and_others_are_refused_before_they_are_read():
    signed = frame_of(key=KEY)
    assert equal(unpack(signed, KEY).value, COMMAND)
    assert equal(unpack(signed).value, COMMAND)  # a recorder has no key
    for frame in (frame_of(), frame_of(key=KEY[::-1])):
        with pytest.raises(WireError) as caught:
            unpack(frame, KEY)
        assert caught.value.reason == "unauthenticated"


def test_no_bit_of_an_authenticated_frame_may_change():
    signed = bytes(frame_of(key=KEY))
    for at in range(8, len(signed), 7):
        changed = bytearray(signed)
        changed[at] ^= 0x10
        with pytest.raises(WireError) as caught:
            unpack(changed, KEY)
        assert caught.value.reason in ("unauthenticated", "size", "garbage")
        assert caught.value.reason == "unauthenticated" or at < 16  # sizes in the prefix are looked at first


def test_without_its_trailer_a_frame_is_the_plain_one():
    assert wire.strip_mac(frame_of(key=KEY)) == bytes(frame_of())
    assert wire.strip_mac(frame_of()) == bytes(frame_of())


def test_sizes_are_checked_before_anything_is_decoded():
    assert reason(bytes(wire.MAX_FRAME_BYTES + 1)) == "size"
    prefix = struct.pack("<4sHHII", b"hjep", wire.VERSION, 0, wire.MAX_HEADER_BYTES + 1, 0)
    assert reason(prefix + bytes(wire.MAX_HEADER_BYTES + 1)) == "size"
    with pytest.raises(WireError) as caught:
        frame_of("record", Record({"big": np.zeros(wire.MAX_FRAME_BYTES // 8)}, ""))
    assert caught.value.reason == "size"


@pytest.mark.parametrize("shape", [(2**62,), (0, 2**62), (2**31, 2**31, 2**31), (2**20, 2**20)])
def test_a_shape_that_lies_costs_no_memory(shape):
    spec = wire.ArraySpec("q_rad", "float64", shape)
    head = msgspec.msgpack.encode(wire.Header("command", 5, 6, 7, arrays=(spec,)))
    prefix = struct.pack("<4sHHII", b"hjep", wire.VERSION, 0, len(head), 0)
    assert reason(prefix + head + bytes(-len(head) % 8)) == "size"


def test_a_dtype_off_the_list_is_refused_both_ways():
    with pytest.raises(WireError, match="allowed: bool"):
        wire.encode(wire.Header("record", 0, 0, 0), {"q": np.array([None])})
    spec = wire.ArraySpec("arrays.q", "object", (1,))
    head = msgspec.msgpack.encode(wire.Header("record", 5, 6, 7, scalars={"rest": ""}, arrays=(spec,)))
    prefix = struct.pack("<4sHHII", b"hjep", wire.VERSION, 0, len(head), 8)
    assert reason(prefix + head + bytes(-len(head) % 8) + bytes(8)) == "shape"


def test_a_byte_that_is_no_bool_is_refused():
    frame = bytearray(frame_of("record", Record({"mask": np.zeros(8, dtype=bool)}, "")))
    frame[-1] = 2
    assert reason(frame) == "garbage"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("command", COMMAND._replace(q_rad=NAN)),
        ("command", GOAL),
        ("command", COMMAND._replace(start_ns=1.5)),
        ("command", COMMAND._replace(q_rad=[["x"]])),
        ("goal", GOAL._replace(embedding=np.full(D, np.inf))),
        ("goal", GOAL._replace(root=np.ones((D, D + 1)))),
        ("tick", Tick(2**70)),
        ("comand", COMMAND),
    ],
)
def test_nothing_wrong_is_sent(kind, value):
    with pytest.raises(WireError):
        frame_of(kind, value)


def test_the_gate_lets_a_message_through_once_in_order_fresh_and_of_this_session():
    gate = Gate(("command",))
    gate.restart(5)
    assert gate.read(frame_of(sequence=4, valid_for_ns=10, stamp_ns=100), now_ns=110) is not None
    assert gate.read(frame_of(sequence=4)) is None
    assert gate.read(frame_of(sequence=3)) is None
    assert gate.read(frame_of(sequence=5, valid_for_ns=10, stamp_ns=100), now_ns=111) is None
    assert gate.read(frame_of(sequence=6, session=4)) is None
    assert gate.read(frame_of("goal", GOAL, sequence=7)) is None
    assert gate.read(raw(q_rad=NAN)) is None
    assert dict(gate.drops) == {"reordered": 2, "expired": 1, "old_session": 1, "garbage": 1, "non_finite": 1}
    assert set(gate.drops) <= set(wire.REASONS)
    assert gate.read(frame_of(sequence=8)).header.sequence == 8, "a dropped frame does not move the sequence"
    gate.restart(6)
    assert gate.read(frame_of(sequence=0, session=6)) is not None


def test_an_array_is_known_where_numpy_names_its_type_by_an_alias():
    """As numpy 2.5's NDArray is."""
    T = TypeVar("T", bound=np.generic)
    alias = TypeAliasType("alias", np.ndarray[Any, np.dtype[T]], type_params=(T,))
    fields = _fields(NamedTuple("Told", [("q", alias[np.float64]), ("many", dict[str, alias[np.float64]])]))
    assert [(f.form, f.what) for f in fields] == [("array", np.ndarray), ("arrays", np.ndarray)]
