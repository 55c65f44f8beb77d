"""Ends what a supervisor leaves behind when it dies without a word (SIGKILL, out of memory). Run as a script by it.

Reads lines from its standard input until that ends: `+PID STOP_S LAST`, a child has started (LAST: 1 if it must be told
to stop after the others have ended, as a driver); `-PID`, it has ended; `rm PATH`, to be removed; `bye`, all is well.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

POLL_S = 0.02


def main() -> None:
    """Listen; then clean up, unless told that there is nothing to do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children: dict[int, tuple[float, bool]] = {}
    paths: list[str] = []
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "bye":
            return
        if word == "rm":
            paths.append(rest)
        elif word.startswith("+"):
            stop_s, _, last = rest.partition(" ")
            children[int(word[1:])] = (float(stop_s), last == "1")
        elif word.startswith("-"):
            children.pop(int(word[1:]), None)
    for last in (False, True):
        end({pid: stop_s for pid, (stop_s, is_last) in children.items() if is_last == last})
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path)


def end(groups: dict[int, float]) -> None:
    """Tell process groups to stop; kill those that do not in their time (pid -> s)."""
    started = time.monotonic()
    for pid in groups:
        tell(pid, signal.SIGTERM)
    left = dict(groups)
    while left:
        for pid, stop_s in list(left.items()):
            if not tell(pid, 0):
                del left[pid]
            elif time.monotonic() - started > stop_s:
                tell(pid, signal.SIGKILL)
                del left[pid]
        time.sleep(POLL_S)


def tell(group: int, number: int) -> bool:
    """Signal a process group; False if it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
