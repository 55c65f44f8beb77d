"""A supervised node: what it is doing, since when, how often it was started again."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from hjepa.launching.child import Child, Log, usage
from hjepa.launching.graph import NodeSection

State = Literal["waiting", "starting", "running", "pausing", "stopping", "ended", "failed", "stopped"]
ALIVE = ("starting", "running", "stopping")
OVER = ("ended", "failed", "stopped")  # for good
COMMAND_NOT_FOUND = 127  # as shells say it
_SAMPLE_S = 0.5  # over which a share of processor time is measured


class Row(NamedTuple):
    """How a node is, for people."""

    name: str
    role: str
    pid: int | None
    state: State
    uptime_s: float
    restarts: int
    cpu_percent: float
    memory_bytes: int
    said: str  # last line


class Supervised:
    """One node of a running graph."""

    def __init__(self, name: str, section: NodeSection, log: Log) -> None:
        self.name, self.section, self.log = name, section, log
        self.state: State = "waiting"
        self.child: Child | None = None
        self.restarts = 0  # in all
        self.in_row = 0  # since it last ran for long
        self.due_s = 0.0  # next start, or when it is killed: monotonic
        self.asked_s = self.heard_s = 0.0  # when it was asked last, and when it last answered: monotonic
        self.killed = ""  # why the supervisor killed it
        self._sample = (0.0, 0.0)  # monotonic s, processor s
        self._percent = 0.0

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.state in ALIVE

    def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start its process; OSError when that cannot be."""
        section = self.section
        self.killed, self.child = "", None
        self.child = Child(argv, self.log, {**environment, **section.environment}, section.nice, section.cpus)
        self._sample, self._percent = (time.monotonic(), 0.0), 0.0
        self.state, self.due_s = "starting", time.monotonic() + section.start_s
        return self.child

    def run(self) -> None:
        """It has answered, or is none of those that do."""
        self.state = "running"
        self.asked_s = self.heard_s = time.monotonic()

    def heard(self, answers: bool) -> None:
        """It was asked how it is; killed when it has been silent for too long."""
        self.asked_s = time.monotonic()
        if answers:
            self.heard_s = self.asked_s
        elif self.asked_s - self.heard_s > self.section.hang_s:
            self.kill(f"was silent for {self.section.hang_s:g} s")

    def stop(self) -> None:
        """Tell it to stop; it is killed when it has not by `due_s`."""
        if self.child is not None and self.alive:
            self.state, self.due_s = "stopping", time.monotonic() + self.section.stop_s
            self.child.tell(signal.SIGTERM)
        elif self.state not in OVER:
            self.state = "stopped"

    def kill(self, why: str) -> None:
        """End it now."""
        if self.child is not None:
            self.killed = self.killed or why
            self.child.tell(signal.SIGKILL)

    def how(self, code: int) -> str:
        """How it ended, in words."""
        if self.killed:
            return self.killed
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def may_restart(self, code: int, mistake: int) -> bool:
        """Whether it is started again after it has ended by itself; a `mistake` before it ran is not mended by that."""
        section = self.section
        if self.child is not None and time.monotonic() - self.child.started_s > section.backoff.steady_s:
            self.in_row = 0
        wanted = section.restart == "always" or (section.restart == "on-failure" and code != 0)
        return (
            wanted
            and self.in_row < section.backoff.give_up_after
            and not (self.state == "starting" and code == mistake)
        )

    def pause(self) -> float:
        """Wait for the next start; returns how long (s)."""
        wait_s = self.section.backoff.pause_s(self.in_row)
        self.state, self.due_s = "pausing", time.monotonic() + wait_s
        self.restarts, self.in_row = self.restarts + 1, self.in_row + 1
        return wait_s

    def row(self) -> Row:
        """How it is now."""
        alive = self.child is not None and self.alive
        pid = self.child.pid if self.child is not None and alive else None
        now_s, memory = time.monotonic(), 0
        uptime_s = now_s - self.child.started_s if self.child is not None and alive else 0.0
        if pid is not None:
            used_s, memory = usage(pid)
            since_s, before_s = self._sample
            if now_s - since_s >= _SAMPLE_S:
                self._percent = 100.0 * (used_s - before_s) / (now_s - since_s)
                self._sample = now_s, used_s
        said = self.log.tail[-1] if self.log.tail else ""
        percent = self._percent if alive else 0.0
        return Row(self.name, self.section.role, pid, self.state, uptime_s, self.restarts, percent, memory, said)
