"""Starts the processes of a graph in order, watches them, starts them again, and ends them in the opposite order.

One thread; waits on the children's output and on signals. Nothing outlives it: children are told to stop, then killed;
if the supervisor itself is killed, a keeper does that (see keeper.py), and drivers brake by themselves.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from hjepa.bus.node import BusConfig, Party
from hjepa.bus.processes import EXIT_ERROR
from hjepa.bus.security import load_keys, write_command_key
from hjepa.config import resolved
from hjepa.errors import ConfigError, nearest
from hjepa.launching import keeper, runtime
from hjepa.launching.child import Log
from hjepa.launching.graph import FACTORIES, ON_BUS, Plan, bus_config
from hjepa.launching.node import Job, ask_status
from hjepa.launching.supervised import COMMAND_NOT_FOUND, OVER, Row, State, Supervised

TOOLS = "tools"  # whose keys are used to ask nodes how they are
PROBE_S = 0.03  # how long a starting node is given to answer; asked again until it does
FAR_S = 0.5  # the same on another machine: to connect and be let in (CURVE) goes to and fro half a dozen times
_ASK_EVERY_S = 1.0  # whether a node that may hang still answers
_LOOK_S = 0.1  # between two looks at nodes that start or stop
_QUIET_S = 0.5  # the same when nothing is going on
_BY_SIGNAL = 128
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))  # finds `hjepa` itself


class Result(NamedTuple):
    """How a graph ended."""

    code: int  # exit code: of the first critical node that failed; 128 + signal when interrupted or killed
    reason: str  # one line
    tail: tuple[str, ...]  # what the culprit said last


class View(NamedTuple):
    """Who is told what happens."""

    say: Callable[[str], None] = lambda _: None  # an event, in words
    show: Callable[[Sequence[Row]], None] = lambda _: None  # the state of all nodes, again and again


def run(plan: Plan, logs: Path, only: Sequence[str] = (), view: View | None = None) -> Result:
    """Run a graph until it ends or is interrupted. logs: the run gets a folder NAME/TIME in there.

    only: the nodes to start, wherever the graph wants them; none: those of this host. ConfigError for a graph that
    cannot run; signals SIGINT, SIGTERM and SIGHUP end the graph (so: main thread only).
    """
    for name in only:
        if name not in plan.graph.nodes:
            raise ConfigError(f"--only {name}: no such node in {plan.file}; {nearest(name, plan.graph.nodes)}")
    local = [n for n in plan.order() if (n in only if only else plan.graph.nodes[n].host == "here")]
    if not local:
        raise ConfigError(f"{plan.file}: every node is remote; allowed: --only with some of {', '.join(plan.order())}")
    ipc = plan.graph.bus.base == "ipc"
    base = "ipc://{folder}" if ipc else plan.graph.bus.base
    keys = plan.graph.bus.keys or ("{folder}" if ipc else "")
    if keys and not ipc:
        load_keys(keys, TOOLS)  # refuse before anything is made
    started = datetime.now(UTC).isoformat()
    entry = {"base": base, "pid": os.getpid(), "started": started, "nodes": local, "keys": keys}
    roles = [node.role for node in plan.graph.nodes.values() if node.role in ON_BUS]
    entry |= {"roles": roles, "folder": "{folder}"} | _described(plan)
    with runtime.registered(plan.graph.name, entry) as sockets:
        if ipc and not plan.graph.bus.keys:
            write_command_key(sockets)  # this graph's own
        bus = bus_config(plan, base.replace("{folder}", str(sockets)), keys.replace("{folder}", str(sockets)))
        folder = run_folder(logs / plan.graph.name)
        (folder / "config.yaml").write_text(resolved(plan.config, sys.argv), encoding="utf-8")
        with Supervisor(plan, local, bus, sockets, folder, view or View()) as supervisor:
            return supervisor.run()


def _described(plan: Plan) -> dict[str, Any]:
    """What a recorder keeps of a graph: its configuration, how its nodes are made, what they agree on."""
    config = plan.config.model_dump_json()
    made = {role: {"factory": FACTORIES[role], "args": {"config": config}} for role in ON_BUS}
    own = {s.role: {"factory": s.factory, "args": s.args} for s in plan.graph.nodes.values() if s.factory}
    bus = msgspec.to_builtins(bus_config(plan, "inproc://graph"))
    return {"config": config, "specs": made | own, "bus": bus, "hosts": bus["hosts"]}


def run_folder(parent: Path) -> Path:
    """A new folder named by the time, and the link `latest` to it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name in (stamp, *(f"{stamp}-{i}" for i in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            (parent / name).mkdir(parents=True)
            break
    link = parent / f".latest.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(parent / "latest")
    return parent / name


class Supervisor:
    """One run of a graph; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, local: Sequence[str], bus: BusConfig, sockets: Path, logs: Path, view: View) -> None:
        self.plan, self.bus, self.sockets, self.logs, self._view = plan, bus, sockets, logs, view
        self._log = Log(logs / "graph.log")
        nodes = plan.graph.nodes
        self.nodes = {name: Supervised(name, nodes[name], Log(logs / f"{name}.log")) for name in local}
        self._elsewhere = {name: nodes[name].role not in ON_BUS for name in nodes if name not in local}  # it answers
        self._result: Result | None = None  # once decided, the graph ends
        self._signals: list[int] = []
        self._selector = selectors.DefaultSelector()

    # life cycle

    def __enter__(self) -> Supervisor:
        script = [sys.executable, "-I", str(Path(keeper.__file__))]
        self._keeper = subprocess.Popen(script, stdin=subprocess.PIPE, text=True, start_new_session=True)
        self._tell_keeper(f"rm {self.sockets}", f"rm {runtime.entry_of(self.sockets)}")
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._handlers = {number: signal.signal(number, self._hear) for number in (*_ENDING, signal.SIGCHLD)}
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not any(node.alive for node in self.nodes.values()):
            self._tell_keeper("bye")
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        while self._keeper.poll() is None:  # it ends whatever an error of ours has left alive
            for node in self.nodes.values():
                if node.child is not None:
                    node.child.ended()
            time.sleep(0.01)
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._selector.close()
        for log in (self._log, *(node.log for node in self.nodes.values())):
            log.close()
        os.close(self._wake)
        os.close(self._waker)

    def run(self) -> Result:
        """Until no node is left."""
        self._say(f"graph {self.plan.graph.name}: {', '.join(self.nodes)}; logs in {self.logs}")
        self._note_restarts()
        while True:
            self._heed_signals()
            for node in self.nodes.values():
                self._collect(node)
            if self._result is None:
                self._start_due()
            if self._result is not None:
                self._stop_due()
            self._view.show([node.row() for node in self.nodes.values()])
            if all(node.state in OVER for node in self.nodes.values()):
                break
            self._wait()
        result = self._result or Result(0, "all nodes have ended", ())
        self._say(f"graph {self.plan.graph.name}: {result.reason}")
        return result

    def _end(self, code: int, reason: str, tail: Sequence[str] = ()) -> None:
        """Decide how the graph ends; the first decision counts, a failure while all is well more than that."""
        if self._result is None or (self._result.code == 0 and code != 0):
            self._result = Result(code, reason, tuple(tail))

    # starting

    def _start_due(self) -> None:
        for name in self._elsewhere:
            if not self._elsewhere[name] and any(name in node.section.needs for node in self._in("waiting")):
                self._elsewhere[name] = self._answers(self.plan.graph.nodes[name].role, FAR_S)
        for node in self._in("waiting"):
            dead = [
                other for other in node.section.needs if other in self.nodes and self.nodes[other].state == "failed"
            ]
            if dead:
                self._fail(node, 1, f"needs {dead[0]}, which has failed")
            elif all(self._ready(other) for other in node.section.needs):
                self._start(node)
        for node in self._in("pausing"):
            if time.monotonic() >= node.due_s:
                self._start(node)
        for node in self._in("starting"):
            if node.section.role not in ON_BUS or self._answers(node.section.role):
                node.run()
                self._say(
                    f"{node.name}: ready after {time.monotonic() - node.child.started_s:.1f} s" if node.child else ""
                )
            elif time.monotonic() > node.due_s:
                node.kill(f"did not answer within {node.section.start_s:g} s")
        for node in self._in("running"):
            if node.section.hang_s and node.section.role in ON_BUS and time.monotonic() - node.asked_s > _ASK_EVERY_S:
                node.heard(self._answers(node.section.role))

    def _ready(self, name: str) -> bool:
        node = self.nodes.get(name)
        return self._elsewhere[name] if node is None else node.state in ("running", "ended")

    def _answers(self, role: str, within_s: float = PROBE_S) -> bool:
        return ask_status(Party(TOOLS, self.bus, None, guarded=True), role, within_s) is not None

    def _start(self, node: Supervised) -> None:
        try:
            child = node.start(self._argv(node), {"PYTHONUNBUFFERED": "1", "PATH": _PATH})
        except (OSError, subprocess.SubprocessError) as error:
            node.log.write(f"cannot be started: {error}")
            self._over(node, COMMAND_NOT_FOUND)
            return
        self._tell_keeper(f"+{child.pid} {node.section.stop_s} {int(node.section.role == 'driver')}")
        self._selector.register(child.output, selectors.EVENT_READ, child)
        self._say(f"{node.name}: started, pid {child.pid}")

    def _argv(self, node: Supervised) -> list[str]:
        section, config = node.section, self.plan.config.model_dump_json()
        if section.command:
            fill = {"base": self.bus.base, "name": self.plan.graph.name, "folder": self.sockets, "logs": self.logs}
            return [*section.prefix, *(_filled(word, fill) for word in section.command)]
        job = Job(node.name, section.role, self.bus)
        if section.role in ON_BUS:
            own = {"factory": section.factory, "args": section.args}
            slow = {"speed_share": self.plan.graph.speed} if section.role == "driver" else {}
            named = {"factory": FACTORIES[section.role], "args": {"config": config} | slow}
            job = msgspec.structs.replace(job, **(own if section.factory else named))
        else:
            job = msgspec.structs.replace(job, config=config, out=str(section.out or self.logs))
        file = self.sockets / f"{node.name}.job.json"
        file.write_bytes(msgspec.json.encode(job))
        module = "conductor" if section.role == "conductor" else "node"
        return [*section.prefix, sys.executable, "-m", f"hjepa.launching.{module}", str(file)]

    # ending

    def _collect(self, node: Supervised) -> None:
        """Notice that a node's process has ended."""
        child = node.child
        code = None if child is None or not node.alive else child.ended()
        if child is None or code is None:
            return
        self._selector.unregister(child.output)
        child.close()
        self._tell_keeper(f"-{child.pid}")
        self._over(node, code)

    def _over(self, node: Supervised, code: int) -> None:
        """A node's process has ended, or could not start: stop, start again, or fail."""
        if node.state == "stopping":
            node.state = "stopped"
            self._say(f"{node.name}: stopped")
            if node.section.critical and (node.killed or code > 0):
                self._end(_exit_code(code), f"node {node.name} {node.how(code)}", node.log.tail)
        elif node.may_restart(code, EXIT_ERROR):
            self._say(f"{node.name}: {node.how(code)}; starts again in {node.pause():g} s")
            self._note_restarts()
        elif code == 0 and not node.killed:
            node.state = "ended"
            self._say(f"{node.name}: has ended")
            if node.section.critical:
                self._end(0, f"node {node.name} has ended")
        else:
            again = f", after {node.in_row} restarts in a row" if node.in_row else ""
            self._fail(node, _exit_code(code), node.how(code) + again)

    def _fail(self, node: Supervised, code: int, why: str) -> None:
        node.state = "failed"
        self._say(f"{node.name}: {why}")
        if node.section.critical:
            self._end(code, f"node {node.name} {why}", node.log.tail)

    def _stop_due(self) -> None:
        """Tell those to stop that nobody needs any more, drivers last; kill those whose time is up."""
        alive = [node for node in self.nodes.values() if node.alive]
        for node in self.nodes.values():
            if node.state in ("waiting", "pausing"):
                node.stop()
        for node in alive:
            others = [other for other in alive if other is not node]
            needed = any(node.name in other.section.needs for other in others)
            last = node.section.role == "driver" and bool(others)
            if node.state != "stopping" and not needed and not last:
                node.stop()
            elif node.state == "stopping" and time.monotonic() > node.due_s:
                node.kill(f"did not stop within {node.section.stop_s:g} s")

    # signals, waiting, talking

    def _hear(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _heed_signals(self) -> None:
        for number in self._signals:
            name = signal.Signals(number).name
            if self._result is not None and self._result.code > _BY_SIGNAL:
                self._say(f"interrupted by {name} again: killing what is left")
                for node in self.nodes.values():
                    node.kill("was killed at once, as asked")
            else:
                self._say(f"interrupted by {name}: stopping; once more kills")
            self._result = Result(_BY_SIGNAL + number, f"interrupted by {name}", ())
        self._signals.clear()

    def _wait(self) -> None:
        """Until a node speaks or ends, a signal comes, or something is due."""
        changing = self._in("starting", "waiting", "stopping") or self._result is not None
        due_s = [node.due_s - time.monotonic() for node in self._in("pausing", "stopping")]
        wait_s = max(min([_LOOK_S if changing else _QUIET_S, *due_s]), 0.0)
        for chosen, _ in self._selector.select(wait_s):
            if chosen.data is None:
                os.read(self._wake, 4096)
            else:
                chosen.data.read()

    def _in(self, *states: State) -> list[Supervised]:
        return [node for node in self.nodes.values() if node.state in states]

    def _say(self, event: str) -> None:
        self._log.write(event)
        self._view.say(event)

    def _note_restarts(self) -> None:
        with contextlib.suppress(OSError):  # for monitors: not worth a graph
            runtime.note_restarts(self.sockets, {name: node.restarts for name, node in self.nodes.items()})

    def _tell_keeper(self, *lines: str) -> None:
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write("".join(f"{line}\n" for line in lines))
            self._keeper.stdin.flush()


def _filled(word: str, values: Mapping[str, object]) -> str:
    """A word of a command, {base} and so on filled in."""
    for name, value in values.items():
        word = word.replace("{" + name + "}", str(value))
    return word


def _exit_code(code: int) -> int:
    """As shells say it: 128 + the signal that killed a process."""
    return code if code >= 0 else _BY_SIGNAL - code
