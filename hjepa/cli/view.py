"""hjepa view: a page in the browser that shows what the robot does and why: live, or from a recording."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from hjepa.cli import options, replaying, running
from hjepa.config import task_name
from hjepa.errors import ConfigError, extra

if TYPE_CHECKING:
    from hjepa.types import RobotSpec
    from hjepa.viewer.live.source import Source

NICE = 10  # of a page that watches somebody else's robot
WATCHING_S = 1 / 15  # between its frames
LEVELLED = ("hjepa", "reactive", "coded-goal")  # agents whose two levels are nodes, as build.HIERARCHICAL


def view(
    what: Annotated[
        str,
        typer.Argument(metavar="CONFIG|FILE.mcap", help="Configuration to play in a court of its own, or recording."),
    ] = "badminton",
    bus: Annotated[
        str | None, typer.Option("--bus", metavar="GRAPH", help="Watch this running graph instead: name or address.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On loopback; 0: any free one.")] = 8080,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after so long.")] = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Show court, robot, shuttle, plans and energies in the browser; Ctrl-C ends it. No display is needed here.

    Examples: `hjepa view`, `hjepa view --bus badminton-sim`, `hjepa view run.mcap`.
    """
    port = port or _free_port()
    with closing(_source(what, bus, port, set_files or [], sets or [])) as watched:
        with extra("view"):
            from hjepa.viewer.live.page import FRAME_S, Page
        with closing(Page(watched.source, watched.spec, _description(watched.spec), port)) as page:
            typer.echo(f"{watched.source.label}: {page.address}  (Ctrl-C ends it)")
            if browser:
                typer.launch(page.address)
            if bus is not None:
                _give_way()
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            end_s = time.monotonic() + (seconds or float("inf"))
            page.run(lambda: stop.is_set() or time.monotonic() > end_s, FRAME_S if bus is None else WATCHING_S)


class _Watched(NamedTuple):
    """What is shown, and the robot that it is of."""

    source: Source
    spec: RobotSpec

    def close(self) -> None:
        """Let go of the source."""
        self.source.close()


def _source(what: str, bus: str | None, port: int, files: Sequence[Path], sets: Sequence[str]) -> _Watched:
    """Whatever the words on the command line mean; one line says what is wrong with them."""
    from robots.spec import load_spec

    if bus is not None:
        if sets or files:
            raise ConfigError("--set: a running graph keeps its configuration; allowed: the sliders of the page")
        return _running(bus)
    if what.endswith(".mcap"):
        if sets or files:
            raise ConfigError("--set: a recording keeps its configuration; allowed: leave it out")
        with extra("log"):
            from hjepa.bus.logfile import Log
            from hjepa.viewer.live.recorded import Recorded
        log = Log(Path(what))
        spec = load_spec(replaying.robot_of(log))
        return _Watched(Recorded(Path(what), spec, log), spec)
    if task_name(what, sets) != "badminton":
        raise ConfigError(
            f"{what}: task '{task_name(what, sets)}' has no court to show; allowed: badminton, --bus GRAPH"
        )
    config = options.settings(what, [*sets, "run.clock=lockstep"], files)
    if config.agent.name not in LEVELLED:
        raise ConfigError(f"agent '{config.agent.name}' has no levels to show; allowed: {', '.join(LEVELLED)}")
    from hjepa.viewer.live.simulated import Simulated

    spec = load_spec(config.robot.name)
    label = f"{what}: {config.robot.name} in a simulated court"
    return _Watched(Simulated(config.model_dump_json(), spec, label, f"view-{port}"), spec)


def _running(at: str) -> _Watched:
    from hjepa.config import Config
    from hjepa.viewer.live.bus import BusSource
    from robots.spec import load_spec

    place, entry = running.find(at)
    if not entry.get("config"):
        raise ConfigError(f"--bus {at}: the graph does not say which robot it moves; allowed: graphs of `hjepa launch`")
    spec = load_spec(Config.model_validate_json(entry["config"]).robot.name)
    return _Watched(BusSource(place, spec, f"running graph {at}"), spec)


def _description(spec: RobotSpec) -> str:
    """The robot's URDF: the file that ships, or made from its description."""
    from robots.sim.urdf import urdf_path, urdf_text

    file = urdf_path(spec.source or spec.name)
    return file.read_text(encoding="utf-8") if file.is_file() else urdf_text(spec.source or spec.name)


def _give_way() -> None:
    """Every thread of this process comes after the robot's loop: it runs when nobody else wants to, and is interrupted
    at once. A low priority alone is not enough, since Linux lets who runs finish a slice of some milliseconds."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        os.nice(NICE)
        return
    for task in tasks.iterdir():  # to Linux a policy is a thread's own
        with suppress(ProcessLookupError):
            os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
