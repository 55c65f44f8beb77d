"""A graph of three processes over ipc: each node is built in its own process by a factory, and none outlives the graph.

A factory is named 'module:function' and takes JSON arguments, since a simulator or a network cannot be handed over.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
import zmq

from hjepa.bus.driver import DriverNode
from hjepa.bus.graph import NODES, Graph
from hjepa.bus.node import BusConfig, Node
from hjepa.bus.nodes import HighNode, LowNode
from hjepa.bus.security import write_command_key
from hjepa.errors import ConfigError, HjepaError, NodeDied, nearest

START_S = 120.0  # importing torch on a busy machine takes a while
_STOP_S = 3.0  # to brake, hold and close when told to stop, before it is killed
EXIT_ERROR = 2  # a user's mistake, as in the command line


class NodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to build a node's object: a World, a HighLevel or a LowLevel, by what the node is."""

    factory: str  # module:function
    args: dict[str, Any] = {}  # JSON


class _Job(msgspec.Struct, frozen=True):
    name: str
    spec: NodeSpec
    config: BusConfig
    folder: str  # of the ipc sockets; whoever is left removes it


class ProcessGraph(Graph):
    """Driver, high and low as processes (spawned, so nothing is inherited by accident)."""

    def __init__(self, specs: Mapping[str, NodeSpec], *, session: int | None = None, **config: Any) -> None:
        """specs: one for each of driver, high, low. config: fields of BusConfig, without `base`."""
        for name in (*specs, *NODES):
            if name not in specs or name not in NODES:
                raise ConfigError(f"graph with nodes {', '.join(specs)}; each of these is needed: {', '.join(NODES)}")
        checked = BusConfig(base="", **config)
        self._folder = tempfile.mkdtemp(prefix="hjepa-")  # mode 0700: the sockets are this user's only
        write_command_key(Path(self._folder))
        checked = msgspec.structs.replace(checked, base=f"ipc://{self._folder}", keys=self._folder)
        super().__init__(checked, zmq.Context(), session)
        self._specs = dict(specs)
        self.processes: dict[str, BaseProcess] = {}

    def start(self) -> None:
        """Spawn the processes and wait until they hear each other."""
        spawn = multiprocessing.get_context("spawn")
        for name in NODES:
            job = _Job(name, self._specs[name], self.config, self._folder)
            text = msgspec.json.encode(job).decode()
            process = spawn.Process(target=node_main, args=(text,), name=f"hjepa-{name}", daemon=True)
            process.start()
            self.processes[name] = process
        self._connect()
        self._await_ready(START_S)

    def dead(self) -> dict[str, NodeDied]:
        """Nodes whose process has ended, with its exit code."""
        found = {}
        for name, process in self.processes.items():
            code = process.exitcode
            if code is not None:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                found[name] = NodeDied(f"node {name} {how}; what it said is above", code)
        return found

    def close(self) -> None:
        """Tell the nodes to stop, kill those that do not; remove the sockets."""
        for tell in ("terminate", "kill"):
            left = [process for process in self.processes.values() if process.is_alive()]
            for process in left:
                getattr(process, tell)()
            deadline = time.monotonic() + _STOP_S
            for process in left:
                process.join(max(0.0, deadline - time.monotonic()))
        self._disconnect()
        self.context.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)


def build(factory: str, args: Mapping[str, Any]) -> Any:
    """What 'module:function' makes of the arguments."""
    module, _, function = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"factory '{factory}' cannot be found: {error}; allowed: module:function") from error
    return make(**args)


def node_main(text: str) -> None:
    """Body of a node's process: build the object, run its node until told to stop or the parent is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the conductor stops us in order
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    job = msgspec.json.decode(text, type=_Job)
    threading.Thread(target=_end_with_parent, args=(stop, job.folder), daemon=True).start()
    try:
        made = build(job.spec.factory, job.spec.args)
        with _node(job, made) as node:
            node.run(stop.is_set)
    except HjepaError as error:
        sys.stderr.write(f"hjepa node {job.name}: {error}\n")
        sys.exit(EXIT_ERROR)
    finally:
        zmq.Context.instance().destroy(linger=200)


def _node(job: _Job, made: Any) -> Node:
    kinds: dict[str, Callable[[Any, BusConfig], Node]] = {"driver": DriverNode, "high": HighNode, "low": LowNode}
    if job.name not in kinds:
        raise ConfigError(f"no node '{job.name}'; {nearest(job.name, kinds)}")
    return kinds[job.name](made, job.config)


def _end_with_parent(stop: threading.Event, folder: str) -> None:
    """When the parent dies without a word: stop, or end at once if that takes too long; leave no sockets behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait_for([parent.sentinel])
    stop.set()
    with contextlib.suppress(OSError):
        shutil.rmtree(Path(folder), ignore_errors=True)
    time.sleep(_STOP_S)
    os._exit(EXIT_ERROR)
