"""The sockets of an emulated controller: several TCP ports on one loopback address, and a clock, in one thread."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from hjepa.errors import RobotError

_TRIES = 50  # loopback addresses
_CATCH_UP_S = 0.1  # after a longer pause of this process, lost ticks are not made up for


class Line:
    """One TCP connection; `state` belongs to whoever serves it."""

    def __init__(self, sock: socket.socket, port: int, state: object) -> None:
        self.sock, self.port, self.state = sock, port, state
        self.unread = b""  # the server's handlers cut from it what they have understood
        self._unsent: list[tuple[float, bytes]] = []  # (when, what)

    def post(self, data: bytes, delay_s: float) -> None:
        """Send, not before the delay is over."""
        self._unsent.append((time.monotonic() + delay_s, data))

    def drop(self) -> None:
        """Forget what is not sent yet."""
        self._unsent.clear()

    def flush(self) -> None:
        """Send what is due."""
        now = time.monotonic()
        while self._unsent and self._unsent[0][0] <= now:
            when, data = self._unsent[0]
            try:
                sent = self.sock.send(data)
            except OSError:  # full, or gone: what is gone is found out on reading
                return
            self._unsent[0] = (when, data[sent:])
            if sent == len(data):
                self._unsent.pop(0)


class TcpServer:
    """Calls `take(line)` when bytes have arrived and `tick(now_s)` every period, all under `lock`, in one thread."""

    def __init__(
        self,
        ports: Sequence[int],
        period_s: float,
        *,
        opened: Callable[[Line], None],
        take: Callable[[Line], None],
        tick: Callable[[float], None],
    ) -> None:
        self._ports, self._period_s = ports, period_s
        self._opened, self._take, self._tick = opened, take, tick
        self.lock = threading.RLock()
        self.lines: list[Line] = []
        self._cut = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, host: str) -> str:
        """Listen on a host, '' for a free loopback address; returns it."""
        if self._thread is not None:
            raise RobotError("emulator runs already; allowed: close() first")
        host, listeners = self._listen([host] if host else [_own_address(k) for k in range(_TRIES)])
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(listeners,), name="tcp-emulator", daemon=True)
        self._thread.start()
        return host

    def close(self) -> None:
        """End all connections; a second close does nothing."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(2.0)
        self._thread = None

    def cut(self) -> None:
        """Reset all connections, as when the network goes away."""
        self._cut.set()

    def _listen(self, hosts: list[str]) -> tuple[str, list[socket.socket]]:
        for host in hosts:
            opened: list[socket.socket] = []
            try:
                for port in self._ports:
                    opened.append(socket.create_server((host, port)))
            except OSError:  # another emulator lives there
                for sock in opened:
                    sock.close()
            else:
                return host, opened
        raise RobotError(
            f"ports {self._ports} are taken on {hosts[0]} .. {hosts[-1]}; allowed: a free loopback address"
        )

    def _run(self, listeners: list[socket.socket]) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in listeners:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, None)
            due = time.monotonic()
            while not self._stop.is_set():
                for key, _ in selector.select(max(0.0, due - time.monotonic())):
                    with self.lock:
                        if key.data is None:
                            self._accept(selector, key.fileobj)  # type: ignore[arg-type]
                        else:
                            self._read(selector, key.data)
                with self.lock:
                    if self._cut.is_set():
                        self._reset(selector)
                    if time.monotonic() >= due:
                        self._tick(due)
                        due = max(due + self._period_s, time.monotonic() - _CATCH_UP_S)
                    for line in self.lines:
                        line.flush()
        for sock in [*listeners, *(line.sock for line in self.lines)]:
            sock.close()
        self.lines = []

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = Line(sock, sock.getsockname()[1], None)
        self.lines.append(line)
        selector.register(sock, selectors.EVENT_READ, line)
        self._opened(line)

    def _read(self, selector: selectors.BaseSelector, line: Line) -> None:
        try:
            got = line.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if got:
            line.unread += got
            self._take(line)
            return
        selector.unregister(line.sock)
        line.sock.close()
        self.lines.remove(line)

    def _reset(self, selector: selectors.BaseSelector) -> None:
        self._cut.clear()
        for line in self.lines:
            selector.unregister(line.sock)
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not FIN
            line.sock.close()
        self.lines = []


def _own_address(k: int) -> str:
    """A loopback address that other processes are unlikely to try first."""
    n = (os.getpid() * 64 + k) % (254 * 254)
    return f"127.30.{1 + n // 254}.{1 + n % 254}"
