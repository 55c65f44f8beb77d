"""Listening to a running graph: which topics live, how fast they come, what they say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import zmq

from hjepa.bus import wire
from hjepa.bus.link import Link, Requester
from hjepa.bus.node import STATUS
from hjepa.bus.readable import decoded_or_none
from hjepa.bus.security import Keys
from hjepa.bus.topics import TOPICS, Empty, Status, Topic, address
from hjepa.errors import LinkError, nearest

_ASK_S = 0.5


class Place(NamedTuple):
    """Where a graph is, and what lets a tool in."""

    base: str  # see topics.address
    context: zmq.Context[Any] | None = None  # needed for inproc
    keys: Keys | None = None  # of `tools`, needed for tcp with CURVE
    hosts: Mapping[str, str] = {}  # over tcp: on which machine a node runs, if not on the base's own

    def at(self, topic: str) -> str:
        """Address of a topic."""
        return address(self.base, topic, self.hosts)


class Heard(NamedTuple):
    """A frame as it came; None where it cannot be read."""

    topic: str
    received_s: float
    size: int
    frame: wire.Frame | None


class Pace(NamedTuple):
    """How a stream comes. Intervals in ms; nan with fewer than two frames."""

    frames: int
    hz: float
    mean_ms: float
    std_ms: float
    max_ms: float
    bytes_per_s: float


def streams() -> list[Topic]:
    """Topics that can be listened to; the others are request channels."""
    return [topic for topic in TOPICS.values() if topic.rate != "on request"]


def chosen(names: Iterable[str] | None) -> list[str]:
    """Names of streams, all of them for None; LinkError for one that cannot be listened to."""
    known = [topic.name for topic in streams()]
    for name in names or ():
        if name not in known:
            raise LinkError(f"no stream '{name}'; {nearest(name, known)}")
    return known if names is None else list(names)


def listen(place: Place, topic: str) -> Link:
    """A socket that receives every frame of a stream; its queue has no bound."""
    link = Link(zmq.SUB, place.at(topic), False, place.context, place.keys, TOPICS[topic].owner, RCVHWM=0)
    link.socket.subscribe(b"")
    return link


def node_status(place: Place, node: str) -> Status | None:
    """How a node is; None if it does not answer."""
    return statuses(place, [node])[node]


def statuses(place: Place, nodes: Iterable[str], timeout_s: float = _ASK_S) -> dict[str, Status | None]:
    """How several nodes are, asked at the same time; None for one that does not answer by then."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Status | None] = {}
        asked: dict[zmq.Socket[bytes], tuple[str, Requester, int]] = {}
        poller = zmq.Poller()
        for node in nodes:
            ask = Requester(place.at(f"{node}-control"), context=place.context, keys=place.keys, owner=node)
            stack.enter_context(ask)
            found[node], asked[ask.socket] = None, (node, ask, ask.send(STATUS, Empty()))
            poller.register(ask.socket, zmq.POLLIN)
        end = time.monotonic() + timeout_s
        while asked and (left_s := end - time.monotonic()) > 0:
            for socket, _ in poller.poll(round(1e3 * left_s) + 1):
                node, ask, sequence = asked[socket]
                message = ask.read(sequence)
                if message is not None:
                    found[node] = message.value if message.header.kind == "status" else None
                    poller.unregister(socket)
                    del asked[socket]
    return found


def heard(place: Place, topics: list[str], seconds: float = float("inf")) -> Iterator[Heard]:
    """Frames of some streams for so long, as they come."""
    links: dict[zmq.Socket[bytes], tuple[str, Link]] = {}
    poller = zmq.Poller()
    try:
        for topic in topics:
            link = listen(place, topic)
            links[link.socket] = topic, link
            poller.register(link.socket, zmq.POLLIN)
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            for socket, _ in poller.poll(round(1e3 * min(left_s, 0.2)) + 1):
                data = socket.recv()
                yield Heard(links[socket][0], time.monotonic(), len(data), decoded_or_none(data))
    finally:
        for _, link in links.values():
            link.close()


def pace(received_s: list[float], size: int, seconds: float) -> Pace:
    """Figures of frames received at those times, `size` bytes together, within so many seconds."""
    count = len(received_s)
    gaps_ms = 1e3 * np.diff(received_s)
    if not len(gaps_ms):
        nan = float("nan")
        return Pace(count, count / seconds, nan, nan, nan, size / seconds)
    mean_ms = float(gaps_ms.mean())
    hz = 1e3 / mean_ms if mean_ms else float("inf")
    return Pace(count, hz, mean_ms, float(gaps_ms.std()), float(gaps_ms.max()), size / seconds)


def paces(place: Place, seconds: float, topics: list[str] | None = None) -> dict[str, Pace]:
    """How each stream comes, listened to for so long."""
    names = [topic.name for topic in streams()] if topics is None else topics
    at: dict[str, list[float]] = {name: [] for name in names}
    size = dict.fromkeys(names, 0)
    for item in heard(place, names, seconds):
        at[item.topic].append(item.received_s)
        size[item.topic] += item.size
    return {name: pace(at[name], size[name], seconds) for name in names}


def owners() -> list[str]:
    """Nodes that own a topic."""
    return list(dict.fromkeys(topic.owner for topic in TOPICS.values()))
