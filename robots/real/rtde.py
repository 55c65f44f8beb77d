"""A small client for Universal Robots' RTDE protocol, version 2: codec and connection. Source: the maker's RTDE guide.

A frame is: size uint16, type uint8, payload, big-endian. Errors of the line or the peer are RobotError.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from hjepa.errors import RobotError

PORT = 30004
Value = float | tuple[float, ...]
_VERSION = 2
_HEADER = struct.Struct(">HB")
_FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT32": "I", "UINT64": "Q", "INT32": "i", "DOUBLE": "d", "VECTOR3D": "3d",
    "VECTOR6D": "6d", "VECTOR6INT32": "6i", "VECTOR6UINT32": "6I",
}  # fmt: skip


def encode_frame(kind: str, payload: bytes = b"") -> bytes:
    """Bytes of a frame."""
    return _HEADER.pack(_HEADER.size + len(payload), ord(kind)) + payload


def split_frame(unread: bytes) -> tuple[str, bytes, bytes] | None:
    """Type, payload and what follows of the first frame; None while it is incomplete; RobotError if it is none."""
    if len(unread) < _HEADER.size:
        return None
    size, kind = _HEADER.unpack_from(unread)
    if size < _HEADER.size:
        raise RobotError(f"RTDE frame says it has {size} bytes; allowed: {_HEADER.size} or more")
    if chr(kind) not in "VvMUOISP":
        raise RobotError(f"RTDE frame is of type {kind}; allowed: V, v, M, U, O, I, S, P")
    if len(unread) < size:
        return None
    return chr(kind), unread[_HEADER.size : size], unread[size:]


class Recipe:
    """Which variables a data package carries, in order."""

    def __init__(self, names: Sequence[str], reply: bytes) -> None:
        """reply: the controller's answer to the setup, an id and the variables' types."""
        kinds = reply[1:].decode("ascii", "replace").split(",") if reply else []
        for name, kind in zip(names, kinds):
            if kind not in _FORMATS:
                why = {"IN_USE": "another client writes it", "NOT_FOUND": "this controller does not know it"}.get(kind)
                raise RobotError(f"RTDE variable {name}: {why or f'its type is {kind}'}; allowed: {sorted(_FORMATS)}")
        if len(kinds) != len(names):
            raise RobotError(f"RTDE recipe has {len(kinds)} types; allowed: {len(names)}, one a variable")
        self.id, self.names = reply[0], tuple(names)
        self._counts = [int(form[:-1] or 1) for form in map(_FORMATS.__getitem__, kinds)]
        self._struct = struct.Struct(">B" + "".join(_FORMATS[kind] for kind in kinds))

    def encode(self, *values: float) -> bytes:
        """A data package's payload, numbers in the recipe's order."""
        return self._struct.pack(self.id, *values)

    def decode(self, payload: bytes) -> dict[str, Value]:
        """Variables of a data package's payload; RobotError if it does not fit."""
        if len(payload) != self._struct.size or payload[0] != self.id:
            got = f"{len(payload)} bytes, recipe {payload[0] if payload else 'none'}"
            raise RobotError(f"RTDE data package has {got}; allowed: {self._struct.size}, {self.id}")
        flat, found, at = self._struct.unpack(payload)[1:], {}, 0
        for name, count in zip(self.names, self._counts):
            found[name] = flat[at] if count == 1 else flat[at : at + count]
            at += count
        return found


class RtdeClient:
    """One connection. Everything before `start` waits for answers; afterwards `poll` and `put` never block."""

    def __init__(self, host: str, wait_s: float) -> None:
        """Connect and agree on protocol version 2; wait: for each answer, at most."""
        self._where, self._wait_s, self._unread = f"{host}:{PORT}", wait_s, b""
        try:
            self._socket = socket.create_connection((host, PORT), timeout=wait_s)
        except OSError as error:
            raise RobotError(f"{self._where}: {error}; allowed: a Universal Robots controller that is on") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ask("V", struct.pack(">H", _VERSION)) != b"\1":
                raise RobotError(
                    f"{self._where}: refuses RTDE version {_VERSION}; allowed: Polyscope 3.4, 5.0 or later"
                )
            self.controller = struct.unpack(">4I", self._exact(self._ask("v", b""), 16))  # major, minor, bugfix, build
        except BaseException:
            self._socket.close()
            raise

    def subscribe(self, names: Sequence[str], rate_hz: float) -> Recipe:
        """Have these variables sent from `start` on."""
        self._outputs = Recipe(names, self._ask("O", struct.pack(">d", rate_hz) + ",".join(names).encode()))
        return self._outputs

    def inputs(self, names: Sequence[str]) -> Recipe:
        """A recipe for `put`."""
        return Recipe(names, self._ask("I", ",".join(names).encode()))

    def start(self) -> None:
        """Let data flow."""
        if self._ask("S", b"") != b"\1":
            raise RobotError(f"{self._where}: refuses to start RTDE; allowed: a controller that is on")
        self._socket.setblocking(False)

    def put(self, recipe: Recipe, *values: float) -> None:
        """Write input variables."""
        frame = encode_frame("U", recipe.encode(*values))
        try:
            sent = self._socket.send(frame)
        except BlockingIOError:
            return  # nobody reads: the controller's silence is found out by `poll`'s caller
        except OSError as error:
            raise RobotError(f"{self._where}: connection lost: {error}; allowed: close(), connect()") from error
        if sent < len(frame):
            raise RobotError(f"{self._where}: takes no more data; allowed: close(), connect()")

    def poll(self) -> dict[str, Value] | None:
        """The newest data package that has arrived since the last call, or None."""
        newest = None
        try:
            for _ in range(16):
                got = self._socket.recv(65536)
                if not got:
                    raise RobotError(f"{self._where}: connection closed by the controller; allowed: connect() again")
                self._unread += got
        except BlockingIOError:
            pass  # all taken
        except OSError as error:
            raise RobotError(f"{self._where}: connection lost: {error}; allowed: close(), connect()") from error
        while (frame := split_frame(self._unread)) is not None:
            kind, payload, self._unread = frame
            if kind == "U":
                newest = payload
        return None if newest is None else self._outputs.decode(newest)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _ask(self, kind: str, payload: bytes) -> bytes:
        """Payload of the answer to a frame; text messages in between are passed over."""
        deadline = time.monotonic() + self._wait_s
        try:
            self._socket.sendall(encode_frame(kind, payload))
            while True:
                frame = split_frame(self._unread)
                if frame is not None and frame[0] in (kind, "M", "U"):
                    answered, answer, self._unread = frame
                    if answered == kind:
                        return answer
                elif frame is not None:
                    raise RobotError(f"{self._where}: answers '{kind}' with '{frame[0]}'; allowed: '{kind}'")
                else:
                    self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                    got = self._socket.recv(65536)
                    if not got:
                        raise RobotError(f"{self._where}: connection closed by the controller; allowed: an answer")
                    self._unread += got
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
        except OSError as error:
            raise RobotError(
                f"{self._where}: no answer to '{kind}' in {self._wait_s} s ({error}); allowed: one"
            ) from error

    def _exact(self, payload: bytes, size: int) -> bytes:
        if len(payload) != size:
            raise RobotError(f"{self._where}: answer has {len(payload)} bytes; allowed: {size}")
        return payload
