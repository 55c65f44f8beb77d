"""How far another node's monotonic clock is off, and how well that is known.

Clocks of different hosts (or time namespaces) share no zero. A question sent at t0, answered at r on the other clock
and heard at t1, says that the offset r - t lies between r - t1 and r - t0 (Cristian 1989); the intersection of several
such intervals, each widened by what clocks drift apart since, is narrower than any of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from hjepa.bus.link import Requester
from hjepa.bus.topics import Empty
from hjepa.errors import LinkError

DRIFT = 1e-4  # quartz stays within 100 ppm
KEPT = 32
ASK_EVERY_NS = 100_000_000


class _Interval(NamedTuple):
    low_ns: int
    high_ns: int
    at_ns: int  # own clock


class Offset:
    """Other clock minus own, as an interval."""

    def __init__(self) -> None:
        self._known: deque[_Interval] = deque(maxlen=KEPT)

    def heard(self, asked_ns: int, other_ns: int, heard_ns: int) -> None:
        """An answer `other_ns` to a question asked and heard at these instants of the own clock."""
        new = _Interval(other_ns - heard_ns, other_ns - asked_ns, heard_ns)
        known = self._bounds(heard_ns)
        if known and (new.low_ns > known[1] or new.high_ns < known[0]):
            self._known.clear()  # a clock was set, or the other host is another one now
        self._known.append(new)

    def at(self, now_ns: int) -> tuple[int, int] | None:
        """Offset and its bound (ns) at an instant of the own clock; None: nothing was heard yet."""
        found = self._bounds(now_ns)
        if found is None:
            return None
        low, high = found
        if low <= 0 <= high:  # as far as can be told it is the same clock: believe that
            return 0, max(-low, high)
        return (low + high) // 2, (high - low + 1) // 2

    def _bounds(self, now_ns: int) -> tuple[int, int] | None:
        if not self._known:
            return None
        low = max(i.low_ns - DRIFT * (now_ns - i.at_ns) for i in self._known)
        high = min(i.high_ns + DRIFT * (now_ns - i.at_ns) for i in self._known)
        if low > high:  # within rounding of one another
            low = high = (low + high) / 2
        return int(low), int(high)


class ClockProbe:
    """Asks a node for its time now and then, without waiting for the answer."""

    def __init__(self, requester: Requester) -> None:
        self.offset = Offset()
        self._requester = requester
        self._asked_ns, self._sequence = -ASK_EVERY_NS, -1

    def poll(self, now_ns: Callable[[], int]) -> None:
        """Hear an answer, ask again when it is time. now_ns: () -> own clock."""
        if self._sequence >= 0 and self._requester.socket.poll(0):
            heard = now_ns()
            message = self._requester.read(self._sequence)
            if message is not None and message.header.kind == "time":
                self.offset.heard(self._asked_ns, message.value.now_ns, heard)
                self._sequence = -1
        if now_ns() - self._asked_ns >= ASK_EVERY_NS:
            self._ask(now_ns)

    def _ask(self, now_ns: Callable[[], int]) -> None:
        self._asked_ns = now_ns()
        try:
            self._sequence = self._requester.send("get_time", Empty())
        except (LinkError, zmq.ZMQError):
            self._sequence = -1
