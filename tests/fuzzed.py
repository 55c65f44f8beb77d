"""Frames that a driver must not accept, made from a good one; for the fuzz test and its benchmark."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from hjepa.bus import wire
from hjepa.bus.messages import pack
from hjepa.types import JointTrajectory

KINDS = (
    *("nan", "inf", "stale", "replayed", "old_session", "truncated", "oversize", "version", "random"),
    *("flipped", "unsigned", "wrong_key", "wrong_joints", "another_kind"),
)
REASONS = {  # under which a kind may be counted
    "nan": {"non_finite"},
    "inf": {"non_finite"},
    "stale": {"expired"},
    "replayed": {"reordered"},
    "old_session": {"old_session"},
    "oversize": {"size"},
    "version": {"version"},
    "unsigned": {"unauthenticated"},
    "wrong_key": {"unauthenticated"},
    "wrong_joints": {"shape"},
    "another_kind": {"shape", "garbage"},
    "flipped": {"unauthenticated", "garbage", "size", "version"},
    "truncated": {"unauthenticated", "garbage"},
    "random": {"unauthenticated", "garbage"},
}


class Fuzzer:
    """Makes bad frames around a session's good ones."""

    def __init__(self, key: bytes, session: int, wild: JointTrajectory, rng: np.random.Generator) -> None:
        """wild: a command that would be seen if it were followed."""
        self.key, self.session, self.wild, self.rng = key, session, wild, rng

    def frame(self, kind: str, sequence: int, now_ns: int, good: bytes) -> bytes:
        """A bad frame; `sequence` would be the next one, `good` is a frame that was accepted before."""
        make: dict[str, Callable[[], bytes | bytearray]] = {
            "nan": lambda: self._raw(sequence, now_ns, np.nan),
            "inf": lambda: self._raw(sequence, now_ns, -np.inf),
            "stale": lambda: self._packed(sequence, now_ns - 10**9),
            "replayed": lambda: good,
            "old_session": lambda: self._packed(sequence, now_ns, session=self.session - 1),
            "truncated": lambda: good[: int(self.rng.integers(16, len(good) - 1))],
            "oversize": lambda: good[:16] + bytes(wire.MAX_FRAME_BYTES),
            "version": lambda: good[:4] + struct.pack("<H", wire.VERSION + 1) + good[6:],
            "random": lambda: self._random(good),
            "flipped": lambda: self._flipped(sequence, now_ns),
            "unsigned": lambda: self._packed(sequence, now_ns, key=None),
            "wrong_key": lambda: self._packed(sequence, now_ns, key=self.key[::-1]),
            "wrong_joints": lambda: self._packed(sequence, now_ns, joints=-1),
            "another_kind": lambda: self._packed(sequence, now_ns, kind="observation"),
        }
        return bytes(make[kind]())

    def _packed(
        self, sequence: int, stamp_ns: int, *, session: int | None = None, key: bytes | None = b"", joints: int = 0,
        kind: str = "command",
    ) -> bytes:  # fmt: skip
        command = self.wild._replace(start_ns=stamp_ns)
        if joints:
            command = command._replace(q_rad=command.q_rad[:, :joints], dq_rad_s=command.dq_rad_s[:, :joints])
        frame = pack(
            "command", command, session=self.session if session is None else session, sequence=sequence,
            stamp_ns=stamp_ns, valid_for_ns=command.valid_ns, key=self.key if key == b"" else key,
        )  # fmt: skip
        if kind == "command":
            return frame
        plain = wire.decode(frame)
        return wire.encode(wire.Header(kind, *_rest(plain.header)), plain.arrays, self.key)

    def _raw(self, sequence: int, stamp_ns: int, number: float) -> bytes:
        """What our own sender would refuse to send, signed as if it had."""
        plain = wire.decode(self._packed(sequence, stamp_ns))
        arrays = {name: array.copy() for name, array in plain.arrays.items()}
        at = tuple(int(self.rng.integers(n)) for n in arrays["q_rad"].shape)
        arrays["q_rad"][at] = number
        return wire.encode(wire.Header("command", *_rest(plain.header)), arrays, self.key)

    def _flipped(self, sequence: int, stamp_ns: int) -> bytearray:
        frame = bytearray(self._packed(sequence, stamp_ns))
        frame[int(self.rng.integers(len(frame)))] ^= 1 << int(self.rng.integers(8))
        return frame

    def _random(self, good: bytes) -> bytes:
        start = good[:16] if self.rng.random() < 0.5 else b""  # half of them look like frames at first
        return start + self.rng.bytes(int(self.rng.integers(1, 4096)))


def _rest(header: wire.Header) -> tuple[object, ...]:
    return (
        header.session, header.sequence, header.stamp_ns, header.valid_for_ns, header.answers, header.ledger,
        header.scalars,
    )  # fmt: skip
