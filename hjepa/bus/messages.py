"""Values to frames and back, checked against what their kind carries (topics.KINDS), and the gate behind a socket."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from hjepa.bus import wire
from hjepa.bus.topics import KINDS, Schema
from hjepa.errors import WireError, nearest


class Message(NamedTuple):
    """A received message: header, and the value of hjepa.types (or of topics) that it carries."""

    header: wire.Header
    value: Any


def pack(
    kind: str,
    value: Any,
    *,
    session: int,
    sequence: int,
    stamp_ns: int,
    valid_for_ns: int = 0,
    answers: int = -1,
    ledger: tuple[int, ...] = (),
    key: bytes | None = None,
) -> bytearray:
    """A value to a frame, authenticated with `key` if given; WireError if it is not what the kind carries."""
    schema = _schema(kind)
    if type(value) is not schema.cls:
        raise WireError(f"'{kind}' cannot carry {type(value).__name__}; allowed: {schema.cls.__name__}", "shape")
    scalars: dict[str, wire.Scalar] = {}
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name, what, item in _flat(schema.cls, value):
            if what is np.ndarray:
                arrays[name] = np.asarray(item, dtype=schema.arrays.get(name, (None, ""))[0])
            else:
                scalars[name] = operator.index(item) if what is int else what(item)
    except (TypeError, ValueError, AttributeError) as error:
        raise WireError(f"'{kind}' cannot be written: {error}", "shape") from error
    placed = wire.layout_of(arrays)
    header = wire.Header(kind, session, sequence, stamp_ns, valid_for_ns, answers, ledger, scalars, placed.specs)
    lengths = _fits(kind, placed.specs)
    if kind in _RULES:
        _RULES[kind](scalars, lengths)
    frame = wire.write(header, placed, arrays.values(), key)
    if schema.finite:
        _require_finite(header, schema, placed, frame, len(frame) - placed.total - (wire.MAC_BYTES if key else 0))
    return frame


def unpack(frame: bytes | bytearray | memoryview, key: bytes | None = None) -> Message:
    """A frame to a message with arrays of its own; WireError if it is not exactly what its kind carries, or if it was
    not authenticated with `key`."""
    header, body = wire.read(frame, key=key)
    kind = header.kind
    schema = _schema(kind)
    placed, lengths = wire.laid_out(header, len(body)), _fits(kind, header.arrays)
    own = bytearray(body)
    if schema.finite:
        _require_finite(header, schema, placed, own)
    if kind in _RULES:
        _RULES[kind](header.scalars, lengths)
    arrays = {name: wire.array_at(own, at, dtype, shape) for name, dtype, shape, at in placed.slots}
    leaves = _leaves(schema.cls)
    scalars = header.scalars if leaves is not None else dict(header.scalars)
    if leaves is None:
        value = _build(schema.cls, "", scalars, arrays, kind)
        left = [*scalars, *arrays]
    else:
        value = schema.cls(*[_leaf(arrays if what is np.ndarray else scalars, n, what, kind) for n, what in leaves])
        left = (
            []
            if len(scalars) + len(arrays) == len(leaves)
            else [n for n in (*scalars, *arrays) if n not in value._fields]
        )
    if left:
        raise WireError(f"'{kind}' has unknown fields {sorted(left)[:4]}", "shape")
    return Message(header, value)


Check = Callable[[Message], str]
"""What else a message must satisfy: '' or the reason to drop it."""


class Gate:
    """Lets a message through once, in order, fresh, of this session; counts what it drops."""

    def __init__(self, kinds: Collection[str], key: bytes | None = None, check: Check | None = None) -> None:
        """key: only frames authenticated with it pass; check: asked last, before the message counts as seen."""
        self.kinds, self.key, self.check = frozenset(kinds), key, check
        self.drops: Counter[str] = Counter()
        self.passed = 0
        self.session: int | None = None  # None: any
        self._last = (-1, -1)  # session, sequence

    def restart(self, session: int) -> None:
        """Only messages of this session from now on."""
        self.session = session

    def read(self, frame: bytes | bytearray, now_ns: int | None = None) -> Message | None:
        """The frame's message, or None if it was dropped. now_ns: on the sender's clock; None: never expired."""
        try:
            message = unpack(frame, self.key)
        except WireError as error:
            self.drops[error.reason] += 1
            return None
        reason = self._refuse(message.header, now_ns) or (self.check(message) if self.check else "")
        if reason:
            self.drops[reason] += 1
            return None
        self._last = (message.header.session, message.header.sequence)
        self.passed += 1
        return message

    def _refuse(self, header: wire.Header, now_ns: int | None) -> str:
        if header.kind not in self.kinds:
            return "garbage"
        if self.session is not None and header.session != self.session:
            return "old_session"
        if header.session == self._last[0] and header.sequence <= self._last[1]:
            return "reordered"
        if now_ns is not None and header.valid_for_ns and now_ns - header.stamp_ns > header.valid_for_ns:
            return "expired"
        return ""


def _schema(kind: str) -> Schema:
    if kind not in KINDS:
        raise WireError(f"no message kind '{kind}'; {nearest(kind, KINDS)}")
    return KINDS[kind]


class _Field(NamedTuple):
    """A field of a value: one array, one scalar, a NamedTuple of its own, or a dict of arrays or scalars."""

    name: str
    form: Literal["array", "scalar", "tuple", "arrays", "scalars"]
    what: Any  # np.ndarray, a scalar type or a NamedTuple class


@cache
def _fields(cls: Any) -> tuple[_Field, ...]:
    """What a NamedTuple class holds, read from its annotations."""
    found = []
    for name, hint in get_type_hints(cls).items():
        many = get_origin(hint) is dict
        item = get_args(hint)[1] if many else hint
        what = get_origin(item) or item
        if hasattr(what, "_fields"):
            found.append(_Field(name, "tuple", what))
        elif what is np.ndarray:
            found.append(_Field(name, "arrays" if many else "array", what))
        else:
            found.append(_Field(name, "scalars" if many else "scalar", what))
    return tuple(found)


@cache
def _leaves(cls: Any) -> tuple[tuple[str, Any], ...] | None:
    """(name, np.ndarray or scalar type) of a flat class's fields; None where a field holds more than one leaf."""
    fields = _fields(cls)
    return tuple((f.name, f.what) for f in fields) if all(f.form in ("array", "scalar") for f in fields) else None


def _flat(cls: Any, value: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, np.ndarray or scalar type, value) of every leaf."""
    leaves = _leaves(cls)
    if leaves is not None:
        for (name, what), item in zip(leaves, value, strict=True):
            yield prefix + name, what, item
        return
    for (name, form, what), item in zip(_fields(cls), value, strict=True):
        if form == "tuple":
            yield from _flat(what, item, f"{prefix}{name}.")
        elif form in ("arrays", "scalars"):
            for key, entry in item.items():
                yield f"{prefix}{name}.{key}", what, entry
        else:
            yield prefix + name, what, item


def _build(cls: Any, prefix: str, scalars: dict[str, Any], arrays: dict[str, Any], kind: str) -> Any:
    """The value of a NamedTuple class, taking its leaves out of `scalars` and `arrays`."""
    leaves = _leaves(cls)
    if leaves is not None:
        return cls(*(_leaf(arrays if w is np.ndarray else scalars, prefix + name, w, kind) for name, w in leaves))
    values: list[Any] = []
    for name, form, what in _fields(cls):
        dotted = prefix + name
        source = arrays if what is np.ndarray else scalars
        if form == "tuple":
            values.append(_build(what, dotted + ".", scalars, arrays, kind))
        elif form in ("arrays", "scalars"):
            keys = [key for key in source if key.startswith(dotted + ".")]
            values.append({key[len(dotted) + 1 :]: _leaf(source, key, what, kind) for key in keys})
        else:
            values.append(_leaf(source, dotted, what, kind))
    return cls(*values)


def _leaf(source: dict[str, Any], name: str, what: Any, kind: str) -> Any:
    if name not in source:
        raise WireError(f"'{kind}' lacks '{name}'", "shape")
    item = source.pop(name)
    if what is np.ndarray:
        return item
    if type(item) is not what:
        raise WireError(f"'{name}' of '{kind}' is {type(item).__name__}; allowed: {what.__name__}", "shape")
    return item


@cache
def _alternatives(dims: str) -> list[list[str]]:
    """'D|D D' to [[D], [D, D]]."""
    return [alternative.split() for alternative in dims.split("|")]


@lru_cache(maxsize=1024)
def _fits(kind: str, specs: tuple[wire.ArraySpec, ...]) -> dict[str, int]:
    """Lengths of the dimensions; WireError unless the arrays have the schema's dtypes and dimensions."""
    lengths: dict[str, int] = {}
    there = {spec.name: spec for spec in specs}
    for name, (dtype, dims) in _schema(kind).arrays.items():
        spec = there.get(name)
        if spec is None:
            raise WireError(f"'{kind}' lacks '{name}'", "shape")
        letters = next((d for d in _alternatives(dims) if len(d) == len(spec.shape)), None)
        if spec.dtype != dtype or letters is None:
            got = f"{spec.dtype} {spec.shape}"
            raise WireError(f"'{name}' of '{kind}' is {got}; allowed: {dtype} ({dims})", "shape")
        for letter, length in zip(letters, spec.shape, strict=True):
            allowed = int(letter) if letter.isdecimal() else lengths.setdefault(letter, length)
            if length != allowed:
                raise WireError(f"'{name}' of '{kind}' has {letter} = {length}; allowed: {allowed}", "shape")
    return lengths


@lru_cache(maxsize=1024)
def _runs(placed: wire.Layout, loose: tuple[str, ...]) -> tuple[tuple[str, np.dtype[Any], int, int], ...]:
    """(first name, dtype, offset, numbers) of stretches of float arrays that are looked at in one go."""
    runs: list[tuple[str, np.dtype[Any], int, int]] = []
    for name, dtype, shape, offset in placed.slots:
        if dtype.kind != "f" or name in loose:
            continue
        count = math.prod(shape)
        if runs and runs[-1][1] == dtype and runs[-1][2] + runs[-1][3] * dtype.itemsize == offset:
            runs[-1] = (*runs[-1][:3], runs[-1][3] + count)
        elif count:
            runs.append((name, dtype, offset, count))
    return tuple(runs)


def _require_finite(header: wire.Header, schema: Schema, placed: wire.Layout, body: bytearray, start: int = 0) -> None:
    """WireError if any float is not finite, `loose` arrays aside. start: where in `body` the arrays begin."""
    for name, number in header.scalars.items():
        if type(number) is float and not math.isfinite(number):
            raise WireError(f"'{name}' of '{header.kind}' is {number}; allowed: finite numbers", "non_finite")
    for name, dtype, offset, count in _runs(placed, schema.loose):
        if not wire.all_finite(np.ndarray(count, dtype, body, start + offset)):
            raise WireError(
                f"'{name}' or what follows it in '{header.kind}' holds nan or inf; allowed: finite", "non_finite"
            )


def _command_rule(scalars: dict[str, wire.Scalar], lengths: dict[str, int]) -> None:
    if lengths["H"] < 1 or lengths["J"] < 1:
        raise WireError(f"'command' has {lengths} samples and joints; allowed: at least 1", "shape")
    for name in ("dt_s", "valid_ns"):
        number = scalars.get(name, 0)
        if not isinstance(number, int | float) or number <= 0:
            raise WireError(f"'{name}' of 'command' is {number}; allowed: more than 0", "shape")


_RULES: dict[str, Callable[[dict[str, wire.Scalar], dict[str, int]], None]] = {"command": _command_rule}
