"""A recording as the page's source: any instant is shown by running the messages of its stroke again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hjepa.bus import wire
from hjepa.bus.logfile import Entry, Log
from hjepa.bus.messages import unpack
from hjepa.errors import DataError, WireError
from hjepa.types import NS, RobotSpec
from hjepa.viewer.live.frames import TOPICS, Reducer, Snapshot
from hjepa.viewer.live.source import STEP_S

GAP_S = 0.3  # shown between two strokes
LOOK_S = 1.5  # observations so long before an instant make its trail; older ones are skipped


class Index:
    """Which message is where in time. Time is that of the robot, strokes laid end to end."""

    def __init__(self, log: Log) -> None:
        """DataError where the recording holds no observation."""
        self.entries: list[Entry] = []
        times: list[float] = []
        starts: list[int] = []
        session, first_ns, base_s, now_s = None, 0, 0.0, 0.0
        for entry in log:
            if entry.topic not in TOPICS:
                continue
            if entry.topic == "observation":
                try:
                    header = wire.decode(entry.frame).header
                except WireError:
                    continue  # a damaged frame shows nothing
                if header.session != session:
                    base_s = now_s + GAP_S if session is not None else 0.0
                    session, first_ns = header.session, header.stamp_ns
                    starts.append(len(self.entries))
                now_s = base_s + (header.stamp_ns - first_ns) / NS
            self.entries.append(entry)
            times.append(now_s)
        if not starts:
            raise DataError(f"{log.path}: this recording holds no observation; nothing to show")
        self.times_s = np.maximum.accumulate(np.array(times))  # (N,) of each entry
        self.starts = starts  # entry at which each stroke begins

    @property
    def length_s(self) -> float:
        """From the first observation to the last."""
        return float(self.times_s[-1])

    def end(self, at_s: float) -> int:
        """How many entries have been said by then; at least the first observation."""
        return max(int(np.searchsorted(self.times_s, at_s + 1e-9, side="right")), self.starts[0] + 1)

    def start(self, end: int) -> tuple[int, int]:
        """Number of the stroke, from 1, that the entries before `end` lead into, and its first entry."""
        number = int(np.searchsorted(self.starts, end - 1, side="right"))
        return number, self.starts[max(number - 1, 0)]


class Recorded:
    """Plays a recording: holds, steps, goes to any instant."""

    held = "the recording"
    paced = True

    def __init__(self, path: Path, spec: RobotSpec, log: Log | None = None) -> None:
        log = log or Log(path)
        self.label = f"recording {path.name}"
        self._index, self._spec = Index(log), spec
        self._cut = log.cut
        self.length_s = self._index.length_s
        self._lock = threading.Lock()
        self._at_s, self._speed, self._paused = 0.0, 1.0, False
        self._ticked_s = time.monotonic()
        self._reducer = Reducer(spec)
        self._fed = 0  # entries
        self._shown = Snapshot()

    def frame(self) -> Snapshot:
        """The recording at the instant that is due."""
        with self._lock:
            now_s = time.monotonic()
            if not self._paused:
                self._at_s = min(self._at_s + (now_s - self._ticked_s) * self._speed, self.length_s)
            self._ticked_s = now_s
            end = self._index.end(self._at_s)
        if end != self._fed:
            self._shown = self._at(end)
        return self._shown

    def said(self) -> str:
        """Why the file ended early."""
        return self._cut

    def position_s(self) -> float:
        """Where it is."""
        return self._at_s

    def pause(self, on: bool) -> None:
        """Hold, or go on; from the end, again from the beginning."""
        with self._lock:
            self._paused = on
            if not on and self._at_s >= self.length_s:
                self._at_s = 0.0

    def step(self) -> None:
        """Let STEP_S pass."""
        self.seek(self._at_s + STEP_S)

    def set_speed(self, speed: float) -> None:
        """Times as fast as it was."""
        with self._lock:
            self._speed = speed

    def seek(self, at_s: float) -> None:
        """Go to an instant."""
        with self._lock:
            self._at_s = float(np.clip(at_s, 0.0, self.length_s))

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """None: what was played cannot be changed."""
        return {}

    def set_weight(self, level: str, name: str, value: float) -> None:
        """Refused."""
        raise DataError(f"{level}.{name}: a recording cannot be changed; allowed: a running graph")

    def close(self) -> None:
        """Nothing is held."""

    def _at(self, end: int) -> Snapshot:
        """The first `end` entries told; those of earlier strokes only count."""
        number, start = self._index.start(end)
        if not start <= self._fed < end:
            self._reducer = Reducer(self._spec, strokes=number - 1)
            self._fed = start
        since_s = self._index.times_s[end - 1] - LOOK_S
        for k in range(self._fed, end):
            entry = self._index.entries[k]
            old = entry.topic == "observation" and self._index.times_s[k] < since_s and k != start
            if old:
                continue
            try:
                message = unpack(entry.frame)
            except WireError:
                continue
            self._reducer.feed(entry.topic, message.header, message.value)
        self._fed = end
        return self._reducer.snapshot()
