"""A simulated court of one's own as the page's source: pause, step and speed hold the world itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from hjepa.bus.listen import Place
from hjepa.launching.pacing import Job, Played, Told
from hjepa.types import RobotSpec
from hjepa.viewer.live.bus import BusSource
from hjepa.viewer.live.frames import Snapshot
from hjepa.viewer.live.source import STEP_S

END_S = 10.0  # for the court's processes to end by themselves


class Simulated:
    """Starts the court in processes of its own and shows it once it runs."""

    held = "the simulated world"
    paced = True
    length_s = 0.0

    def __init__(self, config: str, spec: RobotSpec, label: str, name: str = "") -> None:
        """config: Config.model_dump_json(). name: under which other tools find its graph."""
        self.label, self._spec = label, spec
        argv = [sys.executable, "-m", "hjepa.launching.paced"]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._sending = threading.Lock()
        self._bus: BusSource | None = None
        self._played: list[Played] = []
        self._closed = False
        self._send(Job(config, name))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def frame(self) -> Snapshot:
        """How the court is; empty until it runs."""
        shown = self._bus.frame() if self._bus is not None else Snapshot()
        return replace(shown, results=tuple((p.incoming, p.fault or "returned") for p in self._played))

    def said(self) -> str:
        """Whether the court still starts, or has ended."""
        if self._process.poll() is not None and not self._closed:
            return "the simulated court has ended; what it said is in the terminal"
        return self._bus.said() if self._bus is not None else "the simulated court starts"

    def position_s(self) -> float:
        """There is no such thing."""
        return 0.0

    def pause(self, on: bool) -> None:
        """Hold the simulated world, or let it go on."""
        self._send(Told(pause=on))

    def step(self) -> None:
        """While held: let STEP_S pass."""
        self._send(Told(step=STEP_S))

    def set_speed(self, speed: float) -> None:
        """Times as fast as real."""
        self._send(Told(speed=speed))

    def seek(self, at_s: float) -> None:
        """Nothing: it is live."""

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """Of the running levels."""
        return self._bus.weights() if self._bus is not None else {}

    def set_weight(self, level: str, name: str, value: float) -> None:
        """Change one on the running level."""
        if self._bus is not None:
            self._bus.set_weight(level, name, value)

    def close(self) -> None:
        """End the court and all its processes."""
        if self._closed:
            return
        self._closed = True
        with self._sending:
            if self._process.stdin is not None:
                self._process.stdin.close()  # this tells it
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._bus is not None:
            self._bus.close()

    def _send(self, line: msgspec.Struct) -> None:
        with self._sending:
            if self._process.stdin is None or self._process.stdin.closed:
                return
            try:
                self._process.stdin.write(msgspec.json.encode(line) + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return  # it has ended, as `said` tells

    def _read(self) -> None:
        """What the court says, until it ends."""
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if first:
            base = msgspec.json.decode(first)["base"]
            self._bus = BusSource(Place(base), self._spec, self.label)
        for line in self._process.stdout:
            self._played.append(msgspec.json.decode(line, type=Played))
