"""A bad link on purpose: forwards the ports of a graph over TCP, late, unsteadily, with losses, stalls and cuts.

    with running(Proxy("tcp://127.0.0.1:8700", "tcp://10.0.0.2:7700", Link(delay_ms=5.0, jitter_ms=3.0, loss=0.01))):
        ...

It forwards bytes and understands none: CURVE and MACs stay between the nodes, and no key is needed here. TCP shows no
losses, only what it makes of them: a lost segment holds everything behind it until it is sent again. So does a stall.
A cut closes the connections and takes no new ones for a while. Order and content are never changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import random
import selectors
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hjepa.bus.topics import TOPICS, address
from hjepa.errors import LinkError

CHUNK_BYTES = 65536
SEGMENT_BYTES = 1448  # of TCP over Ethernet
WAITING = 64  # chunks on their way in a direction; then the sender has to wait, as with any full pipe
CONNECT_S = 2.0
Chunks = asyncio.Queue[tuple[float, bytes]]  # when to let go, and what


@dataclass(frozen=True)
class Link:
    """What a link does, in each direction by itself."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # the delay varies by up to so much, uniformly; what overtakes is held back
    loss: float = 0.0  # probability that a segment is lost
    again_ms: float = 200.0  # a lost segment comes so much later: Linux's shortest retransmission timeout
    stall_s: float = 0.0  # now and then nothing gets through for so long
    cut_s: float = 0.0  # now and then connections are closed, and none is taken for so long
    every_s: float = 10.0  # from one stall or cut to the next; 0: only when told to

    def __post_init__(self) -> None:
        figures = (self.delay_ms, self.jitter_ms, self.again_ms, self.stall_s, self.cut_s, self.every_s)
        if min(figures) < 0 or self.jitter_ms > self.delay_ms or not 0 <= self.loss < 1:
            raise LinkError(f"{self}; allowed: times of 0 or more, jitter_ms up to delay_ms, loss from 0 to below 1")

    def held_s(self, size: int, lot: random.Random) -> tuple[float, bool]:
        """How long a chunk of so many bytes is on its way (s), and whether a segment of it was lost."""
        held_ms = self.delay_ms + lot.uniform(-self.jitter_ms, self.jitter_ms)
        lost = lot.random() > (1.0 - self.loss) ** math.ceil(size / SEGMENT_BYTES)
        return (held_ms + self.again_ms * lost) / 1e3, lost


class Proxy:
    """Listens on every port of one base and forwards to the same port of another. `counts` says what became of it."""

    def __init__(self, listen: str, target: str, link: Link, *, allowed: Sequence[str] = (), seed: int = 0) -> None:
        """listen, target: tcp://HOST:PORT, see topics.address. allowed: hosts or networks that may connect, needed to
        listen beyond this machine."""
        self.link, self.counts = link, Counter[str]()
        self._pairs = [(_endpoint(address(listen, topic)), _endpoint(address(target, topic))) for topic in TOPICS]
        self._allowed = [_network(text) for text in allowed]
        host = self._pairs[0][0][0]
        if not _is_local(host) and not allowed:
            raise LinkError(
                f"'{listen}' can be reached from other machines, which would then reach '{target}'; "
                "say which of them may connect: --allow-remote HOST"
            )
        self._lot = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._held_until = self._cut_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event, ready: threading.Event | None = None) -> None:
        """Forward until told to stop; LinkError when a port is taken."""
        self._loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        try:
            for (host, port), target in self._pairs:
                servers.append(await self._serve(host, port, target))
            if ready is not None:
                ready.set()
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.link.every_s or None)
                    break
                self.disturb()
        finally:
            for server in servers:
                server.close()
            self._close_all()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def disturb(self) -> None:
        """Stall and cut as the link says, from now on. From any thread."""
        if self._loop is None:
            raise LinkError("the proxy does not run yet; allowed: after `run` has begun")
        self._loop.call_soon_threadsafe(self._disturb)

    def _disturb(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.link.stall_s:
            self.counts["stalls"] += 1
            self._held_until = now + self.link.stall_s
        if self.link.cut_s:
            self.counts["cuts"] += 1
            self._cut_until = now + self.link.cut_s
            self._close_all()

    def _close_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, host: str, port: int, target: tuple[str, int]) -> asyncio.Server:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        try:
            return await asyncio.start_server(accepted, host, port)
        except OSError as error:
            raise LinkError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]
    ) -> None:
        """One connection, until an end closes it or it is cut."""
        try:
            if not self._may(writer.get_extra_info("peername")[0]):
                self.counts["refused"] += 1
            elif asyncio.get_running_loop().time() < self._cut_until:
                self.counts["while cut"] += 1
            else:
                self._open.add(writer)
                await self._joined(reader, writer, target)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _joined(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]
    ) -> None:
        try:
            far_reader, far = await asyncio.wait_for(asyncio.open_connection(*target), CONNECT_S)
        except (OSError, TimeoutError):
            self.counts["nobody there"] += 1
            return
        self._open.add(far)
        self.counts["connections"] += 1
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink in ((reader, far), (far_reader, writer)):
                    chunks: Chunks = asyncio.Queue(WAITING)
                    group.create_task(self._receive(source, chunks))
                    group.create_task(self._send(chunks, sink))
        except* OSError:
            self.counts["broken"] += 1
        finally:
            self._open.discard(far)
            far.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, chunks: Chunks) -> None:
        """What comes in one direction, with the time at which it is let go: in order. At the end an empty chunk."""
        loop, due, data = asyncio.get_running_loop(), 0.0, b"-"
        while data:
            data = await reader.read(CHUNK_BYTES)
            if data:
                held_s, lost = self.link.held_s(len(data), self._lot)
                self.counts.update({"chunks": 1, "bytes": len(data), "lost": int(lost)})
                due = max(due, loop.time() + held_s)
            await chunks.put((due, data))

    async def _send(self, chunks: Chunks, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await chunks.get()
            while (left_s := max(due, self._held_until) - loop.time()) > 0:
                await asyncio.sleep(left_s)
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    def _may(self, host: str) -> bool:
        peer = ipaddress.ip_address(host)
        return peer.is_loopback or any(peer in network for network in self._allowed)


@contextlib.contextmanager
def running(*proxies: Proxy) -> Iterator[None]:
    """Forward in a thread of their own while the block runs."""
    loop = new_loop()
    stop, ready = asyncio.Event(), [threading.Event() for _ in proxies]
    failed: list[BaseException] = []

    async def forward() -> None:
        await asyncio.gather(*(p.run(stop, done) for p, done in zip(proxies, ready, strict=True)))

    def body() -> None:
        try:
            loop.run_until_complete(forward())
        except LinkError as error:
            failed.append(error)
        finally:
            loop.close()
            for event in ready:
                event.set()

    thread = threading.Thread(target=body, name="proxy", daemon=True)
    thread.start()
    for event in ready:
        event.wait()
    if failed:
        raise failed[0]
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop that wakes within microseconds: epoll's, which is the usual one, counts in milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not text.startswith("tcp://") or not host or int(port) > 65535:
        raise LinkError(
            f"'{text}' is no address of TCP; allowed: tcp://HOST:PORT, with {len(TOPICS)} ports from there on"
        )
    return host.strip("[]"), int(port)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise LinkError(f"'{text}' is neither an address nor a network; allowed: 10.0.0.2, 10.0.0.0/24") from error


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
