"""The emergency stop: a request channel of its own, served by a thread of its own in the driver's process.

A stop waits for nobody: not for the driver's loop, not for a planner. It is answered once the driver holds, asked
again until it is answered, and latched until it is released and the robot armed again. It needs no command key: who
can reach the socket may stop the robot; with keys, CURVE decides who that is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from hjepa.bus.messages import Message
from hjepa.bus.node import BusConfig, Context, Party, Reply
from hjepa.bus.topics import Empty
from hjepa.errors import LinkError, LinkTimeout

TRIES, TRY_S = 5, 0.2
_LOOK_S = 0.05


class EmergencyStop:
    """Serves the channel; `stop` and `release` are called from its thread."""

    def __init__(
        self, config: BusConfig, context: Context, stop: Callable[[], None], release: Callable[[], None]
    ) -> None:
        self._config, self._context = config, context
        self._calls = {"estop": stop, "release": release}
        self._ended, self._bound = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="hjepa-estop", daemon=True)

    def start(self) -> None:
        """Serve from now on; LinkError if the channel cannot be bound."""
        self._thread.start()
        self._bound.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread; a second close does nothing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        party = None
        try:
            party = Party("driver", self._config, self._context, guarded=True)
            replier = party.replier("estop")
        except LinkError as error:
            self._error = error
            return
        finally:
            self._bound.set()
        try:
            while not self._ended.is_set():
                replier.serve(self._answer, _LOOK_S)
        finally:
            party.close()

    def _answer(self, message: Message) -> Reply:
        call = self._calls.get(message.header.kind)
        if call is None:
            raise LinkError(f"'{message.header.kind}' is not for this channel; allowed: {', '.join(self._calls)}")
        call()
        return "ok", Empty()


def ask(config: BusConfig, kind: str = "estop", me: str = "tools", context: Context = None) -> float:
    """Stop a running graph's robot, or `release` it; returns milliseconds to the answer. LinkError without one."""
    party: Any = Party(me, config, context, guarded=True)
    begun = time.perf_counter()
    try:
        requester = party.requester("estop")
        for k in range(TRIES):
            try:
                requester.request(kind, Empty(), timeout_s=TRY_S)
                return 1e3 * (time.perf_counter() - begun)
            except LinkTimeout as error:
                if k == TRIES - 1:
                    tried = f"{TRIES} tries in {TRIES * TRY_S:g} s"
                    raise LinkError(
                        f"the driver does not answer ({tried}): USE THE HARDWARE EMERGENCY STOP; {error}"
                    ) from error
    finally:
        party.close()
    raise AssertionError
