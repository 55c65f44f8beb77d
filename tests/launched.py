"""`hjepa launch` as a process of its own, for tests: reads what it says, waits for events, knows its children."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

WAIT_S = 60.0  # a busy machine
HJEPA = (sys.executable, "-c", "from hjepa.cli import main; main()")


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Look again and again; AssertionError when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.01)


def exists(pid: int) -> bool:
    """Whether a process runs (one that is dead and not waited for does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def permitted(*command: str) -> str:
    """Why a command cannot be run here; nothing if it can."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip()}"


class Launched:
    """A supervisor that runs in `folder`, whose runtime folder is `folder`/run."""

    def __init__(
        self,
        folder: Path,
        graph: str | Path,
        *words: str,
        prefix: Sequence[str] = (),
        verb: Sequence[str] = ("launch",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """graph: a file, a name, or the text of a file; of `deploy run`, the bundle."""
        self.folder, self.runtime = folder, folder / "run" / "hjepa"
        self.runtime.parent.mkdir(exist_ok=True, mode=0o700)
        if isinstance(graph, str) and "\n" in graph:
            file = folder / "graph.yaml"
            file.write_text(graph, encoding="utf-8")
            graph = file
        root = str(Path(__file__).parent.parent)
        self.process = subprocess.Popen(
            [*prefix, *HJEPA, *verb, str(graph), *words],
            cwd=folder,
            env={
                **os.environ,
                **(environment or {}),
                "XDG_RUNTIME_DIR": str(self.runtime.parent),
                "PYTHONPATH": root,
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.said, self.complained = "", ""

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)  # a prefix such as unshare does not pass it on
            try:
                self.process.wait(WAIT_S)
            finally:
                if self.process.poll() is None:
                    os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def hears(self, text: str, times: int = 1) -> None:
        """Wait until it has said a text, so many times."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + WAIT_S
            while self.said.count(text) < times:
                left_s = deadline - time.monotonic()
                assert left_s > 0 and selector.select(left_s), f"'{text}' was not said:\n{self.said}"
                more = os.read(self.process.stdout.fileno(), 4096).decode()
                assert more, (
                    f"'{text}' was not said:\n{self.said}\n{self.process.stderr and self.process.stderr.read()}"
                )
                self.said += more

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        out, err = self.process.communicate(timeout=WAIT_S)
        self.said += out.decode()
        self.complained += err.decode()
        return self.process.returncode

    def events(self) -> list[str]:
        """What it has said, without pids and times."""
        lines = (re.sub(r", pid \d+| after [\d.]+ s", "", line) for line in self.said.splitlines())
        return [line for line in lines if not line.startswith("graph ")]

    def pids(self, name: str) -> list[int]:
        """Of a node, each that it has had."""
        return [int(pid) for pid in re.findall(rf"^{name}: started, pid (\d+)$", self.said, re.MULTILINE)]

    def leaves_nothing(self) -> bool:
        """No process of any node, no sockets, no entry."""
        pids = [int(pid) for pid in re.findall(r"started, pid (\d+)$", self.said, re.MULTILINE)]
        return bool(pids) and not any(map(exists, pids)) and not list(self.runtime.iterdir())
