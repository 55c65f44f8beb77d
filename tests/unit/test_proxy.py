"""pytest tests/unit/test_proxy.py: the bad link keeps order and content, and is as bad as it was asked to be."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import numpy as np
import pytest

from hjepa.bus.proxy import Link, Proxy, running
from hjepa.bus.topics import TOPICS
from hjepa.errors import LinkError
from tests.launched import wait_until

COUNT = len(TOPICS)


def free_base() -> int:
    """The first of as many free ports in a row as a graph has."""
    lot = random.Random(time.monotonic_ns())
    while True:
        base = lot.randrange(20000, 60000)
        taken = []
        try:
            for port in range(base, base + COUNT):
                taken.append(socket.create_server(("127.0.0.1", port)))
            return base
        except OSError:
            continue
        finally:
            for server in taken:
                server.close()


def url(base: int, host: str = "127.0.0.1") -> str:
    return f"tcp://{host}:{base}"


@contextmanager
def echo(port: int) -> Iterator[None]:
    """A server that says everything back, for one connection after the other."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with closing(peer):
                    peer.settimeout(0.05)
                    while not over.is_set():
                        try:
                            data = peer.recv(65536)
                        except TimeoutError:
                            continue
                        except OSError:
                            break
                        if not data:
                            break
                        peer.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def line(link: Link, port_offset: int = 0) -> Iterator[tuple[Proxy, int]]:
    """A proxy before an echo at one of a graph's ports, and the port to connect to."""
    near, far = free_base(), free_base()
    proxy = Proxy(url(near), url(far), link)
    with echo(far + port_offset), running(proxy):
        yield proxy, near + port_offset


def received(peer: socket.socket, size: int) -> bytes:
    peer.settimeout(5.0)
    out = b""
    while len(out) < size:
        more = peer.recv(65536)
        if not more:
            break
        out += more
    return out


def round_trips_ms(peer: socket.socket, count: int) -> np.ndarray:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    out = []
    for k in range(count):
        begun = time.monotonic()
        peer.sendall(bytes([k % 256]) * 100)
        assert received(peer, 100) == bytes([k % 256]) * 100
        out.append(1e3 * (time.monotonic() - begun))
    return np.array(out)


def test_order_and_content_are_kept_whatever_the_link_does() -> None:
    data = random.Random(0).randbytes(3_000_000)
    with line(Link(delay_ms=2.0, jitter_ms=2.0, loss=0.002, again_ms=20.0), COUNT - 1) as (proxy, port):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            sender = threading.Thread(target=peer.sendall, args=(data,))
            sender.start()
            assert received(peer, len(data)) == data
            sender.join()
        assert proxy.counts["lost"] > 0 and proxy.counts["bytes"] == 2 * len(data)


def test_the_delay_is_as_long_and_as_unsteady_as_asked() -> None:
    with line(Link(delay_ms=8.0, jitter_ms=4.0)) as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        both_ms = round_trips_ms(peer, 80)
    assert both_ms.min() > 2 * 4.0
    assert 15.0 < np.median(both_ms) < 20.0  # twice 8, and what this machine adds
    spread = np.subtract(*np.quantile(both_ms, (0.9, 0.1)))
    assert 3.0 < spread < 12.0  # of a sum of two uniform ones: 8.8 of 16


def test_a_lost_segment_comes_a_timeout_later() -> None:
    with (
        line(Link(loss=0.2, again_ms=40.0)) as (proxy, port),
        socket.create_connection(("127.0.0.1", port)) as peer,
    ):
        both_ms = round_trips_ms(peer, 60)
    held = int((both_ms > 39.0).sum())
    assert 0 < held <= proxy.counts["lost"] and abs(proxy.counts["lost"] - 0.2 * 120) < 16
    assert np.median(both_ms) < 20.0 or held > 30


def test_a_large_chunk_is_as_many_segments() -> None:
    lot = random.Random(1)
    link = Link(loss=0.01)
    assert sum(link.held_s(100 * 1448, lot)[1] for _ in range(500)) / 500 == pytest.approx(1 - 0.99**100, abs=0.07)
    assert sum(link.held_s(100, lot)[1] for _ in range(5000)) / 5000 == pytest.approx(0.01, abs=0.006)


def test_a_stall_holds_what_is_on_its_way_and_keeps_the_connection() -> None:
    with (
        line(Link(stall_s=0.2, every_s=0)) as (proxy, port),
        socket.create_connection(("127.0.0.1", port)) as peer,
    ):
        round_trips_ms(peer, 1)
        proxy.disturb()
        wait_until(lambda: proxy.counts["stalls"] == 1, "a stall")
        assert 100.0 < round_trips_ms(peer, 1)[0] < 2000.0
        assert np.median(round_trips_ms(peer, 5)) < 50.0


def test_a_cut_closes_connections_and_takes_none_until_it_is_over() -> None:
    with line(Link(cut_s=0.3, every_s=0)) as (proxy, port):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            round_trips_ms(peer, 1)
            proxy.disturb()
            peer.settimeout(5.0)
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""

        def reaches() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port)) as again:
                    again.sendall(b"x")
                    return received(again, 1) == b"x"
            except OSError:
                return False

        assert not reaches()
        wait_until(reaches, "a connection after the cut", 5.0)
        assert proxy.counts["cuts"] == 1 and proxy.counts["while cut"] >= 1


def test_stalls_come_again_and_again() -> None:
    with line(Link(stall_s=0.01, every_s=0.02)) as (proxy, _):
        wait_until(lambda: proxy.counts["stalls"] >= 3, "three stalls", 5.0)


def test_nobody_behind_it_ends_the_connection() -> None:
    near, far = free_base(), free_base()
    proxy = Proxy(url(near), url(far), Link())
    with running(proxy), socket.create_connection(("127.0.0.1", near)) as peer:
        peer.settimeout(5.0)
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
    assert proxy.counts["nobody there"] == 1


def test_a_port_that_is_taken_is_named() -> None:
    base = free_base()
    with (
        socket.create_server(("127.0.0.1", base + 2)),
        pytest.raises(LinkError, match=f"cannot listen at 127.0.0.1:{base + 2}"),
        running(Proxy(url(base), url(free_base()), Link())),
    ):
        pass


def test_it_listens_on_this_machine_alone_unless_told_who_may_connect() -> None:
    for host in ("0.0.0.0", "10.0.0.1", "robot"):
        with pytest.raises(LinkError, match="--allow-remote"):
            Proxy(url(7000, host), url(8000), Link())
    Proxy(url(7000, "0.0.0.0"), url(8000), Link(), allowed=["10.0.0.0/24"])
    with pytest.raises(LinkError, match="neither an address nor a network"):
        Proxy(url(7000), url(8000), Link(), allowed=["robot"])


@pytest.mark.parametrize(
    ("host", "allowed", "may"),
    [("127.0.0.1", (), True), ("10.0.0.2", ("10.0.0.0/24",), True), ("10.0.1.2", ("10.0.0.0/24", "10.0.1.1"), False)],
)
def test_who_may_connect(host: str, allowed: tuple[str, ...], may: bool) -> None:
    assert Proxy(url(7000), url(8000), Link(), allowed=allowed)._may(host) == may


@pytest.mark.parametrize(
    "wrong", [{"jitter_ms": 1.0}, {"loss": 1.0}, {"delay_ms": -1.0}, {"every_s": -1.0}, {"stall_s": -1.0}]
)
def test_a_link_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LinkError, match="allowed"):
        Link(**wrong)


@pytest.mark.parametrize("base", ["ipc:///tmp/x", "tcp://127.0.0.1", "tcp://127.0.0.1:65530"])
def test_an_address_that_is_not_tcp_is_refused(base: str) -> None:
    with pytest.raises(LinkError, match="tcp://"):
        Proxy(base, url(8000), Link())
