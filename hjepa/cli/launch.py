"""hjepa launch: start a process graph, watch over it, end it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hjepa.cli import files, options, quick
from hjepa.launching import graph as graphs
from hjepa.launching import runtime, supervisor
from hjepa.launching.supervised import Row

LOGS = Path("runs/launch")
Logs = Annotated[Path, typer.Option("--logs", metavar="FOLDER", help="A folder per run is made in there.")]
_REFRESH_S = 0.25
_COLUMNS = ("node", "pid", "state", "up", "restarts", "CPU", "memory")
_COLOURS = {"running": "green", "failed": "red", "pausing": "yellow", "starting": "cyan", "stopping": "cyan"}


def launch(
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="A graph by name, or a .yaml file.")] = "badminton_sim",
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
    only: Annotated[str, typer.Option("--only", metavar="A,B", help="Start these nodes, wherever they belong.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Say what the graph holds, or what is wrong with it.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the graphs that ship, and those that run.")] = False,
    small: quick.Quick = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Plans are made and logged; the robot stays.")] = False,
    speed: Annotated[
        float | None, typer.Option("--speed", help="Share of the robot's speed limits that may be used, such as 0.1.")
    ] = None,
    logs: Logs = LOGS,
) -> None:
    """Start the processes of a graph in order, restart what fails, stop all of them when one that matters has ended.

    Example: `hjepa launch badminton_sim --set task.strokes=3`. Ctrl-C ends all; the exit code is the culprit's.
    """
    console = Console()
    if listing:
        _list(console)
        return
    own = [f"graph.shadow={str(shadow).lower()}"] if shadow else []
    own += [f"graph.speed={speed}"] if speed is not None else []
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    few = quick.LAUNCHED if small else []
    start(graphs.load(graph, [*own, *(sets or []), *few], set_files or []), chosen, logs, check=check)


def start(plan: graphs.Plan, chosen: Sequence[str], logs: Path, *, check: bool = False) -> None:
    """Run nodes of a graph (none named: those of this host) in view of whoever watches; `check`: only describe it."""
    console = Console()
    if check:
        _describe(console, plan)
        return
    files.check_folder(logs, "--logs")
    with _view(console) as view:
        result = supervisor.run(plan, logs, chosen, view)
    if result.code:
        errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        for line in result.tail:
            errors.print(f"  | {line}")
        errors.print(f"hjepa: {result.reason}; logs: {logs / plan.graph.name / 'latest'}")
        raise typer.Exit(result.code)


def _list(console: Console) -> None:
    table = Table("graph", "nodes", box=None, pad_edge=False)
    for name in graphs.names():
        table.add_row(name, ", ".join(graphs.load(name).order()))
    console.print(table)
    for name, entry in runtime.running().items():
        console.print(f"running: {name}, pid {entry['pid']}, {entry['base']}", highlight=False)


def _describe(console: Console, plan: graphs.Plan) -> None:
    bus = plan.graph.bus
    graphs.bus_config(plan, f"ipc://{runtime.root() / plan.graph.name}" if bus.base == "ipc" else bus.base, bus.keys)
    table = Table("node", "role", "needs", "restart", "critical", "host", box=None, pad_edge=False)
    for name in plan.order():
        n = plan.graph.nodes[name]
        table.add_row(name, n.role, ", ".join(n.needs) or "-", n.restart, "yes" if n.critical else "no", n.host)
    console.print(table)
    console.print(f"\n{plan.file}: graph {plan.graph.name} is valid", soft_wrap=True, highlight=False)


@contextmanager
def _view(console: Console) -> Iterator[supervisor.View]:
    """A table that changes on a terminal; elsewhere a line for each event."""

    def say(event: str) -> None:
        console.print(event, soft_wrap=True, highlight=False, markup=False)

    if not console.is_terminal:
        yield supervisor.View(say)
        return
    shown_s = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:  # no thread: the supervisor forks

        def show(rows: Sequence[Row]) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= _REFRESH_S:
                shown_s = time.monotonic()
                live.update(_table(rows), refresh=True)

        yield supervisor.View(say, show)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=True, justify="left" if name in ("node", "state") else "right")
    table.add_column("last line", no_wrap=True, overflow="ellipsis", ratio=1)
    for r in rows:
        figures = (f"{r.uptime_s:.0f} s", str(r.restarts), f"{r.cpu_percent:.0f} %", f"{r.memory_bytes / 2**20:.0f} MB")
        table.add_row(r.name, str(r.pid or "-"), Text(r.state, _COLOURS.get(r.state, "dim")), *figures, Text(r.said))
    return table
