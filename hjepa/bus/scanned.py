"""Zones to keep out of, as the low node hears them: the latest ones count, and they stay when nothing more comes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hjepa.bus.link import Subscriber
from hjepa.bus.topics import Zones
from hjepa.protocols import Avoids
from hjepa.types import NS, Observation

STALE_S = 0.3  # older zones are counted whenever something is planned by them


class Scanned:
    """What a safety scanner reported last, told to a level that avoids."""

    def __init__(self, level: Any, link: Subscriber, counts: Counter[str]) -> None:
        """link: where zones come; counts: the node's, of this session."""
        self._level: Avoids | None = level if isinstance(level, Avoids) else None
        self._link, self._counts = link, counts
        self.forget()

    def forget(self) -> None:
        """A new session; the level forgets by itself when it is reset."""
        self._latest, self._seen_ns = -1, 0

    def hear(self) -> None:
        """The newest zones that have come, if any, are in force from now on."""
        message = self._link.receive()
        if message is None:
            return
        zones: Zones = message.value
        self._latest, self._seen_ns = message.header.sequence, zones.stamp_ns
        if self._level is not None:
            self._level.avoid(zones.zones)

    def lacks(self, sequence: int) -> bool:
        """Whether the zones of this number, or newer ones, have still to come; -1 is none."""
        return self._latest < sequence

    def give_up(self, sequence: int) -> None:
        """Go on without the zones of this number: those before it stay in force."""
        if self.lacks(sequence):
            self._latest = sequence
            self._counts["zones.silent"] += 1

    def used(self, observation: Observation) -> None:
        """Something is planned from an observation: count zones that are much older. They are kept, where they were
        seen: a scanner that falls silent must not open the way, and how far somebody has walked on since is unknown."""
        if self._latest >= 0 and observation.stamp_ns - self._seen_ns > STALE_S * NS:
            self._counts["zones.stale"] += 1
