"""A recording: an MCAP file (mcap.dev/spec) of exact wire frames that may be cut anywhere and still be read.

    channel TOPIC      encoding 'hjepa', no schema: the frame as it was on the wire. log_time is when it was received,
                       publish_time the stamp in its header, both monotonic ns (simulated ones in lockstep headers)
    channel /NAME      encoding 'json' with a JSON schema: figures that Foxglove plots, see readable.PLOTS
    metadata hjepa     what the recording says of itself: `About`; configuration, seeds, hashes of the weights, versions
    metadata topics    owner, kinds and rate of each topic
    metadata clock     unix_ns and monotonic_ns of one instant
    metadata losses    at the end: frames received and lost by topic

Whole chunks reach the operating system within `FLUSH_S`, so a killed recorder loses no more than that. Needs mcap.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, cast

import msgspec
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import CRCValidationError, StreamReader
from mcap.writer import CompressionType, Writer

from hjepa.bus import wire
from hjepa.bus.readable import PLOTS, Plot, decoded_or_none
from hjepa.bus.topics import TOPICS
from hjepa.errors import DataError

ENCODING = "hjepa"
FLUSH_S = 0.5
_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length of what follows
_CHUNK_BYTES = 2**20


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a recording comes from, and what a node of it is rebuilt from. No keys."""

    config: str = ""  # resolved configuration, YAML
    seeds: dict[str, int] = {}
    weights: dict[str, str] = {}  # file -> SHA-256
    versions: dict[str, str] = {}
    nodes: dict[str, dict[str, Any]] = {}  # node -> {factory, args}, as processes.NodeSpec
    bus: dict[str, Any] = {}  # fields of node.BusConfig that a replay needs


class Entry(NamedTuple):
    """One frame of a recording."""

    topic: str
    received_ns: int
    frame: bytes


def sha256(path: Path) -> str:
    """Hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Sink:
    """A file that ends with a whole write: one that does not fit is taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; give a file in a folder that can be written") from error
        self._size = 0
        self.broken = False

    def write(self, data: bytes) -> int:
        """All of the data, or DataError."""
        left = memoryview(data)
        try:
            while left and not self.broken:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self.broken = True
            os.ftruncate(self._file, self._size)
            raise DataError(
                f"{self.path}: {error.strerror}; recording ended, the {self._size} bytes so far are readable"
            ) from error
        self._size += 0 if self.broken else len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        os.close(self._file)


class LogWriter:
    """Writes a recording; close it, or leave it to its context."""

    def __init__(self, path: Path, about: About | None = None, *, readable: bool = True) -> None:
        """readable: also write what Foxglove can plot. DataError where the file cannot be written."""
        self.path, self.readable = path, readable
        self._sink = _Sink(path)
        self._mcap = Writer(cast("IO[bytes]", self._sink), _CHUNK_BYTES, CompressionType.LZ4)
        self._channels: dict[str, int] = {}
        self._closed = False
        self._flushed_s = time.monotonic()
        self._mcap.start(profile="", library=f"hjepa {(about or About()).versions.get('hjepa', '')}".strip())
        self._mcap.add_metadata("hjepa", _texts(msgspec.to_builtins(about or About())))
        self._mcap.add_metadata("topics", {t.name: json.dumps([t.owner, t.kinds, t.rate]) for t in TOPICS.values()})
        now = {"unix_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
        self._mcap.add_metadata("clock", _texts(now))

    @property
    def bytes_written(self) -> int:
        """Size of the file so far."""
        return self._sink.tell()

    def write(self, topic: str, frame: bytes, received_ns: int) -> wire.Header | None:
        """One frame as it came; returns its header, or None if it cannot be read."""
        decoded = decoded_or_none(frame)
        stamp_ns, sequence = received_ns, 0
        if decoded is not None:
            stamp_ns, sequence = max(decoded.header.stamp_ns, 0), decoded.header.sequence & 0xFFFFFFFF
        self._mcap.add_message(self._channel(topic), received_ns, frame, stamp_ns, sequence)
        if decoded is None:
            return None
        for plot in PLOTS.get(decoded.header.kind, ()) if self.readable else ():
            data = json.dumps(plot.values(decoded)).encode()
            self._mcap.add_message(self._plot_channel(plot), received_ns, data, stamp_ns, sequence)
        return decoded.header

    def flush_if_due(self) -> None:
        """To be called often: what was written more than `FLUSH_S` ago leaves this process."""
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """What was written leaves this process."""
        self._mcap.flush()
        self._flushed_s = time.monotonic()

    def close(self, losses: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """End the file; losses: frames received and lost, by topic. A second close does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._sink.broken:
                self.flush()
                self._mcap.add_metadata("losses", _texts(losses or {}))
                self._mcap.finish()
        finally:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _channel(self, topic: str) -> int:
        if topic not in self._channels:
            self._channels[topic] = self._mcap.register_channel(topic, ENCODING, 0)
        return self._channels[topic]

    def _plot_channel(self, plot: Plot) -> int:
        if plot.channel not in self._channels:
            schema = self._mcap.register_schema(plot.channel[1:], "jsonschema", json.dumps(plot.schema).encode())
            self._channels[plot.channel] = self._mcap.register_channel(plot.channel, "json", schema)
        return self._channels[plot.channel]


class Log:
    """A recording to read: `about` at once, its frames in the order they were received by iterating.

    `cut` says, after a pass, why the file ended early; '' if it is whole. DataError if it is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = ""
        self.metadata: dict[str, dict[str, str]] = {}
        try:
            self._end = self._whole_records()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; give a recording (.mcap)") from error
        said = self.metadata.get("hjepa")
        if said is None:
            raise DataError(f"{path}: this MCAP file was not recorded by hjepa; allowed: files of `hjepa bus record`")
        try:
            values = {name: text if name == "config" else json.loads(text) for name, text in said.items()}
            self.about = msgspec.convert(values, About)
        except (msgspec.ValidationError, ValueError) as error:
            raise DataError(f"{path}: what it says of itself cannot be read: {error}") from error

    @property
    def lost(self) -> dict[str, int]:
        """Frames lost while recording, by topic; empty if none, or if the file was cut."""
        counts = {topic: json.loads(text) for topic, text in self.metadata.get("losses", {}).items()}
        return {topic: count["lost"] for topic, count in counts.items() if count["lost"]}

    def __iter__(self) -> Iterator[Entry]:
        topics: dict[int, str] = {}
        for record in self._records():
            if isinstance(record, Channel) and record.message_encoding == ENCODING:
                topics[record.id] = record.topic
            elif isinstance(record, Message) and record.channel_id in topics:
                yield Entry(topics[record.channel_id], record.log_time, record.data)

    def _records(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            file.seek(len(_MAGIC))
            bounded = _Bounded(file, self._end)
            reader = StreamReader(cast("IO[bytes]", bounded), skip_magic=True, validate_crcs=True)
            try:
                yield from reader.records
            except (McapError, CRCValidationError, struct.error, RuntimeError, ValueError) as error:
                if bounded.left:
                    self.cut = f"damaged before byte {self._end - bounded.left}: {error}"

    def _whole_records(self) -> int:
        """Where the last record ends that lies in the file as a whole; metadata are read on the way, chunks skipped."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DataError(f"{self.path}: this is no MCAP file; give a recording")
            end = len(_MAGIC)
            while end + _RECORD.size <= size:
                file.seek(end)
                opcode, length = _RECORD.unpack(file.read(_RECORD.size))
                if opcode == 0 or length > size - end - _RECORD.size:
                    break
                if opcode == Opcode.METADATA:
                    found = Metadata.read(ReadDataStream(BytesIO(file.read(length))))
                    self.metadata[found.name] = found.metadata
                end += _RECORD.size + length
        tail = size - end
        self.cut = "" if tail == len(_MAGIC) else f"cut at byte {end} of {size}, as when a recorder is killed"
        return end


class _Bounded:
    """The first part of a file."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file, self.left = file, end - file.tell()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Text as it is, everything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
