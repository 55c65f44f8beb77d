"""Sockets: streams where the latest value wins, and requests that are answered or time out. Loopback, unless keyed.

Publisher -> Subscriber (XPUB/SUB) for streams, Requester -> Replier (DEALER/ROUTER) for requests. A socket belongs to
the thread that made it. Frames that cannot be read, or may not be accepted, are dropped and counted by reason. With
keys, tcp sockets speak CURVE; with a command key, frames carry a MAC and are refused without.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from types import TracebackType
from typing import Any, Self

import zmq

from hjepa.bus import wire
from hjepa.bus.messages import Check, Gate, Message, pack, unpack
from hjepa.bus.security import Keys
from hjepa.bus.topics import Text
from hjepa.errors import HjepaError, LinkError, LinkTimeout, WireError

LINGER_MS = 200  # a closing socket gives its last frames this long
IDLE_S = 0.05  # a waiting requester looks around this often
LARGE = 2**16  # bytes from which a frame is handed to zmq instead of copied
FEW = 32
BURST = 1000  # frames looked at in one go, so that a flood cannot hold a loop
_IPC_PATH_BYTES = 107  # sun_path of a Unix socket, less its final zero
_LOCAL = "inproc://NAME, ipc:///ABSOLUTE/PATH, tcp://127.0.0.1:PORT"

Handler = Callable[[Message], tuple[str, Any]]
"""Answers a request with a kind and a value; raises HjepaError to refuse in words."""

Tap = Callable[[wire.Header, bytes], None]
"""Told of every frame that was accepted, for a node's journal."""


def check_address(address: str, keyed: bool = False) -> str:
    """The address if it stays on this machine, or if the link is keyed; LinkError otherwise."""
    scheme, _, rest = address.partition("://")
    if scheme == "inproc" and rest:
        return address
    if scheme == "ipc" and rest.startswith("/"):  # also no abstract names: those have no owner and no permissions
        if len(rest.encode()) > _IPC_PATH_BYTES:
            raise LinkError(f"address '{address}' is {len(rest.encode())} bytes; allowed: {_IPC_PATH_BYTES}")
        return address
    if scheme == "tcp":
        host = rest.rpartition(":")[0].strip("[]")
        try:
            local = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = False
        if local or (keyed and rest):
            return address
        raise LinkError(
            f"address '{address}' can be reached from other machines, which needs keys (CURVE): make some with "
            f"`hjepa bus keygen FOLDER`; allowed without: {_LOCAL}"
        )
    raise LinkError(f"address '{address}' is not one of {_LOCAL}")


class Link:
    """One socket, closed once; a context manager."""

    def __init__(
        self,
        kind: int,
        address: str,
        bind: bool,
        context: zmq.Context[Any] | None,
        keys: Keys | None = None,
        owner: str = "",
        **options: int,
    ) -> None:
        """keys: for tcp; owner: whose public key a connecting socket expects."""
        check_address(address, keys is not None)
        self.tap: Tap | None = None
        self.socket: zmq.Socket[bytes] = (context or zmq.Context.instance()).socket(kind)
        if keys is not None and address.startswith("tcp://"):
            keys.secure(self.socket, owner, bind)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.MAXMSGSIZE, 4 * wire.MAX_FRAME_BYTES)  # beyond that zmq itself cuts the link
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        try:
            (self.socket.bind if bind else self.socket.connect)(address)
        except zmq.ZMQError as error:
            self.socket.close(linger=0)
            raise LinkError(f"{'bind' if bind else 'connect'} to '{address}' failed: {error}") from error
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT) or address if bind else address

    def poke(self) -> None:
        """Let the socket do what is due, such as to subscribe again at a peer that came back: zmq does it in calls."""
        self.socket.getsockopt(zmq.EVENTS)

    def close(self) -> None:
        """Close the socket; a second close does nothing."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Publisher(Link):
    """Sends a topic's messages; the sequence counts them within a session."""

    def __init__(
        self,
        address: str,
        *,
        context: zmq.Context[Any] | None = None,
        bind: bool = True,
        keys: Keys | None = None,
        owner: str = "",
        key: bytes | None = None,
    ) -> None:
        """key: every frame carries a MAC made with it."""
        super().__init__(zmq.XPUB, address, bind, context, keys, owner, XPUB_VERBOSER=1)
        self._key = key
        self.session = self.sequence = 0
        self.sent = 0
        self._subscribers = 0

    def restart(self, session: int) -> None:
        """A new session: the sequence starts at 0 again."""
        self.session, self.sequence, self.sent = session, 0, 0

    def send(
        self,
        kind: str,
        value: Any,
        *,
        stamp_ns: int,
        valid_for_ns: int = 0,
        answers: int = -1,
        ledger: tuple[int, ...] = (),
    ) -> bytes:
        """Publish one message; returns its frame. Never blocks."""
        frame = pack(
            kind,
            value,
            session=self.session,
            sequence=self.sequence,
            stamp_ns=stamp_ns,
            valid_for_ns=valid_for_ns,
            answers=answers,
            ledger=ledger,
            key=self._key,
        )
        self.socket.send(frame, 0, copy=len(frame) < LARGE)
        self.sequence += 1
        self.sent += 1
        return frame

    def subscribers(self) -> int:
        """How many subscribers are connected now."""
        while self.socket.poll(0):
            event = self.socket.recv()
            self._subscribers += {b"\x01": 1, b"\x00": -1}.get(event, 0)
        return self._subscribers

    def wait_subscribers(self, count: int, timeout_s: float) -> None:
        """Until `count` subscribers are connected (what is published earlier does not reach them)."""
        deadline = time.monotonic() + timeout_s
        while self.subscribers() < count:
            left = deadline - time.monotonic()
            if left <= 0 or not self.socket.poll(_ms(left)):
                raise LinkTimeout(f"{self._subscribers} of {count} subscribers of '{self.address}' in {timeout_s:g} s")


class Subscriber(Link):
    """Receives one topic. conflate: zmq keeps the newest frame only; otherwise all frames are read, in order.

    Where a bad frame must not displace a good one (commands), do not conflate: `latest` reads all that has come and
    keeps the newest that is valid.
    """

    def __init__(
        self,
        address: str,
        kinds: Iterable[str],
        *,
        context: zmq.Context[Any] | None = None,
        conflate: bool = True,
        bind: bool = False,
        queue: int = 1000,
        keys: Keys | None = None,
        owner: str = "",
        key: bytes | None = None,
        check: Check | None = None,
    ) -> None:
        """queue: frames kept by zmq when not conflating; 0: all. key: only frames that carry its MAC are accepted."""
        options = {"CONFLATE": 1} if conflate else {"RCVHWM": queue}
        super().__init__(zmq.SUB, address, bind, context, keys, owner, **options)
        self.socket.subscribe(b"")
        self.gate = Gate(tuple(kinds), key, check)
        self.superseded = 0
        self._wait_ms = -1
        self._shares_nothing = not address.startswith("inproc:")  # there, memory is the publisher's
        self._large = False  # the last frame was, so the next one is not copied out of zmq either

    @property
    def drops(self) -> Counter[str]:
        """Dropped frames by reason."""
        return self.gate.drops

    def receive(self, timeout_s: float = 0.0, now_ns: int | None = None) -> Message | None:
        """The next valid message, or None when none has come in time."""
        deadline = time.monotonic() + timeout_s
        wait_s = timeout_s
        for _ in range(BURST):
            frame = self._next(wait_s)
            if frame is None:
                break
            message = self.gate.read(frame, now_ns, self._owns(frame))
            if message is not None:
                if self.tap is not None:
                    self.tap(message.header, b"")
                return message
            wait_s = deadline - time.monotonic()
        return None

    def _next(self, timeout_s: float) -> bytes | memoryview | None:
        """The next frame that comes in time. Waiting in recv costs half of what a poller costs."""
        wait_ms = _ms(timeout_s)
        if wait_ms != self._wait_ms:
            self._wait_ms = self.socket.rcvtimeo = wait_ms
        try:
            frame = self.socket.recv(copy=False).buffer if self._large else self.socket.recv()
        except zmq.Again:
            return None
        self._large = self._shares_nothing and len(frame) >= LARGE
        return frame

    def _owns(self, frame: bytes | memoryview) -> bool:
        """True if a frame's memory is nobody else's and aligned: zmq reads large frames into memory of their own."""
        return len(frame) >= LARGE and isinstance(frame, memoryview)

    def latest(self, timeout_s: float = 0.0, now_ns: int | None = None) -> Message | None:
        """The newest valid message of all that have come; waits up to the timeout for a first one.

        Frames older than it are superseded, and in a flood not even read.
        """
        first = self._next(timeout_s)
        if first is None:
            return None
        frames: list[bytes | memoryview] = [first]
        with contextlib.suppress(zmq.Again):
            while len(frames) < BURST:
                frames.append(self.socket.recv(zmq.NOBLOCK))
        newest = self._newest(frames, now_ns)
        if newest is not None and self.tap is not None:
            self.tap(newest.header, b"")
        return newest

    def _newest(self, frames: list[bytes | memoryview], now_ns: int | None) -> Message | None:
        """A few frames are all read, so that each bad one is counted by its reason; of a flood, the newest first."""
        newest = None
        if len(frames) <= FEW:
            for frame in frames:
                message = self.gate.read(frame, now_ns)
                self.superseded += newest is not None and message is not None
                newest = message or newest
            return newest
        while frames and newest is None:
            newest = self.gate.read(frames.pop(), now_ns)
        self.superseded += len(frames)
        return newest


class Requester(Link):
    """Asks, and waits for the answer to just that question; one that comes after its timeout is dropped and counted."""

    def __init__(
        self,
        address: str,
        *,
        context: zmq.Context[Any] | None = None,
        idle: Callable[[], None] | None = None,
        keys: Keys | None = None,
        owner: str = "",
        key: bytes | None = None,
        patient: bool = True,
    ) -> None:
        """idle: called again and again while waiting; it may raise, for instance when the peer is known to be gone.

        patient: questions wait for a peer that is not there yet; otherwise to ask is refused at once.
        """
        options = {"SNDTIMEO": 1000} if patient else {"SNDTIMEO": 0, "IMMEDIATE": 1}
        super().__init__(zmq.DEALER, address, False, context, keys, owner, **options)
        self._key = key
        self.drops: Counter[str] = Counter()
        self._idle = idle or (lambda: None)
        self._sequence = 0

    def request(
        self, kind: str, value: Any, *, timeout_s: float, session: int = 0, stamp_ns: int = 0, answers: int = -1
    ) -> Message:
        """The reply; LinkTimeout without one in time, LinkError when the peer refuses."""
        sequence = self.send(kind, value, session=session, stamp_ns=stamp_ns, answers=answers)
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not self.socket.poll(_ms(min(left, IDLE_S))):
                self._idle()
                continue
            message = self.read(sequence)
            if message is None:
                continue
            if message.header.kind == "error":
                raise LinkError(f"'{kind}' refused: {message.value.text}")
            return message
        raise LinkTimeout(f"no answer to '{kind}' from '{self.address}' in {timeout_s:g} s")

    def send(self, kind: str, value: Any, *, session: int = 0, stamp_ns: int = 0, answers: int = -1) -> int:
        """Ask without waiting for the answer; returns the question's sequence. answers: what the question is about."""
        self._sequence += 1
        common: dict[str, Any] = {"session": session, "stamp_ns": stamp_ns, "answers": answers}
        frame = pack(kind, value, sequence=self._sequence, key=self._key, **common)
        try:
            self.socket.send(frame)
        except zmq.Again as error:
            raise LinkTimeout(f"'{self.address}' takes no more requests") from error
        return self._sequence

    def read(self, sequence: int) -> Message | None:
        """What has come, if it answers the question of this sequence."""
        try:
            frame = self.socket.recv()
            message = unpack(frame)
        except WireError as error:
            self.drops[error.reason] += 1
            return None
        if message.header.answers != sequence:
            self.drops["reordered"] += 1
            return None
        if self.tap is not None:
            self.tap(message.header, frame)
        return message


class Replier(Link):
    """Answers requests one at a time, to whoever asked."""

    def __init__(
        self,
        address: str,
        *,
        context: zmq.Context[Any] | None = None,
        keys: Keys | None = None,
        key: bytes | None = None,
        free: Container[str] = (),
    ) -> None:
        """key: requests must carry its MAC, `free` kinds aside."""
        super().__init__(zmq.ROUTER, address, True, context, keys)
        self._key, self._free = key, free
        self.drops: Counter[str] = Counter()

    def serve(self, handler: Handler, timeout_s: float = 0.0, first: Callable[[Message], None] | None = None) -> bool:
        """Answer one request if it comes in time; True if one came. The handler's HjepaError goes back as words.
        first: called before the request counts as accepted, with what has to happen before that."""
        if not self.socket.poll(_ms(timeout_s)):
            return False
        identity, *frames = self.socket.recv_multipart()
        try:
            message = self._read(frames[0] if len(frames) == 1 else b"")
        except WireError as error:
            self.drops[error.reason] += 1
            return True
        header = message.header
        if first is not None:
            first(message)
        if self.tap is not None:
            self.tap(header, frames[0])
        try:
            kind, value = handler(message)
        except HjepaError as error:
            kind, value = "error", Text(str(error))
        except Exception as error:
            self._reply(identity, header, "error", Text(f"{type(error).__name__} in the node: {error}"))
            raise
        self._reply(identity, header, kind, value)
        return True

    def _read(self, frame: bytes) -> Message:
        message = unpack(frame)
        return message if self._key is None or message.header.kind in self._free else unpack(frame, self._key)

    def _reply(self, identity: bytes, asked: wire.Header, kind: str, value: Any) -> None:
        frame = pack(
            kind,
            value,
            session=asked.session,
            sequence=asked.sequence,
            stamp_ns=asked.stamp_ns,
            answers=asked.sequence,
        )
        self.socket.send_multipart([identity, frame])


def _ms(seconds: float) -> int:
    """Whole milliseconds for a poll, rounded up."""
    return max(0, math.ceil(seconds * 1e3))
