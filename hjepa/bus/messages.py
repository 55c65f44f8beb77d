"""Values to frames and back, checked against what their kind carries (topics.KINDS), and the gate behind a socket."""

from __future__ import annotations

import operator
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache
from math import isfinite, prod
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


_FEW = 64  # numbers

Leaves = tuple[tuple[str, Any], ...]
"""(name, np.ndarray or scalar type) of a flat class's fields."""

Rule = Callable[[dict[str, wire.Scalar], dict[str, int]], None]
"""What else the scalars and lengths of a kind must satisfy."""


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
) -> bytes:
    """A value to a frame, authenticated with `key` if given; WireError if it is not what the kind carries."""
    schema = _schema(kind)
    if type(value) is not schema.cls:
        raise WireError(f"'{kind}' cannot carry {type(value).__name__}; allowed: {schema.cls.__name__}", "shape")
    names: list[str] = []
    arrays: list[NDArray[Any]] = []
    scalars: dict[str, wire.Scalar] = {}
    dtypes = _dtypes(kind)
    try:
        for name, what, item in _flat(schema.cls, value):
            if what is np.ndarray:
                names.append(name)
                arrays.append(np.asarray(item, dtypes.get(name)))
            else:
                scalars[name] = item if type(item) is what else operator.index(item) if what is int else what(item)
    except (TypeError, ValueError, AttributeError) as error:
        raise WireError(f"'{kind}' cannot be written: {error}", "shape") from error
    form = _form_of(kind, tuple(names), tuple([a.dtype for a in arrays]), tuple([a.shape for a in arrays]))
    placed = form.placed
    header = wire.Header(kind, session, sequence, stamp_ns, valid_for_ns, answers, ledger, scalars, placed.specs)
    frame, start = wire.unsigned(header, placed, arrays, signed=key is not None)
    _check(form, scalars, frame, start)
    return frame if key is None else frame + wire.mac(frame, key)


def unpack(frame: bytes | bytearray | memoryview, key: bytes | None = None, *, own: bool = False) -> Message:
    """A frame to a message with arrays of its own; WireError if it is not exactly what its kind carries, or if it was
    not authenticated with `key`. own: the frame's memory is the message's from now on, and is not copied."""
    header, view = wire.read(frame, key=key)
    scalars = header.scalars
    form = _form(header.kind, wire.checked_layout(header.arrays, len(view)))
    body = view if own else bytearray(view)  # one copy, and the message's own
    _check(form, scalars, body, 0)
    arrays = wire.arrays_of(form.placed, body)
    if form.scalars is None:
        scalars = dict(scalars)
        value = _build(form.schema.cls, "", scalars, arrays, header.kind)
        if scalars or arrays:
            raise _unknown(header.kind, [*scalars, *arrays])
        return Message(header, value)
    if len(scalars) != len(form.scalars):
        raise _unknown(header.kind, scalars.keys() - dict(form.scalars).keys())
    return Message(header, form.schema.cls(**scalars, **arrays))


def _unknown(kind: str, names: Collection[str]) -> WireError:
    return WireError(f"'{kind}' has unknown fields {sorted(names)[:4]}", "shape")


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

    def read(
        self, frame: bytes | bytearray | memoryview, now_ns: int | None = None, own: bool = False
    ) -> Message | None:
        """The frame's message, or None if it was dropped.

        now_ns: on the sender's clock; None: never expired. own: see `unpack`.
        """
        try:
            message = unpack(frame, self.key, own=own)
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


@cache
def _dtypes(kind: str) -> dict[str, np.dtype[Any]]:
    """What arrays are converted to before they are sent; one that is not named stays what it is."""
    return {name: np.dtype(dtype) for name, (dtype, _) in KINDS[kind].arrays.items()}


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
        what = get_origin(getattr(what, "__value__", None)) or what  # numpy 2.5's NDArray is an alias of its own
        if hasattr(what, "_fields"):
            found.append(_Field(name, "tuple", what))
        elif what is np.ndarray:
            found.append(_Field(name, "arrays" if many else "array", what))
        else:
            found.append(_Field(name, "scalars" if many else "scalar", what))
    return tuple(found)


@cache
def _leaves(cls: Any) -> Leaves | None:
    """None where a field holds more than one leaf."""
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
        return cls(*(_taken(arrays if w is np.ndarray else scalars, prefix + name, w, kind) for name, w in leaves))
    values: list[Any] = []
    for name, form, what in _fields(cls):
        dotted = prefix + name
        source = arrays if what is np.ndarray else scalars
        if form == "tuple":
            values.append(_build(what, dotted + ".", scalars, arrays, kind))
        elif form in ("arrays", "scalars"):
            keys = [key for key in source if key.startswith(dotted + ".")]
            values.append({key[len(dotted) + 1 :]: _taken(source, key, what, kind) for key in keys})
        else:
            values.append(_taken(source, dotted, what, kind))
    return cls(*values)


def _taken(source: dict[str, Any], name: str, what: Any, kind: str) -> Any:
    item = _leaf(source, name, what, kind)
    del source[name]
    return item


def _leaf(source: dict[str, Any], name: str, what: Any, kind: str) -> Any:
    item = source.get(name, source)
    if item is source:
        raise WireError(f"'{kind}' lacks '{name}'", "shape")
    if what is np.ndarray:
        return item
    if type(item) is not what:
        raise WireError(f"'{name}' of '{kind}' is {type(item).__name__}; allowed: {what.__name__}", "shape")
    return item


@cache
def _alternatives(dims: str) -> list[list[str]]:
    """'D|D D' to [[D], [D, D]]."""
    return [alternative.split() for alternative in dims.split("|")]


class _Run(NamedTuple):
    """Float arrays that have to be finite and lie in one stretch."""

    name: str  # of the first
    dtype: np.dtype[Any]
    offset: int
    numbers: int
    few: struct.Struct | None  # reads them if they are few, which is quicker than numpy is

    def finite(self, body: bytes | bytearray | memoryview, start: int) -> bool:
        """True if neither nan nor inf is among them; a sum that overflows is looked at again."""
        at = start + self.offset
        if self.few is not None and isfinite(sum(self.few.unpack_from(body, at))):
            return True
        return wire.all_finite(np.frombuffer(body, self.dtype, self.numbers, at))


class _Form(NamedTuple):
    """What is known of a kind's frames whose arrays lie like this, worked out once."""

    kind: str
    schema: Schema
    placed: wire.Layout
    lengths: dict[str, int]  # of the dimensions
    runs: tuple[_Run, ...]
    scalars: Leaves | None  # of a flat class
    rule: Rule | None


@lru_cache(maxsize=1024)
def _form_of(kind: str, names: tuple[str, ...], dtypes: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]) -> _Form:
    """The same for arrays to be sent."""
    return _form(kind, wire.laid_out(names, dtypes, shapes))


@lru_cache(maxsize=1024)
def _form(kind: str, placed: wire.Layout) -> _Form:
    """WireError unless the arrays have the schema's dtypes and dimensions."""
    schema = _schema(kind)
    lengths: dict[str, int] = {}
    there = {spec.name: spec for spec in placed.specs}
    for name, (dtype, dims) in schema.arrays.items():
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
    leaves, scalars = _leaves(schema.cls), None
    if leaves is not None:
        scalars = tuple((name, what) for name, what in leaves if what is not np.ndarray)
        arrays = {name for name, what in leaves if what is np.ndarray}
        for name in sorted(arrays - there.keys()):
            raise WireError(f"'{kind}' lacks '{name}'", "shape")
        if there.keys() - arrays:
            raise _unknown(kind, there.keys() - arrays)
    return _Form(kind, schema, placed, lengths, _runs(placed, schema), scalars, _RULES.get(kind))


def _runs(placed: wire.Layout, schema: Schema) -> tuple[_Run, ...]:
    """Stretches of float arrays that have to be finite and can be looked at in one go."""
    runs: list[tuple[str, np.dtype[Any], int, int]] = []
    for name, dtype, shape, offset in placed.slots:
        count = prod(shape)
        if not schema.finite or dtype.kind != "f" or name in schema.loose or not count:
            continue
        if runs and runs[-1][1] == dtype and runs[-1][2] + runs[-1][3] * dtype.itemsize == offset:
            runs[-1] = (*runs[-1][:3], runs[-1][3] + count)
        else:
            runs.append((name, dtype, offset, count))
    return tuple(_Run(*r, struct.Struct(f"<{r[3]}{r[1].char}") if r[3] <= _FEW else None) for r in runs)


def _check(form: _Form, scalars: dict[str, wire.Scalar], body: bytes | bytearray | memoryview, start: int) -> None:
    """Floats are finite where they must be; a command makes sense. start: where the body starts in `body`."""
    for name, what in form.scalars or ():
        if type(scalars.get(name)) is not what:
            _leaf(scalars, name, what, form.kind)
    if form.schema.finite:
        for name, number in scalars.items():
            if type(number) is float and not isfinite(number):
                raise WireError(f"'{name}' is {number}; allowed: finite numbers", "non_finite")
        for run in form.runs:
            if not run.finite(body, start):
                raise WireError(f"'{run.name}' or what follows it holds nan or inf; allowed: finite", "non_finite")
    if form.rule is not None:
        form.rule(scalars, form.lengths)


def _command_rule(scalars: dict[str, wire.Scalar], lengths: dict[str, int]) -> None:
    if lengths["H"] < 1 or lengths["J"] < 1:
        raise WireError(f"'command' has {lengths} samples and joints; allowed: at least 1", "shape")
    for name in ("dt_s", "valid_ns"):
        if not scalars[name] > 0:  # type: ignore[operator]  # their types were looked at before
            raise WireError(f"'{name}' of 'command' is {scalars[name]}; allowed: more than 0", "shape")


_RULES: dict[str, Rule] = {"command": _command_rule}
