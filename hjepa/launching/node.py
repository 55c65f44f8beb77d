"""A node's process: `python -m hjepa.launching.node FILE`, where the supervisor wrote the file (a `Job` as JSON).

The object is built by a factory named 'module:function', as in hjepa.bus.processes. SIGTERM ends the node: a driver
brakes, holds and closes. A level that comes (back) while a session runs enters it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import zmq

from hjepa.bus.driver import DriverNode
from hjepa.bus.link import LINGER_MS
from hjepa.bus.node import STATUS, BusConfig, Node, Party
from hjepa.bus.nodes import HighNode, Level, LowNode
from hjepa.bus.processes import EXIT_ERROR, build
from hjepa.bus.topics import Empty, Status
from hjepa.errors import HjepaError, LinkTimeout

_LISTENERS_S = 1.0  # a level that was started again waits so long for the recorder
_ASK_S = 0.5  # for the driver's session: it answers at once, or there is none yet


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node's process is told."""

    name: str
    role: str
    bus: BusConfig
    factory: str = ""  # driver, high, low
    args: dict[str, Any] = {}
    config: str = ""  # conductor: Config.model_dump_json()
    out: str = ""  # conductor: folder of its results


def read_job(file: str) -> Job:
    """A job that the supervisor wrote."""
    return msgspec.json.decode(Path(file).read_bytes(), type=Job)


def make(job: Job) -> Node:
    """The node, with the object that its factory builds; its sockets are bound."""
    made: Any = build(job.factory, job.args)
    if job.role == "driver":
        return DriverNode(made, job.bus)
    return HighNode(made, job.bus) if job.role == "high" else LowNode(made, job.bus)


def ask_status(party: Party, role: str, timeout_s: float) -> Status | None:
    """How the node of a role is, or None if it does not answer in time. The party is closed."""
    with contextlib.closing(party):
        try:
            found: Status = party.requester(f"{role}-control").request(STATUS, Empty(), timeout_s=timeout_s).value
        except LinkTimeout:
            return None
        return found


def enter_session(node: Node) -> None:
    """A level joins the session that the driver is in, if there is one; the conductor resets it at the next."""
    if isinstance(node, Level):
        driver = ask_status(Party(node.name, node.config, None, guarded=True), "driver", _ASK_S)
        if driver is not None and driver.session:
            # numbered by the wall clock's microseconds: beyond all that an earlier life has sent in this session
            node.join(driver.session, driver.session % 2**31, time.time_ns() // 1000)
            heard = node.await_listeners(_LISTENERS_S)
            sys.stderr.write(f"entered session {driver.session}{'' if heard else ', no recorder hears its journal'}\n")


def main(arguments: Sequence[str]) -> int:
    """Build and run a node until told to stop; returns the exit code."""
    job = read_job(arguments[0])
    try:
        with make(job) as node:  # told to stop up to here, it just ends: nothing moves yet
            stop = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            enter_session(node)
            node.run(stop.is_set)
    except HjepaError as error:
        with contextlib.suppress(OSError):  # whoever reads it may be gone
            sys.stderr.write(f"{job.name}: {error}\n")
        return EXIT_ERROR
    return 0


def leave(code: int) -> None:
    """End the process with nothing left to say; taking a simulator or a network apart would take a second."""
    zmq.Context.instance().destroy(linger=LINGER_MS)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
