"""One child process: its own session, its output in a log file, line by line; it dies with its supervisor. Linux."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

TAIL_LINES = 12
MAX_LOG_BYTES = 64 * 2**20  # then the log starts again, and the old one is kept as NAME.log.1
_MAX_LINE_BYTES = 2**16
_READS = 64  # of a dead process's output: who left its group may go on writing
_PIPE_BYTES = 2**20  # a node must not wait for its log to be read
_F_SETPIPE_SZ, _PR_SET_PDEATHSIG = 1031, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Log:
    """A file of time-stamped lines, and its last lines in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, line: str) -> None:
        """One line, without its end."""
        self.tail.append(line)
        if self._file.tell() > MAX_LOG_BYTES:
            self._file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._file.write(f"{stamp} {line}\n")

    def close(self) -> None:
        """Close the file; a second close does nothing."""
        self._file.close()


class Child:
    """A started process and its process group."""

    def __init__(
        self, argv: Sequence[str], log: Log, environment: Mapping[str, str], nice: int = 0, cpus: Sequence[int] = ()
    ) -> None:
        """OSError when the program cannot be started."""
        self.log, self.started_s = log, time.monotonic()
        self._rest = b""
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches the supervisor alone
            preexec_fn=_prepare(os.getpid(), nice, tuple(cpus)),  # safe: the supervisor has one thread
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        if sys.platform == "linux":
            _widen(self.output)

    @property
    def pid(self) -> int:
        """Process id, and that of its group."""
        return self.process.pid

    def ended(self) -> int | None:
        """Exit code (negative: the signal that killed it) once it has ended."""
        return self.process.poll()

    def tell(self, number: signal.Signals) -> None:
        """Signal the whole group."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def read(self) -> int:
        """Put what the process has said into its log; how many bytes that was."""
        try:
            said = os.read(self.output, 2**16)
        except BlockingIOError:
            return 0
        *lines, self._rest = (self._rest + said).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES or (self._rest and not said):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self.log.write(line.decode("utf-8", "replace").rstrip("\r"))
        return len(said)

    def close(self) -> None:
        """After its end: end what it left behind in its group, and read what is left."""
        self.tell(signal.SIGKILL)
        for _ in range(_READS):
            if not self.read():
                break
        if self._rest:
            self.log.write(self._rest.decode("utf-8", "replace"))
        assert self.process.stdout is not None
        self.process.stdout.close()


def _prepare(supervisor: int, nice: int, cpus: tuple[int, ...]) -> Callable[[], None]:
    """What the child does before its program starts."""

    def prepare() -> None:
        # told to stop when the supervisor is gone, so that a driver brakes; the keeper kills whoever does not
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
        if nice:
            os.nice(nice)
        if cpus:
            os.sched_setaffinity(0, cpus)

    return prepare


def _widen(pipe: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # the user's limit for pipes is reached: a smaller one does too


# how much it uses, from /proc

_TICKS_PER_S, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def usage(pid: int) -> tuple[float, int]:
    """Processor time (s) that a process has used, and memory (bytes) that it holds; zeros where that is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_S, int(stat[21]) * _PAGE_BYTES
