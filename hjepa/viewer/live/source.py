"""Where the page's snapshots come from: the protocol that a bus, a simulated court and a recording keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hjepa.viewer.live.frames import Snapshot

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0)
STEP_S = 0.05  # simulated time that a step lets pass


class Source(Protocol):
    """What is watched. `frame` is called by the page's loop alone; the rest by any thread."""

    label: str  # what is watched, for people
    held: str  # what a pause holds, for people
    paced: bool  # whether speed and step act
    length_s: float  # of a recording; 0 where there is no end

    def frame(self) -> Snapshot:
        """How things are now."""

    def said(self) -> str:
        """Anything to tell a person, such as that the graph is gone; '' for nothing."""

    def position_s(self) -> float:
        """Where in the recording the page is."""

    def pause(self, on: bool) -> None:
        """Hold, or go on."""

    def step(self) -> None:
        """While held: let STEP_S pass."""

    def set_speed(self, speed: float) -> None:
        """Times as fast as real."""

    def seek(self, at_s: float) -> None:
        """Go to an instant of the recording."""

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """Weights of the energy by level, as the running levels have them; empty where there are none to change."""

    def set_weight(self, level: str, name: str, value: float) -> None:
        """Change one on the running level; LinkError when it refuses."""

    def close(self) -> None:
        """Let go of whatever is held; a second close does nothing."""
