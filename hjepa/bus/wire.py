"""One message = one frame: a fixed prefix, a typed header, raw array buffers. Nothing in a frame is executable.

    prefix   16 bytes little-endian: magic 'hjep', u16 version, u16 flags, u32 header bytes, u32 body bytes
    header   msgpack of `Header` (msgspec-typed), zero-padded to 8 bytes
    body     array buffers in the header's order: little-endian, C order, each zero-padded to 8 bytes
    trailer  with flag 1 only: 16 bytes, keyed BLAKE2s (RFC 7693) of everything before it

Sizes, version and, for who has the key, the trailer are checked before anything is decoded; whatever is wrong raises
WireError, whose `reason` is counted.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hjepa.errors import WireError, nearest

VERSION = 2
MAC_BYTES = 16
MAX_FRAME_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_ARRAYS = 64
MAX_NDIM = 8
DTYPES = {
    name: np.dtype(code).newbyteorder("<")
    for name, code in (
        ("bool", "?"),
        ("int8", "i1"),
        ("int16", "i2"),
        ("int32", "i4"),
        ("int64", "i8"),
        ("uint8", "u1"),
        ("uint16", "u2"),
        ("uint32", "u4"),
        ("uint64", "u8"),
        ("float16", "f2"),
        ("float32", "f4"),
        ("float64", "f8"),
    )
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()} | {d.newbyteorder(">"): n for n, d in DTYPES.items()}
REASONS = (
    *("expired", "reordered", "old_session", "non_finite", "shape", "size", "version", "unauthenticated", "garbage"),
)

_MAGIC = b"hjep"
_PREFIX = struct.Struct("<4sHHII")
_ALIGN = 8
_MAC_FLAG = 1
_PADS = [bytes(-n % _ALIGN) for n in range(_ALIGN)]
_HELD = 2**12  # bytes from which an array's memory is joined as it lies; a small one is quicker copied first

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Scalar = bool | int | float | str


class ArraySpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How to read one buffer."""

    name: str
    dtype: str  # a key of DTYPES
    shape: Annotated[tuple[Natural, ...], msgspec.Meta(max_length=MAX_NDIM)]


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every message says about itself. Stamps are monotonic ns of the sender's clock (simulated in lockstep)."""

    kind: Annotated[str, msgspec.Meta(max_length=32)]
    session: Natural  # changes with every reset; frames of another one are dropped
    sequence: Natural  # grows within a session and topic
    stamp_ns: int
    valid_for_ns: Natural = 0  # age at which it expires; 0: never
    answers: Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)] = -1  # sequence of the message it answers; -1: none
    ledger: Annotated[tuple[int, ...], msgspec.Meta(max_length=8)] = ()  # stamps of what led to it, see topics.Ledger
    scalars: dict[str, Scalar] = {}
    arrays: Annotated[tuple[ArraySpec, ...], msgspec.Meta(max_length=MAX_ARRAYS)] = ()


class Frame(NamedTuple):
    """A decoded frame; arrays are read-only views into it."""

    header: Header
    arrays: dict[str, NDArray[Any]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


@dataclass(frozen=True, eq=False, slots=True)  # equal specs give the same object, see `layout`: compared by identity
class Layout:
    """Where each buffer of a body lies."""

    specs: tuple[ArraySpec, ...]
    slots: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...]  # name, dtype, shape, offset in the body
    bools: tuple[str, ...]  # names of the bool arrays
    total: int  # bytes


@lru_cache(maxsize=1024)  # frames of a kind look alike: their arrays are laid out, and checked, once
def layout(specs: tuple[ArraySpec, ...]) -> Layout:
    """WireError if an array may not be read, or comes twice."""
    slots, offset, names = [], 0, set()
    for spec in specs:
        dtype, count = _checked(spec)
        if spec.name in names:
            raise WireError(f"array '{spec.name}' comes twice", "shape")
        names.add(spec.name)
        slots.append((spec.name, dtype, spec.shape, offset))
        offset += _padded(count * dtype.itemsize)
    return Layout(specs, tuple(slots), tuple(name for name, dtype, _, _ in slots if dtype.kind == "b"), offset)


@lru_cache(maxsize=1024)
def laid_out(names: tuple[str, ...], dtypes: tuple[np.dtype[Any], ...], shapes: tuple[tuple[int, ...], ...]) -> Layout:
    """How arrays to be sent will lie; WireError for a dtype that is not sent."""
    specs = []
    for name, dtype, shape in zip(names, dtypes, shapes, strict=True):
        if dtype not in _NAMES:
            raise WireError(f"array '{name}' has dtype {dtype}; {nearest(dtype.name, DTYPES)}", "shape")
        specs.append(ArraySpec(name, _NAMES[dtype], shape))
    return layout(tuple(specs))


def buffers_of(placed: Layout, arrays: Sequence[NDArray[Any]]) -> list[bytes | memoryview]:
    """What the body is joined from, of whatever memory layout and byte order the arrays are."""
    parts: list[bytes | memoryview] = []
    for (_, dtype, _, _), array in zip(placed.slots, arrays, strict=True):
        plain = array if array.dtype is dtype or array.dtype == dtype else array.astype(dtype)
        size = plain.nbytes
        parts.append(plain.data if size >= _HELD and plain.flags.c_contiguous else plain.tobytes())
        if size % _ALIGN:
            parts.append(_PADS[size % _ALIGN])
    return parts


def encode(header: Header, arrays: Mapping[str, NDArray[Any]] | None = None, key: bytes | None = None) -> bytes:
    """Header and arrays to one frame; `header.arrays` is filled in here. Arrays of any layout are copied.

    key: authenticates the frame with a trailer.
    """
    values = [np.asarray(value) for value in (arrays or {}).values()]
    placed = laid_out(tuple(arrays or ()), tuple(a.dtype for a in values), tuple(a.shape for a in values))
    named = msgspec.structs.replace(header, arrays=placed.specs)
    frame, _ = unsigned(named, placed, values, signed=key is not None)
    return frame if key is None else frame + mac(frame, key)


def unsigned(header: Header, placed: Layout, arrays: Sequence[NDArray[Any]], *, signed: bool) -> tuple[bytes, int]:
    """The frame, and where its body starts. The header names the arrays; signed: their `mac` has yet to follow."""
    try:
        head = _encoder.encode(header)
    except (OverflowError, TypeError) as error:
        raise WireError(f"header of '{header.kind}' cannot be written: {error}") from error
    size, many = len(head), placed.total
    if size > MAX_HEADER_BYTES or _PREFIX.size + size + many + _ALIGN + MAC_BYTES > MAX_FRAME_BYTES:
        got = f"header {size}, arrays {many} bytes"
        raise WireError(f"'{header.kind}' is too large: {got}; allowed: {MAX_HEADER_BYTES}, {MAX_FRAME_BYTES}", "size")
    prefix = _PREFIX.pack(_MAGIC, VERSION, _MAC_FLAG if signed else 0, size, many)
    frame = b"".join((prefix, head, _PADS[size % _ALIGN], *buffers_of(placed, arrays)))  # the one copy of the arrays
    return frame, len(frame) - many


def read(
    frame: bytes | bytearray | memoryview, max_bytes: int = MAX_FRAME_BYTES, key: bytes | None = None
) -> tuple[Header, memoryview]:
    """One frame to its header and the bytes of its arrays, which are not looked at yet; WireError as in `decode`."""
    size = len(frame)
    if size > max_bytes:
        raise WireError(f"frame of {size} bytes; allowed: {max_bytes}", "size")
    if size < _PREFIX.size:
        raise WireError(f"frame of {size} bytes; allowed: at least {_PREFIX.size}")
    magic, version, flags, head, body = _PREFIX.unpack_from(frame)
    if magic != _MAGIC:
        raise WireError(f"frame starts with {magic!r}; allowed: {_MAGIC!r}")
    if version != VERSION or flags > _MAC_FLAG:
        raise WireError(f"protocol version {version}, flags {flags}; allowed: version {VERSION}, flags 0, 1", "version")
    if head > MAX_HEADER_BYTES:
        raise WireError(f"header of {head} bytes; allowed: {MAX_HEADER_BYTES}", "size")
    end = _PREFIX.size + head
    if end > size:
        raise WireError(f"frame of {size} bytes is cut off inside its header of {head}")
    view = memoryview(frame)
    if flags or key is not None:
        size -= _authenticated(view, flags, key)
    header = _header(view[_PREFIX.size : end])
    start = end + -head % _ALIGN
    if size - start != body:
        raise WireError(f"{max(0, size - start)} bytes of arrays; the prefix says {body}")
    return header, view[start:size]


def checked_layout(specs: tuple[ArraySpec, ...], size: int) -> Layout:
    """Where the arrays lie in a body of so many bytes; WireError if they do not fill it exactly."""
    placed = layout(specs)
    if placed.total != size:
        reason = "shape" if placed.total > size else "garbage"
        raise WireError(f"arrays of {placed.total} bytes are announced; the frame holds {size}", reason)
    return placed


def arrays_of(placed: Layout, body: memoryview | bytearray) -> dict[str, NDArray[Any]]:
    """Views of the arrays of a body."""
    arrays = {name: np.ndarray(shape, dtype, body, offset) for name, dtype, shape, offset in placed.slots}
    for name in placed.bools:
        if arrays[name].size and arrays[name].view(np.uint8).max() > 1:
            raise WireError("a bool array holds a byte other than 0 and 1")
    return arrays


def decode(frame: bytes | bytearray | memoryview, max_bytes: int = MAX_FRAME_BYTES, key: bytes | None = None) -> Frame:
    """One frame to header and arrays; WireError for whatever is not exactly a frame.

    key: frames that were not authenticated with it are refused. None: a trailer is skipped unread.
    """
    header, body = read(frame, max_bytes, key)
    arrays = arrays_of(checked_layout(header.arrays, len(body)), body)
    for array in arrays.values():
        array.flags.writeable = False
    return Frame(header, arrays)


def all_finite(array: NDArray[Any]) -> bool:
    """True if no number of a float array is nan or inf. Their squares' sum is quicker to take than a look at each."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def mac(content: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Keyed BLAKE2s of a frame without its trailer, 16 bytes."""
    state = _keyed(key).copy()
    state.update(content)
    return state.digest()


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> Any:
    return hashlib.blake2s(key=key, digest_size=MAC_BYTES, person=b"hjepa-2")


def strip_mac(frame: bytes | bytearray | memoryview) -> bytes:
    """The frame as it would be without a trailer; one without is returned as it is. Frames that decode only."""
    view = memoryview(frame).cast("B")
    magic, version, flags, header, body = _PREFIX.unpack(view[: _PREFIX.size])
    if not flags & _MAC_FLAG:
        return bytes(view)
    return _PREFIX.pack(magic, version, flags & ~_MAC_FLAG, header, body) + bytes(view[_PREFIX.size : -MAC_BYTES])


def _authenticated(view: memoryview, flags: int, key: bytes | None) -> int:
    """Bytes of the trailer, which is checked for who has the key."""
    if not flags & _MAC_FLAG:
        raise WireError(
            "frame without a MAC; allowed here: frames made with the graph's command key", "unauthenticated"
        )
    if len(view) < _PREFIX.size + MAC_BYTES:
        raise WireError(f"frame of {len(view)} bytes is cut off inside its MAC")
    if key is not None and not hmac.compare_digest(mac(view[:-MAC_BYTES], key), view[-MAC_BYTES:]):
        raise WireError("frame whose MAC is not that of the graph's command key", "unauthenticated")
    return MAC_BYTES


def _header(raw: memoryview) -> Header:
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"header cannot be read: {error}") from error


def _checked(spec: ArraySpec) -> tuple[np.dtype[Any], int]:
    """dtype and number of elements of an array that may be read."""
    dtype = DTYPES.get(spec.dtype)
    if dtype is None:
        raise WireError(
            f"array '{spec.name}' has dtype '{spec.dtype[:32]}'; {nearest(spec.dtype[:32], DTYPES)}", "shape"
        )
    if math.prod(n for n in spec.shape if n) * dtype.itemsize > MAX_FRAME_BYTES:  # also (0, huge): numpy refuses it
        raise WireError(f"array '{spec.name}' has shape {spec.shape}; allowed: {MAX_FRAME_BYTES} bytes", "size")
    return dtype, math.prod(spec.shape)


def _padded(size: int) -> int:
    """Bytes that `size` bytes take."""
    return size + -size % _ALIGN
