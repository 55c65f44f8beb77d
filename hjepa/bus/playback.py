"""Plays the streams of a recording to whoever listens, at the pace at which they were received."""

from __future__ import annotations

import threading
import time
from typing import Any

import zmq

from hjepa.bus.link import Link
from hjepa.bus.logfile import Log
from hjepa.bus.topics import TOPICS, address
from hjepa.errors import DataError


def play(
    log: Log,
    base: str,
    *,
    speed: float = 1.0,
    listeners: int = 0,
    wait_s: float = 10.0,
    stop: threading.Event | None = None,
    context: zmq.Context[Any] | None = None,
) -> int:
    """Publish every recorded frame at an address that nobody else uses; how many there were.

    speed: so many times as fast as they came. listeners: begin once so many sockets listen to each topic, or after
    `wait_s`. DataError if the recording holds nothing.
    """
    topics = sorted({entry.topic for entry in log} & set(TOPICS))
    if not topics:
        raise DataError(f"{log.path}: this recording holds no frames; nothing to play")
    stop = stop or threading.Event()
    links = {topic: Link(zmq.XPUB, address(base, topic), True, context, SNDHWM=0, XPUB_VERBOSER=1) for topic in topics}
    try:
        _await(links, listeners, wait_s, stop)
        return _publish(log, links, speed, stop)
    finally:
        for link in links.values():
            link.close()


def _publish(log: Log, links: dict[str, Link], speed: float, stop: threading.Event) -> int:
    began_s, first_ns, sent = time.monotonic(), None, 0
    for entry in log:
        if entry.topic not in links:
            continue
        first_ns = entry.received_ns if first_ns is None else first_ns
        due_s = began_s + (entry.received_ns - first_ns) / 1e9 / speed
        if stop.wait(max(0.0, due_s - time.monotonic())):
            break
        links[entry.topic].socket.send(entry.frame)
        sent += 1
    return sent


def _await(links: dict[str, Link], listeners: int, wait_s: float, stop: threading.Event) -> None:
    """Until so many sockets listen to each topic."""
    end = time.monotonic() + wait_s
    for link in links.values():
        heard = 0
        while heard < listeners and not stop.is_set():
            if not link.socket.poll(max(0, round(1e3 * (end - time.monotonic())))):
                return
            heard += {b"\x01": 1, b"\x00": -1}.get(link.socket.recv(), 0)
