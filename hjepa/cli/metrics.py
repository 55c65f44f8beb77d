"""hjepa bus metrics: a running graph's health and metrics over HTTP."""

from __future__ import annotations

import signal
import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hjepa.bus import listen
from hjepa.bus.watch import Watch
from hjepa.cli import running
from hjepa.errors import ConfigError, extra, nearest
from hjepa.launching import runtime


def metrics(
    graph: Annotated[
        str | None, typer.Argument(metavar="[GRAPH]", help="Running graph by name; not needed where one runs.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", "--base", metavar="ADDRESS", help="The same by its address, such as {base}.")
    ] = None,
    address: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to serve it, on this machine.")
    ] = "127.0.0.1:9464",
    nodes: Annotated[
        str | None, typer.Option("--nodes", metavar="A,B", help="Ask these alone: driver, high, low.")
    ] = None,
) -> None:
    """Serve /metrics (Prometheus) and /health (200, or 503 when a node is silent or does not run) until Ctrl-C.

    Example: `hjepa bus metrics --listen 127.0.0.1:9464`, then `curl http://127.0.0.1:9464/health`
    """
    if graph is not None and at is not None:
        raise ConfigError(f"GRAPH {graph} and --at {at}: allowed: one of them")
    with extra("metrics"):
        from hjepa.bus.metrics import MetricsServer, parse_listen
    host, port = parse_listen(address)
    place, entry = running.find(graph if at is None else at)
    asked = _chosen(nodes) if nodes is not None else entry.get("roles") or listen.owners()
    restarts = partial(runtime.restarts, Path(entry["folder"])) if "folder" in entry else dict[str, int]
    with MetricsServer(Watch(place, asked, restarts), host, port) as server:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        typer.echo(f"{server.url}/metrics and /health: {', '.join(asked)} at {place.base}")
        stop.wait()
        server.shutdown()


def _chosen(text: str) -> list[str]:
    names, known = [name.strip() for name in text.split(",")], listen.owners()
    for name in names:
        if name not in known:
            raise ConfigError(f"--nodes {text}: no node '{name}'; {nearest(name, known)}")
    return names
